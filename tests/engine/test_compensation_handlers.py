"""The handlers of compensations: what they are given, and what comes of one that fails."""

from __future__ import annotations

import copy
import threading

import pytest
import trio
import trio.testing
from compensation_helpers import fail
from engine_helpers import finish

from durable_trio import (
    Context,
    Err,
    Failure,
    Ok,
    Retry,
    RunFailed,
    open_engine,
    parallel_ok,
    step_info,
)
from durable_trio.testing import trio_clock

# -- what a handler is given -------------------------------------------------------------------------


async def test_each_attempt_gets_a_context_and_copies_of_its_own(db, wf):
    seen = []

    @wf.compensation(retry=Retry(max_attempts=2, base=0))
    async def undo(ctx, result):
        seen.append((type(ctx), copy.deepcopy(dict(ctx)), type(result), copy.deepcopy(result)))
        ctx["list"].append("changed")
        ctx["new"] = 1
        result["list"].append("changed")
        if len(seen) == 1:
            raise OSError

    wf.step(lambda _: {"list": ["returned"]}, name="a", compensate="undo", inline=True)
    fail(wf)
    info = await finish(db, wf, {"list": ["given"]})
    assert seen == [(Context, {"list": ["given"]}, dict, {"list": ["returned"]})] * 2
    assert info.status == "compensated"
    assert info.context == {"list": ["returned"]}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (Ok(("a", {1, 2})), ("a", {1, 2})),
        (Ok([1]), [1]),
        (Ok(None), None),
        ({"a": b"1"}, {"a": b"1"}),
        (None, {"id": (1,)}),
    ],
)
async def test_the_data_of_a_branch_comes_back_with_its_type(db, wf, undone, returned, expected):
    undone.handler("undo")
    with wf.parallel(name="block"):
        wf.step(lambda _: returned, name="branch", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf, {"id": (1,)})
    ((_, given, result),) = undone.calls
    assert given == {"id": (1,)}
    assert (result, type(result)) == (expected, type(expected))


async def test_a_plain_function_runs_in_a_thread(db, wf):
    threads = []
    wf.compensation("undo", lambda ctx, result: threads.append((threading.current_thread(), result)))
    wf.step(lambda _: {"x": 1}, name="a", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf)
    ((thread, result),) = threads
    assert thread is not threading.main_thread()
    assert result == {"x": 1}


async def test_step_info_tells_about_the_handler(db, wf):
    steps, handlers = [], []

    @wf.compensation(retry=Retry(max_attempts=2, base=0))
    async def undo(ctx, result):
        handlers.append(step_info())
        if len(handlers) == 1:
            raise OSError

    @wf.step(compensate="undo")
    async def a(ctx):
        steps.append(step_info())

    fail(wf)
    info = await finish(db, wf)
    first, second = handlers
    assert (first.run_id, first.path, first.visit) == (info.id, "a/!undo", 1)
    assert [first.attempt, second.attempt] == [1, 2]
    assert first.idempotency_key == second.idempotency_key != steps[0].idempotency_key


async def test_a_handler_sees_the_results_of_the_block_before_its_step(db, wf):
    seen = []
    wf.compensation("undo", lambda ctx, result: seen.append(parallel_ok("pay")))
    with wf.parallel(name="block"):
        wf.step(lambda _: Ok(1), name="pay", inline=True)
    wf.step(lambda _: {}, name="a", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf)
    assert seen == [True]


# -- when a handler fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [OSError("down"), Err("down")])
async def test_a_handler_that_fails_does_not_stop_the_others(db, wf, undone, outcome):
    undone.step("a")
    undone.step("b", outcome=outcome)
    undone.step("c")
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        with pytest.raises(RunFailed) as caught:
            await run.result()
        info = await run.wait()
    assert undone.names == ["undo_c", "undo_b", "undo_a"]
    assert info.status == "compensation_failed"
    assert [done.status for done in info.compensations] == ["ok", "error", "ok"]
    reason = info.compensations[1].error
    assert reason == "down" or (reason.type, reason.message) == ("OSError", "down")
    assert caught.value.error == info.error == "sold out"


async def test_what_a_handler_returns_is_ignored(db, wf, undone):
    undone.step("a", outcome=object())
    fail(wf)
    info = await finish(db, wf)
    assert info.status == "compensated"


async def test_a_handler_is_tried_again_as_its_policy_says(mock_clock, wf, undone):
    retry = Retry(max_attempts=3, backoff="constant", base=60, max_backoff=60, jitter=False)
    undone.step("a")
    undone.step("b", outcome=Err("down"), retry=retry)
    fail(wf)
    began = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert undone.names == ["undo_b"] * 3 + ["undo_a"]
    assert trio.current_time() - began == pytest.approx(120)
    b, a = info.compensations
    assert (b.status, b.attempt, b.error) == ("error", 3, "down")
    assert (a.status, a.attempt) == ("ok", 1)
    assert (a.started_at - b.started_at).total_seconds() == pytest.approx(0, abs=1e-3)


async def test_an_error_that_the_policy_does_not_cover_is_final(db, wf, undone):
    undone.step("a", outcome=KeyError("x"), retry=Retry(retry_on=OSError, base=0))
    undone.step("b", outcome=Err("no", retry=False), retry=Retry(base=0))
    fail(wf)
    info = await finish(db, wf)
    assert [done.attempt for done in info.compensations] == [1, 1]
    assert isinstance(info.compensations[1].error, Failure)


async def test_a_reason_that_cannot_be_stored_is_said_so(db, wf, undone):
    undone.step("a", outcome=Err(object()))
    fail(wf)
    info = await finish(db, wf)
    assert info.status == "compensation_failed"
    assert info.compensations[0].error.type == "durable_trio.SnapshotError"
    assert "undo_a" in info.compensations[0].error.message
