"""Runs whose definition is not registered, or no longer fits: set aside, and nothing is lost."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, crash_image, interrupt, resume
from waiting_helpers import reaches

from durable_trio import Err, Ok, Retry, RunBlocked, RunCancelled, Workflow, open_engine


def define(names, hold=None, name="orders", version="1", order=None):
    """Steps of these names; the one called ``hold`` holds."""
    wf = Workflow(name, version=version)

    def declare(step):
        async def body(ctx):
            if order is not None:
                order.append(step)
            if step == "hold" and hold is not None:
                await hold()
            return ctx | {step: True}

        wf.step(body, name=step)

    for step in names:
        declare(step)
    return wf


@pytest.fixture
def hold():
    return Hold()


async def test_a_run_whose_workflow_is_not_registered_is_blocked_and_the_others_go_on(disk, hold):
    wf, other = define(["a", "hold"], hold), define(["x"], name="other")
    await interrupt(disk, wf, hold.reached)
    async with open_engine(disk, workflows=[other]) as engine:
        assert (await engine.get("r")).status == "blocked"
        assert [info.id for info in await engine.list(status="blocked")] == ["r"]
        assert await engine.run(other) == {"x": True}
        assert "orders" in (await engine.get("r")).error


async def test_it_goes_on_when_its_workflow_is_registered_again(disk, hold):
    order = []
    wf, other = define(["a", "hold", "b"], hold, order=order), define(["x"], name="other")
    await interrupt(disk, wf, hold.reached, {"in": (1,)})
    for _ in range(2):
        async with open_engine(disk, workflows=[other]) as engine:
            assert (await engine.get("r")).status == "blocked"
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"in": (1,), "a": True, "hold": True, "b": True}
    assert order == ["a", "hold", "hold", "b"]


async def test_another_version_does_not_fit_and_the_run_stays_with_its_own(disk, hold):
    one = define(["a", "hold"], hold)
    two = define(["a", "hold"], version="2")
    await interrupt(disk, one, hold.reached)
    async with open_engine(disk, workflows=[two]) as engine:
        run = await engine.start(two, id="r")
        assert run.created is False
        assert run.status == "blocked"
        with pytest.raises(RunBlocked, match="'r'") as caught:
            await run.result()
        assert "version" in str(caught.value)
        with pytest.raises(RunBlocked):
            await run.wait()
    hold.let_go()
    async with open_engine(disk, workflows=[two, one]) as engine:
        run = await engine.start(one, id="r")
        assert await run.result() == {"a": True, "hold": True}
        assert (await engine.get("r")).version == "1"


async def test_a_definition_that_lost_a_recorded_step_does_not_fit(disk, hold):
    order = []
    old, new = define(["a", "hold"], hold, order=order), define(["renamed", "hold"], hold, order=order)
    await interrupt(disk, old, hold.reached)
    async with open_engine(disk, workflows=[new]) as engine:
        run = await engine.start(new, id="r")
        with pytest.raises(RunBlocked) as caught:
            await run.result()
        assert "a" in str(caught.value)
        assert (await engine.get("r")).status == "blocked"
    hold.let_go()
    assert (await resume(disk, old)).result == {"a": True, "hold": True}
    assert order == ["a", "hold", "hold"]


async def test_a_definition_whose_recorded_steps_changed_places_does_not_fit(disk, hold):
    old, new = define(["a", "b", "hold"], hold), define(["b", "a", "hold"], hold)
    await interrupt(disk, old, hold.reached)
    async with open_engine(disk, workflows=[new]) as engine:
        with pytest.raises(RunBlocked):
            await (await engine.start(new, id="r")).result()


async def test_a_step_put_before_what_is_recorded_does_not_fit(disk, hold):
    order = []
    old, new = define(["a", "hold"], hold), define(["added", "a", "hold"], hold, order=order)
    await interrupt(disk, old, hold.reached)
    async with open_engine(disk, workflows=[new]) as engine:
        with pytest.raises(RunBlocked):
            await (await engine.start(new, id="r")).result()
    assert order == []


async def test_what_comes_after_what_is_recorded_may_change(disk, hold):
    order = []
    old = define(["a", "hold", "b", "c"], hold)
    new = define(["a", "added", "hold", "c", "more"], hold, order=order)
    await interrupt(disk, old, hold.reached)
    hold.let_go()
    info = await resume(disk, new)
    assert info.result == {"a": True, "added": True, "hold": True, "c": True, "more": True}
    assert order == ["added", "hold", "c", "more"]


async def test_functions_and_policies_may_change(disk, hold):
    old = define(["a", "hold"], hold)
    new = Workflow("orders")
    new.step(lambda ctx: Err("not run again"), name="a", inline=True)
    new.step(lambda ctx: ctx | {"new": True}, name="hold", inline=True, retry=Retry(), timeout=5)
    await interrupt(disk, old, hold.reached)
    assert (await resume(disk, new)).result == {"a": True, "new": True}


async def test_a_branch_that_was_recorded_and_is_gone_does_not_fit(disk, hold):
    def block(names):
        wf = Workflow("orders")
        with wf.parallel(name="block"):
            for name in names:
                wf.step(lambda ctx, name=name: Ok(name), name=name, inline=True)

            @wf.step
            async def slow(ctx):
                await hold()

        return wf

    old, new = block(["a", "b"]), block(["b", "c"])
    await interrupt(disk, old, hold.reached)
    async with open_engine(disk, workflows=[new]) as engine:
        with pytest.raises(RunBlocked, match="a"):
            await (await engine.start(new, id="r")).result()
    hold.let_go()
    assert (await resume(disk, old)).result["__results__"] == {"a": Ok("a"), "b": Ok("b"), "slow": Ok({})}


async def test_a_blocked_run_does_not_take_a_place(disk, hold):
    wf, other = define(["hold"], hold), define(["x"], name="other")
    await interrupt(disk, wf, hold.reached)
    async with open_engine(disk, workflows=[other], max_running=1) as engine:
        assert await engine.run(other) == {"x": True}
        assert await engine.run(other) == {"x": True}


async def test_a_blocked_run_can_be_cancelled(disk, hold):
    wf, other = define(["hold"], hold), define(["x"], name="other")
    await interrupt(disk, wf, hold.reached)
    async with open_engine(disk, workflows=[other]) as engine:
        assert await engine.cancel("r", "given up") is True
        info = await engine.get("r")
        assert (info.status, info.error) == ("cancelled", "given up")
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        with pytest.raises(RunCancelled):
            await (await engine.start(wf, id="r")).result()
    assert hold.entered == 1


async def test_a_blocked_run_can_be_cancelled_when_its_definition_is_there_but_does_not_fit(disk, hold):
    old, new = define(["a", "hold"], hold), define(["b", "hold"], hold)
    await interrupt(disk, old, hold.reached)
    async with open_engine(disk, workflows=[new]) as engine:
        run = await engine.start(new, id="r")
        with pytest.raises(RunBlocked):
            await run.result()
        assert await engine.cancel("r") is True
        assert (await engine.get("r")).status == "cancelled"
        with pytest.raises(RunCancelled):
            await run.result()


async def test_a_pending_run_is_blocked_too(disk, hold):
    wf, other = define(["hold"], hold), define(["x"], name="other")
    async with open_engine(disk, workflows=[wf], max_running=1) as engine:
        await engine.start(wf, id="r")
        await engine.start(wf, id="pending")
        await hold.reached.wait()
    async with open_engine(disk, workflows=[other]) as engine:
        assert {info.id: info.status for info in await engine.list()} == {
            "r": "blocked",
            "pending": "blocked",
        }
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        for run_id in ("r", "pending"):
            assert await (await engine.start(wf, id=run_id)).result() == {"hold": True}


async def test_ended_runs_are_not_blocked_and_can_be_read(disk):
    wf, other = define(["a"]), define(["x"], name="other")
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, {"n": (1,)}, id="r")
    async with open_engine(disk, workflows=[other]) as engine:
        info = await engine.get("r")
        assert (info.status, info.result) == ("completed", {"n": (1,), "a": True})
        assert [found.id for found in await engine.list(workflow="orders")] == ["r"]


async def test_who_waits_for_a_run_that_is_found_to_be_blocked_is_told(disk, hold):
    """The first run takes the only place, so that the second is looked at only later."""
    holding = define(["hold"], hold, name="holding")
    reached = Hold()
    old, new = define(["a", "hold"], reached), define(["b", "hold"], reached)
    async with open_engine(disk, workflows=[holding, old]) as engine:
        await engine.start(holding, id="first")
        await engine.start(old, id="r")
        await hold.reached.wait()
        await reached.reached.wait()
    again = Hold()
    holding = define(["hold"], again, name="holding")
    caught = []

    async def waiter(run):
        with pytest.raises(RunBlocked):
            await run.result()
        caught.append(1)

    async with (
        open_engine(disk, workflows=[holding, new], max_running=1) as engine,
        trio.open_nursery() as nursery,
    ):
        await again.reached.wait()
        nursery.start_soon(waiter, await engine.start(new, id="r"))
        await trio.testing.wait_all_tasks_blocked()
        assert caught == []
        again.let_go()
    assert caught == [1]


# -- runs that wait, and runs that were cancelled ---------------------------------------------------


def waiter(version="1"):
    wf = Workflow("waiter", version=version)
    wf.wait_for_event("go")
    return wf


@pytest.mark.parametrize("is_paused", [False, True])
async def test_a_run_that_waits_is_blocked_when_its_workflow_is_not_registered(disk, is_paused):
    other = define(["x"], name="other")
    async with open_engine(disk, workflows=[waiter(), other]) as engine:
        for run_id in ("r", "s"):
            await engine.start("waiter", id=run_id)
            await reaches(engine, run_id)
        if is_paused:
            await engine.pause("r")
    async with open_engine(disk, workflows=[other]) as engine:
        assert {info.id for info in await engine.list(status="blocked")} == {"r", "s"}
        assert await engine.list(status="waiting") == []
        info = await engine.get("r")
        assert info.status == "blocked"
        with pytest.raises(RunBlocked):
            await engine.send_event("r", "go")
        assert "waiter" in (await engine.get("r")).error
    async with open_engine(disk, workflows=[waiter(), other]) as engine:
        assert await engine.resume("r") is is_paused
        for run_id in ("r", "s"):
            await engine.send_event(run_id, "go", 1)
            assert await (await engine.start("waiter", id=run_id)).result() == {"go": 1}


async def test_a_run_that_waits_is_blocked_when_its_version_is_not_registered(disk):
    async with open_engine(disk, workflows=[waiter()]) as engine:
        for run_id in ("r", "s"):
            await engine.start("waiter", id=run_id)
            await reaches(engine, run_id)
    async with open_engine(disk, workflows=[waiter("2")]) as engine:
        assert [info.status for info in await engine.list()] == ["blocked", "blocked"]
        info = await engine.get("r")
        assert info.status == "blocked"
        assert "version '1'" in info.error
        assert {info.id for info in await engine.list(status="blocked")} == {"r", "s"}


@pytest.mark.parametrize("compensate", [False, True])
async def test_a_cancelled_run_ends_although_its_workflow_is_not_registered(disk, tmp_path, compensate):
    hold, other = Hold(), define(["x"], name="other")
    wf = Workflow("orders")
    wf.compensation("undo", lambda ctx, result: None)

    @wf.step(compensate="undo")
    async def stays(ctx):
        try:
            await hold()
        finally:
            with trio.CancelScope(shield=True):
                await hold()

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.cancel("r", "enough", compensate=compensate) is True
        image = crash_image(disk, tmp_path / "image")
        hold.let_go()
    async with open_engine(image, workflows=[other]) as engine:
        info = await reaches(engine, "r", "cancelled")
        assert (info.error, info.finished_at is None) == ("enough", False)


async def test_a_cancelled_run_with_something_to_undo_stays_blocked_until_it_can_be_undone(disk, tmp_path):
    hold, undone, other = Hold(), [], define(["x"], name="other")
    wf = Workflow("orders")
    wf.compensation("undo", lambda ctx, result: undone.append(1))
    wf.step(lambda ctx: ctx, name="done", inline=True, compensate="undo")

    @wf.step
    async def stays(ctx):
        with trio.CancelScope(shield=True):
            await hold()

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.cancel("r", compensate=True)
        image = crash_image(disk, tmp_path / "image")
        hold.let_go()
    undone.clear()
    async with open_engine(image, workflows=[other]) as engine:
        assert (await engine.get("r")).status == "blocked"
    async with open_engine(image, workflows=[wf]) as engine:
        await reaches(engine, "r", "compensated")
    assert undone == [1]
