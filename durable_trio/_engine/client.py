"""Looks at a database from another process, while its engine runs or when none does."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

import trio

from durable_trio._definition.workflow import Workflow
from durable_trio._engine.reader import Reader
from durable_trio._info import RunInfo, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.lmdb import open_lmdb


class Client:
    """Reads runs. Made by ``open_client``."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

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
    ) -> list[RunInfo]:
        """Runs, newest first, without their steps; the arguments are those of ``Engine.list``."""
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        return await self._reader.call(self._reader.list, status, name, parent, limit, after)


@asynccontextmanager
async def open_client(path: str | os.PathLike[str], *, types: Iterable[type] = ()) -> AsyncIterator[Client]:
    """Open a database for reading, in any process; an engine may have it open.

    Args:
        path: the database directory. Nothing is created or changed.
        types: classes whose instances are shown as such; those of others are shown by name and fields.

    Raises:
        StoreCorrupt: what is at ``path`` is damaged, or cut off.
        StoreError: it is no database, or cannot be read.
    """
    codec = Codec(TypeRegistry(types, lenient=True))
    store = await trio.to_thread.run_sync(lambda: open_lmdb(path, readonly=True))
    try:
        yield Client(Reader(store, codec))
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)
