"""What the steps of the scenarios do: they follow their run's script, and tell the effects journal.

A script says by the name of a step how it ends. An act may have a count: ``raise:2`` raises in the first two
attempts and is ``ok`` after that.

========= =====================================================================================
ok        returns the context with one more key (a branch: a value)
none      changes the context, a list deep inside it too, and returns None
deep      a branch changes what it was given, deep inside, and returns another value
raise     raises; err returns Err; fatal returns Err(retry=False)
slow      waits to be cancelled; cleanup does too, and takes its time to get out
stubborn  waits to be cancelled, and then returns a value all the same
fuse      fails like fatal, and lights the others of its run ...
tie       ... which return in the very moment in which they are cancelled
hang      waits longer than its timeout
goto:n    (goto:checks:3) jumps there while the visit's number is below 3; then ok
finish    finishes the run
until:n   raises until the run was let go on n times
========= =====================================================================================

What a body asks for before that is written in front of the act (see ``asking``): ``"sleep:5+raise:1"``.
"""

from __future__ import annotations

import contextlib
import random
import time
import uuid
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import trio

from durable_trio import CurrentStep, Err, Finish, Goto, Ok, step_info

from .asking import Asker
from .effects import Effects
from .model import Line
from .values import digest, sample

_LONG = 60.0  # seconds; nobody waits for it to pass


class Mishap(Exception):
    """What a body raises."""


class Send(NamedTuple):
    """A message to a run.

    Attributes:
        name: of the event or the input.
        at: kind and step's name of the line of the journal at which it is sent.
        kind: ``event``, or that of an input.
        after: milliseconds to let pass before that.
    """

    name: str
    at: tuple[str, str]
    kind: str = "event"
    after: float = 0.0


class Steers(NamedTuple):
    """What is done to a run from outside.

    Attributes:
        retries: when it has failed, it is let go on; from these steps, or (None) from the one that failed.
        forks: when it has ended, a fork is made of it from each of these steps.
        pause: kind and step's name of the line of the journal at which it is paused, and then resumed.
        goes: it is deleted in the end.
        asks: all that can be is asked for from another process.
    """

    retries: tuple[str | None, ...] = ()
    forks: tuple[str, ...] = ()
    pause: tuple[str, str] | None = None
    goes: bool = False
    asks: bool = False


class RunSpec(NamedTuple):
    """A run of a scenario.

    Attributes:
        id, workflow, seed: the seed decides how long its bodies take.
        script: name of a step or block to its act.
        ends: the statuses in which it may end.
        cancel: kind and step's name of the line of the journal at which it is cancelled.
        undo: what it did is undone then.
        at: so many milliseconds after it is asked for, it may begin.
        sends: what is sent to it, in order.
        steers: what else is done to it.
    """

    id: str
    workflow: str
    seed: int = 0
    script: Mapping[str, str] = {}
    ends: tuple[str, ...] = ("completed",)
    cancel: tuple[str, str] | None = None
    undo: bool = False
    at: float | None = None
    sends: tuple[Send, ...] = ()
    steers: Steers = Steers()

    @property
    def input(self) -> dict[str, Any]:
        """What it is started with."""
        items = [{"number": number} for number in range(4)]
        return {"seed": self.seed, "bag": {"list": [], "set": {1, 2}}, "id": self.id, "items": items}


class Stage:
    """What the bodies of this process share: set once per boot, by the worker."""

    effects: Effects
    runs: dict[str, RunSpec]
    fuses: dict[str, trio.Event]
    names: dict[str, str]  # a child's id to its name in the scenario
    eras: Counter[str]  # how often a run was let go on

    def set(self, effects: Effects, runs: dict[str, RunSpec], before: tuple[Line, ...] = ()) -> None:
        self.effects = effects
        self.runs = runs
        self.fuses = defaultdict(trio.Event)
        self.names = {}
        self.eras = Counter(line.run for line in before if line.kind == "era")

    def spec_of(self, run: str, ctx: Any) -> RunSpec:
        """What a run is; a child is known by the name in its input."""
        if run in self.runs:
            return self.runs[run]
        if run not in self.names:
            self.names[run] = ctx["id"]
            self.effects.write("named", run, value=ctx["id"])
        return self.runs[self.names[run]]


stage = Stage()


class Scene:
    """One execution of a body."""

    def __init__(self, ctx: Any) -> None:
        self.info: CurrentStep = step_info()
        self.leaf = self.info.path.rpartition("/")[2]
        run = stage.spec_of(self.info.run_id, ctx)
        where = f"{self.leaf}/{self.info.visit}"
        self.rng = random.Random(f"{run.seed}/{where}/{self.info.attempt}")
        *self.asks, act = self._script(run).split("+")
        self.act, _, self.detail = act.partition(":")
        if self.act != "until" and self.detail.isdigit() and self.info.attempt > int(self.detail):
            self.act = "ok"
        value = more = None
        # Reading a container out of a context is not free of consequences, so half of the bodies do not.
        if zlib.crc32(where.encode()) & 1:
            value = digest(ctx)
            more = results_seen(ctx["__results__"]) if "__results__" in ctx else None
        self.nonce = self.tell("enter", value, more)
        if not zlib.crc32(where.encode()) & 6:
            self.tell("key", self.info.idempotency_key)
        self.value = sample(self.nonce, self.leaf)

    def _script(self, run: RunSpec) -> str:
        return run.script.get(self.leaf, "ok")

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        """Write a line about this execution."""
        info = self.info
        return stage.effects.write(kind, info.run_id, info.path, info.visit, info.attempt, value, more)

    def end(self, ctx: Any) -> Any:
        """Return, raise or jump, as the script says, once the waiting is done."""
        info = self.info
        if self.act == "until":
            self.act = "raise" if stage.eras[info.run_id] < int(self.detail) else "ok"
        match self.act:
            case "raise":
                message = f"mishap {self.nonce}"
                self.tell("raise", f"failure {message}")
                raise Mishap(message)
            case "err" | "fatal" | "fuse":
                self.tell("err", digest(self.value))
                if self.act == "fuse":
                    stage.fuses[info.run_id].set()
                return Err(self.value, retry=self.act == "err")
            case "none":
                ctx["bag"]["list"].append(self.nonce)
                ctx[self.leaf] = self.value
                result: Any = None
            case "deep":
                ctx["bag"]["list"].append("never seen outside")
                ctx["bag"]["set"].clear()
                result = Ok(self.value)
            case "goto" if info.visit < int(self.detail.partition(":")[2] or 2):
                result = Goto(self.detail.partition(":")[0], ctx | {self.leaf: self.value})
            case "finish":
                result = Finish(ctx | {self.leaf: self.value})
            case _ if "/" in info.path and self.rng.random() < 0.5 and not in_sequence(info.path):
                result = Ok(self.value)
            case _:
                result = Ok(ctx | {self.leaf: self.value})
        self.tell("return", digest(self.value))
        return result


def in_sequence(path: str) -> bool:
    """Sequences and branches are called so; what stands in one must return a context."""
    return path.split("/")[-2].startswith(("seq_", "fork"))


def results_seen(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Results as the journal tells them: key, tag and identity, in their order."""
    seen = []
    for key, result in results.items():
        many = {f"{key}/{place}": item for place, item in enumerate(result)}
        for name, (tag, value) in (many if isinstance(result, list) else {key: result}).items():
            seen.append((name, tag, digest(value)))
    return seen


async def play(ctx: Any) -> Any:
    """The body of every async step."""
    return await _played(Scene(ctx), ctx)


async def _played(scene: Scene, ctx: Any) -> Any:
    asker = Asker(scene, stage.runs)
    with _told_if_cancelled(scene):
        for text in scene.asks:
            await asker.ask(text)
        await _pause(scene)
    return scene.end(ctx)


def play_plainly(ctx: Any) -> Any:
    """The body of every plain step, in a thread or inline."""
    scene = Scene(ctx)
    time.sleep(scene.rng.random() * 0.001)
    return scene.end(ctx)


async def decide(ctx: Any, results: Mapping[str, Any]) -> Any:
    """An async ``into``."""
    scene = _IntoScene(ctx, results)
    with _told_if_cancelled(scene):
        await _pause(scene)
    return scene.end(ctx)


def decide_plainly(ctx: Any, results: Mapping[str, Any]) -> Any:
    """A plain ``into``."""
    return _IntoScene(ctx, results).end(ctx)


class _IntoScene(Scene):
    def __init__(self, ctx: Any, results: Mapping[str, Any]) -> None:
        self._results = results_seen(results)
        super().__init__(ctx)

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        return super().tell(f"into-{kind}", value, self._results if kind == "enter" else more)


async def play_item(ctx: Any, item: Any) -> Any:
    """The body of every map; an item's script is that of ``map[index]``, or of ``map[]``."""
    return await _played(_ItemScene(ctx, item), ctx)


class _ItemScene(Scene):
    def __init__(self, ctx: Any, item: Any) -> None:
        super().__init__(ctx)
        self.tell("item", digest(item))
        item["changed"] = "by one attempt, never seen by another"

    def _script(self, run: RunSpec) -> str:
        above = self.info.path.split("/")[-2]
        return run.script.get(f"{above}[{self.leaf}]", run.script.get(f"{above}[]", "ok"))


async def undo(ctx: Any, result: Any) -> Any:
    """The body of every compensation; its script is that of ``!name``."""
    scene = _UndoScene(ctx, result)
    with _told_if_cancelled(scene):
        await _pause(scene)
    return scene.undone()


def undo_plainly(ctx: Any, result: Any) -> Any:
    """The same, in a thread."""
    return _UndoScene(ctx, result).undone()


class _UndoScene(Scene):
    def __init__(self, ctx: Any, result: Any) -> None:
        self._result = result
        super().__init__(ctx)

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        return super().tell(f"undo-{kind}", value, digest(self._result) if kind == "enter" else more)

    def undone(self) -> Any:
        """Return or raise, as the script says."""
        if self.act == "raise":
            self.tell("raise")
            raise Mishap(f"mishap {self.nonce}")
        if self.act == "err":
            self.tell("err")
            return Err(self.nonce)
        self.tell("return")
        return None


def choose(ctx: Any) -> Any:
    """``on`` of every branch: each time another of those that the script allows."""
    return _asked(random.choice(_spec_here(ctx).script.get(_leaf_here(), "a").split("|")))


async def find_items(ctx: Any) -> Any:
    """``over`` of a map: each time others."""
    found = [{"number": number, "token": uuid.uuid4().hex} for number in range(random.randrange(3, 6))]
    _asked(digest(found))
    return found


def soon(ctx: Any) -> Any:
    """When a sleep ends: each time later."""
    instant = datetime.now(UTC) + timedelta(milliseconds=8)
    _asked(instant.timestamp())
    return instant


def _leaf_here() -> str:
    return step_info().path.rpartition("/")[2]


def _spec_here(ctx: Any) -> RunSpec:
    return stage.spec_of(step_info().run_id, ctx)


def _asked(answer: Any) -> Any:
    info = step_info()
    stage.effects.write("asked", info.run_id, info.path, info.visit, 1, answer)
    return answer


@contextlib.contextmanager
def _told_if_cancelled(scene: Scene) -> Iterator[None]:
    try:
        yield
    except trio.Cancelled:
        scene.tell("cancelled")
        raise


async def _pause(scene: Scene) -> None:
    match scene.act:
        case "slow" | "hang":
            await trio.sleep(_LONG)
        case "cleanup":
            try:
                await trio.sleep(_LONG)
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(scene.rng.random() * 0.01)
        case "stubborn":
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep(_LONG)
        case "tie":
            await stage.fuses[scene.info.run_id].wait()
        case "fuse":
            # Behind the others, so that they are in their wait.
            await trio.sleep(0.002)
        case _:
            length = scene.rng.choice((None, 0, 0, 0.0005, 0.001, 0.003))
            if length is not None:
                await trio.sleep(length)
