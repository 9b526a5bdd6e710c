"""Runs that only wait have no task: whatever comes for them, and whenever, wakes them once."""

from __future__ import annotations

import gc
from datetime import UTC, datetime, timedelta

import pytest
import trio
from engine_helpers import Hold, states
from waiting_helpers import START, Wall, noted, reaches, waiting_for

from durable_trio import EngineClosed, Err, Finish, Goto, RunNotFound, Workflow, open_engine
from durable_trio.testing import trio_clock

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
