"""A run that is woken before its time, or ends while it waits, leaves no timer that would wake nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest
from waiting_helpers import START, Wall, reaches

from durable_trio import Err, Workflow, open_engine


def by_wait(wf):
    wf.wait_for_event("go", timeout=1000)


def by_block(wf):
    with wf.parallel(name="block", timeout=1000):
        wf.wait_for_event("go")
        wf.wait_for_event("other", timeout=2000, default=0)


def by_workflow(wf):
    wf.wait_for_event("go")


SHAPES = {"wait": (by_wait, {}), "block": (by_block, {}), "workflow": (by_workflow, {"timeout": 1000})}


@pytest.fixture(params=SHAPES)
def waits(request):
    """A workflow that waits for ``go`` with a timer, and then for ``end`` without one."""
    declare, options = SHAPES[request.param]
    wf = Workflow("orders", **options)
    declare(wf)
    if not options:
        wf.wait_for_event("end")
    return wf


def at(seconds):
    return int((START + timedelta(seconds=seconds)).timestamp() * 1000)


@pytest.mark.parametrize("known", [True, False])
async def test_an_event_that_wakes_a_run_drops_its_timer(disk, waits, known):
    wall = Wall()
    async with open_engine(disk, workflows=[waits], clock=wall) as engine:
        run = await engine.start(waits, id="r")
        await reaches(engine, "r")
        assert [instant for instant, _ in engine.store.timers(limit=9)] == [at(1000)]
        if known:
            await ends_by_events(engine, run)
    if not known:
        async with open_engine(disk, workflows=[waits], clock=wall) as engine:
            await ends_by_events(engine, await engine.start(waits, id="r"))


async def ends_by_events(engine, run):
    for event in ("go", "other", "end"):
        if (await engine.get("r")).finished_at is None:
            await engine.send_event("r", event)
            while (await engine.get("r")).status in ("pending", "running"):
                pass
    assert (await run.wait()).status == "completed"
    assert engine.store.timers(limit=9) == []


async def cancelled(engine):
    assert await engine.cancel("r")


async def paused(engine):
    assert await engine.pause("r")


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("act", [cancelled, paused])
async def test_a_run_that_is_cancelled_or_paused_while_it_waits_drops_its_timer(disk, waits, act, known):
    wall = Wall()
    async with open_engine(disk, workflows=[waits], clock=wall) as engine:
        run = await engine.start(waits, id="r")
        await reaches(engine, "r")
        if known:
            await act(engine)
            assert engine.store.timers(limit=9) == []
        assert run.id == "r"  # it is held until here
    if not known:
        async with open_engine(disk, workflows=[waits], clock=wall) as engine:
            await act(engine)
            assert engine.store.timers(limit=9) == []


@pytest.mark.parametrize("known", [True, False])
async def test_a_run_for_later_that_is_cancelled_drops_its_timer(disk, waits, known):
    wall = Wall()
    async with open_engine(disk, workflows=[waits], clock=wall) as engine:
        await engine.start(waits, id="r", at=START + timedelta(days=1))
        assert [instant for instant, _ in engine.store.timers(limit=9)] == [at(86400)]
        if known:
            await engine.cancel("r")
            assert engine.store.timers(limit=9) == []
    if not known:
        async with open_engine(disk, workflows=[waits], clock=wall) as engine:
            await engine.cancel("r")
            assert engine.store.timers(limit=9) == []


@pytest.mark.parametrize("known", [True, False])
async def test_a_waiting_run_whose_steps_are_undone_drops_its_timer(disk, known):
    wall = Wall()
    wf = Workflow("orders")
    wf.compensation("undo", lambda ctx, result: None)
    wf.step(lambda ctx: ctx, name="a", inline=True, compensate="undo")
    wf.wait_for_event("go", timeout=1000)

    async def undone(engine):
        run = await engine.start(wf, id="r")
        assert await engine.cancel("r", compensate=True)
        assert (await run.wait()).status == "compensated"
        assert engine.store.timers(limit=9) == []

    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        if known:
            await undone(engine)
    if not known:
        async with open_engine(disk, workflows=[wf], clock=wall) as engine:
            await undone(engine)


async def test_the_timer_of_a_retried_run_is_known_too(disk):
    """The workflow's time counts from the retry."""
    wall, works = Wall(), []
    wf = Workflow("orders", timeout=1000)
    wf.step(lambda ctx: None if works else Err("broken"), name="a", inline=True)
    wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await (await engine.start(wf, id="r")).wait()
        wall.pass_(500)
        works.append(True)
        await engine.retry("r")
        await reaches(engine, "r")
        assert [instant for instant, _ in engine.store.timers(limit=9)] == [at(1500)]
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.cancel("r")
        assert engine.store.timers(limit=9) == []
