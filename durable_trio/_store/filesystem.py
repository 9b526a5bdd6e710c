"""Databases on network file systems are refused.

LMDB needs a memory map that all processes share, and locks that all processes see. Network file systems give
neither reliably: two machines can both believe to be the writer, and a file changed by the other machine is
read half old, half new. It shows as damage weeks later, so it is refused at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from durable_trio._errors import StoreError

MOUNTINFO = Path("/proc/self/mountinfo")

_NETWORK = frozenset({
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs",
    "vboxsf", "vmhgfs",
})  # fmt: skip
# What follows "fuse."; other FUSE file systems, such as fuse-overlayfs, keep their files on this machine.
_NETWORK_FUSE = frozenset({
    "azurefile", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "curlftpfs", "davfs", "davfs2", "gcsfuse",
    "geesefs", "glusterfs", "goofys", "juicefs", "mfs", "moosefs", "mount-s3", "mountpoint-s3", "rclone",
    "s3fs", "seaweedfs", "smbnetfs", "sshfs", "vmhgfs-fuse", "weed",
})  # fmt: skip

_ESCAPE = re.compile(r"\\([0-7]{3})")


def refuse_network(path: Path) -> None:
    """Refuse a path on a network file system; where mounts cannot be listed, any path passes.

    Raises:
        StoreError: says which file system it is, where it is mounted, and what to do.
    """
    try:
        lines = MOUNTINFO.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return
    found = mount_of(os.path.realpath(path), lines)
    if found is not None and is_network(found[1]):
        raise StoreError(
            f"{path} is on {found[0]!r}, a network file system ({found[1]}), where LMDB's memory map and "
            "locks do not work and data is lost silently; put the database on a local disk"
        )


def is_network(kind: str) -> bool:
    """Is this type of file system, as mountinfo names it, served by another machine?"""
    family, _, name = kind.partition(".")
    return name in _NETWORK_FUSE if family in {"fuse", "fuseblk"} else kind in _NETWORK


def mount_of(path: str, mountinfo: Iterable[str]) -> tuple[str, str] | None:
    """The mount that an absolute path without symlinks is on: (mount point, type of file system).

    Args:
        path: need not exist.
        mountinfo: the lines of ``/proc/self/mountinfo``.
    """
    best: tuple[str, str] | None = None
    for line in mountinfo:
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - ext3 /dev/root rw,errors=continue
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if not separator or len(fields) < 5 or not kind:
            continue
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        # Of several mounts on one point the last one is on top.
        if _contains(point, path) and (best is None or len(point) >= len(best[0])):
            best = (point, kind)
    return best


def _contains(point: str, path: str) -> bool:
    return point in {"/", path} or path.startswith(point + "/")
