"""Runs that only wait have no task: whatever comes for them, and whenever, wakes them once."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

import pytest
import trio
from engine_helpers import Hold, states
from waiting_helpers import START, Wall, noted, reaches, waiting_for

from durable_trio import EngineClosed, Err, Finish, Goto, Ok, RunFailed, RunNotFound, Workflow, open_engine
from durable_trio.testing import EPOCH, trio_clock

DAY = 86400


@pytest.mark.parametrize("order", [(10, 20, 30), (30, 20, 10), (20, 30, 10)])
async def test_the_nearest_of_several_waits_wakes_the_run(mock_clock, order):
    wf = Workflow("naps")
    with wf.parallel(name="block", into=lambda ctx, results: {"kinds": [r[0] for r in results.values()]}):
        for seconds in order:
            with wf.sequence(f"after {seconds}"):
                wf.sleep(seconds)
                wf.step(lambda ctx: {"at": trio.current_time()}, name=f"step {seconds}", inline=True)
        wf.wait_for_event("never", timeout=40, default=None)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        begun = trio.current_time()
        info = await run.wait()
        for step in info.steps:
            if step.path.rpartition("/")[2].startswith("step "):
                due = begun + int(step.path.rpartition(" ")[2])
                assert due <= step.result["at"] < due + 0.5
        assert info.result == {"kinds": ["ok"] * 4}
        assert 40 <= trio.current_time() - begun < 41


async def test_a_message_and_the_last_other_task_ending_in_one_moment(mock_clock):
    """The wait has its message already when the run is about to be parked: it must not stay parked."""
    for turn in range(40):
        wf = Workflow("moment")
        hold = Hold()
        with wf.parallel(name="block"):
            with wf.sequence("answered"):
                wf.wait_for_event("go")
                noted(wf, "then", [])
            with wf.sequence("other"):

                @wf.step
                async def held(ctx, hold=hold):
                    await hold()

                wf.wait_for_event("never", timeout=DAY, default=None)
        async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
            run = await engine.start(wf, {"turn": turn})
            await hold.reached.wait()
            await trio.sleep(1)
            before = trio.current_time()
            for _ in range(turn % 8):
                await trio.lowlevel.checkpoint()
            hold.let_go()
            for _ in range(turn // 8):
                await trio.lowlevel.checkpoint()
            await engine.send_event(run.id, "go", turn)
            while states(await engine.get(run.id)).get("block/answered") != "ok":
                await trio.sleep(1)
                assert trio.current_time() - before < 60, "its message was lost on the run"


async def test_a_timer_and_an_event_in_one_moment_have_one_winner(mock_clock):
    wf = Workflow("tie")
    wf.wait_for_event("go", timeout=100, default="late", returns="first")
    wf.wait_for_event("go", timeout=100, default="late", returns="second", step="again")
    seen = set()
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for n in range(20):
            begun = trio.current_time()
            await engine.start(wf, id=f"r{n}")
            await trio.sleep_until(begun + 100)
            await engine.send_event(f"r{n}", "go", "sent")
            await trio.sleep(1000)
            info = await engine.get(f"r{n}")
            assert info.result in (
                {"first": "sent", "second": "late"},
                {"first": "late", "second": "sent"},
            )
            seen.add(info.result["first"])
    assert seen


async def test_events_sent_while_nobody_holds_the_run_keep_their_order(disk):
    wall, wf = Wall(), Workflow("order")
    wf.sleep(1000, name="nap")
    for n in range(3):
        wf.wait_for_event("item", step=f"wait{n}", returns=f"item{n}")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        for payload in "ab":
            await reaches(engine, "r")
            gc.collect()
            await engine.send_event("r", "item", payload)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "r")
        gc.collect()
        wall.pass_(1001)
        await engine.send_event("r", "item", "c")
        info = await reaches(engine, "r", "completed")
        assert info.result == {"item0": "a", "item1": "b", "item2": "c"}


async def test_a_nap_shorter_than_a_commit_is_no_long_one(disk):
    wf = Workflow("blink")
    for n in range(5):
        wf.sleep(0.002, name=f"nap{n}")
    async with open_engine(disk, workflows=[wf]) as engine:
        runs = [await engine.start(wf) for _ in range(5)]
        with trio.fail_after(15):
            for run in runs:
                await run.result()


async def test_leaving_the_engine_frees_who_waits_for_a_parked_run(db):
    wf = Workflow("left")
    wf.wait_for_event("go")
    outcomes = []

    async def look_on(run):
        with pytest.raises(EngineClosed):
            await run.result()
        outcomes.append(run.status)

    async with trio.open_nursery() as nursery, open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        nursery.start_soon(look_on, run)
        await reaches(engine, "r")
    assert outcomes == ["waiting"]


async def test_a_wait_beside_a_long_step_does_not_park(mock_clock):
    wf, seen = Workflow("beside"), []
    with wf.parallel(name="block"):
        with wf.sequence("waits"):
            wf.wait_for_event("a")
            noted(wf, "got a", seen)
            wf.sleep(50)
            noted(wf, "slept", seen)

        @wf.step
        async def long(ctx):
            seen.append("long")
            await trio.sleep(1000)
            seen.append("long is over")

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(1)
        await engine.send_event(run.id, "a")
        await trio.sleep(2)
        assert (run.status, seen) == ("running", ["long", "got a"])
        await trio.sleep(100)
        assert seen[-1] == "slept"
        await run.result()
    assert seen == ["long", "got a", "slept", "long is over"]


async def test_cancelling_at_every_moment_of_parking(mock_clock):
    wf = Workflow("cancelled")
    with wf.parallel(name="block"):
        wf.sleep(DAY)
        wf.wait_for_event("go")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for ticks in range(25):
            run = await engine.start(wf, id=f"r{ticks}")
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            assert await engine.cancel(run.id, "enough")
            info = await run.wait()
            assert (info.status, info.error) == ("cancelled", "enough")
            assert waiting_for(info) == []
        await trio.sleep(2 * DAY)
        assert len(await engine.list(status="cancelled")) == 25


async def test_sending_at_every_moment_of_parking(mock_clock):
    wf = Workflow("sent")
    with wf.parallel(name="block"):
        wf.wait_for_event("go")
        wf.wait_for_event("go", step="again", returns="again")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for ticks in range(25):
            run = await engine.start(wf, id=f"r{ticks}")
            for payload in (1, 2):
                for _ in range(ticks):
                    await trio.lowlevel.checkpoint()
                await engine.send_event(run.id, "go", payload)
            with trio.fail_after(5):
                results = (await run.result())["__results__"]
            assert sorted([results["go"].value["go"], results["again"].value["again"]]) == [1, 2]


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


async def test_many_runs_are_due_at_once_and_few_may_run(mock_clock):
    wf, most, running = Workflow("crowd"), [], set()
    wf.sleep(DAY, name="nap")

    @wf.step
    async def work(ctx):
        running.add(ctx["n"])
        most.append(len(running))
        await trio.sleep(1)
        running.remove(ctx["n"])
        return {"n": ctx["n"]}

    async with open_engine(workflows=[wf], clock=trio_clock(), max_running=5) as engine:
        for n in range(200):
            await engine.start(wf, {"n": n})
        await trio.sleep(10)
        assert len(await engine.list(status="waiting", limit=1000)) == 200
        await trio.sleep(DAY + 60)
        done = await engine.list(status="completed", limit=1000)
        assert sorted(info.result["n"] for info in done) == list(range(200))
    assert (len(most), max(most)) == (200, 5)


async def test_parked_runs_survive_a_restart_and_wake_when_due(disk):
    wall, wf = Wall(), Workflow("sleepers")
    wf.sleep(lambda ctx: ctx["seconds"], name="nap")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        for seconds in (100, 200, 300):
            await engine.start(wf, {"seconds": seconds}, id=f"r{seconds}")
        for seconds in (100, 200, 300):
            await reaches(engine, f"r{seconds}")
    wall.pass_(250)
    async with open_engine(disk, workflows=[wf], clock=wall, max_running=1) as engine:
        for seconds in (100, 200):
            await reaches(engine, f"r{seconds}", "completed")
        info = await engine.get("r300")
        assert info.status == "waiting"
        (nap,) = info.steps
        assert (nap.path, nap.status, nap.due_at) == ("nap", "waiting", START + timedelta(seconds=300))
    wall.pass_(50)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "r300", "completed")


@pytest.mark.parametrize("held", [True, False])
async def test_a_handle_held_or_not_makes_no_difference(mock_clock, held):
    wf, seen = Workflow("held"), []
    noted(wf, "before", seen)
    wf.sleep(100, name="nap")
    noted(wf, "between", seen)
    wf.wait_for_event("go")
    noted(wf, "after", seen)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        if not held:
            del run
        await engine.send_event("r", "go", 1)
        await trio.sleep(50)
        gc.collect()
        await engine.send_event("r", "go", 2)
        await trio.sleep(60)
        again = await engine.start(wf, id="r")
        assert (again.created, again.status) == (False, "completed")
        assert await again.result() == {"go": 1}
    assert seen == ["before", "between", "after"]


async def test_a_handle_on_a_parked_run_from_another_life_gets_the_result(disk):
    wall, wf = Wall(), Workflow("again")
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        first, second = await engine.start(wf, id="r"), await engine.start(wf, id="r")
        assert (first.status, second.status) == ("waiting", "waiting")
        await engine.send_event("r", "go", b"x")
        assert await first.result() == await second.result() == {"go": b"x"}


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


async def test_a_deleted_or_pruned_run_leaves_nothing_that_wakes(mock_clock):
    wf = Workflow("gone")
    wf.wait_for_event("go", timeout=DAY, default=None)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for name in ("deleted", "pruned", "ended"):
            await engine.start(wf, id=name)
            await engine.send_event(name, "noise")
        await trio.sleep(10)
        for name in ("deleted", "pruned"):
            assert await engine.cancel(name)
        await engine.delete("deleted")
        await trio.sleep(1)
        assert await engine.prune(0) == 1
        await engine.send_event("ended", "go", 1)
        await trio.sleep(2 * DAY)
        for name in ("deleted", "pruned"):
            with pytest.raises(RunNotFound):
                await engine.get(name)
            again = await engine.start(wf, id=name)
            assert again.created
            await engine.send_event(name, "go", 2)
            assert await again.result() == {"go": 2}
        assert (await engine.get("ended")).result == {"go": 1}


async def test_waits_in_a_loop_are_told_apart_by_their_visit(mock_clock):
    wf = Workflow("loop")
    wf.sleep(10, name="nap")
    wf.wait_for_event("item")

    @wf.step(inline=True)
    def collect(ctx):
        items = [*ctx.get("items", []), ctx["item"]]
        if ctx["item"] == "stop":
            return Finish({"items": items})
        return Goto("nap", {"items": items})

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for item in ("a", "b", "stop", "c"):
            await engine.send_event(run.id, "item", item)
        assert await run.result() == {"items": ["a", "b", "stop"]}
        assert 30 <= trio.current_time() < 31


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


async def test_a_run_that_is_retried_has_its_mail(disk):
    wf, broken = Workflow("mail"), [True]
    wf.step(lambda ctx: Err("broken") if broken[0] else ctx, name="first", inline=True)
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r", at=datetime.now(UTC) + timedelta(seconds=0.1))
        for payload in (1, 2):
            await engine.send_event("r", "go", payload)
        assert (await run.wait()).status == "failed"
        broken.clear()
        broken.append(False)
        run = await engine.retry("r")
        assert await run.result() == {"go": 1}


@pytest.mark.parametrize("how", ["race", "fail_fast", "into"])
async def test_a_block_that_is_over_while_a_branch_waits_goes_on(mock_clock, how):
    """Whether the branch that waits or the one that ends the block comes first is left to chance."""
    options = {
        "race": {"need": 1},
        "fail_fast": {"on_error": "fail_fast", "into": lambda ctx, results: ctx},
        "into": {"need": 1, "into": lambda ctx, results: Goto("then", {"into": True})},
    }[how]
    wf = Workflow("over")
    with wf.parallel(name="block", **options):
        with wf.sequence("asks"):
            wf.wait_for_approval("boss")
        with wf.sequence("naps"):
            wf.sleep(10)
            wf.step(lambda ctx: Err("no") if how == "fail_fast" else ctx, name="last", inline=True)
    noted(wf, "then", [])
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for n in range(30):
            await engine.start(wf, id=f"r{n}")
        await trio.sleep(20)
        wanted = "failed" if how == "fail_fast" else "completed"
        assert {info.status for info in await engine.list()} == {wanted}
