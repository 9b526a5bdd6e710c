"""A client asks the engine of another process: each method, its answers and its errors."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import trio
from client_flows import Money, Unregistered
from client_helpers import until

from durable_trio import (
    DefinitionError,
    InputError,
    RunCancelled,
    RunFailed,
    RunNotFound,
    SnapshotError,
    open_client,
    open_engine,
)


async def waiting(client, run_id):
    await until(lambda: has_status(client, run_id, "waiting"))


async def has_status(client, run_id, status):
    return (await client.get(run_id)).status == status


async def test_a_run_is_started_and_its_result_awaited(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("showing", {"value": 7}, id="seven")
        assert (run.id, run.created) == ("seven", True)
        assert await run.result() == {"value": 7, "type": "int"}
        assert (await run.wait()).status == run.status == "completed"
        assert await client.run("showing", {"value": 8}) == {"value": 8, "type": "int"}


async def test_the_same_id_again_is_the_same_run(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        assert (await client.start("showing", {"value": 1}, id="one")).created
        again = await client.start("showing", {"value": 2}, id="one")
        assert not again.created
        assert (await again.result())["value"] == 1
        assert len(await client.list()) == 1


async def test_a_start_has_all_the_options_of_the_engines(disk, service):
    await service(disk)
    at = datetime.now(UTC) + timedelta(days=1)
    async with open_client(disk) as client:
        run = await client.start("showing", {"value": 1}, at=at, queue="slow", priority=3)
        info = await client.get(run.id)
        assert (info.status, info.queue, info.priority) == ("waiting", "slow", 3)


async def test_events_arrive_once_each_and_in_order(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("orders", {})
        for number in range(3):
            await client.send_event(run.id, "news", {"n": number})
        assert await run.result() == {"first": {"n": 0}, "second": {"n": 1}, "third": {"n": 2}}


async def test_a_question_is_seen_and_answered(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("asking", {}, id="q")
        await waiting(client, "q")
        (question,) = await client.pending_inputs()
        assert (question.run_id, question.name, question.kind) == ("q", "size", "choice")
        assert await client.pending_inputs(workflow="orders") == []
        with pytest.raises(InputError, match="'size'"):
            await client.provide_input("q", "size", "huge")
        await client.provide_input("q", "size", "large")
        assert await run.result() == {"size": "large"}
        assert await client.pending_inputs("q") == []


async def test_a_cancel_says_whether_it_took_effect(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("orders", {})
        assert await client.cancel(run.id, {"by": "Ada"}) is True
        with pytest.raises(RunCancelled) as caught:
            await run.result()
        assert caught.value.reason == {"by": "Ada"}
        assert await client.cancel(run.id) is False


async def test_a_failed_run_is_retried(disk, service, tmp_path):
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("failing", {"file": str(tmp_path / "it")})
        with pytest.raises(RunFailed, match="no file"):
            await run.result()
        (tmp_path / "it").touch()
        again = await client.retry(run.id)
        assert await again.result() == {"file": str(tmp_path / "it")}
        with pytest.raises(InputError, match="completed; only a failed run"):
            await client.retry(run.id)


async def test_runs_are_deleted_and_pruned(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        for number in range(5):
            await client.run("showing", {"value": number}, id=str(number))
        await client.start("orders", {}, id="still")
        await client.delete("3")
        with pytest.raises(RunNotFound):
            await client.get("3")
        assert await client.prune(timedelta(days=1)) == 0
        assert await client.prune(0, ["failed"]) == 0
        assert await client.prune(0, "completed") == 4
        assert [info.id for info in await client.list()] == ["still"]


@pytest.mark.parametrize(
    "value",
    [
        (1, [2, {3}], frozenset({b"4"})),
        Decimal("1.10"),
        math.inf,
        2**200,
        datetime(2030, 1, 1, tzinfo=UTC),
        {b"bytes": {1: None}},
        Money(3, "EUR"),
    ],
    ids=repr,
)
async def test_values_are_not_changed_on_the_way(disk, service, value):
    await service(disk)
    async with open_client(disk, types=[Money]) as client:
        assert await client.run("showing", {"value": value}) == {"value": value, "type": type(value).__name__}


async def test_errors_are_those_of_the_engine_with_their_text(disk, service):
    calls = {
        "no such run": lambda on: on.send_event("nobody", "news"),
        "ended": lambda on: on.send_event("done", "news"),
        "no name": lambda on: on.send_event("done", ""),
        "not asked": lambda on: on.provide_input("open", "colour", "red"),
        "no such run to cancel": lambda on: on.cancel("nobody"),
        "not failed": lambda on: on.retry("open"),
        "not ended": lambda on: on.delete("open"),
        "not registered": lambda on: on.start("nothing"),
        "no mapping": lambda on: on.start("showing", 7),
        "a bad id": lambda on: on.start("showing", {}, id=""),
        "another's id": lambda on: on.start("asking", {}, id="open"),
        "no time zone": lambda on: on.start("showing", {}, at=datetime(2030, 1, 1)),  # noqa: DTZ001
        "not prunable": lambda on: on.prune(1, "running"),
        "no age": lambda on: on.prune("long"),
    }
    running = await service(disk)
    told = {}
    async with open_client(disk) as client:
        await client.run("showing", {"value": 1}, id="done")
        await client.start("orders", {}, id="open")
        await waiting(client, "open")
        before = await client.get("open")
        for name, call in calls.items():
            with pytest.raises((DefinitionError, InputError, RunNotFound)) as caught:
                await call(client)
            told[name] = type(caught.value), str(caught.value)
        assert await client.get("open") == before
        assert len(await client.list()) == 2
    await running.close()
    from client_flows import WORKFLOWS

    async with open_engine(disk, workflows=WORKFLOWS) as engine:
        for name, call in calls.items():
            with pytest.raises((DefinitionError, InputError, RunNotFound)) as caught:
                await call(engine)
            assert told[name] == (type(caught.value), str(caught.value)), name


async def test_what_cannot_be_stored_is_refused_where_it_is_sent(disk, service):
    await service(disk)
    async with open_client(disk) as client:
        await client.start("orders", {}, id="r")
        with pytest.raises(SnapshotError, match=r'payload\["it"\]') as caught:
            await client.send_event("r", "news", {"it": Unregistered()})
        assert (caught.value.path, caught.value.type_name) == ('payload["it"]', "client_flows.Unregistered")
        with pytest.raises(SnapshotError, match=r"open_client\(\.\.\., types=\[client_flows\.Money\]\)"):
            await client.send_event("r", "news", Money(1, "EUR"))


async def test_a_class_that_only_the_client_knows_is_an_error_of_that_call(disk, service):
    import dataclasses

    @dataclasses.dataclass
    class Mine:
        x: int

    await service(disk)
    async with open_client(disk, types=[Mine]) as client:
        await client.start("orders", {}, id="r")
        with pytest.raises(SnapshotError, match=r"the engine .*Mine"):
            await client.send_event("r", "news", Mine(1))
        await client.send_event("r", "news", 1)  # it takes others


async def test_an_engine_takes_a_request_up_at_once(disk, service):
    """No measurement: half a second is far more than it takes, and far less than a service should."""
    await service(disk)
    async with open_client(disk) as client:
        run = await client.start("orders", {})
        taken = []
        for _ in range(3):
            begun = time.perf_counter()
            await client.send_event(run.id, "news")
            taken.append(time.perf_counter() - begun)
        assert min(taken) < 0.5


@pytest.mark.slow
async def test_many_calls_at_once_each_get_their_own_answer(disk, service):
    await service(disk)
    results = {}

    async def one(number):
        results[number] = await client.run("showing", {"value": number})

    async with open_client(disk) as client, trio.open_nursery() as nursery:
        for number in range(150):
            nursery.start_soon(one, number)
    assert results == {number: {"value": number, "type": "int"} for number in range(150)}


async def test_client_and_engine_may_be_in_one_process(disk, wf):
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf]) as engine, open_client(disk) as client:
        run = await client.start(wf, {"a": 1})
        await client.send_event(run.id, "go", "now")
        assert await (await engine.start(wf, id=run.id)).result() == {"a": 1, "go": "now"}


async def test_nothing_is_left_in_the_database_by_calls(disk, service):
    from durable_trio._store.lmdb import open_lmdb

    running = await service(disk)
    async with open_client(disk) as client:
        await client.run("showing", {"value": 1})
        with pytest.raises(RunNotFound):
            await client.cancel("nobody")
    await running.close()
    store = open_lmdb(disk, readonly=True)
    assert (store.requests(limit=9), store.replies(limit=9)) == ([], [])
    store.close()
