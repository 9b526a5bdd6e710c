"""Errors that come while a block is being cancelled, and errors that come in groups."""

from __future__ import annotations

import trio
from engine_helpers import failed, finish, result_of, states, step_of

from durable_trio import Err, Failure, Ok, open_engine


def with_failing(wf, step, **options):
    """A block of this step and one that fails as soon as the step says that it is there."""
    began = trio.Event()

    async def failing(ctx):
        await began.wait()
        return Err("first")

    async def sibling(ctx):
        return await step(began)

    with wf.parallel(name="block", **options):
        wf.step(sibling)
        wf.step(failing)


async def test_an_error_raised_during_the_cancellation_is_recorded_as_the_branchs_own(db, wf):
    async def step(began):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    with_failing(wf, step)
    info = await finish(db, wf)
    assert info.error == "first"
    assert list(info.errors) == ["block/failing", "block/sibling"]
    reason = step_of(info, "block/sibling").error
    assert states(info)["block/sibling"] == "error"
    assert (reason.type, reason.message) == ("ValueError", "in the cleanup")
    assert info.errors["block/sibling"] == reason


async def test_an_err_returned_during_the_cancellation_is_recorded_with_its_reason(db, wf):
    async def step(began):
        began.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            return Err("gave up")

    with_failing(wf, step)
    info = await finish(db, wf)
    assert info.errors == {"block/failing": "first", "block/sibling": "gave up"}


async def test_a_nursery_that_lets_only_its_cancellation_out_leaves_a_cancelled_branch(db, wf):
    async def step(began):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)
            began.set()

    with_failing(wf, step)
    info = await finish(db, wf)
    assert states(info)["block/sibling"] == "cancelled"
    assert info.errors == {"block/failing": "first"}


async def test_a_users_error_mixed_with_cancelled_is_an_error_of_its_branch(db, wf):
    async def breaks_when_cancelled():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("mixed in")

    async def step(began):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(breaks_when_cancelled)
            began.set()
            await trio.sleep_forever()

    with_failing(wf, step)
    info = await finish(db, wf)
    assert info.error == "first"
    assert states(info)["block/sibling"] == "error"
    reason = step_of(info, "block/sibling").error
    assert reason.type == "ExceptionGroup"
    assert "ValueError: mixed in" in reason.traceback
    assert "Cancelled" not in reason.type


async def test_a_group_from_a_steps_own_nursery_is_a_failure(db, wf):
    async def breaks(text):
        raise ValueError(text)

    @wf.step
    async def step(ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaks, "one")
            nursery.start_soon(breaks, "two")

    error = (await failed(db, wf)).error
    assert isinstance(error, Failure)
    assert error.type == "ExceptionGroup"
    assert "ValueError: one" in error.traceback
    assert "ValueError: two" in error.traceback


async def test_a_group_from_a_branch_is_an_error_of_that_branch_only(db, wf):
    async def breaks():
        raise ValueError("deep")

    with wf.parallel(on_error="complete_all"):

        @wf.step
        async def bad(ctx):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaks)

        wf.step(lambda ctx: Ok(1), name="good", inline=True)

    results = (await result_of(db, wf))["__results__"]
    assert results["good"] == Ok(1)
    assert results["bad"].reason.type == "ExceptionGroup"


async def test_nested_groups_are_a_failure_like_any_other(db, wf):
    @wf.step
    async def step(ctx):
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [OSError("x")]), ValueError("y")])

    error = (await failed(db, wf)).error
    assert error.type == "ExceptionGroup"
    assert "outer" in error.message
    assert "OSError: x" in error.traceback


async def test_a_step_with_a_cancelled_scope_of_its_own_and_an_error_in_it_is_an_error(db, wf):
    @wf.step
    async def step(ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.cancel_scope.cancel()
            raise ValueError("inside")

    error = (await failed(db, wf)).error
    assert error.type == "ExceptionGroup"
    assert "ValueError: inside" in error.traceback


async def test_an_error_of_one_run_leaves_the_others_alone(db, wf):
    @wf.step
    async def step(ctx):
        if ctx["bad"]:
            raise ExceptionGroup("broken", [ValueError("x")])
        await trio.testing.wait_all_tasks_blocked()
        return {"fine": True}

    async with open_engine(db, workflows=[wf]) as engine:
        runs = [await engine.start(wf, {"bad": n % 2 == 0}) for n in range(6)]
        statuses = [(await run.wait()).status for run in runs]
    assert statuses == ["failed", "completed"] * 3


async def test_a_step_is_not_entered_if_the_failure_came_while_its_predecessor_was_being_committed(disk, wf):
    entered = []
    returning = trio.Event()
    with wf.parallel(name="block"):
        with wf.sequence("chain"):

            @wf.step
            async def first(ctx):
                returning.set()

            wf.step(lambda ctx: entered.append(1), name="second", inline=True)

        @wf.step
        async def failing(ctx):
            await returning.wait()
            return Err("no")

    info = await finish(disk, wf)
    assert info.error == "no"
    assert entered == []
    assert states(info)["block/chain/first"] == "ok"
    assert states(info)["block/chain"] == "cancelled"
