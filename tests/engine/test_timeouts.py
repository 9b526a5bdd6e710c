"""``timeout=`` of a step, of a branch and of a block, on a mock clock."""

from __future__ import annotations

import threading

import trio
from engine_helpers import failed, finish, result_of, states, step_of

from durable_trio import Err, Failure, Ok, Retry, Workflow, open_engine
from durable_trio.testing import trio_clock


async def forever(ctx):
    await trio.sleep_forever()


async def test_a_step_that_takes_too_long_is_cancelled_and_fails(mock_clock, wf):
    out = []

    @wf.step(timeout=30)
    async def slow(ctx):
        try:
            await trio.sleep(31)
        finally:
            out.append(trio.current_time())

    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert info.status == "failed"
    assert isinstance(info.error, Failure)
    assert info.error.type == "TimeoutError"
    assert "slow" in info.error.message
    assert "30" in info.error.message
    assert states(info) == {"slow": "timed_out"}
    assert out == [start + 30]


async def test_a_step_that_is_in_time_keeps_its_result(mock_clock, wf):
    @wf.step(timeout=30)
    async def slow(ctx):
        await trio.sleep(29)
        return {"done": True}

    assert await result_of(None, wf, clock=trio_clock()) == {"done": True}


async def test_each_attempt_has_the_whole_timeout(mock_clock, wf):
    attempts = []

    @wf.step(timeout=10, retry=Retry(3, "constant", base=5, jitter=False))
    async def slow(ctx):
        attempts.append(trio.current_time())
        await trio.sleep(11 if len(attempts) < 3 else 9)
        return {"done": True}

    start = trio.current_time()
    assert await result_of(None, wf, clock=trio_clock()) == {"done": True}
    assert [time - start for time in attempts] == [0, 15, 30]


async def test_a_timeout_of_a_steps_own_is_an_error_like_any_other(mock_clock, wf):
    @wf.step
    async def slow(ctx):
        with trio.fail_after(5):
            await trio.sleep_forever()

    info = await finish(None, wf, clock=trio_clock())
    assert info.error.type == "trio.TooSlowError"
    assert states(info) == {"slow": "error"}


async def test_a_branchs_timeout_is_its_own(mock_clock, wf):
    @wf.step(name="before")
    async def before(ctx):
        await trio.lowlevel.checkpoint()

    async def long(ctx):
        await trio.sleep(100)
        return Ok("long")

    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(forever, name="short", timeout=10)
        wf.step(long, name="long")
    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    results = info.result["__results__"]
    assert results["long"] == Ok("long")
    assert type(results["short"]) is Err
    assert results["short"].reason.type == "TimeoutError"
    assert step_of(info, "block/short").status == "timed_out"
    assert trio.current_time() == start + 100


async def test_a_branch_that_times_out_fails_a_fail_fast_block(mock_clock, wf):
    with wf.parallel(name="block"):
        wf.step(forever, name="short", timeout=10)
        wf.step(forever, name="long")
    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert info.status == "failed"
    assert info.error.type == "TimeoutError"
    assert trio.current_time() == start + 10
    assert states(info) == {"block/short": "timed_out", "block/long": "cancelled", "block": "error"}


def timed_block(wf, **options):
    async def quick(ctx):
        await trio.sleep(5)
        return Ok("quick")

    with wf.parallel(timeout=20, name="block", **options) as block:
        wf.step(quick)
        wf.step(forever, name="slow")
        wf.step(forever, name="slower")
    return block


async def test_a_blocks_timeout_cancels_what_is_left_and_keeps_what_is_done(mock_clock, wf):
    timed_block(wf, on_error="complete_all")
    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert info.status == "completed"
    assert trio.current_time() == start + 20
    results = info.result["__results__"]
    assert list(results) == ["quick", "slow", "slower"]
    assert results["quick"] == Ok("quick")
    for key in ("slow", "slower"):
        assert type(results[key]) is Err
        assert results[key].reason.type == "TimeoutError"
        assert "20" in results[key].reason.message
    assert states(info) == {
        "block/quick": "ok",
        "block/slow": "timed_out",
        "block/slower": "timed_out",
        "block": "ok",
    }


async def test_a_blocks_timeout_fails_the_run_under_fail_fast(mock_clock, wf):
    timed_block(wf)
    error = await failed(None, wf, clock=trio_clock())
    assert error.error.type == "TimeoutError"
    assert {"block/slow", "block/slower"} <= set(error.errors)


async def test_into_decides_about_a_block_that_timed_out(mock_clock, wf):
    block = timed_block(wf)

    @block.into
    def decide(ctx, results):
        return {"kinds": {key: "ok" if found.is_ok else found.reason.type for key, found in results.items()}}

    result = await result_of(None, wf, clock=trio_clock())
    assert result == {"kinds": {"quick": "ok", "slow": "TimeoutError", "slower": "TimeoutError"}}


async def test_a_blocks_timeout_does_not_bound_its_into(mock_clock, wf):
    with wf.parallel(timeout=20) as block:
        wf.step(forever, name="slow")

        @block.into
        async def decide(ctx, results):
            await trio.sleep(1000)
            return {"decided": True}

    assert await result_of(None, wf, clock=trio_clock()) == {"decided": True}


async def test_a_blocks_timeout_does_not_bound_what_comes_after(mock_clock, wf):
    with wf.parallel(timeout=20):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)

    @wf.step
    async def later(ctx):
        await trio.sleep(1000)
        return {"done": True}

    assert await result_of(None, wf, clock=trio_clock()) == {"done": True}


async def test_branches_that_the_blocks_timeout_kept_from_starting_are_results_too(mock_clock, wf):
    with wf.parallel(timeout=20, limit=1, on_error="complete_all", name="block"):
        wf.step(forever, name="a")
        wf.step(forever, name="b")
    info = await finish(None, wf, clock=trio_clock())
    results = info.result["__results__"]
    assert results["a"].reason.type == results["b"].reason.type == "TimeoutError"
    assert states(info)["block/a"] == "timed_out"
    assert states(info)["block/b"] in ("timed_out", "never_started")


async def test_a_sibling_with_a_cleanup_is_out_before_a_timed_out_block_ends(mock_clock, wf):
    events = []

    async def tidy(ctx):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(50)
                events.append("tidied")

    with wf.parallel(timeout=20, on_error="complete_all"):
        wf.step(tidy)
    wf.step(lambda ctx: events.append("next"), name="next", inline=True)
    await finish(None, wf, clock=trio_clock())
    assert events == ["tidied", "next"]


async def test_a_workflows_timeout_bounds_the_whole_run(mock_clock):
    wf = Workflow("bounded", timeout=100)
    for name in "abc":

        @wf.step(name=name)
        async def step(ctx):
            await trio.sleep(40)

    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert info.status == "failed"
    assert info.error.type == "TimeoutError"
    assert trio.current_time() == start + 100


async def test_a_workflows_timeout_cancels_branches_and_waits_until_they_are_out(mock_clock):
    wf = Workflow("bounded", timeout=100)
    events = []

    async def tidy(ctx):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(7)
            events.append("out")

    with wf.parallel(name="block", on_error="complete_all"):
        wf.step(tidy)
        wf.step(lambda ctx: Ok(1), name="quick", inline=True)
    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert (info.status, info.error.type) == ("failed", "TimeoutError")
    assert events == ["out"]
    assert trio.current_time() == start + 107
    assert states(info)["block/quick"] == "ok"
    assert states(info)["block/tidy"] == "cancelled"


async def test_a_workflows_timeout_of_one_run_does_not_touch_the_next(mock_clock):
    wf = Workflow("bounded", timeout=100)

    @wf.step
    async def step(ctx):
        await trio.sleep(ctx["seconds"])

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        for seconds in (99, 101, 99, 101, 1):
            run = await engine.start(wf, {"seconds": seconds})
            assert (await run.wait()).status == ("completed" if seconds < 100 else "failed")


async def test_a_run_that_took_too_long_can_be_retried(mock_clock):
    """The time is counted anew: else a retry could never succeed."""
    wf = Workflow("bounded", timeout=100)
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        await trio.sleep(101 if len(entered) == 1 else 99)
        return {"done": True}

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        assert (await run.wait()).status == "failed"
        await trio.sleep(1000)
        assert await (await engine.retry("r")).result() == {"done": True}


async def test_a_thread_that_comes_back_too_late_keeps_its_result(mock_clock, wf):
    """It cannot be cancelled, and what it did is done: to drop it would mean to do it again."""
    go_on = threading.Event()

    @wf.step(timeout=10, retry=Retry(max_attempts=3, base=0))
    def slow(ctx):
        return {"released": go_on.wait(30)}

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(60)
        assert run.status == "running"
        go_on.set()
        assert await run.result() == {"released": True}
