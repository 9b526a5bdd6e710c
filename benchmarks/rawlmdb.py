"""LMDB alone: what the engine writes, recorded once, and written again by py-lmdb and nothing else.

The same puts and deletes in the same number of transactions, under run keys that ascend as the engine's do.
No thread, no encoding, no checksum: this is what the disk and LMDB cost, and no engine on LMDB can be faster.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import lmdb
import outcome
import trio

from durable_trio import Engine
from durable_trio._engine.sleeping import AWAKE, SHIELDED, asleep
from durable_trio._speedups.batching import Changes
from durable_trio._store.base import RUN_KEY_LENGTH, Answer, Write
from durable_trio._store.batch import STATE_KEY
from durable_trio._store.environment import Tables

_MAP_SIZE = 1 << 32


class Put(NamedTuple):
    table: str
    key: bytes
    value: bytes


class Commit(NamedTuple):
    """What one transaction writes."""

    run: bytes  # the key of the run that it is about
    puts: list[Put]
    deletes: list[tuple[str, bytes]]


async def recorded_writes(engine: Engine, run: Callable[[], Awaitable[object]]) -> list[list[Write]]:
    """What the engine gives to its store meanwhile, transaction by transaction."""
    batches: list[list[Write]] = []
    store: Any = engine.store
    commit = store.commit

    def record(writes: Sequence[Write], answers: Sequence[Answer] = ()) -> Any:
        batches.append(list(writes))
        return commit(writes, answers)

    store.commit = record
    try:
        await run()
    finally:
        del store.commit
    return batches


async def recorded_commits(engine: Engine, run: Callable[[], Awaitable[object]]) -> list[Commit]:
    """The same as puts and deletes. ``run`` must be about one run."""
    store: Any = engine.store
    commits = []
    for writes in await recorded_writes(engine, run):
        changes = Changes(writes)
        puts = [
            Put(table, key, value)
            for table, items in (
                ("runs", changes.runs),
                ("aliases", changes.aliases),
                ("journal", changes.rows),
                ("statuses", changes.entered),
                ("messages", changes.messages),
                ("timers", changes.timers),
            )
            for key, value in items
        ]
        state = store.look(lambda txn, tables: txn.get(STATE_KEY, db=tables.meta))
        puts.append(Put("meta", STATE_KEY, state))
        deletes = [("statuses", key) for key in changes.left] + [("timers", key) for key in changes.stopped]
        commits.append(Commit(writes[0].run, puts, deletes))
    return commits


class RawLmdb:
    """Writes recorded commits again and again, each time for another run."""

    def __init__(self, path: Path, commits: Sequence[Commit]) -> None:
        self._commits = commits
        self._number = 1
        # LMDB's own defaults, as the store has them: each commit is synced.
        self._env = lmdb.open(str(path), map_size=_MAP_SIZE, max_dbs=len(Tables._fields))
        self._tables = {name: self._env.open_db(name.encode()) for name in Tables._fields}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._env.close()

    def write(self) -> None:
        """All that one run writes."""
        run = self._new_run()
        for commit in self._commits:
            self._write(commit, run)

    def _new_run(self) -> bytes:
        run = self._number.to_bytes(RUN_KEY_LENGTH)
        self._number += 1
        return run

    def _write(self, commit: Commit, run: bytes) -> None:
        with self._env.begin(write=True) as txn:
            for table, key in commit.deletes:
                txn.delete(key.replace(commit.run, run), db=self._tables[table])
            for table, key, value in commit.puts:
                txn.put(key.replace(commit.run, run), value, db=self._tables[table])


class HandedOver(RawLmdb):
    """The same, each commit by another thread while a Trio task waits for it; nothing else is done.

    What this takes, an engine takes that lets other tasks run during a commit.
    """

    def __init__(self, path: Path, commits: Sequence[Commit]) -> None:
        super().__init__(path, commits)
        self._token = trio.lowlevel.current_trio_token()
        self._job: tuple[Commit, bytes, trio.lowlevel.Task] | None = None
        self._bell = threading.Lock()
        self._bell.acquire()
        self._thread = threading.Thread(target=self._serve, name="raw commits")

    def __enter__(self) -> Self:
        self._thread.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._job = None
        self._bell.release()
        self._thread.join()
        super().__exit__(kind, error, trace)

    async def write_elsewhere(self) -> None:
        """All that one run writes, each commit when the one before is on disk. Not cancellable."""
        run = self._new_run()
        task = trio.lowlevel.current_task()
        for commit in self._commits:
            self._job = commit, run, task
            self._bell.release()
            await asleep(SHIELDED)

    def _serve(self) -> None:
        while True:
            self._bell.acquire()
            if self._job is None:
                return
            commit, run, task = self._job
            came: outcome.Outcome[None] = AWAKE
            try:
                self._write(commit, run)
            except BaseException as error:  # noqa: BLE001 - of whoever waits for it
                came = outcome.Error(error)
            self._token.run_sync_soon(trio.lowlevel.reschedule, task, came)
