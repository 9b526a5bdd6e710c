"""A handle on a run of another process's engine; what it says is what the database says."""

from __future__ import annotations

from typing import Any

from durable_trio._engine.calling import Watch
from durable_trio._engine.handle import result_of
from durable_trio._engine.reader import Reader
from durable_trio._errors import RunBlocked
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES, RunInfo, RunStatus

_LONGEST_WAIT = 5.0  # seconds between two looks when nothing is committed


class ClientRun:
    """A run, as a client sees it.

    Attributes:
        id: the run's id.
        created: whether this ``start`` made the run; False if a run with this id existed.
    """

    __slots__ = ("_reader", "_watch", "created", "id")

    def __init__(self, reader: Reader, watch: Watch, run_id: str, *, created: bool) -> None:
        self._reader = reader
        self._watch = watch
        self.id = run_id
        self.created = created

    @property
    def status(self) -> RunStatus:
        """How the run stands on disk now."""
        return self._reader.status(self.id)

    async def wait(self) -> RunInfo:
        """Wait for the end of the run, however it ends, and return everything about it.

        It waits also while no engine is there to go on with the run.

        Raises:
            RunNotFound: it was deleted.
            RunBlocked: no definition that its engine has fits what is recorded of it.
            StoreError: the database cannot be read.

        Cancelling this ends the waiting, not the run.
        """
        while True:
            seen = self._watch.now()
            status = await self._reader.call(self._reader.status, self.id)
            if STATUS_CODES[status] >= FIRST_ENDED_CODE:
                info = await self._reader.call(self._reader.get, self.id)
                if info.finished_at is not None:  # else it was retried in between
                    return info
            elif status == "blocked":
                raise RunBlocked(f"run {self.id!r} is blocked: the log of its engine says why")
            await self._watch.changes(seen, _LONGEST_WAIT)

    async def result(self) -> dict[str, Any]:
        """Wait for the end of the run and return its final context.

        Raises:
            RunFailed: the run failed.
            RunCancelled: it was cancelled.
            RunNotFound, RunBlocked, StoreError: as ``wait``.

        Cancelling this ends the waiting, not the run.
        """
        return result_of(await self.wait())

    def __repr__(self) -> str:
        return f"<ClientRun {self.id!r}>"
