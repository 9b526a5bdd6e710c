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
========= =====================================================================================
"""

from __future__ import annotations

import contextlib
import random
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import trio

from durable_trio import CurrentStep, Err, Finish, Goto, Ok, step_info

from .effects import Effects
from .values import digest, sample

_LONG = 60.0  # seconds; nobody waits for it to pass


class Mishap(Exception):
    """What a body raises."""


class RunSpec(NamedTuple):
    """A run of a scenario.

    Attributes:
        id, workflow, seed: the seed decides how long its bodies take.
        script: name of a step or block to its act.
        ends: the statuses in which it may end.
        cancel: kind and step's name of the line of the journal at which it is cancelled.
    """

    id: str
    workflow: str
    seed: int = 0
    script: Mapping[str, str] = {}
    ends: tuple[str, ...] = ("completed",)
    cancel: tuple[str, str] | None = None

    @property
    def input(self) -> dict[str, Any]:
        """What it is started with."""
        return {"seed": self.seed, "bag": {"list": [], "set": {1, 2}}, "id": self.id}


class Stage:
    """What the bodies of this process share: set once per boot, by the worker."""

    effects: Effects
    runs: dict[str, RunSpec]
    fuses: dict[str, trio.Event]

    def set(self, effects: Effects, runs: dict[str, RunSpec]) -> None:
        self.effects = effects
        self.runs = runs
        self.fuses = defaultdict(trio.Event)


stage = Stage()


class Scene:
    """One execution of a body."""

    def __init__(self, ctx: Any) -> None:
        self.info: CurrentStep = step_info()
        self.leaf = self.info.path.rpartition("/")[2]
        run = stage.runs[self.info.run_id]
        where = f"{self.leaf}/{self.info.visit}"
        self.rng = random.Random(f"{run.seed}/{where}/{self.info.attempt}")
        self.act, _, self.detail = run.script.get(self.leaf, "ok").partition(":")
        if self.detail.isdigit() and self.info.attempt > int(self.detail):
            self.act = "ok"
        value = more = None
        # Reading a container out of a context is not free of consequences, so half of the bodies do not.
        if zlib.crc32(where.encode()) & 1:
            value = digest(ctx)
            more = results_seen(ctx["__results__"]) if "__results__" in ctx else None
        self.nonce = self.tell("enter", value, more)
        self.value = sample(self.nonce, self.leaf)

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        """Write a line about this execution."""
        info = self.info
        return stage.effects.write(kind, info.run_id, info.path, info.visit, info.attempt, value, more)

    def end(self, ctx: Any) -> Any:
        """Return, raise or jump, as the script says, once the waiting is done."""
        info = self.info
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
    """Sequences are called so; what stands in one must return a context."""
    return path.split("/")[-2].startswith("seq_")


def results_seen(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Results as the journal tells them: key, tag and identity, in their order."""
    return [(key, result[0], digest(result[1])) for key, result in results.items()]


async def play(ctx: Any) -> Any:
    """The body of every async step."""
    scene = Scene(ctx)
    with _told_if_cancelled(scene):
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
