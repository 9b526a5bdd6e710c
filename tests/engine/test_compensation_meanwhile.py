"""While what a run did is undone, and afterwards: its status, who may cancel or retry it, and its place."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from compensation_helpers import fail
from engine_helpers import Hold, finish

from durable_trio import (
    Err,
    Goto,
    InputError,
    Workflow,
    open_engine,
)
from durable_trio.testing import trio_clock


@pytest.fixture
def held(wf):
    """A run that fails after ``a`` and ``b``; the handler of ``b`` holds."""
    hold = Hold()
    order = []

    @wf.compensation
    async def undo_a(ctx, result):
        order.append("a")

    @wf.compensation
    async def undo_b(ctx, result):
        await hold()
        order.append("b")

    wf.step(lambda _: {"a": 1}, name="a", compensate="undo_a", inline=True)
    wf.step(lambda _: {"b": 1}, name="b", compensate="undo_b", inline=True)
    fail(wf)
    hold.order = order
    return hold


async def test_while_the_handlers_run_the_run_is_compensating(db, wf, held):
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await held.reached.wait()
        info = await engine.get("r")
        assert run.status == info.status == "compensating"
        assert (info.error, info.errors) == ("sold out", {"fail": "sold out"})
        assert info.current_step == "b/!undo_b"
        assert [step.status for step in info.steps] == ["ok", "ok", "error"]
        assert info.compensations == []
        assert info.finished_at is None
        assert [listed.id for listed in await engine.list("compensating")] == ["r"]
        held.let_go()
        info = await run.wait()
    assert info.status == "compensated"
    assert (info.current_step, info.context) == (None, {"b": 1})


async def test_cancelling_it_then_has_no_effect(db, wf, held):
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await held.reached.wait()
        assert await engine.cancel("r", "too late") is False
        assert await engine.cancel("r", "too late", compensate=True) is False
        held.let_go()
        info = await run.wait()
        assert await engine.cancel("r") is False
    assert (info.status, info.error) == ("compensated", "sold out")
    assert held.order == ["b", "a"]


@pytest.mark.parametrize("outcome", [None, Err("down")])
async def test_a_compensated_run_cannot_be_retried(db, wf, undone, outcome):
    undone.step("a", outcome=outcome)
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        info = await run.wait()
        with pytest.raises(InputError, match=rf"'r' is {info.status}.*undone") as caught:
            await engine.retry("r")
    assert "start another" in str(caught.value)
    assert len(undone.calls) == 1


async def test_a_run_with_handlers_that_only_failed_can_be_retried_and_then_undone(db, wf, undone):
    works = []
    undone.handler("undo")
    wf.step(lambda _: {"x": 1} if works else Err("no"), name="a", compensate="undo", inline=True)
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert (await run.wait()).status == "failed"
        works.append(1)
        info = await (await engine.retry("r")).wait()
    assert (info.status, info.error) == ("compensated", "sold out")
    assert undone.calls == [("undo", {}, {"x": 1})]


async def test_a_workflow_that_took_too_long_is_undone_without_a_time_limit(mock_clock):
    wf = Workflow("slow", timeout=10)
    undone = []

    @wf.compensation
    async def undo(ctx, result):
        await trio.sleep(1000)
        undone.append(result)

    wf.step(lambda _: {"n": 1}, name="a", compensate="undo", inline=True)
    wf.step(lambda _: {"n": 2}, name="b", compensate="undo", inline=True)

    @wf.step
    async def slow(ctx):
        await trio.sleep_forever()

    info = await finish(None, wf, clock=trio_clock())
    assert undone == [{"n": 2}, {"n": 1}]
    assert (info.status, info.error.type) == ("compensated", "TimeoutError")
    assert list(info.errors) == ["slow"]


async def test_a_workflow_timeout_does_not_stop_handlers_that_run_already(mock_clock):
    wf = Workflow("slow", timeout=10)
    undone = []

    @wf.compensation
    async def undo(ctx, result):
        await trio.sleep(1000)
        undone.append(result)

    wf.step(lambda _: {"n": 1}, name="a", compensate="undo", inline=True)
    fail(wf)
    info = await finish(None, wf, clock=trio_clock())
    assert undone == [{"n": 1}]
    assert (info.status, info.error) == ("compensated", "sold out")


async def test_too_many_visits_are_a_failure_that_is_undone(db):
    wf = Workflow("loop", max_visits=5)
    undone = []
    wf.compensation("undo", lambda ctx, result: undone.append(result["n"]))
    wf.step(lambda ctx: Goto("a", {"n": ctx["n"] + 1}), name="a", compensate="undo", inline=True)
    info = await finish(db, wf, {"n": 0})
    assert (info.status, undone) == ("compensated", [5, 4, 3, 2, 1])


async def test_other_runs_go_on_meanwhile(db, wf, held):
    other = Workflow("other")
    other.step(lambda _: {"done": True}, name="a", inline=True)
    async with open_engine(db, workflows=[wf, other]) as engine:
        run = await engine.start(wf)
        await held.reached.wait()
        assert await engine.run(other) == {"done": True}
        held.let_go()
        assert (await run.wait()).status == "compensated"


async def test_a_compensating_run_keeps_its_place(db, wf, held):
    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        first = await engine.start(wf)
        await held.reached.wait()
        second = await engine.start(wf)
        assert second.status == "pending"
        held.let_go()
        assert (await first.wait()).status == "compensated"
        assert (await second.wait()).status == "compensated"
