"""Which paths are on another machine."""

from __future__ import annotations

import pytest

from durable_trio._errors import StoreError
from durable_trio._store import filesystem
from durable_trio._store.filesystem import is_network, mount_of, refuse_network
from durable_trio._store.lmdb import open_lmdb

MOUNTINFO = r"""
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
23 22 0:21 / /proc rw,nosuid shared:13 - proc proc rw
40 22 0:35 / /mnt/share rw,relatime shared:20 - nfs4 server:/export rw,vers=4.2
41 40 259:3 / /mnt/share/disk rw - ext4 /dev/sdb1 rw
42 22 0:36 / /mnt/with\040space\011and\134tab rw master:1 propagate_from:2 - cifs //server/x rw
43 22 0:37 / /data rw - ext4 /dev/sdc1 rw
44 43 0:38 / /data rw - fuse.sshfs user@host:/ rw
45 22 0:39 / /mnt/k\303\244se rw - 9p host rw
not a mount line
46 22 0:40
""".strip().splitlines()


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/home/me/app.lmdb", "/", "ext4"),
        ("/mnt/share", "/mnt/share", "nfs4"),
        ("/mnt/share/a/b", "/mnt/share", "nfs4"),
        ("/mnt/shared", "/", "ext4"),
        ("/mnt/share/disk/a", "/mnt/share/disk", "ext4"),
        ("/mnt/with space\tand\\tab/db", "/mnt/with space\tand\\tab", "cifs"),
        ("/data/db", "/data", "fuse.sshfs"),  # the later mount is on top of the earlier
    ],
)
def test_the_mount_of_a_path(path, point, kind):
    assert mount_of(path, MOUNTINFO) == (point, kind)


def test_no_mounts_no_answer():
    assert mount_of("/a", []) is None
    assert mount_of("/a", ["garbage"]) is None


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs"]
)
def test_network_file_systems(kind):
    assert is_network(kind)


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "fuse.fuse-overlayfs", "fuseblk"]
)
def test_local_file_systems(kind):
    assert not is_network(kind)


def test_a_database_on_a_network_file_system_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    share = tmp_path / "share"
    share.mkdir()
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / / rw - ext4 /dev/sda rw\n2 1 0:2 / {share} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(filesystem, "MOUNTINFO", table)
    (tmp_path / "link").symlink_to(share)
    for path in (share / "a" / "db", tmp_path / "link" / "db"):
        for readonly in (False, True):
            with pytest.raises(StoreError, match=r"network file system \(nfs4\).*local disk"):
                open_lmdb(path, readonly=readonly)
    assert list(share.iterdir()) == []
    open_lmdb(tmp_path / "db").close()


def test_where_mounts_cannot_be_listed_every_path_passes(tmp_path, monkeypatch):
    monkeypatch.setattr(filesystem, "MOUNTINFO", tmp_path / "missing")
    refuse_network(tmp_path)
