"""A client: looks at a database from another process, and asks things of the engine that has it open."""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import trio

from durable_trio._definition.workflow import Workflow
from durable_trio._engine.asking import pending_inputs
from durable_trio._engine.calling import Caller, Watch
from durable_trio._engine.checkup import database_info
from durable_trio._engine.clientrun import ClientRun
from durable_trio._engine.forgetting import ENDED
from durable_trio._engine.reader import Reader, name_of
from durable_trio._info import DatabaseInfo, PendingInput, RunInfo, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.lmdb import LmdbStore, open_lmdb_client
from durable_trio._store.requests import RequestBox


class Client:
    """Reads runs, and asks things of the engine that has the database open. Made by ``open_client``.

    What reads (``get``, ``list``, ``pending_inputs``) works with and without an engine. What changes
    something is left in the database as a request, which the engine takes up within a tenth of a second and
    does as if it had been asked itself; the call returns when the effect is on disk. All such calls raise

    - what the engine's own method raises, with the same text;
    - ``EngineClosed`` if no engine has the database open, or if it is closed before it takes the request up.
      Then nothing was done, and nothing will be (except that ``prune`` may have deleted some runs);
    - ``SnapshotError`` if an argument cannot be stored, or has a class that the client or the engine does
      not know (``types=``);
    - ``StoreError`` if the database cannot be written to. If that comes after the request was left, it says
      nothing about whether it was done.

    A call that is cancelled takes its request back, unless the engine has taken it up already. The request of
    a client whose process dies stays, and is done, if need be by the next engine.
    """

    def __init__(self, store: LmdbStore, box: RequestBox, reader: Reader, caller: Caller) -> None:
        self._store = store
        self._box = box
        self._reader = reader
        self._caller = caller
        self._watch = Watch(box)

    # -- reading -------------------------------------------------------------------------------------

    async def get(self, run_id: str) -> RunInfo:
        """Everything that is recorded about one run. A step that is under way has no record yet.

        Raises:
            RunNotFound: there is no such run.
            StoreCorrupt: its record is damaged.
        """
        return await self._reader.call(self._reader.get, run_id)

    async def list(
        self,
        status: RunStatus | Collection[RunStatus] | None = None,
        workflow: Workflow | str | None = None,
        parent: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> builtins.list[RunInfo]:
        """Runs, newest first, without their steps; the arguments are those of ``Engine.list``."""
        return await self._reader.call(self._reader.list, status, name_of(workflow), parent, limit, after)

    async def pending_inputs(
        self, run_id: str | None = None, workflow: Workflow | str | None = None, limit: int = 100
    ) -> builtins.list[PendingInput]:
        """What runs ask of people, as it is recorded; the arguments are as of ``Engine.pending_inputs``."""
        name = name_of(workflow)
        return await self._reader.call(pending_inputs, self._reader, run_id, name, limit)

    async def statistics(self) -> DatabaseInfo:
        """The figures of the database, and whether an engine has it open."""
        return await self._reader.call(database_info, self._store, self._box)

    # -- asking the engine ---------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow | str,
        input: Any = None,  # noqa: A002 - the contract's name
        *,
        id: str | None = None,  # noqa: A002 - the contract's name
        at: datetime | None = None,
        queue: str = "default",
        priority: int = 0,
    ) -> ClientRun:
        """As ``Engine.start``. The workflow (or its name) must be registered with the engine."""
        run_id, created = await self._caller.call(
            "start",
            workflow=_name(workflow),
            input=_plain(input),
            id=id,
            at=at,
            queue=queue,
            priority=priority,
        )
        return ClientRun(self._reader, self._watch, run_id, created=created)

    async def run(
        self,
        workflow: Workflow | str,
        input: Any = None,  # noqa: A002
        *,
        id: str | None = None,  # noqa: A002
        queue: str = "default",
        priority: int = 0,
    ) -> dict[str, Any]:
        """``start`` and ``ClientRun.result`` in one. Raises what either raises."""
        return await (await self.start(workflow, input, id=id, queue=queue, priority=priority)).result()

    async def send_event(self, run_id: str, name: str, payload: Any = None) -> None:
        """As ``Engine.send_event``."""
        await self._caller.call("send_event", run_id=run_id, name=name, payload=payload)

    async def provide_input(self, run_id: str, name: str, value: Any) -> None:
        """As ``Engine.provide_input``."""
        await self._caller.call("provide_input", run_id=run_id, name=name, value=value)

    async def cancel(self, run_id: str, reason: Any = None, *, compensate: bool = False) -> bool:
        """As ``Engine.cancel``."""
        done: bool = await self._caller.call("cancel", run_id=run_id, reason=reason, compensate=compensate)
        return done

    async def retry(
        self, run_id: str, from_step: str | None = None, *, visit: int | None = None
    ) -> ClientRun:
        """As ``Engine.retry``."""
        found: str = await self._caller.call("retry", run_id=run_id, from_step=from_step, visit=visit)
        return ClientRun(self._reader, self._watch, found, created=False)

    async def fork(
        self,
        run_id: str,
        from_step: str,
        *,
        id: str | None = None,  # noqa: A002 - the contract's name
        visit: int | None = None,
    ) -> ClientRun:
        """As ``Engine.fork``."""
        found, created = await self._caller.call(
            "fork", run_id=run_id, from_step=from_step, id=id, visit=visit
        )
        return ClientRun(self._reader, self._watch, found, created=created)

    async def pause(self, run_id: str) -> bool:
        """As ``Engine.pause``."""
        done: bool = await self._caller.call("pause", run_id=run_id)
        return done

    async def resume(self, run_id: str) -> bool:
        """As ``Engine.resume``."""
        done: bool = await self._caller.call("resume", run_id=run_id)
        return done

    async def delete(self, run_id: str) -> None:
        """As ``Engine.delete``."""
        await self._caller.call("delete", run_id=run_id)

    async def prune(
        self,
        older_than: float | timedelta | datetime,
        statuses: RunStatus | Collection[RunStatus] = ENDED,
    ) -> int:
        """As ``Engine.prune``. Other requests do not wait for it."""
        wanted = statuses if isinstance(statuses, str) else [*statuses]
        count: int = await self._caller.call("prune", older_than=older_than, statuses=wanted)
        return count


@asynccontextmanager
async def open_client(path: str | os.PathLike[str], *, types: Iterable[type] = ()) -> AsyncIterator[Client]:
    """Open a database in any process: to look at it, and to ask things of the engine that has it open.

    Args:
        path: the database directory, which must be there. Nothing is created.
        types: classes (Struct, dataclass, Enum) whose instances may be sent, and are shown as such. Instances
            of others are shown by name and fields.

    Raises:
        StoreCorrupt: what is at ``path`` is damaged, or cut off.
        StoreError: it is no database, or cannot be read.
    """
    types = tuple(types)
    sending, showing = (
        Codec(TypeRegistry(types, opener="open_client")),
        Codec(TypeRegistry(types, lenient=True)),
    )
    store, box = await trio.to_thread.run_sync(open_lmdb_client, path)
    try:
        yield Client(store, box, Reader(store, showing), Caller(box, sending))
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(box.close)
            await trio.to_thread.run_sync(store.close)


def _name(workflow: Workflow | str | None) -> Any:
    return workflow.name if isinstance(workflow, Workflow) else workflow


def _plain(given: Any) -> Any:
    return dict(given) if isinstance(given, Mapping) and type(given) is not dict else given
