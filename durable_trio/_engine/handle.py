"""What ``start`` gives back: a handle on one run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

from durable_trio._engine.run import RunState
from durable_trio._engine.starting import ended_run
from durable_trio._errors import EngineClosed, RunBlocked, RunCancelled, RunFailed, RunNotFound
from durable_trio._info import RunInfo, RunStatus
from durable_trio._speedups.context import thaw

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine


class Run:
    """A run of a workflow.

    Attributes:
        id: the run's id.
        created: whether this ``start`` made the run; False if a run with this id existed.
    """

    __slots__ = ("_engine", "_state", "created", "id")

    def __init__(self, engine: Engine, state: RunState, *, created: bool) -> None:
        self._engine = engine
        self._state = state
        self.id = state.id
        self.created = created

    @property
    def status(self) -> RunStatus:
        """How the run stands now."""
        return self._current().status

    async def result(self) -> dict[str, Any]:
        """Wait for the end of the run and return its final context, a copy for each call.

        Raises:
            RunFailed: the run failed, and what its steps did was undone, if there are compensations.
            RunCancelled: it was cancelled; likewise.
            RunBlocked: no registered definition fits what is recorded of it.
            EngineClosed: the engine was left before the run ended; the run stays resumable.
            StoreError: the engine cannot write to its database any more.

        Cancelling this ends the waiting, not the run.
        """
        state = await self._settled()
        while state.ended is None:
            info = await self._engine.reader.call(self._engine.stored_info, self.id)
            if info.finished_at is not None:
                return result_of(info)
            state = await self._settled()  # it was retried in between
        status, value, errors = state.ended.status, state.ended.value, state.ended.errors
        if status == "completed":
            result: dict[str, Any] = thaw(value)
            return result
        if _was_cancelled(status, errors):
            raise RunCancelled(self.id, thaw(value))
        raise RunFailed(self.id, thaw(value), thaw(errors))

    async def wait(self) -> RunInfo:
        """Wait for the end of the run, however it ends, and return everything about it.

        Raises:
            RunBlocked, EngineClosed, StoreError: as ``result``.

        Cancelling this ends the waiting, not the run.
        """
        while True:
            await self._settled()
            info = await self._engine.reader.call(self._engine.reader.get, self.id)
            if info.finished_at is not None:  # else it was retried in between
                return info

    def _current(self) -> RunState:
        """The run as it is now; one that was retried is another one in memory than before."""
        engine, state = self._engine, self._state
        live = engine.live.get(self.id)
        if live is not None and live.key == state.key:
            self._state = live
        elif state.status == "failed" and state.key in engine.retried and not engine.abandoned:
            with suppress(RunNotFound):  # it was deleted: this is the last that is known of it
                self._state = ended_run(engine, self.id)
        return self._state

    async def _settled(self) -> RunState:
        """Wait until the end is on disk. Always a checkpoint."""
        state = self._current()
        if state.status in ("pending", "running", "waiting", "compensating") and not self._engine.abandoned:
            await state.settled()
        else:
            await trio.lowlevel.checkpoint()
        if state.status == "blocked":
            raise RunBlocked(f"run {self.id!r} is blocked: {state.reason}")
        if state.status in ("pending", "running", "waiting", "compensating"):
            failure = self._engine.failure
            if isinstance(failure, Exception):
                raise failure
            # An interrupt comes out of open_engine, and nowhere else.
            raise EngineClosed(
                f"the engine was left before run {self.id!r} ended; the run goes on when the database is "
                "opened again"
            ) from failure
        return state

    def __repr__(self) -> str:
        return f"<Run {self.id!r} of {self._state.header.workflow!r}, {self.status}>"


def result_of(info: RunInfo) -> dict[str, Any]:
    """The result of a run that has ended; raises RunFailed or RunCancelled if it has none."""
    if info.status == "completed":
        assert info.result is not None
        return info.result
    if _was_cancelled(info.status, info.errors):
        raise RunCancelled(info.id, info.error)
    raise RunFailed(info.id, info.error, info.errors)


def _was_cancelled(status: RunStatus, errors: dict[str, Any]) -> bool:
    """Whether that is why the run did not complete. A run that failed has an error; one that is compensated
    and has none was cancelled.
    """
    return status == "cancelled" or (status != "failed" and not errors)
