"""One LMDB environment per data file and process, shared by the stores that use it.

LMDB must not be opened twice on one file in one process, a map must not be replaced under a reader, and an
environment must not be used after a fork. All three are looked after here, so that a store can think in
transactions:

``Gate``
    Readers go through in any number; who replaces the map waits until none is inside, and keeps new ones
    out meanwhile. About 0.3 µs per read. Reads are short by contract, so growing waits for little.
``Environment``
    The tables, the gate, and the lock that makes writers take turns. A full map is doubled, and the
    transaction that found it full, which is dead by then, is done again.
registry
    By device and inode of the data file, so that no alias of a path opens it a second time.
fork
    A fork waits until no transaction is under way (a commit is waited for, so that the child's copy is at
    rest). In the child the copy is closed, which touches nothing of the parent's, and each use of a store
    from before says to open the database in the child.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import lmdb

from durable_trio._errors import StoreCorrupt, StoreError, StoreFull, StoreLocked
from durable_trio._store import identity
from durable_trio._store.lock import WriterLock

MAX_READERS = 1022  # read transactions at a time, over all processes; 64 bytes each in lock.mdb
TABLES = ("runs", "journal", "index", "aliases", "workflows", "outlines", "meta")
SMALLEST_MAP = 1 << 16
_PAGE = resource.getpagesize()
_FORK_PATIENCE = 10.0  # seconds that a fork waits for a commit; a disk that hangs must not hang a fork

FileIdentity = tuple[int, int]  # device and inode


class Tables(NamedTuple):
    """The named databases; keys are big-endian, values sealed (see ``seal.py``).

    Attributes:
        runs: run → workflow number, header.
        journal: run, row number → row.
        index: workflow number, status, run → nothing.
        aliases: alias → run.
        workflows: name → number.
        outlines: fingerprint → outline.
        meta: ``b"uuid"`` → uuid; ``b"state"`` → batch number, counts by workflow and status.
    """

    runs: lmdb._Database
    journal: lmdb._Database
    index: lmdb._Database
    aliases: lmdb._Database
    workflows: lmdb._Database
    outlines: lmdb._Database
    meta: lmdb._Database


class Gate:
    """Many who pass, or one who closes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._inside = 0
        self._closed = False

    def enter(self) -> None:
        """Go in; waits while the gate is closed. Whoever is inside must not enter again."""
        with self._lock:
            while self._closed:
                self._changed.wait()
            self._inside += 1

    def leave(self) -> None:
        """Go out again."""
        with self._lock:
            self._inside -= 1
            if self._closed and not self._inside:
                self._changed.notify_all()

    def close(self, timeout: float | None = None) -> bool:
        """Keep everybody out; waits until nobody is inside.

        Args:
            timeout: seconds to wait at most; None: as long as it takes.

        Returns:
            False if the time was up; the gate is open then.
        """
        with self._lock:
            if not self._changed.wait_for(lambda: not self._closed, timeout):
                return False
            self._closed = True
            if self._changed.wait_for(lambda: not self._inside, timeout):
                return True
            self._closed = False
            self._changed.notify_all()
            return False

    def open(self) -> None:
        """Let them in again."""
        with self._lock:
            self._closed = False
            self._changed.notify_all()


class Environment:
    """An open LMDB environment with its tables.

    Attributes:
        dead: why nothing can be used any more, or None.
        writer: the writer lock of the store that writes through this environment, or None.
        write_lock: held for a whole write transaction, growing included.
    """

    def __init__(self, directory: Path, data_file: FileIdentity, *, readonly: bool, map_size: int) -> None:
        self.directory = directory
        self.readonly = readonly
        self.data_file = data_file
        self.users = 0
        self.dead: StoreError | None = None
        self.writer: WriterLock | None = None
        self.write_lock = threading.Lock()
        self._gate = Gate()
        self._env = open_lmdb_environment(directory, readonly=readonly, map_size=map_size)
        try:
            self._files = {name: _file_identity(directory / name) for name in (identity.DATA, identity.LOCK)}
            if self._files[identity.DATA] != data_file:
                raise StoreError(f"{directory / identity.DATA} was replaced while it was being opened; try again")
            self.tables = self._open_tables()
            self._env.reader_check()  # slots of readers that were killed would hold on to old pages for ever
        except lmdb.Error as error:
            self._env.close()
            raise explain(error, directory) from error
        except BaseException:
            self._env.close()
            raise

    def _open_tables(self) -> Tables:
        try:
            return Tables(*(self._env.open_db(name.encode(), create=False) for name in TABLES))
        except (lmdb.NotFoundError, lmdb.IncompatibleError) as error:
            raise StoreCorrupt(
                f"{self.directory / identity.DATA} lacks a table ({error}); restore the directory from a backup"
            ) from error

    def check_files(self) -> None:
        """Has somebody removed or replaced a file? Then what is written goes where nobody will find it.

        Raises:
            StoreError: yes; names the file.
        """
        expected: list[tuple[Path, FileIdentity]] = [
            (self.directory / name, found) for name, found in self._files.items()
        ]
        if self.writer is not None:
            expected.append((self.writer.path, self.writer.identity))
        for path, found in expected:
            try:
                now = os.stat(path)
            except OSError as error:
                raise StoreError(
                    f"{path} cannot be found any more ({error.strerror}): it was removed, moved or unmounted while "
                    "the database was open; nothing was written. Stop this process, restore the file, start again"
                ) from None
            if (now.st_dev, now.st_ino) != found:
                raise StoreError(
                    f"{path} was replaced by another file while the database was open; nothing was written. "
                    "Stop this process, put the right file in place, start again"
                )

    def begin_write(self) -> lmdb.Transaction:
        """A write transaction. Hold ``write_lock`` from before until after it."""
        return self._again(lambda: self._env.begin(write=True), holding_write_lock=True)

    def begin_read(self) -> lmdb.Transaction:
        """A read transaction, within the gate; end it with ``end_read``."""
        self._gate.enter()
        try:
            if self.dead is not None:
                raise again(self.dead)
            return self._env.begin()
        except (lmdb.MapResizedError, lmdb.ReadersFullError):
            self._gate.leave()
        except BaseException:
            self._gate.leave()
            raise
        return self._again(self._enter_and_begin, holding_write_lock=False)

    def _enter_and_begin(self) -> lmdb.Transaction:
        self._gate.enter()
        try:
            return self._env.begin()
        except BaseException:
            self._gate.leave()
            raise

    def end_read(self, txn: lmdb.Transaction) -> None:
        """End a read transaction."""
        try:
            txn.abort()
        finally:
            self._gate.leave()

    def _again(self, begin: Callable[[], lmdb.Transaction], *, holding_write_lock: bool) -> lmdb.Transaction:
        """Begin; where another process made the file larger than our map, or was killed reading, mend that."""
        for _ in range(8):
            try:
                return begin()
            except lmdb.MapResizedError:
                with contextlib.nullcontext() if holding_write_lock else self.write_lock:
                    self.resize(0)
            except lmdb.ReadersFullError:
                if not self._env.reader_check():
                    break
        return begin()

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

    def reader_check(self) -> int:
        """Free the slots of readers that were killed; how many there were."""
        return self._env.reader_check()

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

    def pause(self) -> bool:
        """Before a fork: let no transaction begin, and wait for those under way; False if that takes too long."""
        if not self.write_lock.acquire(timeout=_FORK_PATIENCE):
            return False
        if not self._gate.close(_FORK_PATIENCE):
            self.write_lock.release()
            return False
        return True

    def resume(self) -> None:
        """After a fork, in the parent: go on."""
        self._gate.open()
        self.write_lock.release()

    def abandon(self, *, at_rest: bool) -> None:
        """After a fork, in the child: never touch the parent's database."""
        self.dead = StoreError(
            f"{self.directory} was opened before this process was forked, and cannot be used after it; "
            "open the database in the child"
        )
        if self.writer is not None:
            self.writer.drop()
        if at_rest:
            # Closing ends no lock of the parent's and frees none of its reader slots, as those belong to
            # another process id; without it this process could not open the database itself.
            self._env.close()
            self._gate.open()
            self.write_lock.release()
        else:
            _kept_for_ever.append(self._env)  # closing would wait for a thread that is only in the parent


class Reading:
    """``with Reading(environment) as txn``: a read transaction, whose LMDB errors come out as ours."""

    __slots__ = ("_environment", "_txn")

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def __enter__(self) -> lmdb.Transaction:
        try:
            self._txn = self._environment.begin_read()
        except lmdb.Error as error:
            raise explain(error, self._environment.directory) from error
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._environment.end_read(self._txn)
        if isinstance(error, lmdb.Error):
            raise explain(error, self._environment.directory) from error


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
            max_dbs=len(TABLES),
            # A spare transaction keeps its slot in lock.mdb, and a forked child that closes its copy of
            # the environment would free that slot under the parent.
            max_spare_txns=0,
            lib_version=0,
        )
    except lmdb.Error as error:
        raise explain(error, directory) from error
    except OSError as error:
        raise StoreError(f"cannot open {directory}: {error.strerror}") from error


def explain(error: lmdb.Error, directory: Path) -> StoreError:
    """What an error of LMDB means, as one of ours."""
    if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError)):
        return StoreCorrupt(f"the database in {directory} is damaged ({error}); restore it from a backup")
    if isinstance(error, lmdb.PanicError):
        return StoreError(
            f"the database in {directory} cannot be used since a write to it failed; open it again ({error})"
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreError(
            f"{MAX_READERS} reads of {directory} are under way at once, over all processes; try again later"
        )
    code = error.code
    if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or (code == errno.EIO and _is_full(directory)):
        return StoreFull(
            f"no space is left for the database in {directory} ({error}); make room, or raise the quota or the "
            "limit on file size, and open it again"
        )
    if code in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return StoreError(
            f"no permission to use the database in {directory} ({error}): reading needs write access to "
            f"{identity.LOCK}, writing needs it to {identity.DATA} as well"
        )
    return StoreError(f"the database in {directory} cannot be used: {error}")


def _is_full(directory: Path) -> bool:
    """Was it for lack of space that a write came out short, which LMDB reports as an I/O error?"""
    try:
        disk = os.statvfs(directory)
        size = (directory / identity.DATA).stat().st_size
    except OSError:
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return disk.f_bavail * disk.f_frsize < 1 << 20 or (limit != resource.RLIM_INFINITY and size + (1 << 20) > limit)


def again(error: StoreError) -> StoreError:
    """A fresh copy to raise: one exception raised twice would gather tracebacks."""
    return type(error)(*error.args)


def _file_identity(path: Path) -> FileIdentity:
    found = path.stat()
    return found.st_dev, found.st_ino


class Registry:
    """The environments that are open in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._open: dict[FileIdentity, Environment] = {}
        self._paused: list[Environment] = []
        self._locked = False

    def borrow(self, data_file: FileIdentity, make: Callable[[], Environment], *, readonly: bool) -> Environment:
        """The environment of this file, opened by ``make`` if it is not open. Hold ``lock``."""
        found = self._open.get(data_file)
        if found is None:
            found = self._open[data_file] = make()
        elif found.dead is not None:
            raise StoreError(f"{found.dead} (this process still has it open: close those stores first)")
        elif found.readonly and not readonly:
            raise StoreLocked(
                f"this process has {found.directory} open with readonly=True, and LMDB opens a file once per "
                "process: close that store first, or open for writing before reading"
            )
        found.users += 1
        return found

    def give_back(self, environment: Environment) -> None:
        """Close the environment with its last user."""
        with self.lock:
            environment.users -= 1
            if not environment.users:
                self._open.pop(environment.data_file, None)
                environment.close()

    def before_fork(self) -> None:
        self._locked = self.lock.acquire(timeout=_FORK_PATIENCE)
        self._paused = [environment for environment in list(self._open.values()) if environment.pause()]

    def after_fork_in_parent(self) -> None:
        for environment in self._paused:
            environment.resume()
        self._paused = []
        if self._locked:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        for environment in self._open.values():
            environment.abandon(at_rest=environment in self._paused)
        # The lock may be held by a thread that is only in the parent.
        self.__init__()  # type: ignore[misc]


registry = Registry()
_kept_for_ever: list[lmdb.Environment] = []

os.register_at_fork(
    before=lambda: registry.before_fork(),  # noqa: PLW0108 - looked up at each fork, so that tests can watch
    after_in_parent=lambda: registry.after_fork_in_parent(),  # noqa: PLW0108
    after_in_child=lambda: registry.after_fork_in_child(),  # noqa: PLW0108
)
