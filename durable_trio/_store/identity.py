"""What makes a directory a database of ours, and how one comes to be.

    durable-trio.json   says so: format, version, uuid. Written last: with it the database is complete.
    data.mdb, lock.mdb  LMDB's
    writer.lock         see ``lock.py``

Nothing is created, changed or removed in a directory that is not ours. Ours is a missing or an empty one, one
with an identity file, and one in which an earlier creation did not get to its end. That one is told by the
name ``durable-trio.json.new``, which is there before the first byte of data and becomes the identity file in
one rename. Until then nobody was given the database, so what is there is removed, and creation begins again.

LMDB never syncs a directory, so the entries of a new database could be gone after a power failure: each step
here syncs the directory, and a new directory's parents.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from durable_trio._errors import StoreCorrupt, StoreError

FORMAT = "durable-trio"
FORMAT_VERSION = 1

IDENTITY = "durable-trio.json"
UNFINISHED = "durable-trio.json.new"
WRITER_LOCK = "writer.lock"
DATA = "data.mdb"
LOCK = "lock.mdb"


class Found(enum.Enum):
    """What is at a path."""

    MISSING = enum.auto()
    EMPTY = enum.auto()
    UNFINISHED = enum.auto()
    COMPLETE = enum.auto()


class Identity(NamedTuple):
    """What the identity file says."""

    uuid: str
    created: str


def inspect(directory: Path) -> Found:
    """What is at this path, without touching it.

    Raises:
        StoreError: something that is not a database of ours, or nothing this user may look at.
    """
    try:
        names = {entry.name for entry in directory.iterdir()}
    except FileNotFoundError:
        return Found.MISSING
    except NotADirectoryError:
        raise StoreError(
            f"{directory} is not a directory (or lies below a file); a database is a directory of its own: "
            "give another path"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot look into {directory}: {error.strerror}") from error
    if IDENTITY in names:
        return Found.COMPLETE
    if UNFINISHED in names:
        return Found.UNFINISHED
    foreign = sorted(names - {WRITER_LOCK})
    if not foreign:
        return Found.EMPTY
    if DATA in names:
        raise StoreError(
            f"{directory} holds {DATA} without {IDENTITY}: it is the database of another program, or that "
            "file was removed; restore it from a backup, or give another path"
        )
    raise StoreError(
        f"{directory} is not empty and holds no database of this library (it has {foreign[0]!r}); "
        "give the path of an empty or a new directory"
    )


def read_identity(directory: Path) -> Identity:
    """Read the identity file of a complete database.

    Raises:
        StoreCorrupt: it is damaged.
        StoreError: it cannot be read, or a newer version of this library wrote the database.
    """
    path = directory / IDENTITY
    try:
        found: Any = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StoreCorrupt(
            f"{path} is damaged ({error}); restore it from a backup of this database"
        ) from error
    match found:
        case {"format": "durable-trio", "version": int(version)} if version > FORMAT_VERSION:
            raise StoreError(
                f"{directory} has format version {version}, and this library knows versions up to "
                f"{FORMAT_VERSION}: update durable-trio to open it"
            )
        case {"format": "durable-trio", "version": 1, "uuid": str(name), "created": str(created)}:
            return Identity(name, created)
    raise StoreCorrupt(f"{path} is damaged: it does not say what it should; restore it from a backup")


def make_directory(directory: Path) -> None:
    """Create a directory for this user alone; its parents too, as ``mkdir -p`` does, and on disk.

    Raises:
        StoreError: it cannot be created.
    """
    missing = [directory]
    try:
        while not missing[-1].parent.exists():
            missing.append(missing[-1].parent)
        for path in reversed(missing):
            path.mkdir(mode=0o700 if path == directory else 0o777, exist_ok=True)
            sync_directory(path.parent)
        directory.chmod(0o700)  # whatever the umask has made of it
    except OSError as error:
        raise StoreError(f"cannot create {directory}: {error.strerror} ({error.filename})") from error


@contextlib.contextmanager
def creation(directory: Path) -> Iterator[Identity]:
    """Everything that makes a database happens in this block; leaving it well makes it complete.

    Call it with the writer lock held, on a directory that is empty or unfinished.

    Raises:
        StoreError: a file cannot be written or removed.
    """
    identity = Identity(str(uuid.uuid4()), datetime.now(UTC).isoformat(timespec="seconds"))
    text = json.dumps(
        {"format": FORMAT, "version": FORMAT_VERSION, "uuid": identity.uuid, "created": identity.created},
        indent=2,
    )
    unfinished = directory / UNFINISHED
    try:
        _write(unfinished, text.encode() + b"\n")
        sync_directory(directory)
        for name in (DATA, LOCK):  # of an earlier creation that did not get to its end
            (directory / name).unlink(missing_ok=True)
        yield identity
        for name in (DATA, LOCK):
            (directory / name).chmod(0o600)  # the umask does not decide who reads the data
        sync_directory(directory)
        unfinished.replace(directory / IDENTITY)
        sync_directory(directory)
    except OSError as error:
        raise StoreError(
            f"cannot create a database in {directory}: {error.strerror} ({error.filename})"
        ) from error


def _write(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(fd, 0o600)
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(path: Path) -> None:
    """Bring a directory's entries to disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
