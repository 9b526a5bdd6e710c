"""What else is done to the runs of a scenario: retries, forks, pauses, deletions; some of it by a client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from durable_trio import DurableError, Engine, RunFailed, RunNotFound, StoreError
from durable_trio._engine import children, steering

from .bodies import RunSpec, stage
from .effects import Effects
from .values import digest


def tell_of_eras(effects: Effects) -> None:
    """Have it told in the journal when it is handed over that a failed run goes on."""

    def telling(original: Callable[..., Any]) -> Callable[..., Any]:
        def retry_now(*arguments: Any) -> Any:
            run = original(*arguments)
            stage.eras[run.id] += 1
            effects.write("era", run.id)
            return run

        return retry_now

    steering.retry_now = children.retry_now = telling(steering.retry_now)


class Steerer:
    """Who steers one run, in one life.

    Args:
        engine: whose run it is.
        face: the engine, or a client of it.
        effects: its journal.
        spec: which run.
    """

    def __init__(self, engine: Engine, face: Any, effects: Effects, spec: RunSpec) -> None:
        self._engine = engine
        self._face = face
        self._effects = effects
        self._spec = spec

    async def resume(self) -> None:
        """Let it go on, whatever an earlier life has done."""
        self._effects.write("resume", self._spec.id)
        try:
            await self._engine.resume(self._spec.id)
        except StoreError:
            raise
        except DurableError as error:
            self._effects.write("ack-refused", self._spec.id, value=type(error).__name__)

    async def hold_up(self, reached: trio.Event) -> None:
        """Pause it and let it go on, whoever is cancelled meanwhile."""
        await reached.wait()
        with trio.CancelScope(shield=True):
            try:
                await self._engine.pause(self._spec.id)
                self._effects.write("paused", self._spec.id)
                await trio.sleep(0.01)
            except StoreError:
                raise
            except DurableError as error:
                self._effects.write("ack-refused", self._spec.id, value=type(error).__name__)
            await self.resume()

    async def let_go_on(self) -> Any:
        """Retry it, if it is to be retried once more; gives the run."""
        run, retries = self._spec.id, self._spec.steers.retries
        history = (await self._engine.get(run)).history
        done = sum(act.act == "retried" for act in history)
        if done >= len(retries):
            return None
        retried = await self._face.retry(run, retries[done])
        self._effects.write("retried", run)
        return retried

    async def finish(self) -> None:
        """When it has ended for good: fork it, and delete it."""
        spec, effects = self._spec, self._effects
        for step in spec.steers.forks:
            fork = await self._engine.fork(spec.id, step, id=f"{spec.id}_{step}")
            effects.write("forked", fork.id, more=spec.id)
            try:
                told = ("completed", await fork.result())
            except RunFailed as error:
                told = ("failed", error.error)
            effects.write("ack-result", fork.id, value=told[0], more=digest(told[1]))
        if spec.steers.goes:
            effects.write("delete", spec.id)
            try:
                await self._face.delete(spec.id)
            except RunNotFound:
                return
            effects.write("deleted", spec.id)
