"""``engine.pause`` and ``engine.resume``. (What a paused run waits for is in ``test_pause_waits``.)"""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, at, crash_image, states
from waiting_helpers import noted, reaches, set_aside

from durable_trio import (
    Err,
    InputError,
    Ok,
    Retry,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunNotFound,
    Workflow,
    open_engine,
)
from durable_trio.testing import trio_clock


async def test_what_is_in_a_body_ends_and_nothing_else_starts_until_it_is_resumed(db, wf):
    hold, seen = Hold(), []
    wf.step(at(hold, {"held": True}), name="hold")
    noted(wf, "after", seen)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.pause("r") is True
        info = await engine.get("r")
        assert (info.status, info.paused, run.status) == ("running", True, "running")
        hold.let_go()
        info = await set_aside(engine)
        assert states(info) == {"hold": "ok"}
        assert info.context == {"held": True}
        assert seen == []
        assert await engine.resume("r") is True
        assert await run.result() == {"held": True}
        info = await engine.get("r")
    assert seen == ["after"]
    assert (info.status, info.paused) == ("completed", False)
    assert [act.act for act in info.history] == ["paused", "resumed"]


async def test_pausing_and_resuming_twice_is_once(db, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.resume("r") is False
        assert [await engine.pause("r"), await engine.pause("r")] == [True, False]
        assert [await engine.resume("r"), await engine.resume("r")] == [True, False]
        hold.let_go()
        await run.result()
        assert len((await engine.get("r")).history) == 2


async def test_it_stays_paused_through_restarts(disk, wf):
    hold, seen = Hold(), []
    wf.step(at(hold), name="hold")
    noted(wf, "after", seen)
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        hold.let_go()
        await set_aside(engine)
    for _ in range(2):
        async with open_engine(disk, workflows=[wf]) as engine:
            assert (await engine.get("r")).paused
            assert [info.id for info in await engine.list("waiting") if info.paused] == ["r"]
            await trio.testing.wait_all_tasks_blocked()
            assert await engine.pause("r") is False
    assert seen == []
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.resume("r")
        await (await engine.start(wf, id="r")).result()
    assert seen == ["after"]


@pytest.mark.parametrize("max_running", [1, 10])
async def test_a_crash_in_the_body_loses_no_pause(disk, tmp_path, wf, max_running):
    hold = Hold()
    wf.step(at(hold), name="hold")
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        image = crash_image(disk, tmp_path / "image")
        await engine.cancel("r")
    hold.let_go()
    async with open_engine(image, workflows=[wf], max_running=max_running) as engine:
        await set_aside(engine)
        assert hold.entered == 1
        assert await engine.run(wf) == {}  # its place is free
        await engine.resume("r")
        await (await engine.start(wf, id="r")).result()
    assert hold.entered == 3


async def test_a_resume_right_after_a_restart_while_the_run_waits_for_its_place(disk, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    wf.step(lambda ctx: {"end": True}, name="end", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        for run_id in ("first", "r"):
            await engine.start(wf, id=run_id)
        while hold.entered < 2:
            await trio.lowlevel.checkpoint()
        await engine.pause("r")
    async with open_engine(disk, workflows=[wf], max_running=1) as engine:
        assert await engine.resume("r") is True
        hold.let_go()
        for run_id in ("first", "r"):
            assert await (await engine.start(wf, id=run_id)).result() == {"end": True}
    assert hold.entered == 4


async def test_a_pause_right_after_a_restart_while_the_run_waits_for_its_place(disk, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    async with open_engine(disk, workflows=[wf]) as engine:
        for run_id in ("first", "r"):
            await engine.start(wf, id=run_id)
        while hold.entered < 2:
            await trio.lowlevel.checkpoint()
    async with open_engine(disk, workflows=[wf], max_running=1) as engine:
        assert await engine.pause("r") is True
        hold.let_go()
        await (await engine.start(wf, id="first")).result()
        assert await engine.run(wf) == {}
        assert (await engine.get("r")).paused
        await engine.resume("r")
        await (await engine.start(wf, id="r")).result()
    assert hold.entered == 5


async def test_a_pending_run_does_not_begin(db, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        first = await engine.start(wf)
        await hold.reached.wait()
        run = await engine.start(wf, id="r")
        third = await engine.start(wf)
        assert run.status == "pending"
        await engine.pause("r")
        assert run.status == "waiting"
        hold.let_go()
        await first.result()
        await third.result()
        assert hold.entered == 2
        await engine.resume("r")
        await run.result()
    assert hold.entered == 3


async def test_branches_that_have_not_started_do_not(db, wf):
    hold, seen = Hold(), []
    with wf.parallel(name="block", limit=1):
        wf.step(at(hold), name="hold")
        noted(wf, "b", seen)
        noted(wf, "c", seen)
    noted(wf, "after", seen)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        hold.let_go()
        info = await set_aside(engine)
        assert states(info) == {"block/hold": "ok"}
        assert seen == []
        await engine.resume("r")
        await run.result()
    assert sorted(seen) == ["after", "b", "c"]
    assert hold.entered == 1


async def test_resumed_while_a_branch_is_still_in_its_body(db, wf):
    hold, seen = Hold(), []
    second = Hold()
    with wf.parallel(name="block"):
        wf.step(at(hold), name="hold")
        with wf.sequence("chain"):
            wf.step(at(second), name="second")
            noted(wf, "third", seen)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await second.reached.wait()
        await engine.pause("r")
        second.let_go()
        await trio.testing.wait_all_tasks_blocked()
        info = await engine.get("r")
        assert (info.status, info.paused, seen) == ("running", True, [])
        assert states(info)["block/chain/third"] == "waiting"
        await engine.resume("r")
        while not seen:
            await trio.lowlevel.checkpoint()
        hold.let_go()
        await run.result()
    assert (seen, hold.entered, second.entered) == (["third"], 1, 1)


async def test_a_further_attempt_does_not_start_and_the_count_goes_on(mock_clock, wf):
    entered = []

    @wf.step(retry=Retry(max_attempts=2, base=10, jitter=False))
    async def step(ctx):
        entered.append(trio.current_time())
        return Err("broken")

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await trio.sleep(5)
        await engine.pause("r")
        await trio.sleep(100)
        assert len(entered) == 1
        await engine.resume("r")
        with pytest.raises(RunFailed):
            await run.result()
        assert (await engine.get("r")).steps[0].attempt == 2
    assert len(entered) == 2


async def test_plain_functions_do_not_start_either(db, wf):
    hold, seen = Hold(), []
    wf.step(at(hold), name="hold")
    wf.step(lambda ctx: seen.append(1), name="plain")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        hold.let_go()
        await set_aside(engine)
        assert seen == []
        await engine.resume("r")
        await run.result()
    assert seen == [1]


@pytest.mark.parametrize("is_in_body", [True, False])
async def test_a_paused_run_can_be_cancelled(db, wf, is_in_body):
    hold, seen = Hold(), []
    wf.step(at(hold), name="hold")
    noted(wf, "after", seen)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        if not is_in_body:
            hold.let_go()
            await set_aside(engine)
        assert await engine.cancel("r", "enough") is True
        with pytest.raises(RunCancelled):
            await run.result()
        info = await engine.get("r")
        assert (info.status, info.paused, seen) == ("cancelled", False, [])
        assert [(act.act, act.reason) for act in info.history] == [("paused", None), ("cancelled", "enough")]


async def test_a_paused_run_that_was_set_aside_can_be_cancelled_after_a_restart(disk, wf):
    wf.sleep(1000)
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        await engine.pause("r")
    async with open_engine(disk, workflows=[wf]) as engine:
        assert await engine.cancel("r") is True
        assert (await reaches(engine, "r", "cancelled")).paused is False


@pytest.mark.parametrize("is_in_body", [True, False])
async def test_what_a_paused_run_did_is_undone_when_it_is_cancelled_so(db, wf, is_in_body):
    hold, undone = Hold(), []
    wf.compensation("undo", lambda ctx, result: undone.append(1))
    wf.step(lambda ctx: ctx, name="first", inline=True, compensate="undo")
    wf.step(at(hold), name="hold")
    wf.step(lambda ctx: ctx, name="last", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        if not is_in_body:
            hold.let_go()
            await set_aside(engine)
        assert await engine.cancel("r", compensate=True) is True
        assert (await run.wait()).status == "compensated"
    assert undone == [1]


async def test_a_paused_run_whose_body_fails_has_failed_and_is_paused_no_more(db, wf):
    hold, works = Hold(), []

    @wf.step
    async def step(ctx):
        await hold()
        return {"end": True} if works else Err("broken")

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        hold.let_go()
        info = await run.wait()
        assert (info.status, info.paused) == ("failed", False)
        works.append(True)
        assert await (await engine.retry("r")).result() == {"end": True}


async def test_compensations_are_not_held_up(db, wf):
    hold, undone = Hold(), []
    wf.compensation("undo", lambda ctx, result: undone.append(1))
    wf.step(lambda ctx: ctx, name="first", inline=True, compensate="undo")
    wf.step(at(hold, Err("broken")), name="hold")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        hold.let_go()
        info = await run.wait()
        assert (info.status, info.paused, undone) == ("compensated", False, [1])


async def test_the_pause_is_on_disk_when_it_is_acknowledged(disk, tmp_path, wf):
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        await engine.pause("r")
        paused = crash_image(disk, tmp_path / "paused")
        await engine.resume("r")
        resumed = crash_image(disk, tmp_path / "resumed")
    async with open_engine(paused, workflows=[wf]) as engine:
        assert (await engine.get("r")).paused
    async with open_engine(resumed, workflows=[wf]) as engine:
        assert not (await engine.get("r")).paused
        await engine.send_event("r", "go", 1)
        assert await (await engine.start(wf, id="r")).result() == {"go": 1}


async def test_many_pauses_and_resumes_at_once(disk, wf):
    hold = Hold()
    wf.step(lambda ctx: {"n": 0}, name="first", inline=True)
    wf.wait_for_event("go")
    for number in range(10):
        wf.step(lambda ctx: ctx | {"n": ctx["n"] + 1}, name=f"s{number}")
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(engine.pause, "r")
                nursery.start_soon(engine.resume, "r")
            nursery.start_soon(engine.send_event, "r", "go")
        await engine.resume("r")
        assert await run.result() == {"n": 10, "go": None}


async def test_what_cannot_be_paused_is_refused(disk, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, id="done")
        for act in (engine.pause, engine.resume):
            with pytest.raises(InputError, match="'done' has ended"):
                await act("done")
            with pytest.raises(RunNotFound):
                await act("nobody")


async def test_a_blocked_run_is_refused(disk, wf):
    hold = Hold()
    wf.step(at(hold), name="hold")
    other = Workflow("other")
    other.step(lambda ctx: Ok({}), name="only", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
    async with open_engine(disk, workflows=[other]) as engine:
        with pytest.raises(RunBlocked, match="'orders'"):
            await engine.pause("r")
