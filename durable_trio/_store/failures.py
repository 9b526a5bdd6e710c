"""What an error of LMDB means, as one of ours: what was wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import lmdb

from durable_trio._errors import StoreCorrupt, StoreError, StoreFull
from durable_trio._store import identity


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
            f"too many reads of {directory} are under way at once, over all processes; try again later"
        )
    code = error.code
    if code in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or (code == errno.EIO and _is_full(directory)):
        return StoreFull(
            f"no space is left for the database in {directory} ({error}); make room, or raise the quota or "
            "the limit on file size, and open it again"
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
    return disk.f_bavail * disk.f_frsize < 1 << 20 or (
        limit != resource.RLIM_INFINITY and size + (1 << 20) > limit
    )


def again(error: StoreError) -> StoreError:
    """A fresh copy to raise: one exception raised twice would gather tracebacks."""
    return type(error)(*error.args)
