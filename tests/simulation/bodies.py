"""What the steps of simulated runs do, and tell the effects journal.

What a body does follows from its run's seed, its path, its visit and its attempt alone: a body that runs
again
after a crash does the same again, but makes another value. What waits for something does not look at the
attempt either, since it must ask the same questions again.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import trio

import durable_trio
from durable_trio import Err, Finish, Goto, Ok, WaitTimeout, step_info
from tests.crash.values import digest, sample

if TYPE_CHECKING:
    from .drawing import Cast
    from .world import World

_ACTS = {
    "ok": 58,
    "none": 6,
    "raise": 7,
    "err": 4,
    "fatal": 2,
    "slow": 10,
    "stubborn": 2,
    "cleanup": 2,
    "hang": 2,
    "goto": 4,
    "finish": 1,
}
_WAITS = ("sleep", "event", "any", "all", "approval", "call", "start")


class Mishap(Exception):
    """What a body raises."""


class Stage:
    """What the bodies of this life share."""

    world: World
    cast: Cast


stage = Stage()


class Scene:
    """One execution of a body."""

    def __init__(self, ctx: Any) -> None:
        self.info = info = step_info()
        self.plan = stage.cast.plans[info.workflow]
        self.parent, _, self.leaf = info.path.rpartition("/")
        place = f"{info.run_id}/{ctx['seed']}/{info.path}/{info.visit}"
        self.script = random.Random(place)
        self.waits = self.script.random() < 0.15
        self.wait = self.script.choice(_WAITS)
        self.rng = random.Random(f"{place}/{info.attempt}")
        self.act = self.rng.choices(tuple(_ACTS), tuple(_ACTS.values()))[0]
        more = None
        if "__results__" in ctx and not self._is_hidden():
            more = results_seen(ctx["__results__"])
        # Reading a container out of a context is not free of consequences, so half of the bodies do not.
        self.nonce = self.tell("enter", digest(ctx) if self.rng.random() < 0.5 else None, more)
        self.value = sample(self.nonce, self.leaf)

    def _is_hidden(self) -> bool:
        from .drawing import has_hidden_results

        return has_hidden_results(self.plan)

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        """Write a line about this execution."""
        info = self.info
        return stage.world.write(kind, info.run_id, info.path, info.visit, info.attempt, value, more)

    def end(self, ctx: Any) -> Any:
        """Return, raise or jump."""
        info = self.info
        top = not self.parent
        match self.act:
            case "raise":
                message = f"mishap {self.nonce}"
                self.tell("raise", f"failure {message}")
                raise Mishap(message)
            case "err" | "fatal":
                self.tell("err", digest(self.value))
                return Err(self.value, retry=self.act == "err")
            case "none" if not self._is_branch():
                ctx["bag"]["list"].append(self.nonce)
                ctx[self.leaf] = self.value
                result: Any = None
            case "goto" if top and info.visit < 3:
                result = Goto(self.rng.choice([node.name for node in self.plan.nodes]), self._added(ctx))
            case "finish" if top:
                result = Finish(self._added(ctx))
            case _ if self._is_branch() and self.rng.random() < 0.5:
                ctx["bag"]["list"].append("never seen outside")
                result = Ok(self.value)
            case _:
                result = Ok(self._added(ctx))
        self.tell("return", digest(self.value))
        return result

    def _added(self, ctx: Any) -> Any:
        return ctx | {self.leaf: self.value}

    def _is_branch(self) -> bool:
        from .drawing import is_block

        return bool(self.parent) and is_block(self.plan.by_path[self.parent])


def results_seen(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Results as the journal tells them: key, tag and identity, in their order; a map's by their index."""
    if len(results) == 1 and isinstance(next(iter(results.values())), list):
        results = {str(index): result for index, result in enumerate(next(iter(results.values())))}
    return [(key, result[0], digest(result[1])) for key, result in results.items()]


async def play(ctx: Any) -> Any:
    """The body of async steps."""
    return await _play(ctx, _WAITS)


async def play_childless(ctx: Any) -> Any:
    """The body of async steps of children."""
    return await _play(ctx, _WAITS[:-2])


async def _play(ctx: Any, waits: tuple[str, ...]) -> Any:
    scene = Scene(ctx)
    with _told_if_cancelled(scene):
        if scene.waits and scene.wait in waits:
            await _wait(scene, ctx["seed"])
        await _pause(scene)
    return scene.end(ctx)


def play_plainly(ctx: Any) -> Any:
    """The body of plain steps, in a thread or inline."""
    return Scene(ctx).end(ctx)


class _Item(Scene):
    """An item of a map: its outcome is a branch's, and never a context."""

    def end(self, ctx: Any) -> Any:
        if self.act in {"raise", "err", "fatal"}:
            return super().end(ctx)
        self.tell("return", digest(self.value))
        return Ok(self.value)


async def play_item(ctx: Any, _item: Any) -> Any:
    """The body of a map."""
    scene = _Item(ctx)
    with _told_if_cancelled(scene):
        await _pause(scene)
    return scene.end(ctx)


def play_item_plainly(ctx: Any, _item: Any) -> Any:
    """The body of a plain map."""
    return _Item(ctx).end(ctx)


class _IntoScene(Scene):
    def __init__(self, ctx: Any, results: Mapping[str, Any]) -> None:
        self._results = results_seen(results)
        super().__init__(ctx)
        if self.act in {"none", "raise", "err", "fatal"} and self.rng.random() < 0.7:
            self.act = "ok"

    def tell(self, kind: str, value: Any = None, more: Any = None) -> str:
        return super().tell(f"into-{kind}", value, self._results if kind == "enter" else more)

    def _is_branch(self) -> bool:
        return False  # what it returns is always a context


async def decide(ctx: Any, results: Mapping[str, Any]) -> Any:
    """An async ``into``."""
    scene = _IntoScene(ctx, results)
    with _told_if_cancelled(scene):
        await _pause(scene)
    return scene.end(ctx)


def decide_plainly(ctx: Any, results: Mapping[str, Any]) -> Any:
    """A plain ``into``."""
    return _IntoScene(ctx, results).end(ctx)


@contextlib.contextmanager
def _told_if_cancelled(scene: Scene) -> Iterator[None]:
    try:
        yield
    except trio.Cancelled:
        scene.tell("cancelled")
        raise


async def _pause(scene: Scene) -> None:
    rng = scene.rng
    match scene.act:
        case "slow":
            await trio.sleep(rng.random() * rng.choice((0.1, 2, 8)))
        case "hang":
            await trio.sleep(30 + rng.random())
        case "cleanup":
            try:
                await trio.sleep(rng.random())
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(rng.random() * 0.1)
        case "stubborn":
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep(rng.random() * 3)
        case _:
            await stage.world.pause()


# -- questions that a node asks ------------------------------------------------------------------------


def chosen(seed: int, path: str) -> str:
    """Which clause a branch takes; the same at each visit, so that a run has one tree."""
    return random.Random(f"{seed}/{path}/choice").choice(("a", "b", "c", "a", "b", "c", "z"))


def choose(ctx: Any) -> str:
    """What a branch asks."""
    info = step_info()
    stage.world.write("choose", info.run_id, info.path, info.visit)
    return chosen(ctx["seed"], info.path)


def item_count(seed: int, path: str) -> int:
    """How many items a map has."""
    return random.Random(f"{seed}/{path}/items").choice((0, 1, 2, 3))


def spread(ctx: Any) -> list[int]:
    """What a map runs over."""
    info = step_info()
    stage.world.write("spread", info.run_id, info.path, info.visit)
    return list(range(item_count(ctx["seed"], info.path)))


def sleep_length(ctx: Any) -> float:
    """How long a sleep is."""
    return random.Random(f"{ctx['seed']}/{step_info().path}/sleep").random() * 4


# -- waits and children in a body ----------------------------------------------------------------------


async def _wait(scene: Scene, seed: int) -> None:
    script = scene.script
    timeout = script.choice((None, script.random() * 4))
    default = script.choice((..., None))
    names = script.sample(("red", "green", "blue"), 2)
    try:
        match scene.wait:
            case "sleep":
                await durable_trio.sleep(script.random() * 3)
            case "event":
                await durable_trio.wait_for_event(names[0], timeout, default)
            case "any":
                await durable_trio.wait_for_any(names, timeout, default)
            case "all":
                await durable_trio.wait_for_all(names, timeout, default)
            case "approval":
                await durable_trio.wait_for_approval("inner", timeout=timeout, default=default)
            case "call":
                # ``things`` and ``bag`` are what the child's bodies expect of a context.
                await durable_trio.call_workflow("child", _child_input(seed, scene), "one", timeout)
            case _:
                await durable_trio.start_workflow("child", _child_input(seed, scene), "two")
    except WaitTimeout:
        scene.tell("timeout")


def _child_input(seed: int, scene: Scene) -> dict[str, Any]:
    child_seed = random.Random(f"{seed}/{scene.info.path}/{scene.info.visit}").getrandbits(32)
    return {"seed": child_seed, "bag": {"list": [], "set": set()}, "things": ["x", "y"][: child_seed % 3]}


# -- compensations ---------------------------------------------------------------------------------------


async def undo(ctx: Any, result: Any) -> None:
    """An async handler."""
    rng = _undo_begins(ctx, result)
    await trio.sleep(rng.random() * rng.choice((0.0, 0.01, 2)))
    _undo_ends(rng)


def undo_plainly(ctx: Any, result: Any) -> None:
    """A plain handler."""
    _undo_ends(_undo_begins(ctx, result))


def _undo_begins(ctx: Any, result: Any) -> random.Random:
    info = step_info()
    path = info.path.rpartition("/!")[0] or info.path
    stage.world.write("undo-enter", info.run_id, path, info.visit, info.attempt, digest(result))
    return random.Random(f"{ctx['seed']}/{info.path}/{info.visit}/{info.attempt}/undo")


def _undo_ends(rng: random.Random) -> None:
    info = step_info()
    path = info.path.rpartition("/!")[0] or info.path
    fails = rng.random() < 0.15
    stage.world.write("undo-raise" if fails else "undo-return", info.run_id, path, info.visit, info.attempt)
    if fails:
        raise Mishap("the handler failed")
