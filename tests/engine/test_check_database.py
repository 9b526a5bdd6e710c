"""What ``check_database`` finds, and that it finds nothing where nothing is wrong."""

from __future__ import annotations

import lmdb
import pytest
from client_flows import WORKFLOWS
from client_helpers import until

from durable_trio import Err, Workflow, check_database, open_client, open_engine
from durable_trio._store.seal import seal


async def filled(disk):
    """Runs that have ended in each way, and such that have not."""
    undone = Workflow("undone")
    undone.compensation("undo", lambda ctx, result: None)
    undone.step(lambda ctx: {"a": 1}, name="a", compensate="undo", inline=True)
    undone.step(lambda ctx: Err("no"), name="b", inline=True)
    workflows = [*WORKFLOWS, undone]
    async with open_engine(disk, workflows=workflows) as engine:
        await (await engine.start("showing", {"value": 1}, id="completed")).wait()
        await (await engine.start("failing", {"file": "nowhere"}, id="failed")).wait()
        await (await engine.start("undone", {}, id="compensated")).wait()
        await engine.start("orders", {}, id="cancelled")
        await engine.cancel("cancelled")
        await engine.start("orders", {}, id="waiting")
        await until(lambda: is_waiting(engine))
        await engine.start("orders", {}, id="gone")
        await engine.cancel("gone")
        await engine.delete("gone")
        await (await engine.retry("failed")).wait()


async def is_waiting(engine):
    return (await engine.get("waiting")).status == "waiting"


async def test_nothing_is_wrong_with_a_database_that_was_just_used(disk):
    await filled(disk)
    report = await check_database(disk)
    assert report.problems == []
    assert report.info.by_status == {
        "waiting": 1,
        "completed": 1,
        "failed": 1,
        "cancelled": 1,
        "compensated": 1,
    }
    assert (report.info.path, report.info.runs, report.info.engine) == (str(disk), 5, False)
    assert 0 < report.info.used <= report.info.size
    assert report.info.disk_free > 0


async def test_it_may_be_asked_while_an_engine_runs(disk, service):
    running = await service(disk)
    async with open_client(disk) as client:
        await client.start("orders", {}, id="r")
        info = await client.statistics()
        assert (info.engine, info.runs, info.requests) == (True, 1, 0)
        assert (await check_database(disk)).info.engine
        assert (await check_database(disk)).problems == []
        await running.close()
        assert not (await client.statistics()).engine


async def test_that_there_is_no_database_is_found(tmp_path):
    report = await check_database(tmp_path / "nothing")
    assert report.info is None
    assert "there is no database in" in report.problems[0]
    (tmp_path / "file").write_text("x")
    assert "not a directory" in (await check_database(tmp_path / "file")).problems[0]


def change(disk, work):
    """Write to the tables as nobody should."""
    env = lmdb.open(str(disk), max_dbs=16, lib_version=0, map_size=1 << 28)
    with env.begin(write=True) as txn:
        work(lambda name: env.open_db(name.encode(), txn=txn), txn)
    env.close()


def first(txn, table):
    with txn.cursor(table) as cursor:
        assert cursor.first()
        return cursor.item()


def flip(name):
    def work(table, txn):
        key, value = first(txn, table(name))
        txn.put(key, value[:-1] + bytes([value[-1] ^ 1]), db=table(name))

    return work


def drop(name):
    def work(table, txn):
        txn.delete(first(txn, table(name))[0], db=table(name))

    return work


def add(name, key, payload=b""):
    return lambda table, txn: txn.put(key, seal(key, payload), db=table(name))


def count_wrong(table, txn):
    state = txn.get(b"state", db=table("meta"))
    payload = state[5:-1] + bytes([state[-1] + 1])
    txn.put(b"state", seal(b"state", payload), db=table("meta"))


def swap_status(table, txn):
    """The index says that a run which has ended is waiting."""
    with txn.cursor(table("statuses")) as cursor:
        for key in cursor.iternext(values=False):
            if key[2] >= 16:
                txn.delete(key, db=table("statuses"))
                changed = key[:2] + b"\3" + key[3:]
                txn.put(changed, seal(changed, b""), db=table("statuses"))
                return


GHOST = b"\x7f" * 16


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (flip("runs"), "its header"),
        (flip("journal"), "row 0 of its journal"),
        (flip("statuses"), "its status"),
        (flip("aliases"), "table 'aliases'"),
        (flip("workflows"), "table 'workflows'"),
        (flip("outlines"), "table 'outlines'"),
        (drop("runs"), "the run is not"),
        (drop("journal"), "its journal"),
        (drop("statuses"), "its status"),
        (add("aliases", b"nobody", GHOST), "names a run that is not there"),
        (add("journal", GHOST + b"\0\0\0\0"), "belongs to a run that is not there"),
        (add("messages", GHOST + bytes(8)), "belongs to a run that is not there"),
        (add("statuses", b"\0\1\3" + GHOST), "the run is not"),
        (swap_status, "and its journal has"),
        (count_wrong, "the count "),
    ],
    ids=range(15),
)
async def test_damage_is_found(disk, work, expected):
    await filled(disk)
    change(disk, work)
    report = await check_database(disk)
    assert any(expected in problem for problem in report.problems), report.problems
    assert report.info is not None or "meta" in str(report.problems)


async def test_a_damaged_structure_is_found_before_anything_is_mapped(disk):
    await filled(disk)
    data = disk / "data.mdb"
    raw = bytearray(data.read_bytes())
    for page in range(2, len(raw) // 4096):
        raw[page * 4096 + 10 : page * 4096 + 40] = bytes(30)
    data.write_bytes(raw)
    report = await check_database(disk)
    assert report.info is None
    assert "data.mdb" in report.problems[0]
    data.write_bytes(raw[:5000])
    assert "cut short" in (await check_database(disk)).problems[0]
