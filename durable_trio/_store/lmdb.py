"""The store on disk: LMDB, with its own defaults, which are the only durable ones.

Opening is the careful part: what is there (``identity.py``), whose it is (``lock.py``), whether it can be
mapped (``datafile.py``) and on what (``filesystem.py``) is known before LMDB sees the path.

A batch is written table by table, each in key order, so that LMDB finds most keys next to the one before.
py-lmdb gives up the GIL at every put; how many puts a batch makes is what its time depends on once the loop
thread is busy. Hence: one row per run and batch, an index move only where the status changes, and batch number
and counts together in one value.

A commit that fails leaves the store refusing commits: LMDB may have lost the pages that a failed fsync was
about, so it is neither repeated nor followed by another. Reading goes on unless LMDB itself gave up.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from struct import Struct

import lmdb

from durable_trio._errors import InputError, StoreCorrupt, StoreError
from durable_trio._store import identity
from durable_trio._store.base import MAX_WORKFLOW, Store, Stored, StoreStatistics, Write, check_key, check_writes
from durable_trio._store.batch import Batch, Counts, pack_state, unpack_state
from durable_trio._store.datafile import check_data_file
from durable_trio._store.environment import (
    TABLES,
    Environment,
    Reading,
    again,
    explain,
    open_lmdb_environment,
    registry,
)
from durable_trio._store.filesystem import refuse_network
from durable_trio._store.lock import WriterLock
from durable_trio._store.seal import describe, seal, unseal

DEFAULT_MAP_SIZE = 256 << 20

_CHECK_READERS_EVERY = 1024  # commits
_LAST_KEY = b"\xff" * 17  # sorts after every run key
_Key = tuple[bytes, int, int]  # run, workflow, status


def open_lmdb(
    path: str | os.PathLike[str], *, readonly: bool = False, map_size: int = DEFAULT_MAP_SIZE
) -> LmdbStore:
    """Open the database in a directory, and create it if there is none.

    One process at a time may write. Any number may read, also while it does.

    Args:
        path: the directory; it and its parents are made if they are missing.
        readonly: create and change nothing, and refuse to commit. If this process has the database open
            already, both share what is in memory.
        map_size: bytes of address space to begin with. It doubles as often as needed, and costs no memory.

    Raises:
        StoreLocked: another process, or this one, has it open for writing.
        StoreCorrupt: it is damaged, or cut short.
        StoreError: the path is something else, is on a network file system, may not be used by this user, or
            a newer version of this library wrote it.
    """
    directory = Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve would follow symlinks into messages
    refuse_network(directory)
    # One opening at a time: two in one process would race for LMDB's rule of one environment per file.
    with registry.lock:
        return _open_reader(directory, map_size) if readonly else _open_writer(directory, map_size)


def _open_reader(directory: Path, map_size: int) -> LmdbStore:
    if identity.inspect(directory) is not identity.Found.COMPLETE:
        raise StoreError(f"there is no database in {directory}; check the path, or open it for writing to create it")
    return LmdbStore(_borrow(directory, map_size, readonly=True), None)


def _open_writer(directory: Path, map_size: int) -> LmdbStore:
    if identity.inspect(directory) is identity.Found.MISSING:
        identity.make_directory(directory)
    lock = WriterLock(directory / identity.WRITER_LOCK)
    try:
        # Asked again: until the lock was ours, another process may have been creating it.
        if identity.inspect(directory) is not identity.Found.COMPLETE:
            _create(directory, map_size)
        return LmdbStore(_borrow(directory, map_size, readonly=False), lock)
    except BaseException:
        lock.release()
        raise


def _borrow(directory: Path, map_size: int, *, readonly: bool) -> Environment:
    """The environment of a complete database, checked before it is mapped."""
    known = identity.read_identity(directory)
    found = check_data_file(directory / identity.DATA)
    if readonly and not (directory / identity.LOCK).exists():
        # LMDB would create it; if a writer has the removed one open, the two would not see each other.
        raise StoreError(
            f"{directory / identity.LOCK} is missing; if no process has the database open, open it for writing "
            "once, which makes a new one"
        )

    def make() -> Environment:
        size = max(map_size, found.map_size)
        made = Environment(directory, found.identity, readonly=readonly, map_size=size)
        try:
            with Reading(made) as txn:
                sealed = txn.get(b"uuid", b"", made.tables.meta)
            if unseal("meta", b"uuid", sealed).decode() != known.uuid:
                raise StoreCorrupt(
                    f"{directory / identity.DATA} and {directory / identity.IDENTITY} belong to two different "
                    "databases; restore both from one backup"
                )
        except BaseException:
            made.close()
            raise
        return made

    return registry.borrow(found.identity, make, readonly=readonly)


def _create(directory: Path, map_size: int) -> None:
    with identity.creation(directory) as new:
        env = open_lmdb_environment(directory, readonly=False, map_size=map_size)
        try:
            # One transaction, so that no crash leaves half of the tables; they fit the smallest map.
            with env.begin(write=True) as txn:
                tables = {name: env.open_db(name.encode(), txn=txn) for name in TABLES}
                txn.put(b"uuid", seal(b"uuid", new.uuid.encode()), db=tables["meta"])
                txn.put(b"state", seal(b"state", pack_state(0, {})), db=tables["meta"])
        except lmdb.Error as error:
            raise explain(error, directory) from error
        finally:
            env.close()


class LmdbStore(Store):
    """See ``Store``. Made by ``open_lmdb``."""

    threaded = True

    def __init__(self, environment: Environment, lock: WriterLock | None) -> None:
        self.path: Path = environment.directory
        self._environment = environment
        self._tables = environment.tables
        self._lock = lock
        self._closed = False
        self._broken: StoreError | None = None
        try:
            with Reading(environment) as txn:
                self._batch, self._counts = self._state(txn)
        except BaseException:
            registry.give_back(environment)
            raise
        if lock is not None:
            environment.writer = lock

    # -- writing -------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write]) -> int:
        check_writes(writes)
        with self._environment.write_lock:
            self._check_writable()
            if not writes:
                return self._batch
            batch = Batch(writes)
            if (self._batch + 1) % _CHECK_READERS_EVERY == 0:
                self._environment.reader_check()
            counts = self._transact(lambda txn: batch.write(txn, self._tables, self._batch + 1, self._counts))
            self._batch += 1
            self._counts = counts
            return self._batch

    def _check_writable(self) -> None:
        self._check_usable()
        if self._lock is None:
            raise StoreError(f"{self.path} was opened with readonly=True: open it for writing to change it")
        if self._broken is not None:
            raise again(self._broken)
        try:
            self._environment.check_files()
        except StoreError as error:
            self._broken = error
            raise again(error) from error

    def _transact[T](self, work: Callable[[lmdb.Transaction], T]) -> T:
        """Do ``work`` in a write transaction, again with a larger map if it was full, and bring it to disk."""
        while True:
            committing = False
            try:
                txn = self._environment.begin_write()
                try:
                    result = work(txn)
                    committing = True
                    txn.commit()
                except BaseException:
                    txn.abort()
                    raise
                return result
            except lmdb.MapFullError:
                self._environment.grow()
            except lmdb.Error as error:
                self._broken = self._failure(error, committing=committing)
                raise again(self._broken) from error
