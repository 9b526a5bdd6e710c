"""``engine.cancel(..., compensate=True)``: a cancelled run undoes what its steps did."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from engine_helpers import Hold, interrupt, resume, states

from durable_trio import Err, InputError, RunBlocked, RunCancelled, Workflow, open_engine


class Trip:
    """Two steps with handlers, then one that holds."""

    def __init__(self, *, waits=False):
        self.hold = Hold()
        self.undoing = Hold()
        self.undoing.let_go()
        self.undone = []
        self.outcome = None
        self.wf = wf = Workflow("trip")
        for name in ("flight", "hotel"):
            wf.compensation(f"cancel_{name}", self._handler(name))
            wf.step(lambda ctx, n=name: {**ctx, n: 1}, name=name, compensate=f"cancel_{name}", inline=True)
        if waits:
            wf.wait_for_event("go")
        else:

            @wf.step
            async def slow(ctx):
                await self.hold()

        wf.step(lambda _: self.undone.append("went on"), name="after", inline=True)

    def _handler(self, name):
        async def cancel(ctx, result):
            await self.undoing()
            self.undone.append((name, dict(ctx), result))
            return self.outcome

        return cancel

    @property
    def all_undone(self):
        return self.undone == [
            ("hotel", {"flight": 1}, {"flight": 1, "hotel": 1}),
            ("flight", {}, {"flight": 1}),
        ]


@pytest.fixture
def trip():
    return Trip()


async def test_a_running_run_is_undone(db, trip):
    async with open_engine(db, workflows=[trip.wf]) as engine:
        run = await engine.start(trip.wf, id="r")
        await trip.hold.reached.wait()
        assert await engine.cancel("r", ("by", "user"), compensate=True) is True
        with pytest.raises(RunCancelled) as caught:
            await run.result()
        info = await run.wait()
        assert await engine.cancel("r") is False
        with pytest.raises(InputError, match="compensated"):
            await engine.retry("r")
    assert trip.all_undone
    assert caught.value.reason == info.error == ("by", "user")
    assert (run.status, info.status, info.errors) == ("compensated", "compensated", {})
    assert states(info) == {"flight": "ok", "hotel": "ok", "slow": "cancelled"}
    assert [done.path for done in info.compensations] == ["hotel", "flight"]


async def test_without_compensate_nothing_is_undone(db, trip):
    async with open_engine(db, workflows=[trip.wf]) as engine:
        run = await engine.start(trip.wf, id="r")
        await trip.hold.reached.wait()
        assert await engine.cancel("r") is True
        info = await run.wait()
    assert (info.status, info.compensations, trip.undone) == ("cancelled", [], [])


async def test_the_first_cancel_decides(db, wf):
    undone, began, release = [], trio.Event(), trio.Event()
    wf.compensation("undo", lambda ctx, result: undone.append(1))
    wf.step(lambda _: None, name="a", compensate="undo", inline=True)

    @wf.step
    async def stubborn(ctx):
        began.set()
        with trio.CancelScope(shield=True):
            await release.wait()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await began.wait()
        assert await engine.cancel("r", "first") is True
        assert await engine.cancel("r", "second", compensate=True) is True
        release.set()
        info = await run.wait()
    assert (info.status, info.error, undone) == ("cancelled", "first", [])


async def test_a_handler_that_fails_shows(db, trip):
    trip.outcome = Err("down")
    async with open_engine(db, workflows=[trip.wf]) as engine:
        run = await engine.start(trip.wf, id="r")
        await trip.hold.reached.wait()
        await engine.cancel("r", "enough", compensate=True)
        info = await run.wait()
        with pytest.raises(RunCancelled):
            await run.result()
    assert (info.status, info.error) == ("compensation_failed", "enough")
    assert len(trip.undone) == 2


async def test_a_run_with_nothing_to_undo_ends_cancelled(db, wf):
    hold = Hold()
    wf.compensation("undo", lambda ctx, result: None)

    @wf.step(compensate="undo")
    async def first(ctx):
        await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.cancel("r", "why", compensate=True) is True
        info = await run.wait()
    assert (info.status, info.error, info.compensations) == ("cancelled", "why", [])


async def test_a_workflow_without_handlers_is_just_cancelled(db, wf):
    hold = Hold()

    @wf.step
    async def only(ctx):
        await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await hold.reached.wait()
        assert await engine.cancel(run.id, compensate=True) is True
        assert (await run.wait()).status == "cancelled"


async def test_a_pending_run_that_was_never_entered_ends_at_once(db, trip):
    async with open_engine(db, workflows=[trip.wf], max_running=1) as engine:
        await engine.start(trip.wf)
        await trip.hold.reached.wait()
        second = await engine.start(trip.wf)
        assert second.status == "pending"
        assert await engine.cancel(second.id, compensate=True) is True
        assert (await second.wait()).status == "cancelled"


async def test_a_run_that_waits_is_undone(db):
    trip = Trip(waits=True)
    async with open_engine(db, workflows=[trip.wf]) as engine:
        run = await engine.start(trip.wf, id="r")
        while run.status != "waiting":
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert await engine.cancel("r", "enough", compensate=True) is True
        with pytest.raises(RunCancelled):
            await run.result()
        info = await run.wait()
    assert trip.all_undone
    assert (info.status, info.error) == ("compensated", "enough")


async def test_a_run_that_waits_since_before_a_restart_is_undone(disk):
    trip = Trip(waits=True)
    async with open_engine(disk, workflows=[trip.wf]) as engine:
        run = await engine.start(trip.wf, id="r")
        while run.status != "waiting":
            await trio.testing.wait_all_tasks_blocked(0.001)
        del run
    async with open_engine(disk, workflows=[trip.wf]) as engine:
        assert await engine.cancel("r", "enough", compensate=True) is True
        info = await (await engine.start(trip.wf, id="r")).wait()
    assert trip.all_undone
    assert (info.status, info.error) == ("compensated", "enough")


async def test_many_waiting_runs_are_undone_when_there_is_room(db):
    trip = Trip(waits=True)
    async with open_engine(db, workflows=[trip.wf], max_running=2) as engine:
        runs = [await engine.start(trip.wf) for _ in range(30)]
        for run in runs:
            while run.status != "waiting":
                await trio.testing.wait_all_tasks_blocked(0.001)
        for run in runs:
            assert await engine.cancel(run.id, compensate=True) is True
        assert {(await run.wait()).status for run in runs} == {"compensated"}
    assert len(trip.undone) == 60


async def test_a_begun_run_that_is_pending_after_a_restart_is_undone(disk, trip):
    """Its journal has not been read when it is cancelled."""
    block = Hold()
    other = Workflow("other")

    @other.step
    async def hog(ctx):
        await block()

    async with open_engine(disk, workflows=[other, trip.wf], max_running=2) as engine:
        await engine.start(other, id="hog", priority=9)
        await block.reached.wait()
        await engine.start(trip.wf, id="r")
        await trip.hold.reached.wait()
    async with open_engine(disk, workflows=[other, trip.wf], max_running=1) as engine:
        run = await engine.start(trip.wf, id="r")
        assert run.status == "pending"
        assert await engine.cancel("r", "enough", compensate=True) is True
        assert run.status == "compensating"
        assert await engine.cancel("r", "again", compensate=True) is False
        block.let_go()
        info = await run.wait()
    assert trip.all_undone
    assert (info.status, info.error) == ("compensated", "enough")
    assert trip.hold.entered == 1


async def test_a_restart_in_the_middle_goes_on_undoing(disk, trip):
    trip.undoing = Hold()
    async with open_engine(disk, workflows=[trip.wf]) as engine:
        await engine.start(trip.wf, id="r")
        await trip.hold.reached.wait()
        assert await engine.cancel("r", "enough", compensate=True) is True
        await trip.undoing.reached.wait()
    trip.undoing.let_go()
    info = await resume(disk, trip.wf)
    assert trip.all_undone
    assert trip.hold.entered == 1
    assert (info.status, info.error) == ("compensated", "enough")


async def test_a_restart_before_the_steps_were_out_undoes_them_later(disk, wf):
    """All that is on the disk is that somebody was told True."""
    undone, began = [], trio.Event()
    entered = []
    wf.compensation("undo", lambda ctx, result: undone.append(result))
    wf.step(lambda _: {"a": 1}, name="a", compensate="undo", inline=True)

    @wf.step
    async def stubborn(ctx):
        entered.append(1)
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            engine.suspend()

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await began.wait()
        assert await engine.cancel("r", "enough", compensate=True) is True
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        with pytest.raises(RunCancelled) as caught:
            await run.result()
        info = await run.wait()
    assert caught.value.reason == "enough"
    assert (info.status, undone, entered) == ("compensated", [{"a": 1}], [1])


async def test_a_blocked_run_cannot_be_undone_but_cancelled(disk, trip):
    await interrupt(disk, trip.wf, trip.hold.reached)
    async with open_engine(disk, workflows=[]) as engine:
        with pytest.raises(RunBlocked, match="without compensate=True"):
            await engine.cancel("r", compensate=True)
        assert (await engine.get("r")).status == "blocked"
        assert await engine.cancel("r") is True
        assert (await engine.get("r")).status == "cancelled"
    assert trip.undone == []


async def test_a_failed_run_cannot_be_cancelled_to_undo_it(db, wf):
    wf.step(lambda _: Err("no"), name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await run.wait()
        assert await engine.cancel(run.id, compensate=True) is False
        assert (await engine.get(run.id)).status == "failed"
