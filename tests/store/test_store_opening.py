"""What may be at a path, and what becomes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import lmdb
import pytest

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._store.lmdb import open_lmdb


def picture(directory):
    """Every file below a directory, with contents, mode and times: nothing of it may change."""
    return {
        path.relative_to(directory): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(directory.rglob("*"))
    }


def names(directory):
    return sorted(file.name for file in directory.iterdir())


@pytest.fixture
def database(path, new_run):
    with_runs = open_lmdb(path)
    with_runs.commit([new_run(1), new_run(2)])
    with_runs.close()
    return path


def edit_identity(path, **changes):
    file = path / "durable-trio.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_database_is_made_with_its_parents(tmp_path, opened, new_run):
    path = tmp_path / "a" / "b" / "app.lmdb"
    store = opened(path)
    assert store.path == path
    assert store.commit([new_run(1)]) == 1
    assert names(path) == ["data.mdb", "durable-trio.json", "lock.mdb", "writer.lock"]


def test_an_empty_directory_becomes_a_database(path, opened):
    path.mkdir()
    opened(path)
    assert (path / "durable-trio.json").exists()


def test_what_was_committed_is_there_after_reopening(database, opened):
    for readonly in (True, False):
        store = opened(readonly=readonly)
        assert [int.from_bytes(stored.run) for stored in store.page(limit=9)] == [2, 1]
        assert store.batch_number() == 1
        store.close()


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch, opened, new_run):
    monkeypatch.chdir(tmp_path)
    store = opened("db")
    monkeypatch.chdir("/")
    assert store.commit([new_run(1)]) == 1
    assert store.path == tmp_path / "db"


@pytest.mark.parametrize("umask", ["0", "0o777"])
def test_only_the_owner_may_look_whatever_the_umask(child, tmp_path, umask):
    path = tmp_path / "db"
    if umask != "0" and os.getuid() != 0:
        pytest.skip("without rights to one's own files, only root gets anywhere")
    child(f"os.umask({umask}); open_lmdb(path).close()", path).finish()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for file in path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_the_mode_of_an_existing_directory_is_its_owners_business(path, opened):
    path.mkdir()
    path.chmod(0o750)
    opened(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}


def test_the_directory_and_its_new_parents_are_synced(tmp_path, opened, monkeypatch):
    path = tmp_path / "a" / "db"
    synced = []
    fsync = os.fsync

    def watch(fd):
        synced.append((Path(f"/proc/self/fd/{fd}").readlink(), names(path) if path.exists() else []))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watch)
    opened(path)
    places = [place for place, _ in synced]
    assert {tmp_path, tmp_path / "a", path / "durable-trio.json.new"} <= set(places)
    # Each step is on disk before the next: the name that says whose data this is, the data, the identity.
    found = [there for place, there in synced if place == path]
    assert found == [
        ["durable-trio.json.new", "writer.lock"],
        ["data.mdb", "durable-trio.json.new", "lock.mdb", "writer.lock"],
        ["data.mdb", "durable-trio.json", "lock.mdb", "writer.lock"],
    ]


LEFT = {
    "the lock": {"writer.lock": b"12345\n"},
    "no content": {"writer.lock": b"", "durable-trio.json.new": b""},
    "no lock": {"durable-trio.json.new": b""},
    "empty data": {"durable-trio.json.new": b"{", "data.mdb": b""},
    "torn data": {"durable-trio.json.new": b"{}", "data.mdb": bytes(8192), "lock.mdb": b"\xff" * 100},
    "one page": {"durable-trio.json.new": b"{}", "data.mdb": b"x" * 4096, "lock.mdb": b""},
}


@pytest.mark.parametrize("left", LEFT)
def test_a_creation_that_did_not_get_to_its_end_is_done_again(path, opened, new_run, left):
    path.mkdir()
    for name, content in LEFT[left].items():
        (path / name).write_bytes(content)
    with pytest.raises(StoreError, match="no database"):
        open_lmdb(path, readonly=True)
    store = opened()
    assert store.commit([new_run(1)]) == 1
    assert names(path) == ["data.mdb", "durable-trio.json", "lock.mdb", "writer.lock"]
    store.close()
    assert len(opened().page(limit=9)) == 1


# -- not ours ------------------------------------------------------------------------------------------


def a_file(path):
    path.write_text("hello")


def below_a_file(path):
    path.parent.joinpath("file").write_text("hello")
    path.symlink_to(path.parent / "file" / "db")


def other_files(path):
    path.mkdir()
    (path / "notes.txt").write_text("hello")


def only_a_lock_file_of_lmdb(path):
    path.mkdir()
    (path / "lock.mdb").write_bytes(b"x")


def a_database_of_another_program(path):
    path.mkdir()
    lmdb.open(str(path)).close()


def without_identity(path):
    open_lmdb(path).close()
    (path / "durable-trio.json").unlink()


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        a_file,
        below_a_file,
        other_files,
        only_a_lock_file_of_lmdb,
        a_database_of_another_program,
        without_identity,
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(path, make, readonly):
    make(path)
    before = picture(path.parent)
    with pytest.raises(StoreError, match=r"app\.lmdb"):
        open_lmdb(path, readonly=readonly)
    assert picture(path.parent) == before


def test_messages_say_what_to_do(path):
    a_file(path)
    with pytest.raises(StoreError, match=r"not a directory.*another path"):
        open_lmdb(path)
    path.unlink()
    other_files(path)
    with pytest.raises(StoreError, match=r"not empty.*'notes.txt'.*new directory"):
        open_lmdb(path)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_reading_creates_nothing(path, make):
    make(path)
    before = picture(path.parent)
    with pytest.raises(StoreError, match="no database"):
        open_lmdb(path, readonly=True)
    assert picture(path.parent) == before


def test_reading_changes_no_data(database, opened):
    before = {
        name: (database / name).read_bytes() for name in ("data.mdb", "durable-trio.json", "writer.lock")
    }
    opened(readonly=True).page(limit=9)
    assert {name: (database / name).read_bytes() for name in before} == before
    assert names(database) == ["data.mdb", "durable-trio.json", "lock.mdb", "writer.lock"]


def test_a_readonly_store_refuses_to_write(database, opened, new_run):
    store = opened(readonly=True)
    for write in (
        lambda: store.commit([new_run(3)]),
        lambda: store.workflow_number("new"),
        lambda: store.put_outline(b"f", b"o"),
    ):
        with pytest.raises(StoreError, match="readonly=True"):
            write()
    assert store.batch_number() == 1


# -- ours, but damaged or too new ---------------------------------------------------------------------


def remove(name):
    return lambda path: (path / name).unlink()


def overwrite(name, content):
    return lambda path: (path / name).write_bytes(content)


DAMAGE = {
    "no data": (remove("data.mdb"), StoreCorrupt, "data.mdb is missing.*backup"),
    "empty data": (overwrite("data.mdb", b""), StoreCorrupt, "data.mdb is empty.*backup"),
    "other data": (overwrite("data.mdb", b"hello" * 5000), StoreCorrupt, "no LMDB data file"),
    "short data": (overwrite("data.mdb", b"hello"), StoreCorrupt, "cut short"),
    "garbage identity": (overwrite("durable-trio.json", b"\xff{"), StoreCorrupt, "json is damaged"),
    "empty identity": (overwrite("durable-trio.json", b""), StoreCorrupt, "json is damaged"),
    "identity is no object": (overwrite("durable-trio.json", b"[1]"), StoreCorrupt, "json is damaged"),
    "foreign identity": (lambda path: edit_identity(path, format="other"), StoreCorrupt, "json is damaged"),
    "version is no number": (lambda path: edit_identity(path, version="1"), StoreCorrupt, "json is damaged"),
    "newer": (lambda path: edit_identity(path, version=2), StoreError, "version 2.*update durable-trio"),
    "other uuid": (lambda path: edit_identity(path, uuid="0"), StoreCorrupt, "two different databases"),
}


@pytest.mark.parametrize("readonly", [False, True])
@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_nothing_is_made_anew(database, name, readonly):
    damage, error, message = DAMAGE[name]
    damage(database)
    before = picture(database)
    with pytest.raises(error, match=message) as caught:
        open_lmdb(database, readonly=readonly)
    assert str(database) in str(caught.value)
    after = picture(database)
    if name == "other uuid":  # only LMDB itself can tell, and it has its own lock file
        before.pop(next(path for path in before if path.name == "lock.mdb"))
        after.pop(next(path for path in after if path.name == "lock.mdb"))
    assert {file: content[2] for file, content in after.items()} == {
        file: content[2] for file, content in before.items()
    }


def test_a_newer_version_is_refused_even_if_the_rest_is_unknown(database):
    (database / "durable-trio.json").write_text('{"format": "durable-trio", "version": 7, "segments": []}')
    with pytest.raises(StoreError, match="version 7"):
        open_lmdb(database)


def test_after_a_failed_opening_it_can_be_opened(database, opened):
    data = (database / "data.mdb").read_bytes()
    (database / "data.mdb").write_bytes(b"")
    with pytest.raises(StoreCorrupt):
        open_lmdb(database)
    (database / "data.mdb").write_bytes(data)
    assert len(opened().page(limit=9)) == 2


def test_a_lost_lock_file_is_made_anew_by_a_writer_only(database, opened):
    (database / "lock.mdb").unlink()
    with pytest.raises(StoreError, match=r"lock.mdb is missing.*open it for writing"):
        open_lmdb(database, readonly=True)
    assert not (database / "lock.mdb").exists()
    assert len(opened().page(limit=9)) == 2
    assert (database / "lock.mdb").exists()


def test_a_copied_database_opens_beside_the_original(database, opened, tmp_path, new_run):
    original = opened()
    shutil.copytree(database, tmp_path / "copy")
    copy = opened(tmp_path / "copy")
    copy.commit([new_run(3)])
    assert (len(copy.page(limit=9)), len(original.page(limit=9))) == (3, 2)


def test_a_file_of_lmdb_1_0_is_refused(path, opened, tmp_path):
    opened().close()
    env = lmdb.open(str(tmp_path / "new"), lib_version=1)
    with env.begin(write=True) as txn:
        txn.put(b"a", b"b")
    env.close()
    shutil.copy(tmp_path / "new" / "data.mdb", path / "data.mdb")
    with pytest.raises(StoreError, match=r"data format 3|no LMDB data file"):
        open_lmdb(path)


# -- by somebody else ---------------------------------------------------------------------------------

OPEN_AS_NOBODY = """
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        open_lmdb(path, readonly=sys.argv[2:] == ["readonly"])
    except StoreError as error:
        say(str(error))
"""


@pytest.fixture
def reachable():
    """A database at a place where another user may go; pytest's own folders are closed to them."""
    if os.getuid() != 0:
        pytest.skip("changing the user takes root")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        open_lmdb(folder / "app.lmdb").close()
        yield folder / "app.lmdb"


@pytest.mark.parametrize(
    ("directory", "data", "how", "message"),
    [
        (0o700, 0o600, "write", "cannot look into"),
        (0o755, 0o644, "write", "cannot open .*writer.lock for writing.*open_client"),
        (0o755, 0o600, "readonly", "cannot read .*durable-trio.json: Permission denied"),
        (0o755, 0o644, "readonly", "no permission.*lock.mdb"),
    ],
)
def test_permissions_are_explained(reachable, child, directory, data, how, message):
    for file in reachable.iterdir():
        file.chmod(data)
    reachable.chmod(directory)
    before = picture(reachable)
    said = child(OPEN_AS_NOBODY, reachable, how).finish()
    assert re.search(message, said), said
    assert picture(reachable) == before


def test_a_directory_that_cannot_be_made_is_explained(reachable, child):
    said = child(OPEN_AS_NOBODY, reachable.parent / "new" / "db", "write").finish()
    assert re.search("cannot create .*/new/db: Permission denied", said), said
    assert not (reachable.parent / "new").exists()
