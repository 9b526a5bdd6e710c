"""Random workflows of all kinds of nodes, and runs of them.

Durations are drawn with many digits, so that no two deadlines fall on one instant: Trio breaks such ties by
the address of an object, which no seed decides.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from durable_trio import Retry, Workflow
from durable_trio._definition.nodes import BranchNode, EventNode, InputNode, MapNode, Node, ParallelNode
from durable_trio._definition.plan import Plan, compile_plan

from . import bodies

EVENTS = ("red", "green", "blue")
_CASES = ("a", "b", "c")


class Run(NamedTuple):
    """A run to start.

    Attributes:
        id, workflow, seed: the seed decides what its bodies do.
        delay: virtual seconds after the first opening at which it is started.
        later: it is started with ``at=``, so many seconds ahead of then.
        cancel: virtual seconds at which it is cancelled, and whether what it did is undone.
        events: whether it is sent events before the last life.
    """

    id: str
    workflow: str
    seed: int
    delay: float
    later: float | None
    cancel: tuple[float, bool] | None
    events: bool

    @property
    def input(self) -> dict[str, Any]:
        """What it is started with."""
        return {"seed": self.seed, "bag": {"list": [], "set": {1, 2}}, "things": ["x", "y"][: self.seed % 3]}


class Cast(NamedTuple):
    """What an episode plays.

    Attributes:
        workflows: by name; ``child`` is what steps call.
        plans: the same, compiled.
        runs: which are started.
        max_running: as of ``open_engine``.
        acts: how many things are done to runs in one life, at most.
    """

    workflows: dict[str, Workflow]
    plans: dict[str, Plan]
    runs: tuple[Run, ...]
    max_running: int
    acts: int


class Definitions(NamedTuple):
    """What the workflows of an episode are called by name, and how they may be in some of its lives.

    ``longer`` has steps behind the last one; in ``changed`` the first node has another name.
    """

    usual: Cast
    longer: Cast
    changed: Cast


def draw(rng: random.Random) -> Definitions:
    """An episode's workflows and runs."""
    names = [f"w{number}" for number in range(rng.choice((1, 1, 2)))]
    sizes = {name: rng.choice((2, 3, 5, 7)) for name in names} | {"child": rng.choice((1, 2))}
    seeds = {name: rng.getrandbits(32) for name in sizes}

    def drawn(*, more: int = 0, renames: bool = False) -> dict[str, Workflow]:
        return {
            name: _Drawing(random.Random(seeds[name]), name, size, more=more, renames=renames).workflow
            for name, size in sizes.items()
        }

    runs = tuple(
        Run(
            f"r{number}",
            rng.choice(names),
            rng.getrandbits(32),
            rng.choice((0.0, rng.random() * 3)),
            rng.random() * 9 if rng.random() < 0.1 else None,
            (rng.random() * rng.choice((1, 20)), rng.random() < 0.4) if rng.random() < 0.15 else None,
            rng.random() < 0.7,
        )
        for number in range(rng.choice((1, 2, 3)))
    )
    max_running, acts = rng.choice((1, 2, 1000)), rng.choice((0, 2, 6))

    def cast(workflows: dict[str, Workflow]) -> Cast:
        plans = {name: compile_plan(workflow) for name, workflow in workflows.items()}
        return Cast(workflows, plans, runs, max_running, acts)

    # Nobody acts under changed ones: a run that goes on from its first node has nothing that does not fit.
    changed = cast(drawn(renames=True))._replace(acts=0)
    return Definitions(cast(drawn()), cast(drawn(more=2)), changed)


def messages_of(plan: Plan) -> tuple[list[str], list[str]]:
    """The names of the events and of the inputs that a workflow's nodes wait for."""
    nodes = list(plan.by_path.values())
    events = {node.event for node in nodes if isinstance(node, EventNode)}
    inputs = {node.input for node in nodes if isinstance(node, InputNode)}
    return sorted(events | set(EVENTS)), sorted(inputs)


class _Drawing:
    """A workflow under the pencil."""

    def __init__(
        self, rng: random.Random, name: str, size: int, *, more: int = 0, renames: bool = False
    ) -> None:
        self._rng = rng
        self._count = 0
        self._renames = renames  # the first node
        self._is_child = name == "child"
        self.workflow = wf = Workflow(
            name,
            durability=rng.choice((None, None, None, "async", "exit")),
            timeout=self._about(40) if rng.random() < 0.1 else None,
            max_visits=40,
        )
        self._handlers = rng.random() < 0.4
        if self._handlers:
            wf.compensation("undo", bodies.undo, retry=self._retry(0.5))
            wf.compensation("undo_plainly", bodies.undo_plainly)
        for _ in range(size):
            self._node(0)
        for _ in range(more):
            wf.step(bodies.play_childless, name=self._name("x"))

    def _name(self, kind: str) -> str:
        self._count += 1
        renamed = "other" if self._renames and self._count == 1 else ""
        return f"{kind}{self._count}{renamed}"

    def _about(self, length: float) -> float:
        return length * (0.5 + self._rng.random())

    def _retry(self, chance: float) -> Retry | None:
        rng = self._rng
        if rng.random() > chance:
            return None
        backoff = rng.choice(("constant", "linear", "exponential"))
        return Retry(rng.choice((2, 3)), backoff, base=self._about(rng.choice((0.01, 1.0))), max_backoff=9.0)

    def _node(self, depth: int, *, in_block: bool = False) -> None:
        rng = self._rng
        dice = rng.random()
        if dice < 0.5 or depth > 2:
            self._step()
        elif dice < 0.68:
            self._block(depth)
        elif dice < 0.76:
            self._map()
        elif dice < 0.84:
            self._branch(depth)
        elif dice < 0.9 and in_block:
            with self.workflow.sequence(self._name("q")):
                for _ in range(rng.choice((1, 2, 3))):
                    self._node(depth + 1)
        else:
            self._wait()

    def _step(self) -> None:
        rng = self._rng
        options: dict[str, Any] = {"name": self._name("s"), "retry": self._retry(0.4)}
        if self._handlers and rng.random() < 0.5:
            options["compensate"] = rng.choice(("undo", "undo_plainly"))
        plain = rng.random() < 0.15
        if plain:
            options["inline"] = rng.random() < 0.5
        elif rng.random() < 0.2:
            options["timeout"] = self._about(3.0)
        # A child calls no children of its own, so that the family ends.
        body = bodies.play_plainly if plain else bodies.play_childless if self._is_child else bodies.play
        self.workflow.step(body, **options)

    def _block(self, depth: int) -> None:
        rng = self._rng
        branches = rng.choice((1, 2, 3, 4))
        options = self._gathering(branches)
        if rng.random() < 0.15:
            options["timeout"] = self._about(6.0)
        with self.workflow.parallel(name=self._name("p"), **options):
            for _ in range(branches):
                self._node(depth + 1, in_block=True)

    def _gathering(self, branches: int) -> dict[str, Any]:
        """What blocks and maps have in common."""
        rng = self._rng
        options: dict[str, Any] = {"on_error": rng.choice((None, "fail_fast", "complete_all"))}
        if rng.random() < 0.5:
            options["into"] = rng.choice((bodies.decide, bodies.decide_plainly))
        if rng.random() < 0.25:
            options["limit"] = rng.choice((1, 2))
        if rng.random() < 0.25:
            options["need"] = rng.randrange(1, branches + 1)
        return options

    def _map(self) -> None:
        rng = self._rng
        over: Any = "things" if rng.random() < 0.3 else bodies.spread
        plain = rng.random() < 0.2
        self.workflow.map(
            bodies.play_item_plainly if plain else bodies.play_item,
            over=over,
            name=self._name("m"),
            inline=plain,
            retry=self._retry(0.3),
            **self._gathering(1),
        )

    def _branch(self, depth: int) -> None:
        rng = self._rng
        with self.workflow.branch(on=bodies.choose, name=self._name("b")) as kind:
            for case in _CASES[: rng.choice((1, 2, 3))]:
                with kind.case(case):
                    for _ in range(rng.choice((1, 2))):
                        self._node(depth + 1)
            if rng.random() < 0.8:
                with kind.default():
                    self._node(depth + 1)

    def _wait(self) -> None:
        rng, wf = self._rng, self.workflow
        kind = rng.choice(("sleep", "sleep by", "event", "event", "input"))
        if kind == "sleep":
            wf.sleep(self._about(rng.choice((0.02, 3.0))), name=self._name("z"))
            return
        if kind == "sleep by":
            wf.sleep(bodies.sleep_length, name=self._name("z"))
            return
        options: dict[str, Any] = {"step": self._name("e")}
        if rng.random() < 0.4:
            options["timeout"] = self._about(3.0)
            if rng.random() < 0.6:
                options["default"] = None
        if kind == "event":
            wf.wait_for_event(rng.choice(EVENTS), returns=f"got{self._count}", **options)
        else:
            wf.wait_for_approval(f"ask{self._count}", returns=f"got{self._count}", **options)


def is_block(node: Node) -> bool:
    """Whether its children are branches, which may return anything."""
    return isinstance(node, ParallelNode | MapNode)


def has_hidden_results(plan: Plan) -> bool:
    """Whether a block's results may be in a context without that block standing at the top level."""
    nodes = plan.by_path.values()
    return any(isinstance(node, BranchNode | MapNode) for node in nodes)
