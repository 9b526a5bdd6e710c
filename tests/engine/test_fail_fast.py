"""Points 4 and 5 of parallel blocks, fail-fast: what becomes of the others when one branch fails."""

from __future__ import annotations

import threading

import pytest
import trio
from engine_helpers import Meeting, failed, finish, result_of, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Failure, Ok, open_engine


async def forever(ctx):
    await trio.sleep_forever()


async def test_the_first_error_cancels_the_others_and_fails_the_run_with_it(db, wf):
    began = trio.Event()
    cancelled = []
    with wf.parallel(name="block"):

        @wf.step
        async def waiting(ctx):
            began.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append("waiting")
                raise

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err({"out": "of stock"})

    error = await failed(db, wf)
    assert error.error == {"out": "of stock"}
    assert error.errors == {"block/failing": {"out": "of stock"}}
    assert cancelled == ["waiting"]


async def test_an_exception_does_so_too(db, wf):
    with wf.parallel(name="block"):
        wf.step(forever, name="waiting")

        @wf.step
        async def failing(ctx):
            await wait_all_tasks_blocked()
            raise ValueError("broken")

    error = await failed(db, wf)
    assert isinstance(error.error, Failure)
    assert (error.error.type, error.error.message) == ("ValueError", "broken")
    assert error.errors == {"block/failing": error.error}


async def test_the_step_after_the_block_does_not_run(db, wf):
    entered = []
    with wf.parallel():
        wf.step(lambda ctx: Err(1), name="a", inline=True)
    wf.step(lambda ctx: entered.append(1), name="after", inline=True)
    await failed(db, wf)
    assert entered == []


async def test_a_sibling_with_a_cleanup_is_out_before_the_run_fails(db, wf):
    began = trio.Event()
    may_finish = trio.Event()
    events = []
    with wf.parallel():

        @wf.step
        async def tidy(ctx):
            began.set()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await may_finish.wait()
                events.append("out")

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err("no")

    async def watch(run):
        assert (await run.wait()).status == "failed"
        events.append("ended")

    async with open_engine(db, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        run = await engine.start(wf)
        nursery.start_soon(watch, run)
        await began.wait()
        await wait_all_tasks_blocked()
        assert run.status == "running"
        assert events == []
        may_finish.set()
    assert events == ["out", "ended"]


async def test_the_first_error_in_time_counts_not_the_first_in_order(db, wf):
    began, first_failed = trio.Event(), trio.Event()
    with wf.parallel(name="block"):

        @wf.step
        async def declared_first(ctx):
            began.set()
            with trio.CancelScope(shield=True):
                await first_failed.wait()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
            return Err("second")

        @wf.step
        async def declared_last(ctx):
            await began.wait()
            first_failed.set()
            return Err("first")

    error = await failed(db, wf)
    assert error.error == "first"
    assert list(error.errors.items()) == [
        ("block/declared_last", "first"),
        ("block/declared_first", "second"),
    ]


async def test_all_errors_are_kept_on_the_failed_run(db, wf):
    meeting = Meeting(4)

    async def failing(ctx, n):
        await meeting()
        return Err(n)

    with wf.parallel(name="block"):
        for n in range(4):

            @wf.step(name=f"b{n}")
            async def branch(ctx, n=n):
                try:
                    return await failing(ctx, n)
                except trio.Cancelled:
                    raise ValueError(n) from None

    error = await failed(db, wf)
    assert set(error.errors) == {f"block/b{n}" for n in range(4)}
    assert next(iter(error.errors.values())) == error.error
    for path, reason in error.errors.items():
        n = int(path[-1])
        assert reason == n or reason.message == str(n)


async def test_the_errors_are_in_the_run_info_too(db, wf):
    with wf.parallel(name="block"):
        wf.step(lambda ctx: Err("why"), name="a", inline=True)
    info = await finish(db, wf)
    assert (info.status, info.error, info.errors) == ("failed", "why", {"block/a": "why"})
    assert info.result is None
    assert info.finished_at is not None


async def test_nothing_starts_after_the_failure_is_known(db, wf):
    entered = []
    with wf.parallel(limit=2, name="block"):
        wf.step(forever, name="waiting")

        @wf.step
        async def failing(ctx):
            await wait_all_tasks_blocked()
            return Err("no")

        for n in range(3):
            wf.step(lambda ctx, n=n: entered.append(n), name=f"late{n}", inline=True)

    info = await finish(db, wf)
    assert entered == []
    assert states(info) == {
        "block/waiting": "cancelled",
        "block/failing": "error",
        "block/late0": "never_started",
        "block/late1": "never_started",
        "block/late2": "never_started",
        "block": "error",
    }


async def test_a_branch_that_has_not_begun_when_another_fails_at_once_does_not_begin(db, wf):
    for_each = {}
    with wf.parallel(name="block"):
        for n in range(8):

            @wf.step(name=f"b{n}")
            async def branch(ctx, n=n):
                for_each[n] = len(for_each)
                return Err(n)

    info = await finish(db, wf)
    assert for_each, "none was entered"
    found = states(info)
    for n in range(8):
        assert found[f"block/b{n}"] == ("error" if n in for_each else "never_started")
    assert len(for_each) == 1


async def test_the_record_of_a_cancelled_branch_says_why(db, wf):
    with wf.parallel(name="block", limit=2):
        wf.step(forever, name="waiting")

        @wf.step
        async def failing(ctx):
            await wait_all_tasks_blocked()
            return Err("no")

        wf.step(forever, name="late")

    info = await finish(db, wf)
    for name in ("waiting", "late"):
        reason = step_of(info, f"block/{name}").error
        assert isinstance(reason, Failure)
        assert reason.type == "Cancelled"
        assert "failing" in reason.message
    assert step_of(info, "block/waiting").attempt == 1
    assert step_of(info, "block/waiting").started_at is not None
    assert step_of(info, "block/late").attempt == 0
    assert step_of(info, "block/late").started_at is None


async def test_a_branch_that_finished_before_keeps_its_result(db, wf):
    finished = trio.Event()
    with wf.parallel(name="block"):

        @wf.step
        async def quick(ctx):
            finished.set()
            return Ok({"kept": [1]})

        @wf.step
        async def failing(ctx):
            await finished.wait()
            return Err("no")

    info = await finish(db, wf)
    assert states(info) == {"block/quick": "ok", "block/failing": "error", "block": "error"}
    assert step_of(info, "block/quick").result == {"kept": [1]}


@pytest.mark.parametrize("time", range(6))
async def test_a_body_that_returns_in_the_tick_of_its_cancel_is_ok(db, wf, time):
    go = trio.Event()
    returned = []
    with wf.parallel(name="block"):
        for name in ("good", "fine"):

            @wf.step(name=name)
            async def branch(ctx, name=name):
                await go.wait()
                returned.append(name)
                return Ok(name)

        @wf.step
        async def bad(ctx):
            await go.wait()
            return Err("no")

        @wf.step
        async def starter(ctx):
            await wait_all_tasks_blocked()
            go.set()  # the three wake up in one tick, in any order, and none of them passes a checkpoint

    info = await finish(db, wf)
    assert info.error == "no"
    assert sorted(returned) == ["fine", "good"]
    assert (states(info)["block/good"], states(info)["block/fine"]) == ("ok", "ok")


async def test_a_body_that_takes_no_notice_of_its_cancel_keeps_what_it_returns(db, wf):
    began = trio.Event()
    with wf.parallel(name="block"):

        @wf.step
        async def stubborn(ctx):
            began.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                return Ok("after all")

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err("no")

    info = await finish(db, wf)
    assert info.error == "no"
    assert step_of(info, "block/stubborn").status == "ok"
    assert step_of(info, "block/stubborn").result == "after all"


async def test_a_branch_in_a_thread_is_awaited_and_keeps_its_result(db, wf):
    began = trio.Event()
    may_finish = threading.Event()
    token = trio.lowlevel.current_trio_token()
    with wf.parallel(name="block"):

        @wf.step
        def thread(ctx):
            token.run_sync_soon(began.set)
            return Ok(may_finish.wait(30))

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err("no")

        @wf.step
        async def witness(ctx):
            try:
                await trio.sleep_forever()
            finally:
                may_finish.set()

    info = await finish(db, wf)
    assert states(info) == {
        "block/thread": "ok",
        "block/failing": "error",
        "block/witness": "cancelled",
        "block": "error",
    }
    assert step_of(info, "block/thread").result is True


async def test_all_ok_means_no_cancellation(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
        wf.step(lambda ctx: Ok(2), name="b", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"a": Ok(1), "b": Ok(2)}
