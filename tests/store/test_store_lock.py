"""One writer, many readers, within a process and across."""

from __future__ import annotations

import re
import threading

import pytest

from durable_trio._errors import StoreError, StoreLocked
from durable_trio._store.base import Write
from durable_trio._store.lmdb import open_lmdb

HOLD = """
    store = open_lmdb(path)
    store.commit([new_run(1)])
    say("open")
    hear()
    store.close()
    say("closed")
"""

TRY = """
    try:
        open_lmdb(path).close()
        say("opened")
    except StoreLocked as error:
        say(str(error))
"""


def numbers(page):
    return [int.from_bytes(stored.run) for stored in page]


def test_another_process_is_named_and_its_lock_ends_with_it(path, opened, child):
    owner = child(HOLD, path)
    assert owner.hear() == "open"
    with pytest.raises(StoreLocked, match=f"process {owner.pid}.*stop that one.*open_client"):
        open_lmdb(path)
    owner.say()
    assert owner.hear() == "closed"
    assert numbers(opened().page(limit=9)) == [1]


def test_a_killed_owner_leaves_no_lock(path, opened, child):
    owner = child(HOLD, path)
    owner.hear()
    owner.kill()
    assert numbers(opened().page(limit=9)) == [1]


def test_the_name_of_an_earlier_owner_does_not_shine_through(path, child):
    open_lmdb(path).close()
    (path / "writer.lock").write_text("1234567890123\n")  # as a killed owner leaves it
    owner = child(HOLD, path)
    owner.hear()
    with pytest.raises(StoreLocked, match=f"process {owner.pid};"):
        open_lmdb(path)


def test_an_owner_without_a_name_is_another_process(path, child):
    owner = child(HOLD, path)
    owner.hear()
    (path / "writer.lock").write_text("")
    with pytest.raises(StoreLocked, match="in another process"):
        open_lmdb(path)


def test_an_owner_killed_within_a_transaction_leaves_no_lock(path, opened, child, new_run):
    owner = child(
        """
        store = open_lmdb(path)
        store.commit([new_run(1)])
        txn = store._environment.begin_write()
        txn.put(b"half", b"done", db=store._tables.meta)
        say("inside")
        hear()
        """,
        path,
    )
    owner.hear()
    owner.kill()
    store = opened()
    assert store.commit([new_run(2)]) == 2


def test_the_same_process_is_told_so(path, opened):
    opened()
    with pytest.raises(StoreLocked, match="already open for writing in this process"):
        open_lmdb(path)


def test_another_name_for_the_path_is_no_way_around(path, opened, tmp_path):
    opened()
    (tmp_path / "link").symlink_to(path)
    for alias in (tmp_path / "link", tmp_path / "x" / ".." / "app.lmdb"):
        with pytest.raises(StoreLocked):
            open_lmdb(alias)


def test_a_refused_opening_takes_nothing_away_from_the_owner(path, opened, child, new_run):
    store = opened()
    with pytest.raises(StoreLocked):
        open_lmdb(path)
    assert "this process" not in child(TRY, path).finish()
    assert store.commit([new_run(1)]) == 1
    said = child(TRY, path).finish()  # the lock is still there, and so is the name on it
    assert re.search(r"process \d+", said)


@pytest.mark.slow
def test_many_that_create_one_database_at_once(path, child):
    children = [
        child(
            """
            say("ready")
            hear()
            try:
                store = open_lmdb(path)
                store.commit([new_run(os.getpid())])
                say("opened")
            except StoreLocked:
                say("locked")
            hear()
            """,
            path,
        )
        for _ in range(6)
    ]
    for each in children:
        each.hear()
    for each in children:
        each.say()
    assert sorted(each.hear() for each in children) == ["locked"] * 5 + ["opened"]
    reader = open_lmdb(path, readonly=True)
    assert reader.batch_number() == 1
    reader.close()


def test_many_threads_that_create_one_database_at_once(path):
    outcomes = []
    barrier = threading.Barrier(8)

    def attempt():
        barrier.wait()
        try:
            outcomes.append(open_lmdb(path))
        except StoreLocked:
            outcomes.append(None)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [store for store in outcomes if store is not None]
    assert len(winners) == 1
    winners[0].close()


def test_closing_waits_for_the_commit_under_way_before_it_gives_the_lock_up(opened, monkeypatch):
    store = opened()
    opened(readonly=True)  # so that the environment stays open
    events = []
    released = threading.Event()

    def release():
        events.append("released")
        released.set()

    monkeypatch.setattr(store._lock, "release", release)
    closing = threading.Thread(target=store.close)
    with store._environment.write_lock:  # as a commit holds it
        closing.start()
        released.wait(0.05)  # time in which it could go wrong; when all is well, nothing depends on it
        events.append("committed")
    closing.join()
    assert events == ["committed", "released"]
    monkeypatch.undo()
    store._lock.release()


# -- readers -------------------------------------------------------------------------------------------


def test_a_reader_in_another_process_follows_a_writer(path, opened, child, new_run):
    store = opened(map_size=1 << 17)
    reader = child(
        """
        store = open_lmdb(path, readonly=True)
        while True:
            stored = store.page(limit=10_000)
            say(f"{store.batch_number()} {len(stored)} {sum(len(each.rows[0]) for each in stored)}")
            if hear() == "end":
                break
        """,
        path,
    )
    assert reader.hear() == "0 0 0"
    for batch in range(1, 6):  # the file outgrows the reader's map several times
        store.commit(
            [
                Write((batch * 100 + n).to_bytes(16), header=b"h", row=b"x" * 10_000, workflow=1, new=2)
                for n in range(50)
            ]
        )
        reader.say()
        assert reader.hear() == f"{batch} {batch * 50} {batch * 50 * 10_000}"
    assert store.statistics().map_size > 1 << 20
    reader.say("end")
    reader.finish()


def test_a_writer_in_another_process_comes_and_goes_beside_a_reader(path, opened, child):
    owner = child(HOLD, path)
    owner.hear()
    reader = opened(readonly=True)
    assert numbers(reader.page(limit=9)) == [1]
    owner.kill()
    second = child(
        """
        store = open_lmdb(path, map_size=1 << 17)
        for n in range(2, 40):
            store.commit([new_run(n, row=b"x" * 20_000)])
        say("grown")
        hear()
        """,
        path,
    )
    second.hear()
    assert len(reader.page(limit=99)) == 39


def test_readers_in_the_process_of_the_writer_share_with_it(path, opened, new_run):
    writer = opened()
    first, second = opened(readonly=True), opened(readonly=True)
    writer.commit([new_run(1)])
    assert numbers(first.page(limit=9)) == numbers(second.page(limit=9)) == [1]
    first.close()
    with pytest.raises(StoreError, match="closed"):
        first.batch_number()
    writer.commit([new_run(2)])
    assert numbers(second.page(limit=9)) == [2, 1]


def test_a_reader_outlives_the_writer_it_shared_with(path, opened, child, new_run):
    writer = opened()
    reader = opened(readonly=True)
    writer.commit([new_run(1)])
    writer.close()
    assert numbers(reader.page(limit=9)) == [1]
    assert child(TRY, path).finish() == "opened"  # the lock went with the writer
    again = opened()
    again.commit([new_run(2)])
    assert numbers(reader.page(limit=9)) == [2, 1]


def test_reading_first_and_then_writing_is_refused_with_a_reason(path, opened, child):
    opened().close()
    reader = opened(readonly=True)
    with pytest.raises(StoreLocked, match=r"for reading only.*leave that open_client first"):
        open_lmdb(path)
    assert child(TRY, path).finish() == "opened"  # the refused attempt holds no lock
    reader.close()
    opened()


def test_slots_of_killed_readers_are_freed_when_the_database_is_opened(path, opened, child):
    opened().close()
    read = """
    store = open_lmdb(path, readonly=True)
    txns = [store._environment._env.begin() for _ in range(5)]
    say("reading")
    hear()
    """
    bystander, reader = child(read, path), child(read, path)  # with one there, LMDB does not begin anew
    bystander.hear()
    reader.hear()
    reader.kill()
    store = opened()
    assert store._environment.reader_check() == 0  # done already


def test_slots_of_killed_readers_are_freed_when_they_run_out(path, opened, child, monkeypatch):
    monkeypatch.setattr("durable_trio._store.environment.MAX_READERS", 3)
    store = opened()
    reader = child(
        """
        store = open_lmdb(path, readonly=True)
        txns = [store._environment._env.begin() for _ in range(3)]
        say("reading")
        hear()
        """,
        path,
    )
    reader.hear()
    with pytest.raises(StoreError, match="too many reads"):
        store.batch_number()
    reader.kill()
    assert store.batch_number() == 0
