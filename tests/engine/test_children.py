"""Children: one per parent, step and ref, whatever happens to either; and no ended parent with a live one."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, states
from waiting_helpers import Wall, noted, reaches, waiting_for

from durable_trio import (
    Err,
    Ok,
    Retry,
    RunFailed,
    RunNotFound,
    Workflow,
    call_workflow,
    open_engine,
    start_workflow,
    wait_for_event,
)
from durable_trio.testing import trio_clock

DAY = 86400


def adder():
    wf = Workflow("adder")
    wf.step(lambda ctx: {"n": ctx["n"] + 1}, name="add", inline=True)
    return wf


def waiter(name="waiter"):
    """A child that waits for an event, as a step."""
    wf = Workflow(name)
    wf.wait_for_event("go")
    return wf


def caller(child, data=None, **options):
    """A parent that calls one child and keeps what it got."""
    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        return {"got": await call_workflow(child, data, **options)}

    return wf


async def child_of(engine, parent="p"):
    """Look on until the parent has one child that waits; gives its RunInfo."""
    while True:
        children = await engine.list(parent=parent)
        if children and children[0].status == "waiting":
            (child,) = children
            return child
        await trio.lowlevel.checkpoint()


async def test_a_childs_result_is_the_parents_to_use(db):
    child = adder()
    wf = caller(child, {"n": 1})
    async with open_engine(db, workflows=[wf, child]) as engine:
        run = await engine.start(wf)
        assert await run.result() == {"got": Ok({"n": 2})}
        (info,) = await engine.list(parent=run.id)
        assert (info.workflow, info.parent, info.status) == ("adder", run.id, "completed")
        assert (info.input, info.result) == ({"n": 1}, {"n": 2})
        assert await engine.list(parent=info.id) == []


async def test_a_childs_failure_is_an_err_with_its_reason(db):
    child = Workflow("fails")
    child.step(lambda ctx: Err(ctx["why"]) if "why" in ctx else 1 / 0, name="only", inline=True)
    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        told = await call_workflow(child, {"why": (1, "x")})
        raised = await call_workflow("fails")
        return {"told": told, "raised": raised}

    async with open_engine(db, workflows=[wf, child]) as engine:
        result = await engine.run(wf)
        assert result["told"] == Err((1, "x"))
        assert result["raised"].reason.type == "ZeroDivisionError"


async def test_a_child_that_takes_too_long_is_cancelled(mock_clock):
    child = waiter()
    wf = caller(child, timeout=100)
    async with open_engine(workflows=[wf, child], clock=trio_clock()) as engine:
        got = (await engine.run(wf, id="p"))["got"]
        assert got.reason.type == "TimeoutError"
        assert 100 <= trio.current_time() < 101
        await trio.sleep(1)
        (info,) = await engine.list(parent="p")
        assert (info.status, info.error) == ("cancelled", got.reason.message)


async def test_a_cancelled_child_is_an_err(mock_clock):
    child = waiter()
    wf = caller(child)
    async with open_engine(workflows=[wf, child], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="p")
        await trio.sleep(1)
        (info,) = await engine.list(parent="p")
        assert await engine.cancel(info.id, "not needed")
        got = (await run.result())["got"]
        assert (got.reason.type, "not needed" in got.reason.message) == ("Cancelled", True)


async def test_every_attempt_of_a_step_has_the_same_child(mock_clock):
    child, calls = adder(), []
    wf = Workflow("parent")

    @wf.step(retry=Retry(max_attempts=3, base=1))
    async def call(ctx):
        calls.append(await call_workflow(child, {"n": len(calls)}))
        if len(calls) < 3:
            raise OSError("again")

    async with open_engine(workflows=[wf, child], clock=trio_clock()) as engine:
        await engine.run(wf, id="p")
        assert calls == [Ok({"n": 1})] * 3
        assert len(await engine.list(parent="p")) == 1


async def test_refs_and_counts_tell_children_apart(db):
    child = adder()
    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        return {
            "ids": [
                await start_workflow(child, {"n": 1}),
                await start_workflow(child, {"n": 2}),
                await start_workflow(child, {"n": 3}, ref="x"),
                await start_workflow(child, {"n": 4}, ref="x"),
            ],
            "called": await call_workflow(child, {"n": 5}, ref="x"),
        }

    async with open_engine(db, workflows=[wf, child]) as engine:
        result = await engine.run(wf, id="p")
        first, second, third, fourth = result["ids"]
        assert third == fourth
        assert len({first, second, third}) == 3
        assert result["called"] == Ok({"n": 4})
        for id_ in {first, second, third}:
            await reaches(engine, id_, "completed")
        children = await engine.list(parent="p")
        assert sorted(info.input["n"] for info in children) == [1, 2, 3]


async def test_a_list_of_children_is_filtered_and_paged(db):
    child, other = adder(), waiter()
    wf = Workflow("parent")

    @wf.step
    async def start(ctx):
        for n in range(4):
            await start_workflow(child, {"n": n})
        await start_workflow(other)

    async with open_engine(db, workflows=[wf, child, other]) as engine:
        await engine.run(wf, id="p")
        page = await engine.list(parent="p", limit=2)
        rest = await engine.list(parent="p", limit=10, after=page[-1].id)
        assert [info.input for info in page + rest] == [{}, {"n": 3}, {"n": 2}, {"n": 1}, {"n": 0}]
        assert len(await engine.list(parent="p", workflow=child)) == 4
        waiting = await child_of_status(engine, "p", "waiting")
        assert [info.workflow for info in waiting] == ["waiter"]
        with pytest.raises(RunNotFound):
            await engine.list(parent="nobody")


async def child_of_status(engine, parent, status):
    while not (found := await engine.list(parent=parent, status=status)):
        await trio.lowlevel.checkpoint()
    return found


async def test_a_parked_child_while_the_parent_waits_for_it(mock_clock):
    child = Workflow("slow")
    child.sleep(3 * DAY)
    child.wait_for_event("go")
    wf = caller(child)
    async with open_engine(workflows=[wf, child], clock=trio_clock(), max_running=1) as engine:
        run = await engine.start(wf, id="p")
        await trio.sleep(10)
        (info,) = await engine.list(parent="p")
        assert (info.status, run.status) == ("waiting", "running")
        await engine.send_event(info.id, "go", 7)
        assert await run.result() == {"got": Ok({"go": 7})}
        assert 3 * DAY <= trio.current_time() < 3 * DAY + 1


async def test_children_nest_when_only_one_run_may_be_under_way(mock_clock):
    deepest = adder()
    middle, top = Workflow("middle"), Workflow("top")

    for wf, called in ((middle, deepest), (top, middle)):

        @wf.step
        async def call(ctx, called=called):
            got = await call_workflow(called, dict(ctx))
            return {"n": got.value["n"] + 10}

    async with open_engine(workflows=[deepest, middle, top], clock=trio_clock(), max_running=1) as engine:
        runs = [await engine.start(top, {"n": n}) for n in range(5)]
        assert [(await run.result())["n"] for run in runs] == [21, 22, 23, 24, 25]
        assert await engine.list(status=["running", "pending"]) == []


async def test_cancelling_a_parent_cancels_its_live_children_at_every_depth(mock_clock):
    leaf = waiter("leaf")
    middle = Workflow("middle")

    @middle.step
    async def calls_and_starts(ctx):
        await start_workflow(leaf, ref="started")
        await call_workflow(leaf, ref="called")

    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        await start_workflow(leaf)
        await call_workflow(middle)

    async with open_engine(workflows=[wf, middle, leaf], clock=trio_clock()) as engine:
        for ticks in (0, 1, 2, 3, 5, 8, 13, 21, 1000):
            run = await engine.start(wf, id=f"p{ticks}")
            for _ in range(ticks):
                await trio.lowlevel.checkpoint()
            assert await engine.cancel(run.id, "stop")
            await run.wait()
            await trio.sleep(1)
            alive = await engine.list(status=["pending", "running", "waiting"])
            assert [(info.workflow, info.status) for info in alive] == []
        done = await engine.list(status="cancelled", workflow=leaf)
        assert len(done) >= 3


async def test_a_step_that_times_out_cancels_all_below_the_child_that_it_called(mock_clock):
    leaf = waiter("leaf")
    middle = Workflow("middle")

    @middle.step
    async def start(ctx):
        await start_workflow(leaf)
        await call_workflow(leaf)

    wf = Workflow("parent")

    @wf.step(timeout=10)
    async def call(ctx):
        await call_workflow(middle)

    async with open_engine(workflows=[wf, middle, leaf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        with pytest.raises(RunFailed):
            await run.result()
        await trio.sleep(1)
        assert await engine.list(status=["pending", "running", "waiting"]) == []


async def test_a_child_that_is_deleted_does_not_stop_a_cancellation(mock_clock):
    quick, slow = adder(), waiter()
    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        await call_workflow(quick, {"n": 1})
        await start_workflow(slow, ref="a")
        await start_workflow(slow, ref="b")
        await call_workflow(slow, ref="c")

    async with open_engine(workflows=[wf, quick, slow], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="p")
        await trio.sleep(1)
        (done,) = await engine.list(parent="p", status="completed")
        await engine.delete(done.id)
        assert await engine.cancel("p")
        await run.wait()
        await trio.sleep(1)
        assert {info.status for info in await engine.list(parent="p")} == {"cancelled"}


async def test_fail_fast_cancels_the_child_of_a_cancelled_branch(mock_clock):
    child = waiter()
    wf = Workflow("parent")
    with wf.parallel(name="block"):

        @wf.step
        async def calls(ctx):
            return await call_workflow(child)

        @wf.step
        async def fails(ctx):
            await trio.sleep(10)
            raise OSError("no")

    async with open_engine(workflows=[wf, child], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="p")
        info = await run.wait()
        assert states(info) == {"block/calls": "cancelled", "block/fails": "error", "block": "error"}
        await trio.sleep(1)
        (called,) = await engine.list(parent="p")
        assert called.status == "cancelled"


async def test_children_in_branches_and_items_with_waits_in_them(mock_clock):
    child = Workflow("child")

    @child.step
    async def ask(ctx):
        return {"n": ctx["n"], "got": await wait_for_event("go")}

    wf = Workflow("parent")
    with wf.parallel(name="block"):
        for name in ("one", "two"):

            @wf.step(name=name)
            async def call(ctx, name=name):
                return await call_workflow(child, {"n": name})

        @wf.map(over=lambda ctx: [1, 2, 3])
        async def each(ctx, item):
            return await call_workflow(child, {"n": item})

    async with open_engine(workflows=[wf, child], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="p")
        await trio.sleep(1)
        children = await engine.list(parent="p")
        assert len(children) == 5
        for info in children:
            await engine.send_event(info.id, "go", info.input["n"])
        results = (await run.result())["__results__"]
        assert results["one"] == Ok({"n": "one", "got": "one"})
        assert results["each"] == Ok([Ok({"n": n, "got": n}) for n in (1, 2, 3)])


async def test_a_child_that_ends_while_its_parent_is_not_there(disk):
    child = waiter()
    wf = caller(child)
    noted(wf, "after", after := [])
    async with open_engine(disk, workflows=[wf, child]) as engine:
        await engine.start(wf, id="p")
        called = await child_of(engine)
    async with open_engine(disk, workflows=[child]) as engine:
        await engine.send_event(called.id, "go", 1)
        await reaches(engine, called.id, "completed")
        assert (await engine.get("p")).status == "blocked"
    async with open_engine(disk, workflows=[wf, child]) as engine:
        run = await engine.start(wf, id="p")
        assert await run.result() == {"got": Ok({"go": 1})}
        assert len(await engine.list(parent="p")) == 1
    assert after == ["after"]


async def test_a_restart_in_the_middle_finds_the_same_child(disk):
    child, hold = adder(), Hold()
    wf = Workflow("parent")

    @wf.step
    async def call(ctx):
        got = await call_workflow(child, {"n": hold.entered})
        await hold()
        return {"got": got, "entered": hold.entered}

    async with open_engine(disk, workflows=[wf, child]) as engine:
        await engine.start(wf, id="p")
        await hold.reached.wait()
    hold.let_go()
    async with open_engine(disk, workflows=[wf, child]) as engine:
        run = await engine.start(wf, id="p")
        assert await run.result() == {"got": Ok({"n": 1}), "entered": 2}
        assert len(await engine.list(parent="p")) == 1


async def test_a_parked_child_of_a_restarted_parent_is_cancelled_with_it(disk):
    wall, child = Wall(), waiter()
    wf = caller(child)
    async with open_engine(disk, workflows=[wf, child], clock=wall) as engine:
        await engine.start(wf, id="p")
        called = await child_of(engine)
    async with open_engine(disk, workflows=[wf, child], clock=wall) as engine:
        run = await engine.start(wf, id="p")
        assert await engine.cancel("p")
        assert (await run.wait()).status == "cancelled"
        info = await reaches(engine, called.id, "cancelled")
        assert waiting_for(info) == []


async def test_the_child_is_of_a_workflow_that_is_not_registered(db):
    child = adder()
    wf = caller(child, {"n": 1})
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(wf, id="p")
        assert failed.value.error.type == "durable_trio.DefinitionError"
        assert "'adder'" in failed.value.error.message
        assert await engine.list(parent="p") == []


@pytest.mark.parametrize("wrong", [{"data": [1]}, {"data": {"x": object()}}, {"ref": ""}])
async def test_a_child_that_cannot_be_started_leaves_nothing(db, wrong):
    child = adder()
    wf = caller(child, **wrong)
    async with open_engine(db, workflows=[wf, child]) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(wf, id="p")
        assert failed.value.error.type in ("durable_trio.InputError", "durable_trio.SnapshotError")
        assert len(await engine.list()) == 1


@pytest.mark.parametrize("function", [call_workflow, start_workflow])
async def test_outside_of_a_step_it_says_so(function):
    with pytest.raises(RuntimeError, match=f"{function.__name__}.*outside a step"):
        await function(adder())


async def test_a_child_that_has_ended_is_not_cancelled_with_the_step_that_calls_it(disk):
    """The step finds its child in the store, and is cancelled before it has looked at the child's result."""
    child = adder()
    parent = Workflow("parent")
    engines = []

    @parent.step
    async def call(ctx):
        child_id = await start_workflow(child, {"n": 1}, ref="one")
        await (await engines[0].start(child, {"n": 1}, id=child_id)).result()
        with trio.CancelScope() as scope:
            scope.cancel()
            await call_workflow(child, {"n": 1}, ref="one")
        return {"child": child_id}

    async with open_engine(disk, workflows=[parent, child]) as engine:
        engines.append(engine)
        result = await engine.run(parent, {})
        assert (await engine.get(result["child"])).status == "completed"
        assert not await engine.cancel(result["child"])
