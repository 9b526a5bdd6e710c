"""``engine.cancel``: when it takes effect, and what it does to steps under way."""

from __future__ import annotations

import logging

import pytest
import trio
from engine_helpers import Hold, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Ok, Retry, RunCancelled, RunNotFound, SnapshotError, open_engine, step_info
from durable_trio.testing import trio_clock


@pytest.fixture
def hold():
    return Hold()


@pytest.fixture
def holding(wf, hold):
    """One step that holds; ``events`` says how it came out."""
    events = []

    @wf.step
    async def slow(ctx):
        try:
            await hold()
        except trio.Cancelled:
            events.append("cancelled")
            raise
        events.append("done")
        return {"done": True}

    wf.step(lambda ctx: events.append("next"), name="next", inline=True)
    return wf, events


async def test_a_running_run_is_cancelled_with_its_reason(db, holding, hold):
    wf, events = holding
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"x": 1})
        await hold.reached.wait()
        assert await engine.cancel(run.id, {"by": "user"}) is True
        with pytest.raises(RunCancelled) as caught:
            await run.result()
        info = await run.wait()
    assert caught.value.run_id == run.id
    assert caught.value.reason == {"by": "user"}
    assert events == ["cancelled"]
    assert run.status == info.status == "cancelled"
    assert info.error == {"by": "user"}
    assert info.result is None
    assert info.finished_at is not None
    assert states(info) == {"slow": "cancelled"}
    assert step_of(info, "slow").error.type == "Cancelled"


async def test_a_reason_is_not_needed(db, holding, hold):
    wf, _ = holding
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await hold.reached.wait()
        assert await engine.cancel(run.id) is True
        with pytest.raises(RunCancelled) as caught:
            await run.result()
    assert caught.value.reason is None


@pytest.mark.parametrize("how", ["completed", "failed"])
async def test_a_run_that_has_ended_cannot_be_cancelled(db, wf, how):
    wf.step(lambda ctx: Err("no") if how == "failed" else None, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await run.wait()
        assert await engine.cancel(run.id) is False
        assert run.status == how
        assert (await engine.get(run.id)).status == how


async def test_a_cancelled_run_cannot_be_cancelled_once_more(db, holding, hold):
    wf, _ = holding
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await hold.reached.wait()
        assert await engine.cancel(run.id, "first") is True
        await run.wait()
        assert await engine.cancel(run.id, "second") is False
        assert (await engine.get(run.id)).error == "first"


async def test_an_unknown_run_cannot_be_cancelled(db, holding):
    wf, _ = holding
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunNotFound, match="nobody"):
            await engine.cancel("nobody")


async def test_a_reason_that_cannot_be_stored_is_refused_and_nothing_is_cancelled(db, holding, hold):
    wf, _ = holding
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await hold.reached.wait()
        with pytest.raises(SnapshotError):
            await engine.cancel(run.id, object())
        hold.let_go()
        assert await run.result() == {"done": True}


async def test_a_pending_run_is_cancelled_and_never_entered(db, wf, hold):
    entered = []

    @wf.step
    async def slow(ctx):
        entered.append(ctx["n"])
        await hold()

    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        first = await engine.start(wf, {"n": 1})
        await hold.reached.wait()
        second = await engine.start(wf, {"n": 2})
        third = await engine.start(wf, {"n": 3})
        assert second.status == "pending"
        assert await engine.cancel(second.id, "not needed") is True
        with pytest.raises(RunCancelled):
            await second.result()
        hold.let_go()
        await first.result()
        await third.result()
        assert states(await engine.get(second.id)) == {}
    assert entered == [1, 3]


async def test_a_run_is_cancelled_during_its_back_off(mock_clock, wf):
    entered = []

    @wf.step(retry=Retry(max_attempts=9, base=1000, max_backoff=1000, jitter=False))
    async def failing(ctx):
        entered.append(trio.current_time())
        raise OSError

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(10)
        assert await engine.cancel(run.id, "enough") is True
        with pytest.raises(RunCancelled):
            await run.result()
        assert trio.current_time() < 1000
        info = await engine.get(run.id)
    assert len(entered) == 1
    assert info.status == "cancelled"
    assert states(info) == {"failing": "cancelled"}


async def test_a_step_with_a_cleanup_is_out_before_the_run_ends(db, wf):
    began, may_finish = trio.Event(), trio.Event()
    events = []

    @wf.step
    async def tidy(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await may_finish.wait()
            events.append("out")

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await began.wait()
        assert await engine.cancel(run.id) is True
        await wait_all_tasks_blocked()
        assert run.status == "running"
        may_finish.set()
        await run.wait()
        events.append("ended")
    assert events == ["out", "ended"]


@pytest.mark.parametrize("outcome", [Ok({"late": True}), Err("late"), None], ids=repr)
async def test_a_step_that_swallows_its_cancel_does_not_let_the_run_complete(db, wf, outcome):
    began = trio.Event()
    entered = []

    @wf.step
    async def stubborn(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return outcome

    wf.step(lambda ctx: entered.append(1), name="next", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await began.wait()
        assert await engine.cancel(run.id, "stop") is True
        with pytest.raises(RunCancelled):
            await run.result()
    assert entered == []


async def test_a_step_that_raises_during_its_cancel_does_not_make_the_run_fail(db, wf):
    began = trio.Event()

    @wf.step
    async def breaking(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await began.wait()
        assert await engine.cancel(run.id, "stop") is True
        with pytest.raises(RunCancelled):
            await run.result()
        info = await engine.get(run.id)
    assert info.status == "cancelled"
    assert step_of(info, "breaking").error.message == "in the cleanup"


async def test_a_cancel_while_the_last_step_is_ending_has_one_outcome(db, wf):
    """Whoever is told True never sees it completed; whoever is told False never sees it cancelled."""
    go = trio.Event()

    @wf.step
    async def last(ctx):
        await go.wait()

    async with open_engine(db, workflows=[wf]) as engine:
        for _ in range(10):
            go = trio.Event()
            run = await engine.start(wf)
            await wait_all_tasks_blocked()
            go.set()
            took = await engine.cancel(run.id)
            info = await run.wait()
            assert info.status == ("cancelled" if took else "completed")


async def test_a_cancelled_run_stays_cancelled_after_a_restart(disk, holding, hold):
    wf, _ = holding
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.cancel("r", ("why", 1)) is True
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert run.created is False
        with pytest.raises(RunCancelled) as caught:
            await run.result()
        assert caught.value.reason == ("why", 1)
        assert (await engine.get("r")).status == "cancelled"
    assert hold.entered == 1


async def test_cancelling_a_run_leaves_the_others_alone(db, holding, hold):
    wf, _ = holding
    async with open_engine(db, workflows=[wf]) as engine:
        runs = [await engine.start(wf) for _ in range(3)]
        while hold.entered < 3:
            await wait_all_tasks_blocked(0.001)
        assert await engine.cancel(runs[1].id)
        assert (await runs[1].wait()).status == "cancelled"
        hold.let_go()
        assert [(await run.wait()).status for run in runs] == ["completed", "cancelled", "completed"]


async def test_a_step_that_takes_no_notice_of_its_cancel_is_named_in_the_log(mock_clock, wf, caplog):
    began, release = trio.Event(), trio.Event()

    @wf.step
    async def stubborn(ctx):
        began.set()
        with trio.CancelScope(shield=True):
            await release.wait()

    caplog.set_level(logging.WARNING, logger="durable_trio")
    async with open_engine(workflows=[wf], clock=trio_clock(), cancel_grace=5) as engine:
        run = await engine.start(wf, id="run-7")
        await began.wait()
        assert await engine.cancel("run-7") is True
        await trio.sleep(4)
        assert caplog.records == []
        await trio.sleep(2)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "stubborn" in record.getMessage()
        assert "run-7" in record.getMessage()
        release.set()
        assert (await run.wait()).status == "cancelled"


async def test_a_step_that_ends_within_the_grace_time_is_not(mock_clock, wf, caplog):
    began = trio.Event()

    @wf.step
    async def tidy(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(4)

    caplog.set_level(logging.WARNING, logger="durable_trio")
    async with open_engine(workflows=[wf], clock=trio_clock(), cancel_grace=5) as engine:
        run = await engine.start(wf)
        await began.wait()
        await engine.cancel(run.id)
        await run.wait()
        await trio.sleep(100)
    assert caplog.records == []


async def test_branches_that_end_with_their_cancelled_run_are_not_either(mock_clock, wf, caplog):
    began = []
    with wf.parallel(name="block"):
        for name in ("one", "two"):

            @wf.step(name=name)
            async def branch(ctx):
                began.append(step_info().path)
                await trio.sleep_forever()

    caplog.set_level(logging.WARNING, logger="durable_trio")
    async with open_engine(workflows=[wf], clock=trio_clock(), cancel_grace=5) as engine:
        run = await engine.start(wf)
        await wait_all_tasks_blocked()
        assert len(began) == 2
        await engine.cancel(run.id)
        await run.wait()
        await trio.sleep(100)
    assert caplog.records == []


async def test_a_step_may_cancel_its_own_run(db, wf):
    entered = []
    engines = []

    @wf.step
    async def give_up(ctx):
        assert await engines[0].cancel(step_info().run_id, "by itself") is True
        await trio.lowlevel.checkpoint()
        entered.append("behind the cancel")

    async with open_engine(db, workflows=[wf]) as engine:
        engines.append(engine)
        run = await engine.start(wf)
        with pytest.raises(RunCancelled) as caught:
            await run.result()
    assert caught.value.reason == "by itself"
    assert entered == []


async def test_a_run_that_is_cancelled_as_soon_as_it_is_started_ends_cancelled(db, holding):
    wf, events = holding
    async with open_engine(db, workflows=[wf]) as engine:
        for _ in range(5):
            run = await engine.start(wf)
            assert await engine.cancel(run.id) is True
            assert (await run.wait()).status == "cancelled"
    assert "next" not in events


async def test_a_step_that_holds_up_the_end_of_the_engine_is_named_too(mock_clock, wf, caplog):
    began = trio.Event()

    @wf.step
    async def stubborn(ctx):
        began.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    caplog.set_level(logging.WARNING, logger="durable_trio")
    async with open_engine(workflows=[wf], clock=trio_clock(), cancel_grace=5) as engine:
        await engine.start(wf, id="run-7")
        await began.wait()
    (record,) = caplog.records
    assert "stubborn" in record.getMessage()
    assert "run-7" in record.getMessage()


async def test_a_branch_that_holds_up_its_block_is_named_too(mock_clock, wf, caplog):
    began = trio.Event()
    with wf.parallel(name="block"):

        @wf.step
        async def stubborn(ctx):
            began.set()
            with trio.CancelScope(shield=True):
                await trio.sleep(100)

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err("no")

    caplog.set_level(logging.WARNING, logger="durable_trio")
    async with open_engine(workflows=[wf], clock=trio_clock(), cancel_grace=5) as engine:
        assert (await (await engine.start(wf)).wait()).status == "failed"
    (record,) = caplog.records
    assert "block/stubborn" in record.getMessage()
