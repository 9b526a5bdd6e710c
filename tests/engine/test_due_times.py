"""When parked runs are due: sleeps, timeouts, starts for later, and a wall clock that jumps."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import trio
from engine_helpers import states, step_of
from waiting_helpers import START, Wall, noted, reaches, waiting_for

from durable_trio import Ok, RunFailed, Workflow, open_engine
from durable_trio.testing import EPOCH, trio_clock

DAY = 86400


async def test_a_nap_shorter_than_a_commit_is_no_long_one(disk):
    wf = Workflow("blink")
    for n in range(5):
        wf.sleep(0.002, name=f"nap{n}")
    async with open_engine(disk, workflows=[wf]) as engine:
        runs = [await engine.start(wf) for _ in range(5)]
        with trio.fail_after(15):
            for run in runs:
                await run.result()


async def test_a_workflow_timeout_wakes_a_parked_run_to_its_end(mock_clock):
    wf = Workflow("bounded", timeout=100)
    wf.wait_for_event("never")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        with pytest.raises(RunFailed) as failed:
            await run.result()
        assert failed.value.error.type == "TimeoutError"
        assert 100 <= trio.current_time() < 101
        info = await engine.get(run.id)
        assert waiting_for(info) == []


async def test_a_blocks_timeout_counts_while_the_run_is_parked(mock_clock):
    wf = Workflow("bounded")
    with wf.parallel(name="block", timeout=100, into=lambda ctx, results: {"got": list(results.values())}):
        wf.wait_for_event("never")
        wf.sleep(30)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        with trio.fail_after(1000):
            slept, never = reversed((await run.result())["got"])
        assert slept == Ok({})
        assert never.reason.type == "TimeoutError"
        assert 100 <= trio.current_time() < 101


async def test_a_restart_does_not_extend_the_timeout_of_a_block_that_waits(disk):
    wall, wf = Wall(), Workflow("bounded")
    with wf.parallel(name="block", timeout=1000, into=lambda ctx, results: {"got": list(results.values())}):
        wf.wait_for_event("never")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
    wall.pass_(1001)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        with trio.fail_after(10):
            info = await reaches(engine, "r", "completed")
        assert info.result["got"][0].reason.type == "TimeoutError"
        assert states(info)["block/wait_for_never"] == "timed_out"


async def test_the_wall_clock_jumps_forth_and_the_timer_fires_within_a_minute(mock_clock):
    wall, wf = Wall(), Workflow("jump")
    wf.sleep(5000, name="nap")
    async with open_engine(workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf)
        await trio.sleep(1000)
        assert run.status == "waiting"
        wall.pass_(4999)
        await trio.sleep(1000)
        assert run.status == "waiting"
        wall.pass_(2)
        await trio.sleep(61)
        assert run.status == "completed"


async def test_the_wall_clock_jumps_back_and_the_timer_is_neither_early_nor_lost(mock_clock):
    wall, wf = Wall(), Workflow("jump")
    wf.sleep(5000, name="nap")
    async with open_engine(workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, id="r")
        await reaches(engine, "r")
        wall.pass_(-DAY)
        for _ in range(3):
            await trio.sleep(10_000)
            assert run.status == "waiting"
        wall.pass_(DAY + 4999)
        await trio.sleep(10_000)
        assert run.status == "waiting"
        wall.pass_(1)
        await run.result()


async def test_a_run_for_later_is_not_begun_by_an_event(mock_clock):
    wf, seen = Workflow("later"), []
    wf.step(lambda ctx: seen.append(trio.current_time()), name="first", inline=True)
    wf.wait_for_event("go")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, at=EPOCH + timedelta(days=2))
        await engine.send_event(run.id, "go", "early")
        await trio.sleep(DAY)
        assert (run.status, seen) == ("waiting", [])
        assert await run.result() == {"go": "early"}
        assert seen[0] >= 2 * DAY


async def test_the_timeout_of_a_run_for_later_counts_from_its_begin(mock_clock):
    wf = Workflow("later", timeout=60)
    wf.sleep(30, name="nap")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, at=EPOCH + timedelta(days=2))
        assert await run.result() == {}


async def test_a_run_for_later_begins_after_a_restart_once_due(disk):
    wall, wf, seen = Wall(), Workflow("later"), []
    noted(wf, "only", seen)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, {"n": 1}, id="r", at=START + timedelta(days=1))
        assert (run.created, run.status) == (True, "waiting")
        again = await engine.start(wf, {"n": 2}, id="r", at=START)
        assert (again.created, again.status) == (False, "waiting")
    wall.pass_(DAY - 1)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, id="r")
        assert (run.status, seen) == ("waiting", [])
        await engine.start(wf, id="past", at=START)
        await reaches(engine, "past", "completed")
    wall.pass_(1)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, id="r")
        assert await run.result() == {"n": 1}
    assert seen == ["only", "only"]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (-1, "seconds"),
        ("soon", "seconds"),
        (float("inf"), "seconds"),
        (float("nan"), "seconds"),
        (timedelta.max, "1000 years"),
        (START.replace(tzinfo=None), "seconds"),
    ],
)
async def test_a_sleep_of_no_length_fails_its_run_alone(mock_clock, length, words):
    wf = Workflow("lengths")
    wf.sleep(lambda ctx: length, name="nap")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(wf)
        assert words in failed.value.error.message
        assert "nap" in failed.value.error.message


async def test_sleep_until_asks_its_function_for_an_instant(mock_clock):
    wf = Workflow("until")
    wf.sleep_until(lambda ctx: ctx["at"], name="nap")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        at = EPOCH + timedelta(days=3)
        assert await engine.run(wf, {"at": at}) == {"at": at}
        assert 3 * DAY <= trio.current_time() < 3 * DAY + 1
        assert await engine.run(wf, {"at": EPOCH}) == {"at": EPOCH}
        for wrong in (5, 1.9e9, timedelta(1)):
            with pytest.raises(RunFailed) as failed:
                await engine.run(wf, {"at": wrong})
            assert "aware datetime" in failed.value.error.message


async def test_a_wait_that_fails_can_be_retried_with_a_new_due_time(mock_clock):
    wf = Workflow("retried")
    wf.wait_for_event("go", timeout=100)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        with pytest.raises(RunFailed):
            await engine.run(wf, id="r")
        await trio.sleep(DAY)
        run = await engine.retry("r")
        await trio.sleep(50)
        assert run.status == "waiting"
        await engine.send_event("r", "go", 1)
        assert await run.result() == {"go": 1}


async def test_a_blocks_time_ends_with_the_block(mock_clock):
    wf = Workflow("over")
    with wf.parallel(name="block", timeout=100):
        wf.wait_for_event("first")
        wf.wait_for_event("second")
    wf.wait_for_event("go")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for name in ("first", "second"):
            await trio.sleep(10)
            await engine.send_event(run.id, name)
        await trio.sleep(1000)
        info = await engine.get(run.id)
        assert waiting_for(info) == ["wait_for_go"]
        await engine.send_event(run.id, "go", 1)
        assert (await run.result())["go"] == 1


async def test_a_timer_that_fires_while_the_writer_parks_its_run_again_is_no_leftover(disk, monkeypatch):
    """The run was woken early by a message that it does not want: its timer stayed where it was."""
    wall, wf = Wall(), Workflow("nap")
    wf.sleep(10, name="nap")
    parking, go_on = threading.Event(), threading.Event()
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        ((instant, key),) = engine.store.timers(limit=9)
        commit = engine.store.commit

        def held_commit(writes, answers=()):
            if any(write.timer == instant for write in writes):
                parking.set()
                go_on.wait()
            return commit(writes, answers)

        monkeypatch.setattr(engine.store, "commit", held_commit)
        await engine.send_event("r", "unwanted")
        await trio.to_thread.run_sync(parking.wait)
        wall.pass_(20)
        engine.ring(key, instant, None)
        go_on.set()
        assert await (await engine.start(wf, id="r")).result() == {}


async def test_what_a_blocks_timeout_has_cut_off_while_the_run_was_parked_shows_as_begun(mock_clock):
    """As where the block's task is there to cancel it."""
    wf = Workflow("bounded")
    with wf.parallel(name="block", timeout=100, on_error="complete_all"):
        wf.wait_for_event("never")
        with wf.sequence("chain"):
            wf.step(lambda ctx: ctx, name="a", inline=True)
            wf.sleep(1000, name="nap")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await reaches(engine, run.id)
        await run.result()
        info = await engine.get(run.id)
    begun = EPOCH
    for path in ("block/wait_for_never", "block/chain"):
        step = step_of(info, path)
        assert (step.status, step.attempt, step.error.attempts) == ("timed_out", 1, 1)
        assert step.started_at - begun < timedelta(seconds=1)
        assert 100 <= step.duration < 101
