"""Entering and leaving ``open_engine``: what is suspended, what comes out, and what goes on afterwards."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, interrupt, resume
from trio.testing import wait_all_tasks_blocked

from durable_trio import (
    DefinitionError,
    DurableError,
    EngineClosed,
    Err,
    Ok,
    RunFailed,
    StoreLocked,
    Workflow,
    open_engine,
)


@pytest.fixture
def hold():
    return Hold()


@pytest.fixture
def holding(wf, hold):
    @wf.step
    async def slow(ctx):
        await hold()
        return {"done": True}

    return wf


async def test_leaving_suspends_a_run_and_it_goes_on_when_the_database_is_opened_again(disk, holding, hold):
    await interrupt(disk, holding, hold.reached, {"x": 1})
    hold.let_go()
    info = await resume(disk, holding)
    assert info.status == "completed"
    assert info.result == {"done": True}
    assert hold.entered == 2


async def test_runs_go_on_without_anybody_asking_for_them(disk, holding, hold):
    await interrupt(disk, holding, hold.reached)
    again = Hold()
    hold.let_go()
    wf = Workflow("orders")

    @wf.step
    async def slow(ctx):
        again.let_go()
        await again()

    async with open_engine(disk, workflows=[wf]):
        await again.reached.wait()


async def test_leaving_by_cancellation_suspends_too(disk, holding, hold):
    with trio.CancelScope() as scope:
        async with open_engine(disk, workflows=[holding]) as engine:
            await engine.start(holding, id="r")
            await hold.reached.wait()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    hold.let_go()
    assert (await resume(disk, holding)).result == {"done": True}


async def test_leaving_by_a_deadline_that_hits_somebody_who_waits_suspends_too(disk, holding, hold):
    with trio.CancelScope() as scope:
        async with open_engine(disk, workflows=[holding]) as engine, trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, holding, {})
            await hold.reached.wait()
            scope.cancel()
    async with open_engine(disk, workflows=[holding]) as engine:
        (info,) = await engine.list()
        hold.let_go()
        assert await (await engine.start(holding, id=info.id)).result() == {"done": True}


@pytest.mark.parametrize("how", ["result", "wait"])
async def test_who_waits_for_a_run_elsewhere_learns_that_the_engine_was_left(db, holding, hold, how):
    caught = []

    async def waiter(run):
        with pytest.raises(EngineClosed) as error:
            await getattr(run, how)()
        caught.append(str(error.value))

    async with trio.open_nursery() as nursery, open_engine(db, workflows=[holding]) as engine:
        run = await engine.start(holding, id="run-7")
        nursery.start_soon(waiter, run)
        await hold.reached.wait()
        await wait_all_tasks_blocked()
    assert len(caught) == 1
    assert "run-7" in caught[0]


async def test_who_asks_for_a_result_after_the_engine_was_left_learns_it_too(db, holding, hold):
    async with open_engine(db, workflows=[holding]) as engine:
        run = await engine.start(holding)
        await hold.reached.wait()
    with pytest.raises(EngineClosed):
        await run.result()


async def test_an_engine_that_was_left_takes_nothing_any_more(db, holding):
    async with open_engine(db, workflows=[holding]) as engine:
        pass
    with pytest.raises(EngineClosed):
        await engine.start(holding, {})
    with pytest.raises(EngineClosed):
        await engine.run(holding, {})
    with pytest.raises(EngineClosed):
        await engine.cancel("r")


async def test_a_result_that_is_there_can_be_had_after_the_engine_was_left(db, wf):
    wf.step(lambda ctx: {"done": True}, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await run.result()
    assert await run.result() == {"done": True}


async def test_a_step_that_raises_while_the_engine_is_left_has_not_failed(disk, wf):
    began = trio.Event()
    lives = []

    @wf.step
    async def fragile(ctx):
        lives.append(1)
        began.set()
        if len(lives) == 1:
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the cleanup")
        return {"lives": len(lives)}

    await interrupt(disk, wf, began)
    info = await resume(disk, wf)
    assert info.status == "completed"
    assert info.result == {"lives": 2}


async def test_branches_that_raise_while_the_engine_is_left_have_not_failed(disk, wf):
    began = trio.Event()
    lives = []
    with wf.parallel():

        @wf.step
        async def fragile(ctx):
            lives.append(1)
            began.set()
            if len(lives) == 1:
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("in the cleanup")
            return Ok(len(lives))

    await interrupt(disk, wf, began)
    info = await resume(disk, wf)
    assert info.result == {"__results__": {"fragile": Ok(2)}}


async def test_a_step_that_ends_well_while_the_engine_is_left_keeps_its_result(disk, wf):
    began = trio.Event()
    entered = []

    @wf.step
    async def finishing(ctx):
        entered.append("finishing")
        began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return {"finished": "on the way out"}

    wf.step(lambda ctx: entered.append("next"), name="next", inline=True)
    await interrupt(disk, wf, began)
    assert entered == ["finishing"]
    info = await resume(disk, wf)
    assert info.result == {"finished": "on the way out"}
    assert entered == ["finishing", "next"]


async def test_leaving_waits_for_a_step_that_cleans_up(disk, wf):
    began = trio.Event()
    events = []

    @wf.step
    async def tidy(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
            events.append("out")

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf)
        await began.wait()
    events.append("left")
    assert events == ["out", "left"]


async def test_steps_that_ended_before_are_not_run_again(disk, wf, hold):
    order = []
    for name in "abc":
        wf.step(lambda ctx, name=name: order.append(name) or ctx | {name: [name]}, name=name, inline=True)

    @wf.step
    async def slow(ctx):
        await hold()

    wf.step(lambda ctx: order.append("last"), name="last", inline=True)
    await interrupt(disk, wf, hold.reached, {"x": {1}})
    hold.let_go()
    assert (await resume(disk, wf)).result == {"x": {1}, "a": ["a"], "b": ["b"], "c": ["c"]}
    assert order == ["a", "b", "c", "last"]


async def test_a_run_can_be_interrupted_any_number_of_times(disk, wf):
    entered = []

    def declare(n):
        @wf.step(name=f"s{n}")
        async def step(ctx):
            entered.append(n)
            if entered.count(n) == 1:
                holds[n].set()
                await trio.sleep_forever()
            return ctx | {f"k{n}": n}

    holds = [trio.Event() for _ in range(5)]
    for n in range(5):
        declare(n)
    for n in range(5):
        await interrupt(disk, wf, holds[n], {})
    assert (await resume(disk, wf)).result == {f"k{n}": n for n in range(5)}
    assert entered == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


class Boom(Exception):
    pass


@pytest.mark.parametrize("error", [Boom("x"), KeyError("k"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_what_the_body_raises_comes_out_bare(db, holding, hold, error):
    with pytest.raises(type(error)) as caught:
        async with open_engine(db, workflows=[holding]) as engine:
            await engine.start(holding)
            await hold.reached.wait()
            raise error
    assert caught.value is error


async def test_what_a_run_raises_in_the_body_comes_out_bare(db, wf):
    wf.step(lambda ctx: Err("why"), name="a", inline=True)
    with pytest.raises(RunFailed):
        async with open_engine(db, workflows=[wf]) as engine:
            await engine.run(wf)


async def test_a_database_that_is_open_cannot_be_opened_again(disk, holding):
    async with open_engine(disk, workflows=[holding]):
        with pytest.raises(StoreLocked):
            async with open_engine(disk, workflows=[holding]):
                pass
    async with open_engine(disk, workflows=[holding]):
        pass


async def test_two_engines_in_memory_know_nothing_of_each_other(holding):
    async with open_engine(workflows=[holding]) as one, open_engine(workflows=[holding]) as two:
        await one.start(holding, id="r")
        assert (await two.start(holding, id="r")).created is True
        assert len(await one.list()) == len(await two.list()) == 1


async def test_a_path_may_be_text(tmp_path, wf):
    wf.step(lambda ctx: {"done": True}, name="a", inline=True)
    async with open_engine(str(tmp_path / "app.lmdb"), workflows=[wf]) as engine:
        await engine.run(wf, id="r")
    async with open_engine(tmp_path / "app.lmdb", workflows=[wf]) as engine:
        assert (await engine.get("r")).result == {"done": True}


@pytest.mark.parametrize(
    "options",
    [
        {"durability": "fast"},
        {"max_running": 0},
        {"max_running": True},
        {"clock": 5},
        {"flush_interval": -1},
        {"types": [5]},
    ],
    ids=repr,
)
async def test_options_that_make_no_sense_are_refused(db, holding, options):
    with pytest.raises((DurableError, TypeError)):
        async with open_engine(db, workflows=[holding], **options):
            pass


async def test_two_workflows_of_one_name_and_version_are_refused(db):
    one, two = Workflow("orders"), Workflow("orders")
    for workflow in (one, two):
        workflow.step(lambda ctx: None, name="a", inline=True)
    with pytest.raises(DefinitionError, match="orders"):
        async with open_engine(db, workflows=[one, two]):
            pass


async def test_a_workflow_without_steps_is_refused(db):
    with pytest.raises(DefinitionError, match="empty"):
        async with open_engine(db, workflows=[Workflow("empty")]):
            pass


async def test_a_deadline_around_an_engine_is_an_ordinary_timeout(mock_clock, holding):
    with pytest.raises(trio.TooSlowError), trio.fail_after(100):
        async with open_engine(workflows=[holding]) as engine:
            await engine.run(holding)


@pytest.mark.slow
async def test_more_runs_than_a_page_are_recovered(disk, wf):
    """All of them, each once, whatever the size of the pages in which they are found."""
    entered = []
    released = trio.Event()

    @wf.step
    async def step(ctx):
        entered.append(ctx["n"])
        await released.wait()

    async with open_engine(disk, workflows=[wf], max_running=1) as engine, trio.open_nursery() as nursery:
        for n in range(2100):
            nursery.start_soon(lambda n=n: engine.start(wf, {"n": n}, id=f"r{n}"))
    entered.clear()
    released.set()
    async with open_engine(disk, workflows=[wf], durability="exit") as engine:
        for n in range(2100):
            await (await engine.start(wf, id=f"r{n}")).result()
    assert sorted(entered) == list(range(2100))


async def test_a_cancellation_while_an_engine_is_being_opened_is_delivered_and_leaves_nothing_open(
    db, holding
):
    entered = []

    def clock():
        scope.cancel()  # the clock is asked before the engine has begun
        return 1_700_000_000.0

    with trio.CancelScope() as scope:
        async with open_engine(db, workflows=[holding], clock=clock):
            entered.append(1)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert entered == []
    async with open_engine(db, workflows=[holding]):
        pass


async def test_no_deadline_of_a_mock_clock_expires_while_an_engine_in_memory_works(mock_clock, wf):
    """The clock leaps whenever all is idle, and the wait for a thread is idleness to it."""
    wf.step(lambda ctx: {"done": True}, name="a", inline=True)
    with trio.fail_after(1):
        async with open_engine(workflows=[wf]) as engine:
            assert await engine.run(wf) == {"done": True}
        assert trio.current_time() == 0
