"""A disk that is full, or fails, and files that vanish: what is acknowledged stays, and nothing else is.

LMDB writes pages through one descriptor of the data file, which it then syncs, and the meta page through a
second one, opened with ``O_DSYNC``. Putting another file under one of the two makes exactly that call fail.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from durable_trio._errors import StoreCorrupt, StoreError, StoreFull
from durable_trio._store.lmdb import open_lmdb


@contextlib.contextmanager
def instead_of(data_file, *, meta, by, flags=os.O_RDWR):
    """Put the file ``by`` under LMDB's descriptor for pages, or for the meta page."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink() != data_file:
                continue
            info = Path(f"/proc/self/fdinfo/{link.name}").read_text()
            synced = int(info.split("flags:")[1].split()[0], 8) & os.O_DSYNC
            if bool(synced) == meta:
                fd = int(link.name)
                break
    else:
        pytest.fail("LMDB has no such descriptor")
    saved, other = os.dup(fd), os.open(by, flags)
    os.dup2(other, fd)
    try:
        yield
    finally:
        os.dup2(saved, fd)
        os.close(saved)
        os.close(other)


@pytest.fixture
def store(opened, new_run):
    opened_store = opened()
    opened_store.commit([new_run(1), new_run(2)])
    return opened_store


def test_a_full_disk(store, path, opened, new_run):
    with (
        instead_of(path / "data.mdb", meta=False, by="/dev/full"),
        pytest.raises(StoreFull, match=r"no space.*make room.*nothing of this commit was written") as first,
    ):
        store.commit([new_run(3)])
    # There would be room again, but only opening the database anew makes sure of what is on disk.
    with pytest.raises(StoreFull) as second:
        store.commit([new_run(3)])
    assert str(second.value) == str(first.value)
    with pytest.raises(StoreFull):
        store.workflow_number("new")
    assert [int.from_bytes(stored.run) for stored in store.page(limit=9)] == [2, 1]  # reading goes on
    store.close()
    anew = opened()
    assert anew.batch_number() == 1
    assert anew.commit([new_run(3)]) == 2


def test_an_error_before_the_meta_page(store, path, opened, new_run):
    with (
        instead_of(path / "data.mdb", meta=False, by=path / "data.mdb", flags=os.O_RDONLY),
        pytest.raises(StoreError, match="nothing of this commit was written") as caught,
    ):
        store.commit([new_run(3)])
    assert not isinstance(caught.value, StoreFull | StoreCorrupt)
    assert store.batch_number() == 1
    store.close()
    assert opened().commit([new_run(3)]) == 2


def test_a_failed_sync_is_not_tried_again(store, path, opened, new_run):
    # Writing to /dev/zero succeeds, syncing it does not.
    with (
        instead_of(path / "data.mdb", meta=False, by="/dev/zero"),
        pytest.raises(StoreError, match="nothing of this commit was written"),
    ):
        store.commit([new_run(3)])
    with pytest.raises(StoreError):
        store.commit([new_run(3)])
    assert store.load(new_run(3).run) is None
    store.close()
    anew = opened()
    assert anew.batch_number() == 1
    assert anew.commit([new_run(3)]) == 2


@pytest.mark.parametrize(("by", "flags"), [("/dev/full", os.O_RDWR), ("/dev/zero", os.O_RDONLY)])
def test_an_error_in_the_meta_page_leaves_the_outcome_open(store, path, opened, new_run, by, flags):
    with (
        instead_of(path / "data.mdb", meta=True, by=by, flags=flags),
        pytest.raises(StoreError, match="not known until the database is opened again") as caught,
    ):
        store.commit([new_run(3)])
    assert not isinstance(caught.value, StoreFull)  # which would say that nothing was written
    for use in (
        lambda: store.commit([new_run(3)]),
        lambda: store.workflow_number("new"),
        store.batch_number,
        lambda: store.page(limit=9),
    ):
        with pytest.raises(StoreError, match="not known"):
            use()
    store.close()
    anew = opened()
    assert anew.batch_number() == 1  # here, it was not written
    assert [int.from_bytes(stored.run) for stored in anew.page(limit=9)] == [2, 1]
    assert anew.commit([new_run(3)]) == 2


def test_a_failed_environment_is_not_opened_again_while_somebody_has_it(store, path, opened, new_run):
    reader = opened(readonly=True)
    with (
        instead_of(path / "data.mdb", meta=True, by="/dev/full"),
        pytest.raises(StoreError),
    ):
        store.commit([new_run(3)])
    store.close()
    with pytest.raises(StoreError, match="close those stores first"):
        open_lmdb(path)
    reader.close()
    assert opened().batch_number() == 1


FILL = """
    store = open_lmdb(path, map_size=1 << 20)
    number = store.batch_number()
    kind = None
    while kind is None:
        number += 1
        try:
            store.commit([new_run(number, row=b"x" * 50_000)])
        except StoreError as error:
            kind = f"{type(error).__name__} {error}"
    say(kind)
    say(f"{number - 1} {store.batch_number()} {len(store.page(limit=9999))}")
"""


def test_a_limit_on_file_size(path, child, opened, new_run):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, -1))\n"
    kind, counts = child(limit + FILL.replace("\n    ", "\n"), path).finish().splitlines()
    assert kind.startswith("StoreFull no space")
    acknowledged, batch, runs = map(int, counts.split())
    assert acknowledged == batch == runs > 5
    store = opened()
    assert len(store.page(limit=9999)) == runs
    assert store.commit([new_run(5000)]) == batch + 1


def test_a_disk_that_is_really_full(tmp_path, child, new_run):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        kind, counts = child(FILL, disk / "db").finish().splitlines()
        assert kind.startswith("StoreFull no space")
        acknowledged, batch, runs = map(int, counts.split())
        assert acknowledged == batch == runs > 10
        # A full disk keeps nobody from reading, nor from opening it to make room.
        reader = open_lmdb(disk / "db", readonly=True)
        assert len(reader.page(limit=9999)) == runs
        reader.close()
        store = open_lmdb(disk / "db")
        assert store.batch_number() == batch
        store.close()
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        store = open_lmdb(disk / "db")
        assert store.commit([new_run(5000)]) == batch + 1
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_no_room_to_create_a_database(tmp_path, path, child, opened):
    code = """
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
    try:
        open_lmdb(path)
    except StoreError as error:
        say(f"{type(error).__name__} {error}")
    """
    for size in (0, 100, 10_000):
        assert "app.lmdb" in child(code, path, size).finish(), size
    opened()  # what the attempts have left is no obstacle


def test_a_read_only_file_system(tmp_path, new_run):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting takes root")
    try:
        store = open_lmdb(disk / "db")
        store.commit([new_run(1)])
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StoreError, match=r"Read-only file system.*open_client"):
            open_lmdb(disk / "db")
        with pytest.raises(StoreError, match=r"cannot create.*Read-only file system"):
            open_lmdb(disk / "new")
        reader = open_lmdb(disk / "db", readonly=True)  # nobody can be writing there
        assert [int.from_bytes(stored.run) for stored in reader.page(limit=9)] == [1]
        reader.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


# -- files that vanish --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "writer.lock"])
@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_is_removed_or_replaced_stops_commits(store, path, new_run, name, replace):
    content = (path / name).read_bytes()
    (path / name).rename(path / "aside")
    if replace:
        (path / name).write_bytes(content)
    message = f"{name} was replaced" if replace else f"{name} cannot be found"
    with pytest.raises(StoreError, match=message):
        store.commit([new_run(3)])
    (path / "aside").replace(path / name)
    # Who knows what happened in between.
    with pytest.raises(StoreError, match=message):
        store.commit([new_run(3)])
    assert store.batch_number() == 1


def test_a_directory_that_is_moved_stops_commits(store, path, new_run):
    path.rename(path.parent / "elsewhere")
    with pytest.raises(StoreError, match=r"cannot be found.*moved"):
        store.commit([new_run(3)])


def test_a_replaced_database_can_be_opened_although_the_old_one_is_open(store, path, opened, new_run):
    path.rename(path.parent / "elsewhere")
    anew = opened()
    assert anew.page(limit=9) == []
    anew.commit([new_run(7)])
    assert [int.from_bytes(stored.run) for stored in store.page(limit=9)] == [2, 1]
