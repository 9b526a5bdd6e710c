"""Paused runs that wait: for an instant, an event or a person."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from engine_helpers import Hold, at, states
from waiting_helpers import Wall, noted, reaches, set_aside

from durable_trio import (
    open_engine,
    wait_for_event,
)
from durable_trio.testing import trio_clock


@pytest.mark.parametrize("held", [True, False])
async def test_a_sleep_that_falls_due_is_found_when_it_is_resumed(disk, wf, held):
    wall = Wall()
    wf.sleep(10)
    wf.step(lambda ctx: {"end": True}, name="end", inline=True)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, id="r")
        handles = [run] if held else []
        del run
        await reaches(engine, "r")
        await engine.pause("r")
        assert [handle.status for handle in handles] == ["waiting"] * held
    wall.pass_(1000)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await trio.testing.wait_all_tasks_blocked()
        info = await engine.get("r")
        assert (info.status, info.paused, info.finished_at) == ("waiting", True, None)
        await engine.resume("r")
        assert await (await engine.start(wf, id="r")).result() == {"end": True}


async def test_timers_go_on_after_a_pause_that_ends_in_time(mock_clock, wf):
    wf.sleep(10)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        begun = trio.current_time()
        run = await engine.start(wf, id="r")
        await trio.sleep(2)
        await engine.pause("r")
        await trio.sleep(2)
        await engine.resume("r")
        await run.result()
        assert 10 <= trio.current_time() - begun < 11


async def test_events_are_kept_while_it_is_paused(db, wf):
    wf.wait_for_event("go")
    wf.wait_for_event("more")
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        await engine.pause("r")
        for name, payload in (("more", 2), ("go", 1)):
            await engine.send_event("r", name, payload)
        await trio.testing.wait_all_tasks_blocked()
        assert (await engine.get("r")).context == {}
        await engine.resume("r")
        assert await (await engine.start(wf, id="r")).result() == {"go": 1, "more": 2}


async def test_a_wait_beside_a_body_takes_no_event_either(db, wf):
    hold = Hold()
    with wf.parallel(name="block"):
        wf.step(at(hold), name="hold")
        wf.wait_for_event("go")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.pause("r")
        await engine.send_event("r", "go", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert states(await engine.get("r"))["block/wait_for_go"] == "waiting"
        hold.let_go()
        await set_aside(engine)
        await engine.resume("r")
        assert (await run.result())["__results__"]["go"].value["go"] == 1


async def test_a_wait_in_a_body_goes_on_as_the_body_does(db, wf):
    seen = []

    @wf.step
    async def ask(ctx):
        return {"got": await wait_for_event("go")}

    noted(wf, "after", seen)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await trio.testing.wait_all_tasks_blocked()
        await engine.pause("r")
        await engine.send_event("r", "go", 1)
        assert (await set_aside(engine)).context == {"got": 1}
        assert seen == []
        await engine.resume("r")
        assert await run.result() == {"got": 1}


async def test_an_input_can_be_answered_while_it_is_paused(db, wf):
    wf.wait_for_input("name")
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        await engine.pause("r")
        assert [question.name for question in await engine.pending_inputs()] == ["name"]
        await engine.provide_input("r", "name", "Ada")
        await engine.resume("r")
        assert await (await engine.start(wf, id="r")).result() == {"name": "Ada"}


@pytest.mark.parametrize("passed", [True, False])
async def test_a_run_for_later_does_not_begin_before_either(mock_clock, wf, passed):
    clock = trio_clock()
    seen = []
    wf.step(lambda ctx: seen.append(trio.current_time()), name="step", inline=True)
    async with open_engine(workflows=[wf], clock=clock) as engine:
        begun = trio.current_time()
        now = (await (await engine.start(wf)).wait()).created_at
        run = await engine.start(wf, id="r", at=now + timedelta(seconds=100))
        seen.clear()
        await engine.pause("r")
        await trio.sleep(200 if passed else 50)
        assert seen == []
        await engine.resume("r")
        if not passed:
            await engine.send_event("r", "x")  # no message makes it begin
        await run.result()
    (at_,) = seen
    assert at_ - begun == pytest.approx(200 if passed else 100, abs=1)
