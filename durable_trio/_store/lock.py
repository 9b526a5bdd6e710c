"""One writer per database: a ``flock`` on a file of its own, which the kernel gives back when its owner dies.

The lock is on ``writer.lock`` and not on LMDB's files: LMDB lets any number of processes write in turn, while
two engines on one database would run the same workflows. The file is never removed, since a second file of
that name would be a second lock. What it holds, the owner's process id, is only there to be shown.

Who only wants to know whether there is an owner must not try to take the lock, since for a moment it would
have it, and an engine that opens in this moment would be refused. So the owner also holds an open file
description lock, of the kind of ``fcntl``, on the same file: that kind can be asked for without being taken.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from struct import Struct

from durable_trio._errors import StoreError, StoreLocked

_flock = Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, process id

_held: set[tuple[int, int]] = set()  # device and inode of the lock files that this process has locked


class WriterLock:
    """The lock on one database, held from here until ``release``.

    Raises:
        StoreLocked: somebody has it; says who.
        StoreError: the lock file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(
                f"cannot open {path} for writing: {error.strerror}; give this user write access to the "
                "directory, or only look at the database, with open_client"
            ) from error
        try:
            self._take()
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreLocked(self._owner()) from None
        except OSError as error:
            raise StoreError(f"cannot lock {self.path}: {error.strerror}") from error
        # Where a file system knows no such locks, clients find no engine, and everything else works.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _flock.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
        self.identity = self._identity()
        self.file = os.fsencode(self.path), self.identity  # for whoever looks whether it is still there
        _held.add(self.identity)
        # The name is only shown; a full disk must not keep anybody from opening a database to make room.
        with contextlib.suppress(OSError):
            os.fchmod(self._fd, 0o600)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def _identity(self) -> tuple[int, int]:
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    def _owner(self) -> str:
        where = self.path.parent
        # Not told by the process id, which another process has too where each container counts from 1.
        if self._identity() in _held:
            return (
                f"{where} is already open for writing in this process; use that engine, or close it first: "
                "a database has one writer"
            )
        try:
            pid = int(os.pread(self._fd, 32, 0))
        except (OSError, ValueError):
            who = "another process"
        else:
            who = f"process {pid}"
        return (
            f"{where} is open for writing in {who}; stop that one first, or ask its engine through "
            "open_client(), which takes up and reads runs from here: a database has one writer"
        )

    def release(self) -> None:
        """Give the lock back. Calling it twice is fine."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            self.drop()

    def drop(self) -> None:
        """Forget the lock without touching it: in a forked child, whose parent still holds it."""
        # Closing one of several descriptors of an open file leaves its flock alone; LOCK_UN would not.
        _held.discard(self.identity)
        fd, self._fd = self._fd, -1
        os.close(fd)


def has_owner(path: Path) -> bool:
    """Does anybody, in any process, hold the lock on this file? It is not touched; about 5 µs.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock.pack(fcntl.F_WRLCK, 0, 0, 0, 0))
    except OSError as error:
        raise StoreError(f"cannot look at the lock on {path}: {error.strerror}") from error
    finally:
        os.close(fd)
    return bool(_flock.unpack(found)[0] != fcntl.F_UNLCK)
