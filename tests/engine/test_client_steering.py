"""A client steers runs of another process's engine: fork, pause, resume. (Retrying is in ``test_client``.)"""

from __future__ import annotations

import signal

import pytest
import trio
from client_flows import WORKFLOWS
from client_helpers import until

from durable_trio import EngineClosed, InputError, RunNotFound, open_client, open_engine
from durable_trio._store.lmdb import open_lmdb


async def waits_at(client, run_id, step):
    """Whether the run is recorded as waiting there."""
    info = await client.get(run_id)
    return info.status == "waiting" and info.steps[-1].path == step and info.steps[-1].status == "waiting"


def acts(info):
    return [(act.act, act.step, act.run) for act in info.history]


async def test_a_run_is_forked(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        await client.start("orders", {}, id="r")
        for number in range(3):
            await client.send_event("r", "news", number)
        await until(lambda: has_ended(client, "r"))
        fork = await client.fork("r", "second", id="f")
        assert (fork.id, fork.created) == ("f", True)
        assert acts(await client.get("f")) == [("forked_from", "second", "r")]
        assert acts(await client.get("r")) == [("forked", "second", "f")]
        for payload in "xy":
            await client.send_event("f", "news", payload)
        assert await fork.result() == {"first": 0, "second": "x", "third": "y"}
        again = await client.fork("r", "second", id="f")
        assert (again.id, again.created) == ("f", False)
        without_id = await client.fork("r", "first", visit=1)
        assert without_id.created
        assert len(await client.list()) == 3


async def has_ended(client, run_id):
    return (await client.get(run_id)).finished_at


async def test_a_run_is_paused_and_resumed(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("orders", {}, id="r")
        assert await client.pause("r") is True
        assert await client.pause("r") is False
        for number in range(3):
            await client.send_event("r", "news", number)
        info = await client.get("r")
        assert (info.paused, info.finished_at, acts(info)) == (True, None, [("paused", None, None)])
        assert await client.resume("r") is True
        assert await run.result() == {"first": 0, "second": 1, "third": 2}
        assert [act for act, _, _ in acts(await client.get("r"))] == ["paused", "resumed"]


async def test_resuming_what_is_not_paused_says_so(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        await client.start("orders", {}, id="r")
        assert await client.resume("r") is False
        assert (await client.get("r")).history == []


async def test_errors_are_those_of_the_engine_with_their_text(disk, service):
    calls = {
        "fork of no run": lambda on: on.fork("nobody", "first"),
        "fork from nowhere": lambda on: on.fork("open", "third"),
        "fork from no visit": lambda on: on.fork("open", "first", visit=7),
        "fork with another's id": lambda on: on.fork("open", "first", id="done"),
        "fork with a bad id": lambda on: on.fork("open", "first", id=""),
        "pause of no run": lambda on: on.pause("nobody"),
        "pause of an ended run": lambda on: on.pause("done"),
        "resume of an ended run": lambda on: on.resume("done"),
    }
    running = await service(disk)
    told = {}
    async with open_client(disk) as client:
        await client.run("showing", {"value": 1}, id="done")
        await client.start("orders", {}, id="open")
        await until(lambda: waits_at(client, "open", "first"))
        before = await client.get("open")
        for name, call in calls.items():
            with pytest.raises((InputError, RunNotFound)) as caught:
                await call(client)
            told[name] = type(caught.value), str(caught.value)
        assert await client.get("open") == before
        assert len(await client.list()) == 2
    await running.close()
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        for name, call in calls.items():
            with pytest.raises((InputError, RunNotFound)) as caught:
                await call(engine)
            assert told[name] == (type(caught.value), str(caught.value)), name


POINTS = [f"{point}:{count}" for count in range(1, 11) for point in ("commit.begin", "commit.end")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "failpoint",
    [pytest.param(point, marks=[] if point.endswith((":4", ":6")) else pytest.mark.slow) for point in POINTS],
)
async def test_a_killed_engine_has_done_it_or_not_and_never_twice(disk, service, failpoint):
    """The client asks again after an EngineClosed, and only then: it says that nothing was done."""
    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        await engine.start("orders", {}, id="r")
    running = await service(disk, is_heard=False, DURABLE_TRIO_FAILPOINT=failpoint)
    deaths = 0

    async def keep_alive():
        nonlocal running, deaths
        while True:
            assert await running.ended() == -signal.SIGKILL
            deaths += 1
            running = await service(disk)

    async def asked(call):
        while True:
            try:
                return await call()
            except EngineClosed:
                await trio.lowlevel.checkpoint()

    async with open_client(disk) as client, trio.open_nursery() as nursery:
        nursery.start_soon(keep_alive)
        await asked(lambda: client.send_event("r", "news", 0))
        await until(lambda: waits_at(client, "r", "second"))
        fork = await asked(lambda: client.fork("r", "second"))
        assert await asked(lambda: client.pause("r")) is True
        assert await asked(lambda: client.pause(fork.id)) is True
        for run_id in ("r", fork.id):
            for number in (1, 2):
                await asked(lambda: client.send_event(run_id, "news", number))  # noqa: B023
            assert await asked(lambda: client.resume(run_id)) is True  # noqa: B023
        for run_id in ("r", fork.id):
            await until(lambda: has_ended(client, run_id))  # noqa: B023
            assert (await client.get(run_id)).result == {"first": 0, "second": 1, "third": 2}
        assert {info.id for info in await client.list()} == {"r", fork.id}
        assert [act for act, _, _ in acts(await client.get("r"))] == ["forked", "paused", "resumed"]
        assert [act for act, _, _ in acts(await client.get(fork.id))] == ["forked_from", "paused", "resumed"]
        nursery.cancel_scope.cancel()
    assert deaths == 1
    await running.kill()
    store = open_lmdb(disk)
    assert (store.requests(limit=9), store.replies(limit=9)) == ([], [])
    store.close()
