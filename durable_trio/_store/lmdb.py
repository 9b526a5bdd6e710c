"""The store on disk: LMDB, with its own defaults, which are the only durable ones.

Opening is the careful part: what is there (``identity.py``), whose it is (``lock.py``), whether it can be
mapped (``datafile.py``) and on what (``filesystem.py``) is known before LMDB sees the path.

A batch is written table by table, each in key order, so that LMDB finds most keys next to the one before.
What it costs is its puts. Hence: one row per run and batch, an index move only where the status changes, and
batch number and counts together in one value. py-lmdb gives up the GIL at every put, but mostly has it back
before a busy loop thread wakes: 300 puts take 0.06 ms in the median, with such a thread beside them or
without. Now and then they wait for many milliseconds; one put of the same bytes does so too.

What becomes of a commit that fails is in ``transactions.py``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import lmdb

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._store import identity, queries
from durable_trio._store.base import (
    MAX_WORKFLOW,
    Answer,
    Pair,
    Store,
    Stored,
    StoreStatistics,
    Write,
    check_key,
)
from durable_trio._store.batch import STATE_KEY, Batch, pack_state, read_state
from durable_trio._store.datafile import RESTORE, check_data_file, verify_data_file
from durable_trio._store.environment import Environment, T, Tables, Transaction, open_lmdb_environment
from durable_trio._store.failures import explain
from durable_trio._store.filesystem import refuse_network
from durable_trio._store.lock import WriterLock
from durable_trio._store.registry import registry
from durable_trio._store.requests import RequestBox, list_pairs
from durable_trio._store.seal import seal
from durable_trio._store.transactions import Writer

DEFAULT_MAP_SIZE = 256 << 20

# Up to this size a file is verified whole when it is opened, which takes 65 ms at most.
_VERIFIED_SIZE = 8 << 20
_VERIFICATIONS = 10  # of one file, if others keep writing to it
_UUID_KEY = b"uuid"
_CHECK_READERS_EVERY = 1024  # commits


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
        try:
            return _open_reader(directory, map_size) if readonly else _open_writer(directory, map_size)
        except OSError as error:
            raise StoreError(f"cannot open {directory}: {error.strerror} ({error.filename})") from error


def _refuse_what_is_no_database(directory: Path) -> None:
    if identity.inspect(directory) is not identity.Found.COMPLETE:
        raise StoreError(
            f"there is no database in {directory}; check the path, or open it for writing to create it"
        )


def open_lmdb_client(path: str | os.PathLike[str]) -> tuple[LmdbStore, RequestBox]:
    """Open a complete database to read it, and to ask something of the engine that has it open.

    Both are to be closed. Nothing is created. If this user may only read the data file, nothing can be asked.

    Raises:
        StoreError, StoreCorrupt, StoreLocked: as ``open_lmdb``.
    """
    directory = Path(os.path.abspath(path))  # noqa: PTH100 - as in open_lmdb
    refuse_network(directory)
    with registry.lock:
        try:
            return _open_client(directory)
        except OSError as error:
            raise StoreError(f"cannot open {directory}: {error.strerror} ({error.filename})") from error


def _open_reader(directory: Path, map_size: int) -> LmdbStore:
    _refuse_what_is_no_database(directory)
    return LmdbStore(_borrow(directory, map_size, readonly=True), None)


def _open_writer(directory: Path, map_size: int) -> LmdbStore:
    if identity.inspect(directory) is identity.Found.MISSING:
        identity.make_directory(directory)
    lock = WriterLock(directory / identity.WRITER_LOCK)
    try:
        # Asked again: until the lock was ours, another process may have been creating it.
        if identity.inspect(directory) is not identity.Found.COMPLETE:
            _create(directory, map_size)
        environment = _borrow(directory, map_size, readonly=False, sole=True)
        try:
            # A client that found no engine, and is about to take its request back, comes to its end first.
            environment.wait_for_writers()
        except BaseException:
            registry.give_back(environment)
            raise
        return LmdbStore(environment, lock)
    except BaseException:
        lock.release()
        raise


def _open_client(directory: Path) -> tuple[LmdbStore, RequestBox]:
    _refuse_what_is_no_database(directory)
    readonly = not os.access(directory / identity.DATA, os.W_OK)
    environment = _borrow(directory, DEFAULT_MAP_SIZE, readonly=readonly)
    store = LmdbStore(environment, None)
    environment.users += 1  # the box gives it back by itself
    return store, RequestBox(environment)


def _borrow(directory: Path, map_size: int, *, readonly: bool, sole: bool = False) -> Environment:
    """The environment of a complete database, checked before it is mapped.

    ``sole``: whoever asks has the lock, so that no other engine has the database open.
    """
    known = identity.read_identity(directory)
    found = check_data_file(directory / identity.DATA)
    if not sole and not (directory / identity.LOCK).exists():
        # LMDB would create it; if a writer has the removed one open, the two would not see each other.
        raise StoreError(
            f"{directory / identity.LOCK} is missing; if no process has the database open, open it for "
            "writing once, which makes a new one"
        )

    def make() -> Environment:
        if found.size <= _VERIFIED_SIZE:
            _verify(directory / identity.DATA)
        size = max(map_size, found.map_size)
        made = Environment(directory, found.identity, readonly=readonly, map_size=size)
        try:
            _check_uuid(made, known.uuid)
        except BaseException:
            made.close()
            raise
        return made

    return registry.borrow(found.identity, make, readonly=readonly)


def _verify(path: Path) -> None:
    for _ in range(_VERIFICATIONS):
        before = check_data_file(path).transaction
        problems = verify_data_file(path)
        if not problems:
            return
        if check_data_file(path).transaction == before:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise StoreCorrupt(f"{path} is damaged: {problems[0]}{more}; {RESTORE}")
        # Another process has committed meanwhile, perhaps over pages that were being read. One that goes on
        # doing so has verified the file itself.


def _check_uuid(environment: Environment, expected: str) -> None:
    if environment.read(queries.look_up, "meta", _UUID_KEY) != expected.encode():
        raise StoreCorrupt(
            f"{identity.DATA} and {identity.IDENTITY} in {environment.directory} belong to two different "
            "databases; restore both from one backup"
        )


def _create(directory: Path, map_size: int) -> None:
    with identity.creation(directory) as new:
        env = open_lmdb_environment(directory, readonly=False, map_size=map_size)
        try:
            # One transaction, so that no crash leaves half of the tables; they fit the smallest map.
            with env.begin(write=True) as txn:
                tables = {name: env.open_db(name.encode(), txn=txn) for name in Tables._fields}
                txn.put(_UUID_KEY, seal(_UUID_KEY, new.uuid.encode()), db=tables["meta"])
                txn.put(STATE_KEY, seal(STATE_KEY, pack_state(0, {})), db=tables["meta"])
        except lmdb.Error as error:
            raise explain(error, directory) from error
        finally:
            env.close()


class LmdbStore(Store):
    """See ``Store``. Made by ``open_lmdb``."""

    threaded = True
    shared = True

    def __init__(self, environment: Environment, lock: WriterLock | None) -> None:
        self.path: Path = environment.directory
        self._environment = environment
        self._tables = environment.tables
        self._lock = lock
        self._closed = False
        self._writer = Writer(environment)
        environment.writer = lock or environment.writer

    # -- writing -------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> int:
        if not writes and not answers:
            return self.batch_number()
        batch = Batch(writes, answers)
        number = self._transact(lambda txn: batch.write(txn, self._tables))
        if number % _CHECK_READERS_EVERY == 0:
            with contextlib.suppress(lmdb.Error):  # the commit is on disk, whatever comes after
                self._environment.reader_check()
        return number

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        return self._writer.transact(work, self._check_writable)

    def _check_writable(self) -> None:
        self._check_usable()
        if self._lock is None:
            raise StoreError(f"{self.path} was opened with readonly=True: open it for writing to change it")

    def workflow_number(self, name: str) -> int:
        key = name.encode()
        check_key(key, "a workflow's name")
        number = self._read(queries.look_up, "workflows", key)
        if number is not None:
            return int.from_bytes(number)
        return self._transact(lambda txn: self._allocate(txn, key))

    def _allocate(self, txn: Transaction, key: bytes) -> int:
        taken = queries.workflows(txn, self._tables)
        number = taken.get(key) or 1 + max(taken.values(), default=0)
        if number > MAX_WORKFLOW:
            raise StoreError(f"{self.path} has {MAX_WORKFLOW} workflow names already")
        txn.put(key, seal(key, number.to_bytes(2)), db=self._tables.workflows)
        return number

    def put_outline(self, fingerprint: bytes, outline: bytes) -> None:
        if self.outline(fingerprint) is None:
            sealed, table = seal(fingerprint, outline), self._tables.outlines
            self._transact(lambda txn: txn.put(fingerprint, sealed, overwrite=False, db=table))

    # -- reading -------------------------------------------------------------------------------------

    def _read(self, query: Callable[..., T], *arguments: object) -> T:
        self._check_usable()
        return self._environment.read(query, *arguments)

    def look(self, query: Callable[..., T], *arguments: object) -> T:
        """The answer of ``query(transaction, tables, *arguments)``, for what is no business of ``Store``."""
        return self._read(query, *arguments)

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed: open the database again")
        self._environment.check_alive()

    def find(self, alias: bytes) -> bytes | None:
        check_key(alias, "an alias")
        return self._read(queries.look_up, "aliases", alias)

    def load(self, run: bytes, *, with_rows: bool = True) -> Stored | None:
        return self._read(queries.load, run, with_rows)

    def load_small(self, runs: Sequence[bytes], *, likely: int, size: int) -> list[Stored | None]:
        return self._read(queries.load_small, runs, likely, size)

    def page(
        self,
        *,
        workflow: int | None = None,
        statuses: Collection[int] | None = None,
        before: bytes | None = None,
        limit: int,
    ) -> list[Stored]:
        return self._read(queries.page, workflow, statuses, before, limit)

    def keys(
        self, statuses: Collection[int], *, after: bytes | None = None, limit: int
    ) -> list[tuple[bytes, int, int]]:
        return self._read(queries.keys, statuses, after, limit)

    def messages(self, run: bytes) -> list[tuple[int, bytes]]:
        return self._read(queries.messages, run)

    def mailboxes(self, *, after: bytes | None = None, limit: int) -> list[bytes]:
        return self._read(queries.mailboxes, after, limit)

    def timers(self, *, after: tuple[int, bytes] | None = None, limit: int) -> list[tuple[int, bytes]]:
        return self._read(queries.timers, after, limit)

    def counts(self) -> dict[tuple[int, int], int]:
        return self._read(read_state)[1]

    def workflow_names(self) -> dict[int, str]:
        return {number: name.decode() for name, number in self._read(queries.workflows).items()}

    def outline(self, fingerprint: bytes) -> bytes | None:
        check_key(fingerprint, "a fingerprint")
        return self._read(queries.look_up, "outlines", fingerprint)

    def last_transaction(self) -> int:
        self._check_usable()
        return self._environment.last_transaction()

    def requests(self, *, limit: int) -> list[Pair]:
        return self._read(list_pairs, "requests", limit)

    def replies(self, *, limit: int) -> list[Pair]:
        return self._read(list_pairs, "replies", limit)

    def last_run(self) -> bytes | None:
        return self._read(queries.last_run)

    def batch_number(self) -> int:
        return self._read(read_state)[0]

    def statistics(self) -> StoreStatistics:
        used, runs, rows = self._read(queries.sizes)
        map_size, readers = self._environment.info()
        try:
            size = (self.path / identity.DATA).stat().st_size
        except OSError as error:
            raise StoreError(f"{self.path} cannot be found any more: {error.strerror}") from error
        return StoreStatistics(
            path=self.path,
            size=size,
            used=used,
            map_size=map_size,
            runs=runs,
            rows=rows,
            readers=readers,
            batch_number=self.batch_number(),
        )

    def close(self) -> None:
        with registry.lock:
            if self._closed:
                return
            self._closed = True
            if self._environment.foreign:
                return
            # A commit under way ends first: until then, the lock and the environment are its own.
            with self._environment.write_lock:
                if self._lock is not None:
                    self._environment.writer = None
            registry.give_back(self._environment)
            if self._lock is not None:
                self._lock.release()
