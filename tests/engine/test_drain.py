"""``engine.drain()``: shutting down without cancelling anything."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, resume, states
from trio.testing import wait_all_tasks_blocked

from durable_trio import EngineClosed, Ok, Retry, Workflow, open_engine, start_workflow
from durable_trio.testing import trio_clock


async def test_it_lets_the_steps_under_way_end_and_enters_no_other(disk, wf):
    hold = Hold()
    order = []

    @wf.step
    async def first(ctx):
        order.append("first")
        await hold()
        return {"first": True}

    wf.step(lambda ctx: order.append("second"), name="second", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        nursery.start_soon(engine.drain)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        with pytest.raises(EngineClosed):
            await engine.start(wf)
        hold.let_go()
    assert order == ["first"]
    assert (await resume(disk, wf)).result == {"first": True}
    assert order == ["first", "second"]


async def test_with_nothing_under_way_it_returns_at_once(db, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf)
        await engine.drain()
        with pytest.raises(EngineClosed):
            await engine.run(wf)


async def test_branches_that_have_not_begun_are_not_entered(disk, wf):
    hold = Hold()
    order = []

    def branch(name):
        async def step(ctx):
            order.append(name)
            await hold()
            return Ok(name)

        wf.step(step, name=name)

    with wf.parallel(name="block", limit=1):
        for name in "abc":
            branch(name)
    async with open_engine(disk, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        nursery.start_soon(engine.drain)
        await wait_all_tasks_blocked()
        hold.let_go()
    assert order == ["a"]
    info = await resume(disk, wf)
    assert info.result["__results__"] == {"a": Ok("a"), "b": Ok("b"), "c": Ok("c")}
    assert order == ["a", "b", "c"]
    assert set(states(info).values()) == {"ok"}


async def test_it_does_not_wait_for_a_step_that_waits_for_its_next_attempt(mock_clock, wf):
    entered = []

    @wf.step(retry=Retry(base=1000, max_backoff=1000, jitter=False))
    async def step(ctx):
        entered.append(1)
        raise OSError

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        await engine.start(wf)
        await trio.sleep(1)
        await engine.drain()
        assert trio.current_time() < 1000
    assert entered == [1]


async def test_a_step_may_start_a_child_while_the_engine_drains(tmp_path):
    """Its run must not fail for it; the child begins when the database is opened again."""
    seen = []
    entered, go = trio.Event(), trio.Event()
    child, parent = Workflow("child"), Workflow("parent")

    @child.step
    async def only(ctx):
        seen.append("child")

    @parent.step
    async def starts(ctx):
        entered.set()
        await go.wait()
        return ctx | {"child": await start_workflow("child", {})}

    async with open_engine(tmp_path / "db", workflows=[parent, child]) as engine:
        await engine.start(parent, {}, id="r")
        await entered.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await wait_all_tasks_blocked()
            go.set()
        assert seen == []
    async with open_engine(tmp_path / "db", workflows=[parent, child]) as engine:
        result = await (await engine.start(parent, {}, id="r")).result()
        await (await engine.start(child, {}, id=result["child"])).result()
    assert seen == ["child"]
