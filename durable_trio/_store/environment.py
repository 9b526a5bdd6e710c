"""One LMDB environment: its tables, its transactions, and room for it to grow.

A map must not be replaced while somebody reads through it, so readers pass a gate that growing closes.
Writers take turns at ``write_lock``, growing included. A full map is doubled, and the transaction that found
it full, which is dead by then, is done again by whoever began it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import lmdb

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._speedups.batching import identity_of
from durable_trio._store import identity
from durable_trio._store.failures import again, explain
from durable_trio._store.gate import Gate
from durable_trio._store.lock import WriterLock

MAX_READERS = 1022  # read transactions at a time, over all processes; 64 bytes each in lock.mdb
SMALLEST_MAP = 1 << 17
_PAGE = resource.getpagesize()
_ATTEMPTS = 8  # how often a file may outgrow its map between two steps of one read

_LATER = frozenset({"requests", "replies"})  # tables that a database of version 0.1.0 has not

FileIdentity: TypeAlias = tuple[int, int]  # device and inode
T = TypeVar("T")
Transaction: TypeAlias = "lmdb.Transaction[bytes]"


class Tables(NamedTuple):
    """The named databases; keys are big-endian, values sealed (see ``seal.py``).

    Attributes:
        runs: run → workflow number, header.
        journal: run, row number → row.
        statuses: workflow number, status, run → nothing: the index.
        aliases: alias → run.
        workflows: name → number.
        outlines: fingerprint → outline.
        messages: run, message number → payload.
        timers: milliseconds since the epoch, run → nothing.
        requests: transaction number, 16 random bytes → what a client asks for (see ``requests.py``).
        replies: the same → what it is told.
        meta: ``b"uuid"`` → uuid; ``b"state"`` → batch number, counts by workflow and status.
    """

    runs: lmdb._Database
    journal: lmdb._Database
    statuses: lmdb._Database
    aliases: lmdb._Database
    workflows: lmdb._Database
    outlines: lmdb._Database
    messages: lmdb._Database
    timers: lmdb._Database
    requests: lmdb._Database
    replies: lmdb._Database
    meta: lmdb._Database


class Environment:
    """An open LMDB environment with its tables.

    Args:
        directory: of a complete database that has passed all checks.
        data_file: device and inode of its data file when it was checked.
        readonly: never write through it.
        map_size: bytes to begin with.

    Attributes:
        dead: why nothing can be used any more, or None.
        foreign: it belongs to the process that this one was forked from.
        writer: the writer lock of the store that writes through this environment, or None.
        write_lock: held for a whole write transaction, growing included.

    Raises:
        StoreError: LMDB will not open it.
        StoreCorrupt: it lacks a table.
    """

    def __init__(self, directory: Path, data_file: FileIdentity, *, readonly: bool, map_size: int) -> None:
        self.directory = directory
        self.readonly = readonly
        self.data_file = data_file
        self.users = 0
        self.dead: StoreError | None = None
        self.foreign = False
        self.writer: WriterLock | None = None
        self.write_lock = threading.Lock()
        self._gate = Gate()
        self._lingering: set[weakref.ref[Transaction]] = set()
        self._env = open_lmdb_environment(directory, readonly=readonly, map_size=map_size)
        try:
            self._files = _identities(directory, data_file)
            self.tables = self._open_tables()
            self._env.reader_check()  # slots of readers that were killed would hold on to old pages for ever
        except lmdb.Error as error:
            self._env.close()
            raise explain(error, directory) from error
        except BaseException:
            self._env.close()
            raise

    def _open_tables(self) -> Tables:
        if self.readonly:
            return Tables(*(self._open_table(name, None) for name in Tables._fields))
        # One for all of them, or py-lmdb would take one each, and wait for whoever is writing each time.
        with self._env.begin(write=True) as txn:
            return Tables(*(self._open_table(name, txn) for name in Tables._fields))

    def _open_table(self, name: str, txn: Transaction | None) -> lmdb._Database:
        try:
            return self._env.open_db(name.encode(), txn=txn, create=False)
        except (lmdb.NotFoundError, lmdb.IncompatibleError) as error:
            if name not in _LATER or not isinstance(error, lmdb.NotFoundError):
                raise StoreCorrupt(
                    f"{self.directory / identity.DATA} lacks a table ({error}); restore the directory from a "
                    "backup"
                ) from error
        if txn is None:
            raise StoreError(
                f"{self.directory} was made by an earlier version and has no table {name!r} yet: open it for "
                "writing once, which adds it"
            )
        return self._env.open_db(name.encode(), txn=txn)

    def check_files(self) -> None:
        """Has somebody removed or replaced a file? Then what is written goes where nobody will find it.

        Raises:
            StoreError: yes; names the file.
        """
        writer = self.writer
        for path, expected in self._files if writer is None else (*self._files, writer.file):
            try:
                found = identity_of(path)
            except OSError as error:
                raise StoreError(
                    f"{os.fsdecode(path)} cannot be found any more ({error.strerror}): it was removed, moved "
                    "or unmounted while the database was open; nothing was written. Stop this process, put "
                    "the file back, and start again"
                ) from None
            if found != expected:
                raise StoreError(
                    f"{os.fsdecode(path)} was replaced by another file while the database was open; nothing "
                    "was written. Stop this process, put the right file in place, and start again"
                )

    def read(self, query: Callable[..., T], *arguments: object) -> T:
        """The answer of ``query(transaction, tables, *arguments)``, as of one commit.

        Nothing that it returns may hold on to the transaction.

        Raises:
            StoreError: LMDB cannot do it; whatever else the query raises.
        """
        try:
            for _ in range(_ATTEMPTS):
                try:
                    return self._read(query, arguments)
                except lmdb.MapResizedError:
                    with self.write_lock:
                        self.resize(0)  # another process made the file larger than our map
                except lmdb.ReadersFullError:
                    if not self._env.reader_check():
                        break
            return self._read(query, arguments)
        except lmdb.Error as error:
            raise explain(error, self.directory) from error

    def _read(self, query: Callable[..., T], arguments: tuple[object, ...]) -> T:
        self._gate.enter()
        try:
            self.check_alive()
            return self._query(query, arguments)
        finally:
            self._gate.leave()

    def _query(self, query: Callable[..., T], arguments: tuple[object, ...]) -> T:
        # py-lmdb frees a reader's slot in lock.mdb not when the transaction ends but when its object goes. It
        # has to go within the gate, and with this frame it does: a fork would copy it, and the child, closing
        # its copy, would free the slot under a later reader of the parent's.
        txn = self._env.begin()
        try:
            return query(txn, self.tables, *arguments)
        except BaseException:
            self._lingering.add(weakref.ref(txn, self._lingering.discard))  # in the traceback
            raise
        finally:
            txn.abort()

    def begin_write(self) -> Transaction:
        """A write transaction. Hold ``write_lock`` from before until after it."""
        try:
            return self._env.begin(write=True)
        except lmdb.MapResizedError:
            self.resize(0)
            return self._env.begin(write=True)

    def check_alive(self) -> None:
        """Raise what it died of, if it did."""
        if self.dead is not None:
            raise again(self.dead)

    def grow(self) -> None:
        """Double the map. Hold ``write_lock``, and have no transaction."""
        self.resize(self._env.info()["map_size"] * 2)

    def resize(self, map_size: int) -> None:
        """Replace the map when no reader is inside; 0: make it as large as the file says."""
        self._gate.close()
        try:
            self._env.set_mapsize(map_size)
        except lmdb.Error as error:
            # LMDB has unmapped the old map by now: there is nothing left to read from.
            self.dead = StoreError(
                f"cannot map {map_size} bytes of {self.directory}: {error}; raise the limit on address space "
                "(ulimit -v), and open the database again"
            )
            raise again(self.dead) from error
        finally:
            self._gate.open()

    def has_panicked(self) -> bool:
        """Did LMDB give up, because it cannot tell what a failed write of a meta page left behind?"""
        self._gate.enter()
        try:
            self._env.begin().abort()
        except lmdb.PanicError:
            return True
        except lmdb.Error:
            return False
        finally:
            self._gate.leave()
        return False

    def reader_check(self) -> int:
        """Free the slots of readers that were killed; how many there were."""
        return self._env.reader_check()

    def last_transaction(self) -> int:
        """The number of the last transaction that readers see, whichever process committed it.

        Asked of a reader, for 3 µs: ``info()`` reads it from the meta page, which is changed before readers
        see the commit, so that who looked then would look too early, and not again.
        """
        return self.read(_number_of)

    def wait_for_writers(self) -> None:
        """Wait until each write transaction that is under way now, in any process, has come to its end."""
        try:
            with self.write_lock:
                self.begin_write().abort()
        except lmdb.Error as error:
            raise explain(error, self.directory) from error

    def info(self) -> tuple[int, int]:
        """Size of the map in bytes, and number of reader slots in use."""
        found = self._env.info()
        return found["map_size"], found["num_readers"]

    def close(self) -> None:
        """Close the environment once nothing uses it."""
        with self.write_lock:
            self._gate.close()
            if self.dead is None:
                self.dead = StoreError(f"{self.directory} is closed")
            self._env.close()
            self._gate.open()

    def pause(self, patience: float) -> bool:
        """Before a fork: let no transaction begin, and wait for those under way.

        Args:
            patience: seconds to wait for a commit, and for reads, at most.

        Returns:
            False if the time was up; nothing is paused then.
        """
        if not self.write_lock.acquire(timeout=patience):
            return False
        if not self._gate.close(patience):
            self.write_lock.release()
            return False
        return True

    def resume(self) -> None:
        """After a fork, in the parent: go on."""
        self._gate.open()
        self.write_lock.release()

    def abandon(self, *, at_rest: bool) -> None:
        """After a fork, in the child: never touch the parent's database.

        Args:
            at_rest: ``pause`` came to its end before the fork.
        """
        self.foreign = True
        self.dead = StoreError(
            f"{self.directory} was opened before this process was forked, and cannot be used after it; "
            "open the database in the child"
        )
        if self.writer is not None:
            self.writer.drop()
        if at_rest and not self._lingering:
            # Closing ends no lock of the parent's and frees none of its reader slots, as those belong to
            # another process id; without it this process could not open the database itself.
            self._env.close()
        else:
            # Closing would wait for a thread, or free the slot of a reader, that is only in the parent; and
            # so would the end of this process, which closes all that it can find.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._env))


def _number_of(txn: Transaction, _tables: Tables) -> int:
    return txn.id()


def open_lmdb_environment(directory: Path, *, readonly: bool, map_size: int) -> lmdb.Environment:
    """Open LMDB with its defaults: they are the only durable ones.

    Args:
        directory: has passed all checks.
        readonly: never write.
        map_size: bytes; rounded up to a page.

    Raises:
        StoreError: LMDB will not open it.
    """
    try:
        return lmdb.open(
            os.fspath(directory),
            map_size=-(-max(map_size, SMALLEST_MAP) // _PAGE) * _PAGE,
            readonly=readonly,
            create=False,
            mode=0o700,
            max_readers=MAX_READERS,
            max_dbs=len(Tables._fields),
            # A spare transaction keeps its slot in lock.mdb, and a forked child that closes its copy of
            # the environment would free that slot under the parent.
            max_spare_txns=0,
            lib_version=0,
        )
    except lmdb.Error as error:
        raise explain(error, directory) from error
    except OSError as error:
        raise StoreError(f"cannot open {directory}: {error.strerror}") from error


def _identities(directory: Path, data_file: FileIdentity) -> list[tuple[bytes, FileIdentity]]:
    """Path and identity of LMDB's files, as they are now."""
    identities = []
    for name in (identity.DATA, identity.LOCK):
        found = (directory / name).stat()
        identities.append((os.fsencode(directory / name), (found.st_dev, found.st_ino)))
    if identities[0][1] != data_file:
        raise StoreError(f"{directory / identity.DATA} was replaced while it was being opened; try again")
    return identities
