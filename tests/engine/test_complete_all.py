"""Points 4 and 5 of parallel blocks: ``complete_all``, and the recorded state of every branch."""

from __future__ import annotations

import trio
from engine_helpers import Hold, finish, result_of, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Failure, Ok, open_engine


async def test_every_branch_runs_to_its_end_whatever_the_others_do(db, wf):
    failed_now = trio.Event()
    cancelled = []
    with wf.parallel(on_error="complete_all", name="block"):

        @wf.step
        async def bad(ctx):
            failed_now.set()
            raise ValueError("early")

        @wf.step
        async def good(ctx):
            await failed_now.wait()
            try:
                await wait_all_tasks_blocked()
            except trio.Cancelled:
                cancelled.append(1)
                raise
            return Ok("late")

    info = await finish(db, wf)
    assert info.status == "completed"
    results = info.result["__results__"]
    assert results["good"] == Ok("late")
    assert results["bad"].reason.message == "early"
    assert cancelled == []
    assert states(info) == {"block/bad": "error", "block/good": "ok", "block": "ok"}
    assert info.errors == {}


async def test_a_run_goes_on_though_every_branch_failed(db, wf):
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Err(1), name="a", inline=True)
        wf.step(lambda ctx: Err(2), name="b", inline=True)
    wf.step(
        lambda ctx: {"sum": sum(found.reason for found in ctx.results.values())}, name="next", inline=True
    )
    assert await result_of(db, wf) == {"sum": 3}


async def test_branches_behind_a_limit_start_after_an_error_too(db, wf):
    entered = []
    with wf.parallel(on_error="complete_all", limit=1):
        for n in range(4):
            wf.step(lambda ctx, n=n: entered.append(n) or Err(n), name=f"b{n}", inline=True)
    await result_of(db, wf)
    assert entered == [0, 1, 2, 3]


async def test_cancelling_the_run_cancels_its_branches_and_records_the_state_of_each(db, wf):
    hold = Hold()
    done = trio.Event()
    with wf.parallel(on_error="complete_all", limit=2, name="block"):

        @wf.step
        async def quick(ctx):
            done.set()
            return Ok("kept")

        @wf.step
        async def waiting(ctx):
            await done.wait()
            await hold()

        @wf.step
        async def waiting_too(ctx):
            await done.wait()
            await hold()

        @wf.step
        async def late(ctx):
            await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await hold.reached.wait()
        await wait_all_tasks_blocked()
        assert await engine.cancel(run.id, "changed my mind")
        info = await run.wait()
    assert info.status == "cancelled"
    assert hold.entered == 2
    found = states(info)
    assert {path: found[path] for path in found if path != "block"} == {
        "block/quick": "ok",
        "block/waiting": "cancelled",
        "block/waiting_too": "cancelled",
        "block/late": "never_started",
    }
    for name in ("waiting", "waiting_too", "late"):
        reason = step_of(info, f"block/{name}").error
        assert isinstance(reason, Failure)
        assert reason.type == "Cancelled"
        assert "changed my mind" in reason.message


async def test_a_branch_under_way_is_shown_as_running(db, wf):
    hold = Hold()
    done = trio.Event()
    with wf.parallel(name="block"):

        @wf.step
        async def quick(ctx):
            done.set()
            return Ok("kept")

        @wf.step
        async def waiting(ctx):
            await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await done.wait()
        await hold.reached.wait()
        info = await engine.get(run.id)
        assert info.status == "running"
        assert states(info)["block/waiting"] == "running"
        assert step_of(info, "block/waiting").attempt == 1
        assert step_of(info, "block/waiting").duration >= 0
        assert info.current_step.startswith("block")
        hold.let_go()
        assert states(await run.wait()) == {"block/quick": "ok", "block/waiting": "ok", "block": "ok"}


async def test_an_error_in_a_branch_shows_its_reason_and_no_result(db, wf):
    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(lambda ctx: Err({"code": 1}), name="bad", inline=True)
        wf.step(lambda ctx: Ok(5), name="good", inline=True)
    info = await finish(db, wf)
    bad, good = step_of(info, "block/bad"), step_of(info, "block/good")
    assert (bad.status, bad.result, bad.error) == ("error", None, {"code": 1})
    assert (good.status, good.result, good.error) == ("ok", 5, None)
    for step in (bad, good):
        assert step.attempt == 1
        assert step.duration >= 0
        assert info.created_at <= step.started_at <= info.finished_at
