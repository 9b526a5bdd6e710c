"""What becomes of a request when its engine is not there, closes, or is killed, and when its client is."""

from __future__ import annotations

import os
import signal
import sys
import threading
from functools import partial

import pytest
import trio
from client_flows import WORKFLOWS, orders
from client_helpers import ROOT, until
from engine_helpers import Hold

from durable_trio import EngineClosed, RunNotFound, StoreError, open_client, open_engine
from durable_trio._store.lmdb import open_lmdb

# Leaves two requests, says so, and waits for answers until it is killed.
CLIENT = """
import sys, trio
from durable_trio import open_client

async def main():
    async with open_client(sys.argv[1]) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.send_event, "r", "news", "left")
        await trio.sleep_forever()

trio.run(main)
"""


async def with_run(disk):
    """A database with the run ``"r"`` of ``orders``, which waits."""
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        await engine.start(orders, {}, id="r")
        await until(lambda: is_waiting(engine))
    return open_lmdb(disk)


async def is_waiting(engine):
    return (await engine.get("r")).status == "waiting"


async def request_in(store, count=1):
    return len(store.requests(limit=9)) == count


async def test_without_an_engine_nothing_is_done_nor_left(disk):
    (await with_run(disk)).close()
    async with open_client(disk) as client:
        for call in (client.cancel("r"), client.send_event("r", "news"), client.start("orders")):
            with pytest.raises(EngineClosed, match=r"no engine has .*app\.lmdb open, so nothing was done"):
                await call
        assert (await client.get("r")).status == "waiting"  # reading needs none
    store = open_lmdb(disk)
    assert store.requests(limit=9) == store.messages(store.find(b"r")) == []
    store.close()


async def test_an_engine_that_closes_first_leaves_nothing_behind(disk):
    store = await with_run(disk)
    told = []

    async def ask(client):
        with pytest.raises(EngineClosed, match="nothing was done") as caught:
            await client.cancel("r")
        told.append(caught.value)

    async with open_client(disk) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client)
            await until(lambda: request_in(store))
            store.close()
        assert len(told) == 1
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        assert engine.store.requests(limit=9) == []
        assert (await engine.get("r")).status == "waiting"


async def test_an_engine_that_drains_takes_nothing_up(disk, service):
    running = await service(disk)
    told = []

    async def ask(client):
        with pytest.raises(EngineClosed, match="nothing was done") as caught:
            await client.start("orders", {}, id="late")
        told.append(caught.value)

    async with open_client(disk) as client:
        running.say("drain")
        await running.hear("drained")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, client)
            await until(lambda: has_requests(client))
            await running.close()
        assert len(told) == 1
        with pytest.raises(RunNotFound):
            await client.get("late")


async def has_requests(client):
    return client._reader._store.requests(limit=1)


async def test_a_call_that_is_cancelled_takes_its_request_back(disk):
    store = await with_run(disk)
    async with open_client(disk) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.cancel, "r")
        await until(lambda: request_in(store))
        nursery.cancel_scope.cancel()
    assert store.requests(limit=9) == store.replies(limit=9) == []
    store.close()


async def test_the_request_of_a_client_that_was_killed_is_done_by_the_next_engine(disk):
    store = await with_run(disk)
    command = [sys.executable, "-c", CLIENT, str(disk)]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        )
        await until(lambda: request_in(store))
        process.kill()
    store.close()
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        await engine.send_event("r", "news", "later")
        await engine.send_event("r", "news", "last")
        result = await (await engine.start(orders, id="r")).result()
        assert result == {"first": "left", "second": "later", "third": "last"}
        assert engine.store.requests(limit=9) == []


async def leave(store, monkeypatch, call):
    """A request as a client leaves it that dies while it waits; ``call`` is given the client."""
    before = len(store.requests(limit=9))
    async with open_client(store.path) as client, trio.open_nursery() as nursery:
        monkeypatch.setattr(client._caller._box, "withdraw", lambda key, unless_engine: False)
        nursery.start_soon(call, client)
        await until(lambda: request_in(store, before + 1))
        nursery.cancel_scope.cancel()


async def test_what_was_left_is_done_before_an_engine_is_used(disk, monkeypatch):
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        run = await engine.start("failing", {"file": "nowhere"}, id="f")
        await run.wait()
    store = open_lmdb(disk)
    await leave(store, monkeypatch, lambda client: client.start("showing", {"value": 1}, id="s"))
    await leave(store, monkeypatch, lambda client: client.retry("f"))
    await leave(store, monkeypatch, lambda client: client.cancel("nobody"))
    store.close()
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        assert {info.id for info in await engine.list()} == {"f", "s"}
        run = await engine.start("showing", {"value": 2}, id="s")
        assert not run.created
        assert (await run.result())["value"] == 1
        await until(lambda: all_ended(engine))
        assert len(engine.store.replies(limit=9)) == 3


async def all_ended(engine):
    return all(info.finished_at for info in await engine.list())


POINTS = [f"{point}:{count}" for count in range(1, 9) for point in ("commit.begin", "commit.end")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    [pytest.param(point, marks=[] if point.endswith((":4", ":5")) else pytest.mark.slow) for point in POINTS],
)
async def test_a_killed_engine_neither_loses_a_request_nor_does_it_twice(disk, service, failpoint):
    """The client asks again after an EngineClosed, and only then: it says that nothing was done."""
    (await with_run(disk)).close()
    running = await service(disk, is_heard=False, DURABLE_TRIO_FAILPOINT=failpoint)
    deaths = refusals = 0

    async def keep_alive():
        nonlocal running, deaths
        while True:
            assert await running.ended() == -signal.SIGKILL
            deaths += 1
            running = await service(disk)

    async def asked(call):
        nonlocal refusals
        while True:
            try:
                return await call()
            except EngineClosed:
                refusals += 1
                await trio.lowlevel.checkpoint()

    async with open_client(disk) as client, trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive)
        run = await asked(lambda: client.start("orders", {}, id="other"))
        for number in range(3):
            await asked(lambda: client.send_event("r", "news", number))  # noqa: B023
        assert await asked(lambda: client.cancel("other", "enough")) is True
        assert (await run.wait()).error == "enough"
        await until(lambda: has_ended(client))
        info = await client.get("r")
        assert info.result == {"first": 0, "second": 1, "third": 2}
        nursery.cancel_scope.cancel()
    assert deaths == 1
    await running.kill()
    store = open_lmdb(disk)
    assert store.messages(store.find(b"r")) == []
    assert (store.requests(limit=9), store.replies(limit=9)) == ([], [])
    store.close()


async def has_ended(client):
    return (await client.get("r")).finished_at


async def test_replies_that_nobody_takes_are_removed(disk, monkeypatch):
    from durable_trio._engine import requests

    monkeypatch.setattr(requests, "_REPLY_LIFE", 0.0)
    monkeypatch.setattr(requests, "_SWEEP_EVERY", 1)
    store = await with_run(disk)
    await leave(store, monkeypatch, lambda client: client.send_event("r", "news"))
    store.close()
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        await until(lambda: no_replies(engine))
        assert engine.store.requests(limit=9) == []


async def no_replies(engine):
    return not engine.store.replies(limit=1)


async def test_who_may_only_read_is_told_so(disk, service, monkeypatch):
    await service(disk)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    async with open_client(disk) as client:
        assert await client.list() == []
        with pytest.raises(StoreError, match="this user may only read"):
            await client.start("orders", {})


async def test_a_store_in_memory_is_not_looked_at(wf, mock_clock):
    wf.sleep(1)
    async with open_engine(workflows=[wf]):
        assert "durable-trio requests" not in [thread.name for thread in threading.enumerate()]


async def test_nothing_is_asked_of_runs_that_are_not_yet_known(disk, wf, monkeypatch):
    """Requests are looked for all the time, and finding the unfinished runs takes a while."""
    from durable_trio._engine import recovery, requests

    monkeypatch.setattr(recovery, "_PAGE", 1)
    monkeypatch.setattr(requests, "_INTERVAL", 0.001)
    hold = Hold()

    @wf.step
    async def wait(ctx):
        await hold()

    ids = [str(number) for number in range(60)]
    async with open_engine(disk, workflows=[wf]) as engine:
        for run_id in ids:
            await engine.start(wf, id=run_id)
        await until(lambda: all_hold(hold, len(ids)))
    store = open_lmdb(disk)
    await leave(store, monkeypatch, lambda client: client.send_event(ids[-1], "news"))
    store.close()
    async with open_engine(disk, workflows=[wf]) as engine:
        hold.let_go()
        await until(lambda: all_ended(engine))
        ended = {info.id: info.status for info in await engine.list()}
    assert ended == dict.fromkeys(ids, "completed")
    assert hold.entered == 2 * len(ids)  # once in each life


async def all_hold(hold, count):
    return hold.entered == count


async def test_a_page_that_was_read_before_the_answer_was_on_disk_repeats_nothing(disk, wf, monkeypatch):
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf]) as engine, open_client(disk) as client:
        await engine.start(wf, id="r")
        read = engine.store.requests
        pages = []

        def late(*, limit):
            if limit == 1:  # somebody looks whether there are any
                return read(limit=1)
            if not any(pages):
                pages.append(read(limit=limit))
                return pages[-1]
            while read(limit=1):
                pass  # until the answer is on disk: this is a slow thread
            return pages.pop()

        monkeypatch.setattr(engine.store, "requests", late)
        await client.send_event("r", "news")
        await client.send_event("r", "news")
        key = engine.reader.find("r")
        assert len(engine.store.messages(key)) == 2
