"""What must come out: the engine's contract as a small interpreter of ``model_flows.py``, in plain Python.

It has no task, no disk and no crash. A run is what has succeeded (``ok``), what was answered (``answers``),
and what it is at now (``open``): one ``Leaf`` for each body, back-off and wait. A node is given a function
that takes its outcome; a leaf keeps that function until the machine, a message, the clock or a child ends it.
To cancel is to forget leaves. A crash changes nothing here, which is the point of a durable engine: bodies
are entered once more, and with them their steps' timeouts begin again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_flows import Branch, Child, Event, Flow, Input, Map, Node, Parallel, Sequence, Sleep, Step

if TYPE_CHECKING:
    from world_model import World

UNIT = 1000.0  # seconds: what a duration in model_flows.py counts
Key = tuple[str, int]  # path and visit
Then = Callable[["Outcome"], None]
TIMEOUT, CANCELLED, WAIT_TIMEOUT = "!TimeoutError", "!Cancelled", "!durable_trio.WaitTimeout"
NO_JUMP, VALUE_ERROR = "!durable_trio.DefinitionError", "!ValueError"
BY_PARENT, BY_CALLER = "!its parent was cancelled", "!its caller was cancelled"


@dataclass
class Outcome:
    """``jump``: where a Goto leads, or ``""`` to finish. ``errors``: path to reason, in order of time."""

    ok: bool
    value: Any
    errors: dict[str, Any] = field(default_factory=dict)
    jump: str | None = None


@dataclass
class Leaf:
    """Something that a run is at.

    ``top``: it may jump. ``plain``: it is a branch by itself, whose data is any value. ``part``: which part
    of its body a step is at. ``due``: when the wait or the back-off is over. ``limit``: when the attempt's
    timeout is. ``resting``: it is between two attempts. ``got``: what the parts gave.
    """

    node: Any
    key: Key
    given: dict[str, Any]
    top: bool
    plain: bool
    then: Then
    attempt: int = 1
    part: int = 0
    due: float | None = None
    limit: float | None = None
    resting: bool = False
    child: Run | None = None
    got: list[Any] = field(default_factory=list)

    @property
    def wait(self) -> Any:
        """The wait that it is at: the node itself, or a part of the body; else None."""
        if not isinstance(self.node, Step):
            return self.node
        return None if self.resting or self.part == len(self.node.parts) else self.node.parts[self.part]


class Run:
    """One run. ``world`` has the clock and the other runs."""

    def __init__(self, world: World, tag: str, flow: Flow, given: dict[str, Any], at: float) -> None:
        self.world, self.tag, self.flow, self.given = world, tag, flow, given
        self.status = "live"  # or "compensating", or an ended one
        self.ok: dict[Key, Outcome] = {}
        self.open: dict[Key, Leaf] = {}
        self.blocks: dict[Key, tuple[float, Callable[[], None]]] = {}  # those that have a timeout
        self.begun: dict[tuple[Key, int], float | None] = {}  # a body's waits, and when they are over
        self.answers: dict[tuple[Key, int], tuple[str, Any]] = {}
        self.mail: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
        self.children: list[Run] = []
        self.caller: tuple[Run, Leaf] | None = None
        self.undoable: list[Key] = []  # successes with a handler, in order
        self.undoing: Key | None = None
        self.compensations: list[tuple[str, str]] = []
        self.ending, self.error, self.result, self.finished = "", None, None, 0.0
        self.errors: dict[str, Any] = {}
        self.limit = None if flow.timeout is None else at + flow.timeout * UNIT
        self.scheduled = at if at > world.now else None

    def begin(self) -> None:
        self.walk(0, self.given, defaultdict(int))

    # -- the walk ------------------------------------------------------------------------------------

    def walk(self, index: int, given: dict[str, Any], visits: defaultdict[int, int]) -> None:
        nodes = self.flow.nodes
        if index == len(nodes):
            self.end("completed", given, {})
            return
        visits[index] += 1
        self.at = nodes[index].name

        def after(outcome: Outcome) -> None:
            if not outcome.ok:
                self.end("failed", outcome.value, outcome.errors)
            elif outcome.jump == "":
                self.end("completed", outcome.value, {})
            elif outcome.jump is not None:
                self.walk([node.name for node in nodes].index(outcome.jump), outcome.value, visits)
            else:
                self.walk(index + 1, outcome.value, visits)

        self.enter(nodes[index], nodes[index].name, visits[index], given, after, top=True)

    def enter(
        self,
        node: Node,
        path: str,
        visit: int,
        given: dict[str, Any],
        then: Then,
        *,
        top: bool = False,
        plain: bool = False,
    ) -> None:
        key = (path, visit)
        if key in self.ok:  # the run is retried: what succeeded is not run again
            then(self.ok[key])
            return

        def done(outcome: Outcome) -> None:
            if outcome.ok:
                self.ok[key] = outcome
            then(outcome)

        if isinstance(node, Parallel | Map):
            self.block(node, key, given, done, plain=plain)
        elif isinstance(node, Sequence):
            self.chain(node.nodes, key, given, done)
        elif isinstance(node, Branch):
            clause = node.cases.get(given["kind"], node.default)
            if clause:
                self.chain(clause, key, given, done, top=top)
            else:
                done(Outcome(False, VALUE_ERROR, {path: VALUE_ERROR}))
        else:
            leaf = self.open[key] = Leaf(node, key, given, top, plain, done)
            if isinstance(node, Step):
                self.attempt(leaf)
            else:
                self.look(leaf)

    def chain(
        self, nodes: tuple[Node, ...], key: Key, given: dict[str, Any], then: Then, *, top: bool = False
    ) -> None:
        def after(outcome: Outcome) -> None:
            if not outcome.ok or outcome.jump is not None or len(nodes) == 1:
                then(outcome)
            else:
                self.chain(nodes[1:], key, outcome.value, then, top=top)

        self.enter(nodes[0], f"{key[0]}/{nodes[0].name}", key[1], given, after, top=top)

    def block(  # noqa: C901 - its parts share what they count
        self, node: Parallel | Map, key: Key, given: dict[str, Any], then: Then, *, plain: bool
    ) -> None:
        path, visit = key
        branches: list[Node]
        if isinstance(node, Map):
            branches = [Step(str(i), (), node.attempts, node.back_off) for i, _ in enumerate(given["items"])]
        else:
            branches = list(node.branches)
        paths = {branch.name: f"{path}/{branch.name}" for branch in branches}
        results = {name: self.ok[at, visit] for name, at in paths.items() if (at, visit) in self.ok}
        todo = [branch for branch in branches if branch.name not in results]
        running: list[str] = []
        errors: dict[str, Any] = {}
        starting = False

        def ended(name: str, outcome: Outcome) -> None:
            running.remove(name)
            results[name] = outcome
            errors.update(outcome.errors)
            if not starting:
                judge()

        def judge() -> None:
            nonlocal starting
            while True:
                good = sum(outcome.ok for outcome in results.values())
                hopeless = len(todo) + len(running) + good < node.need if node.need else bool(errors)
                lost = hopeless and not node.complete_all
                if lost or (node.need and good >= node.need) or not (todo or running):
                    finish(good, lost=lost)
                    return
                known, starting = len(results), True
                while todo and len(running) < (node.limit or len(branches)):
                    branch = todo.pop(0)
                    running.append(branch.name)
                    ends = lambda outcome, name=branch.name: ended(name, outcome)
                    self.enter(branch, paths[branch.name], visit, given, ends, plain=True)
                starting = False
                if len(results) == known:
                    return

        def finish(good: int, *, lost: bool) -> None:
            self.blocks.pop(key, None)
            self.forget(f"{path}/", visit)
            rest = Outcome(False, CANCELLED)
            outcomes = [results.get(branch.name, rest) for branch in branches]
            tagged = [("ok" if outcome.ok else "error", outcome.value) for outcome in outcomes]
            if lost:
                causes = errors or {path: VALUE_ERROR}
                then(Outcome(False, next(iter(causes.values())), causes))
            elif isinstance(node, Map):
                whole = {**given, "__results__": {node.name: tagged}}
                then(Outcome(True, tagged if plain else whole))
            elif not node.into:
                then(Outcome(True, {**given, "__results__": dict(zip(paths, tagged, strict=True))}))
            elif good:
                then(Outcome(True, given | {node.name: good}))
            else:
                then(Outcome(False, "none", {path: "none", **errors}))

        def expire() -> None:
            for name in running:
                results[name] = Outcome(False, TIMEOUT)
                errors[paths[name]] = TIMEOUT
            results.update((branch.name, Outcome(False, TIMEOUT)) for branch in todo)
            todo.clear()
            running.clear()
            judge()

        if isinstance(node, Parallel) and node.timeout is not None:
            self.blocks[key] = (self.world.now + node.timeout * UNIT, expire)
        judge()

    # -- leaves --------------------------------------------------------------------------------------

    def close(self, leaf: Leaf, outcome: Outcome) -> None:
        del self.open[leaf.key]
        if outcome.ok and isinstance(leaf.node, Step) and leaf.node.undo:
            self.undoable.append(leaf.key)
        leaf.then(outcome)

    def attempt(self, leaf: Leaf) -> None:
        """A body is entered."""
        step = leaf.node
        leaf.resting, leaf.part, leaf.due, leaf.child, leaf.got = False, 0, None, None, []
        leaf.limit = None if step.timeout is None else self.world.now + step.timeout * UNIT
        self.world.entered.append((self.tag, *leaf.key, leaf.attempt))
        if step.parts:
            self.look(leaf)

    def fail(self, leaf: Leaf, reason: Any, *, retry: bool = True) -> None:
        step = leaf.node
        if retry and leaf.attempt < step.attempts:
            leaf.attempt += 1
            leaf.resting, leaf.limit = True, None
            leaf.due = self.world.now + step.back_off * UNIT
        else:
            self.close(leaf, Outcome(False, reason, {leaf.key[0]: reason}))

    def look(self, leaf: Leaf) -> None:
        """Has the wait that this leaf is at been answered, or is its time over? Else it waits."""
        wait, which = leaf.wait, (leaf.key, leaf.part)
        if which not in self.answers:
            if which not in self.begun:
                seconds = getattr(wait, "seconds", getattr(wait, "timeout", None))
                self.begun[which] = None if seconds is None else self.world.now + seconds * UNIT
            leaf.due = self.begun[which]
            answer = self.answer_to(leaf, wait)
            if answer is None:
                return
            self.answers[which] = answer
        kind, value = self.answers[which]
        if isinstance(leaf.node, Step):
            if kind == "late" and value is None:
                self.fail(leaf, WAIT_TIMEOUT)
                return
            leaf.got.append(value)
            leaf.part, leaf.due, leaf.child = leaf.part + 1, None, None
            if leaf.wait is not None:
                self.look(leaf)
        else:
            del self.answers[which], self.begun[which]  # one answer serves one visit of a node
            if kind == "late" and value is None:
                self.close(leaf, Outcome(False, WAIT_TIMEOUT, {leaf.key[0]: WAIT_TIMEOUT}))
            elif isinstance(wait, Sleep):
                self.close(leaf, Outcome(True, leaf.given))
            else:
                self.close(leaf, Outcome(True, leaf.given | {name_of(wait)[1]: value}))

    def answer_to(self, leaf: Leaf, wait: Any) -> tuple[str, Any] | None:
        if isinstance(wait, Child):
            child = self.world.child(self, f"{self.tag}>{leaf.key[0]}:{leaf.key[1]}:{leaf.part}", wait.flow)
            if not wait.call:
                return "ok", None
            if child.status in ("live", "compensating"):
                leaf.child, child.caller = child, (self, leaf)
                return None
            was_cancelled = child.status == "cancelled" or (child.status != "failed" and not child.errors)
            bad = CANCELLED if was_cancelled else child.error
            return "ok", ("ok", child.result) if child.status == "completed" else ("error", bad)
        letters = [] if isinstance(wait, Sleep) else self.mail[name_of(wait)]
        if letters:
            return "ok", letters.pop(0)
        if leaf.due is None or leaf.due > self.world.now:
            return None
        return ("ok", None) if isinstance(wait, Sleep) else ("late", wait.default)

    def forget(self, above: str, visit: int) -> None:
        """Cancel what is under way in a block (or, above ``""``, in the run), with the children it calls."""
        inside = [
            key for key in (*self.open, *self.blocks) if key[0].startswith(above) and visit in (key[1], 0)
        ]
        for key in inside:
            self.blocks.pop(key, None)
            leaf = self.open.pop(key, None)
            if leaf is not None and leaf.child is not None:
                child, leaf.child = leaf.child, None
                child.cancel(BY_CALLER, compensate=False)

    # -- endings -------------------------------------------------------------------------------------

    def end(self, status: str, value: Any, errors: dict[str, Any], *, undo: bool = True) -> None:
        self.forget("", 0)
        if status == "completed":
            self.result = value
        else:
            self.error, self.errors = value, errors
        self.ending = status
        if undo and status != "completed" and self.flow.has_handlers:
            self.status = "compensating"
            self.undo()
        else:
            self.finish(status)

    def undo(self) -> None:
        if self.undoable:
            path, visit = self.undoing = self.undoable.pop()
            self.world.entered.append((self.tag, f"{path}/!undo", visit, 1))
            return
        self.undoing = None
        failed = any(status != "ok" for _, status in self.compensations)
        undone = "compensation_failed" if failed else "compensated"
        self.finish(undone if self.compensations else self.ending)

    def finish(self, status: str) -> None:
        self.status, self.finished = status, self.world.now
        if self.caller is not None:
            parent, leaf = self.caller
            if leaf.child is self:
                parent.look(leaf)

    def cancel(self, reason: Any, *, compensate: bool) -> bool:
        if self.status != "live":
            return False
        for leaf in self.open.values():
            leaf.child = None  # what it calls is cancelled with all the other children
        self.open.clear()
        for child in self.children:
            child.cancel(BY_PARENT, compensate=compensate)
        has_begun = self.scheduled is None
        self.scheduled = None
        self.end("cancelled", reason, {}, undo=compensate and has_begun)
        return True


def name_of(wait: Event | Input) -> tuple[str, str]:
    """What a message must be called to answer the wait."""
    return ("event", wait.event) if isinstance(wait, Event) else ("input", wait.input)
