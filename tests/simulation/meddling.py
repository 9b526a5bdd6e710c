"""Who does things to runs besides starting and cancelling them: retries, forks, pauses and deletes them.

What matters is told before or after; ``era`` lines (see ``rules``) tell that a failed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from durable_trio import DurableError, Engine, RunInfo, StoreError

from .drawing import Cast
from .world import World

_MOST_RUNS = 8  # of an episode; then nothing is forked any more
_ENDED = ("completed", "failed", "cancelled", "compensated", "compensation_failed")


class Meddler:
    """One, in one life.

    Args:
        world: where.
        cast: what is played.
        engine: whose runs.
        face: whom to ask for what can be asked for from another process.
    """

    def __init__(self, world: World, cast: Cast, engine: Engine, face: Callable[[], Any]) -> None:
        self._world = world
        self._cast = cast
        self._engine = engine
        self._face = face

    async def act(self) -> None:
        """Some acts, on whatever runs there are."""
        rng, engine = self._world.rng, self._engine
        for _ in range(rng.randrange(self._cast.acts + 1)):
            await trio.sleep(rng.random() * rng.choice((0.05, 3.0, 9.0)))
            found = await engine.list(limit=50)
            if not found:
                continue
            # Failed ones rather than others: there is more to be done to them.
            chosen = [info for info in found if info.status == "failed"] if rng.random() < 0.6 else []
            info = rng.choice(chosen or found)
            try:
                await self._do(info, found)
            except StoreError:
                raise
            except DurableError as error:
                self._world.write("ack-refused", info.id, value=type(error).__name__)

    async def _do(self, info: RunInfo, found: list[RunInfo]) -> None:
        kinds = {"retry": 4, "rewind": 4, "fork": 3, "pause": 3, "resume": 2, "delete": 1, "prune": 0.3}
        world, rng, engine = self._world, self._world.rng, self._engine
        node = rng.choice(self._cast.plans[info.workflow].nodes).name
        match rng.choices(tuple(kinds), tuple(kinds.values()))[0]:
            case "retry":
                await self._face().retry(info.id)
                world.write("retried", info.id)
            case "rewind":
                await self._face().retry(info.id, node)
                world.write("retried", info.id)
            case "fork" if len(found) < _MOST_RUNS:
                name = f"{info.id}f{rng.randrange(3)}"
                if name not in world.going:
                    await engine.fork(info.id, node, id=name)
                    world.write("forked", name, more=info.id)
            case "pause" if not world.last:
                await engine.pause(info.id)
                world.write("paused", info.id)
            case "resume":
                await resume(world, engine, info.id)
            # Who deletes what its owner, or its parent, is about to ask for makes two runs of it.
            case "delete" if info.workflow != "child":
                if info.status in _ENDED and info.id not in self._not_started():
                    world.going.setdefault(info.id, world.boot)
                    await self._face().delete(info.id)
                    world.write("deleted", info.id)
            case "prune" if not self._not_started() and all(other.workflow != "child" for other in found):
                for other in await engine.list(limit=1000):
                    world.going.setdefault(other.id, world.boot)
                await engine.prune(rng.random() * 4)

    def _not_started(self) -> set[str]:
        """The runs whose owners have still to ask for them, if they ever do."""
        world = self._world
        return {run.id for run in self._cast.runs} - world.started - set(world.going)


async def resume(world: World, engine: Engine, run: str) -> None:
    """Let a run go on that may be paused."""
    world.write("resume", run)
    try:
        await engine.resume(run)
    except StoreError:
        raise
    except DurableError as error:
        world.write("ack-refused", run, value=type(error).__name__)
