"""Waits as steps: a run that only waits is parked, and wakes for what it waits for."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

import pytest
import trio

from durable_trio import InputError, Ok, RunFailed, RunNotFound, Workflow, open_engine
from durable_trio._engine.run import RunState
from durable_trio.testing import EPOCH, trio_clock

DAY = 86400


def remember(wf, name, seen):
    wf.step(lambda ctx: seen.append(name) or ctx, name=name, inline=True)


async def test_days_pass_and_the_steps_before_are_not_run_again(mock_clock):
    wf, seen = Workflow("reminder"), []
    remember(wf, "before", seen)
    wf.sleep(timedelta(days=3))
    remember(wf, "after", seen)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, {"a": 1})
        await trio.sleep(3 * DAY - 1)
        assert (run.status, seen) == ("waiting", ["before"])
        assert await run.result() == {"a": 1}
    assert seen == ["before", "after"]
    assert 3 * DAY <= trio.current_time() < 3 * DAY + 1


async def test_a_parked_run_has_no_object_and_wakes_all_the_same(mock_clock):
    wf = Workflow("many")
    wf.sleep(DAY)

    def alive():
        gc.collect()
        return sum(isinstance(item, RunState) for item in gc.get_objects())

    before = alive()
    async with open_engine(workflows=[wf], clock=trio_clock(), max_running=10) as engine:
        for n in range(50):
            await engine.start(wf, {"n": n}, id=f"r{n}")
        await trio.sleep(10)
        assert alive() == before
        assert len(await engine.list(status="waiting")) == 50
        await trio.sleep(DAY)
        done = await engine.list(status="completed")
        assert sorted(info.result["n"] for info in done) == list(range(50))


async def test_a_workflow_may_end_with_a_wait(db_and_clock):
    db, clock = db_and_clock
    wf = Workflow("last")
    wf.wait_for_event("go", returns="answer")
    async with open_engine(db, workflows=[wf], clock=clock) as engine:
        run = await engine.start(wf, {"n": 1})
        await engine.send_event(run.id, "go", (1, 2))
        assert await run.result() == {"n": 1, "answer": (1, 2)}
        info = await engine.get(run.id)
        assert info.result == {"n": 1, "answer": (1, 2)}
        assert [(step.path, step.kind, step.status) for step in info.steps] == [
            ("wait_for_go", "event", "ok")
        ]


@pytest.fixture(params=["memory", "lmdb"])
def db_and_clock(request, tmp_path):
    return (None if request.param == "memory" else tmp_path / "db"), None


async def test_a_restart_does_not_extend_a_sleep_and_loses_no_event(tmp_path):
    wall = [datetime(2030, 1, 1, tzinfo=UTC)]
    wf = Workflow("slow")
    wf.sleep(1000, name="nap")
    wf.wait_for_event("go")
    options = {"workflows": [wf], "clock": lambda: wall[0]}
    async with open_engine(tmp_path / "db", **options) as engine:
        run = await engine.start(wf, id="r")
        while run.status != "waiting":
            await trio.lowlevel.checkpoint()
        due = (await engine.get("r")).steps[-1].due_at
        await engine.send_event("r", "go", "early")
    wall[0] += timedelta(seconds=1001)
    async with open_engine(tmp_path / "db", **options) as engine:
        run = await engine.start(wf, id="r")
        assert not run.created
        assert await run.result() == {"go": "early"}
    assert due == datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=1000)


async def test_events_are_taken_in_order_each_once(mock_clock):
    wf = Workflow("stream")
    for number in range(3):
        wf.wait_for_event("item", step=f"wait{number}", returns=f"item{number}")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for payload in ("a", "b", "c"):
            await engine.send_event(run.id, "item", payload)
        assert await run.result() == {"item0": "a", "item1": "b", "item2": "c"}


async def test_a_timeout_takes_the_default_or_fails_and_a_late_event_stays(mock_clock):
    wf = Workflow("late")
    wf.wait_for_event("paid", timeout=60, default=None, step="first", returns="first")
    wf.wait_for_event("paid", timeout=60, step="second", returns="second")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="in time")
        await trio.sleep(70)
        await engine.send_event("in time", "paid", 5)
        assert await run.result() == {"first": None, "second": 5}
        with pytest.raises(RunFailed) as failed:
            await engine.run(wf, id="never")
        assert failed.value.error.type == "durable_trio.WaitTimeout"
        assert list(failed.value.errors) == ["second"]
        assert (await engine.get("never")).steps[-1].status == "timed_out"


async def test_siblings_go_on_while_a_branch_waits(mock_clock):
    wf, seen = Workflow("both"), []
    with wf.parallel(name="block"):
        wf.wait_for_event("approval")

        with wf.sequence("work"):
            for name in ("one", "two"):

                @wf.step(name=name)
                async def step(ctx, name=name):
                    await trio.sleep(10)
                    seen.append(name)

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, {})
        await trio.sleep(5)
        assert run.status == "running"
        await trio.sleep(20)
        assert (run.status, seen) == ("waiting", ["one", "two"])
        await engine.send_event(run.id, "approval", "yes")
        result = await run.result()
    assert seen == ["one", "two"]
    assert result["__results__"]["approval"] == Ok({"approval": "yes"})


async def test_a_run_can_be_started_for_later(mock_clock):
    wf = Workflow("later")
    wf.step(lambda ctx: {"ran": True}, name="only", inline=True)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, at=EPOCH + timedelta(days=2))
        await trio.sleep(DAY)
        assert run.status == "waiting"
        assert await run.result() == {"ran": True}
        assert trio.current_time() >= 2 * DAY
        with pytest.raises(InputError, match="aware"):
            await engine.start(wf, at=datetime(2001, 1, 1))  # noqa: DTZ001 - the mistake under test


async def test_a_parked_run_can_be_cancelled_and_its_timer_does_nothing(mock_clock):
    wf = Workflow("cancelled")
    wf.sleep(DAY)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        await engine.start(wf, id="r")
        await trio.sleep(10)
        assert await engine.cancel("r", "enough") is True
        assert await engine.cancel("r") is False
        await trio.sleep(2 * DAY)
        info = await engine.get("r")
        assert (info.status, info.error) == ("cancelled", "enough")


async def test_what_cannot_be_sent_is_refused_and_nothing_is_recorded(mock_clock):
    wf = Workflow("asks")
    wf.wait_for_choice("colour", choices=["red", {"value": "blue", "label": "Blue"}])
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await trio.sleep(1)
        (asked,) = await engine.pending_inputs()
        assert (asked.run_id, asked.name, asked.kind) == ("r", "colour", "choice")
        assert [choice.value for choice in asked.choices] == ["red", "blue"]
        for name, value, words in [("colour", "green", "green"), ("size", "big", "size")]:
            with pytest.raises(InputError, match=words):
                await engine.provide_input("r", name, value)
        with pytest.raises(RunNotFound):
            await engine.send_event("nobody", "go")
        with pytest.raises(InputError):
            await engine.send_event("r", "")
        assert run.status == "waiting"
        await engine.provide_input("r", "colour", "blue")
        assert await run.result() == {"colour": "blue"}
        with pytest.raises(InputError, match="ended"):
            await engine.send_event("r", "go")
        assert await engine.pending_inputs() == []


async def test_a_blocks_timeout_holds_while_the_run_is_parked_and_over_a_restart(tmp_path):
    wall = [datetime(2030, 1, 1, tzinfo=UTC)]
    wf = Workflow("bounded")
    with wf.parallel(name="block", timeout=100, on_error="complete_all"):
        wf.wait_for_event("a")
        wf.wait_for_event("b")
    options = {"workflows": [wf], "clock": lambda: wall[0]}
    async with open_engine(tmp_path / "db", **options) as engine:
        run = await engine.start(wf, id="r")
        while run.status != "waiting":
            await trio.lowlevel.checkpoint()
        wall[0] += timedelta(seconds=60)
        await engine.send_event("r", "a", 1)
        while (await engine.get("r")).steps[0].status != "ok" or run.status != "waiting":
            await trio.lowlevel.checkpoint()
    wall[0] += timedelta(seconds=60)
    async with open_engine(tmp_path / "db", **options) as engine:
        result = await (await engine.start(wf, id="r")).result()
    assert result["__results__"]["a"] == Ok({"a": 1})
    assert result["__results__"]["b"].reason.type == "TimeoutError"
