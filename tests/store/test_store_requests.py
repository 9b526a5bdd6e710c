"""Requests of other processes in the store on disk."""

from __future__ import annotations

import lmdb
import pytest

from durable_trio._errors import EngineClosed, InputError, StoreCorrupt, StoreError
from durable_trio._store.base import Answer, Write
from durable_trio._store.datafile import verify_data_file
from durable_trio._store.lmdb import open_lmdb, open_lmdb_client
from durable_trio._store.lock import has_owner
from durable_trio._store.memory import MemoryStore


@pytest.fixture
def box(opened, path):
    """A client's box of a database that ``box.engine`` has open."""
    store = opened()
    reader, made = open_lmdb_client(path)
    made.engine, made.reader = store, reader
    yield made
    made.close()
    reader.close()


def test_requests_come_in_the_order_in_which_they_were_left(box):
    keys = [box.leave(b"%d" % n) for n in range(20)]
    assert box.engine.requests(limit=99) == [(key, b"%d" % n) for n, key in enumerate(keys)]
    assert box.engine.requests(limit=2) == [(keys[0], b"0"), (keys[1], b"1")]
    assert box.look(keys[3]) == (None, True)


def test_an_answer_is_in_the_transaction_of_its_effect(box, new_run):
    key = box.leave(b"start it")
    with pytest.raises(InputError):
        box.engine.commit([new_run(1), Write(b"\0" * 16, old=3, new=5)], [Answer(key, b"done")])
    assert box.look(key) == (None, True)
    box.engine.commit([new_run(1)], [Answer(key, b"done")])
    assert box.look(key) == (b"done", False)
    assert box.engine.requests(limit=9) == []
    assert box.engine.replies(limit=9) == [(key, b"done")]
    box.take_reply(key)
    assert box.engine.replies(limit=9) == []


def test_an_answer_needs_no_effect(box):
    before = box.engine.batch_number()
    key = box.leave(b"nonsense")
    assert box.engine.commit([], [Answer(key, b"no")]) == before + 1
    assert box.look(key) == (b"no", False)


def test_nobody_is_answered_who_has_taken_the_request_back(box):
    key = box.leave(b"x")
    assert box.withdraw(key, unless_engine=False)
    assert not box.withdraw(key, unless_engine=False)
    box.engine.commit([], [Answer(key, b"done")])
    assert box.look(key) == (None, False)


def test_a_request_can_be_forgotten_with_its_reply(box):
    first, second = box.leave(b"1"), box.leave(b"2")
    box.engine.commit([], [Answer(first, b"done")])
    box.engine.commit([], [Answer(first, None), Answer(second, None)])
    assert box.engine.requests(limit=9) == box.engine.replies(limit=9) == []


def test_nothing_is_left_where_no_engine_is(opened, path):
    store = opened()
    reader, box = open_lmdb_client(path)
    key = box.leave(b"x")
    assert not box.withdraw(key, unless_engine=True)  # there is one, which may be at it
    store.close()
    assert not box.has_engine()
    with pytest.raises(EngineClosed, match="start the program that runs"):
        box.leave(b"y")
    assert reader.requests(limit=9) == [(key, b"x")]
    assert box.withdraw(key, unless_engine=True)
    assert reader.requests(limit=9) == []
    box.close()
    box.close()
    reader.close()


def test_the_lock_is_looked_at_without_being_taken(path, child):
    engine = child("store = open_lmdb(path); say('open'); hear()", path)
    engine.hear()
    assert has_owner(path / "writer.lock")
    engine.kill()
    assert not has_owner(path / "writer.lock")
    assert not has_owner(path / "missing")
    open_lmdb(path).close()


def test_another_processs_commit_is_seen_by_its_number(box, child):
    before = box.engine.last_transaction()
    child(
        """
        from durable_trio._store.lmdb import open_lmdb_client
        store, box = open_lmdb_client(path)
        box.leave(b"from outside")
        """,
        box.path,
    ).finish()
    assert box.engine.last_transaction() == before + 1
    assert [payload for _, payload in box.engine.requests(limit=9)] == [b"from outside"]
    assert box.engine.last_transaction() == before + 1  # looking writes nothing


def test_a_client_may_make_the_file_larger_under_the_engine(path, opened, child, new_run):
    store = opened(map_size=1 << 17)
    store.commit([new_run(1)])
    child(
        """
        from durable_trio._store.lmdb import open_lmdb_client
        store, box = open_lmdb_client(path)
        for n in range(8):
            box.leave(bytes(1 << 20))
        """,
        path,
    ).finish()
    assert len(store.requests(limit=99)) == 8
    store.commit([new_run(2)], [Answer(key, None) for key, _ in store.requests(limit=99)])
    assert store.load((2).to_bytes(16)) is not None
    store.close()
    assert verify_data_file(path / "data.mdb") == []


def test_a_client_that_is_killed_in_its_transaction_keeps_nobody_waiting(path, opened, child, new_run):
    store = opened()
    killed = child(
        """
        import signal
        from durable_trio._store.lmdb import open_lmdb_client
        store, box = open_lmdb_client(path)
        def work(txn):
            txn.put(b"k", b"v", db=box._environment.tables.requests)
            os.kill(os.getpid(), signal.SIGKILL)
        box._transact(work)
        """,
        path,
    )
    assert killed.process.wait() == -9
    store.commit([new_run(1)])
    assert store.requests(limit=9) == []


def test_a_full_disk_is_told_and_leaves_nothing(path, opened, child):
    store = opened()
    said = child(
        """
        import resource, signal
        from durable_trio._store.lmdb import open_lmdb_client
        store, box = open_lmdb_client(path)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        for _ in range(2):
            try:
                box.leave(bytes(4 << 20))
            except StoreFull as error:
                say(error)
        """,
        path,
    ).finish()
    assert said.count("no space is left") == 2
    assert said.count("nothing of this commit was written") == 2
    assert store.requests(limit=9) == []


def test_a_client_refuses_a_file_that_was_replaced(path, child, opened, tmp_path):
    store = opened()
    client = child(
        """
        from durable_trio._store.lmdb import open_lmdb_client
        store, box = open_lmdb_client(path)
        say("open")
        hear()
        try:
            box.leave(b"x")
        except StoreError as error:
            say(error)
        """,
        path,
    )
    client.hear()
    (path / "data.mdb").rename(tmp_path / "elsewhere")
    open_lmdb(tmp_path / "other").close()
    (tmp_path / "other" / "data.mdb").rename(path / "data.mdb")
    client.say()
    assert "data.mdb was replaced by another file" in client.finish()
    del store


def test_a_damaged_request_hides_no_other(path, opened):
    store = opened()
    reader, box = open_lmdb_client(path)
    keys = [box.leave(b"%d" % n) for n in range(3)]
    box.close(), reader.close(), store.close()
    env = lmdb.open(str(path), max_dbs=16, lib_version=0, map_size=1 << 28)
    with env.begin(write=True) as txn:
        txn.put(keys[1], b"damaged", db=env.open_db(b"requests", txn=txn))
    env.close()
    assert opened().requests(limit=9) == [(keys[0], b"0"), (keys[1], None), (keys[2], b"2")]


def test_a_database_of_the_first_version_gets_the_tables_when_it_is_opened(path, opened, new_run):
    store = opened()
    store.commit([new_run(1)])
    store.close()
    env = lmdb.open(str(path), max_dbs=16, lib_version=0, map_size=1 << 28)
    with env.begin(write=True) as txn:
        for name in (b"requests", b"replies"):
            txn.drop(env.open_db(name, txn=txn))
    env.close()
    with pytest.raises(StoreError, match="made by an earlier version"):
        open_lmdb(path, readonly=True)
    store = opened()
    assert store.load((1).to_bytes(16)).header == b"header 1"
    assert store.requests(limit=9) == []


def test_a_client_creates_nothing(path, tmp_path):
    with pytest.raises(StoreError, match="there is no database in"):
        open_lmdb_client(path)
    assert list(tmp_path.iterdir()) == []


def test_a_client_notices_damage_when_it_opens(path, opened):
    opened().close()
    (path / "data.mdb").write_bytes(b"")
    with pytest.raises(StoreCorrupt):
        open_lmdb_client(path)


def test_nobody_can_ask_anything_of_a_store_in_memory():
    store = MemoryStore()
    assert store.requests(limit=9) == store.replies(limit=9) == []
    with pytest.raises(InputError, match="no other process"):
        store.commit([], [Answer(b"key", b"reply")])
