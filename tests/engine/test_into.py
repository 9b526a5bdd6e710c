"""Point 3 of parallel blocks: ``into`` decides how the run goes on."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, failed, finish, interrupt, result_of, resume, states

from durable_trio import Err, Failure, Finish, Goto, Ok, Workflow, step_info


def deciding(decide, *, is_async=False, **options):
    """Two branches, this ``into``, and two steps behind the block that tell that they were entered."""
    wf = Workflow("orders")
    order = []
    if is_async:

        async def into(ctx, results):
            await trio.lowlevel.checkpoint()
            return decide(ctx, results)
    else:
        into = decide
    with wf.parallel(into=into, name="block", **options):
        wf.step(lambda ctx: Ok({"n": 1}), name="good", inline=True)
        wf.step(lambda ctx: Err("why"), name="bad", inline=True)
    wf.step(lambda ctx: order.append("next"), name="next", inline=True)
    wf.step(lambda ctx: order.append("later"), name="later", inline=True)
    return wf, order


both = pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])


@both
@pytest.mark.parametrize(
    "wrap", [Ok, lambda found: found, lambda found: Goto("next", found)], ids=["Ok", "mapping", "Goto"]
)
async def test_what_into_makes_of_them_is_the_next_steps_context(db, is_async, wrap):
    def decide(ctx, results):
        return wrap({"sum": results["good"].value["n"] + ctx["x"], "reason": results["bad"].reason})

    wf, order = deciding(decide, is_async=is_async)
    assert await result_of(db, wf, {"x": 1}) == {"sum": 2, "reason": "why"}
    assert order == ["next", "later"]


@both
async def test_into_gets_the_context_from_before_the_block_without_results(db, is_async):
    seen = []

    def decide(ctx, results):
        seen.append((dict(ctx), dict(results)))
        return ctx

    wf, _ = deciding(decide, is_async=is_async)
    assert await result_of(db, wf, {"x": [1]}) == {"x": [1]}
    assert seen == [({"x": [1]}, {"good": Ok({"n": 1}), "bad": Err("why")})]


@both
async def test_into_may_return_an_err_and_the_run_fails_with_it(db, is_async):
    wf, order = deciding(lambda ctx, results: Err({"code": 7}), is_async=is_async)
    error = await failed(db, wf)
    assert error.error == {"code": 7}
    assert error.errors["block"] == {"code": 7}
    assert error.errors["block/bad"] == "why"
    assert next(iter(error.errors)) == "block"
    assert order == []


@both
async def test_into_may_jump(db, is_async):
    wf, order = deciding(lambda ctx, results: Goto("later", {"jumped": True}), is_async=is_async)
    assert await result_of(db, wf) == {"jumped": True}
    assert order == ["later"]


@both
async def test_into_may_finish_the_run(db, is_async):
    wf, order = deciding(lambda ctx, results: Finish({"finished": True}), is_async=is_async)
    assert await result_of(db, wf) == {"finished": True}
    assert order == []


@both
async def test_an_into_that_raises_fails_the_run_with_that_failure(db, is_async):
    wf, order = deciding(lambda ctx, results: results["missing"], is_async=is_async)
    info = await finish(db, wf)
    assert info.status == "failed"
    assert isinstance(info.error, Failure)
    assert (info.error.type, info.error.message) == ("KeyError", "'missing'")
    assert states(info) == {"block/good": "ok", "block/bad": "error", "block": "error"}
    assert order == []


@both
@pytest.mark.parametrize("value", [42, "text", [1], Ok(5), True], ids=repr)
async def test_anything_else_from_into_fails_the_run_and_says_what_is_allowed(db, is_async, value):
    wf, order = deciding(lambda ctx, results: value, is_async=is_async)
    error = (await failed(db, wf)).error
    assert isinstance(error, Failure)
    assert "block" in error.message
    assert "Goto(" in error.message
    assert order == []


@both
async def test_what_into_returns_must_be_storable(db, is_async):
    wf, order = deciding(lambda ctx, results: {"a": {"b": object()}}, is_async=is_async)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert 'ctx["a"]["b"]' in error.message
    assert order == []


@both
async def test_an_unknown_target_from_into_fails_the_run_and_lists_the_steps(db, is_async):
    wf, _ = deciding(lambda ctx, results: Goto("nowhere", ctx), is_async=is_async)
    message = (await failed(db, wf)).error.message
    for part in ("'nowhere'", "block", "next", "later"):
        assert part in message


@both
async def test_into_may_change_and_return_its_context_and_that_alone_counts(db, is_async):
    def decide(ctx, results):
        ctx["list"].append(results["good"].value["n"])
        results["good"].value["n"] = "spoiled"
        return ctx

    wf, _ = deciding(decide, is_async=is_async)
    info = await finish(db, wf, {"list": []})
    assert info.result == {"list": [1]}
    assert [step.result for step in info.steps if step.path == "block/good"] == [{"n": 1}]


async def test_with_into_every_branch_runs_to_its_end_by_default(db, wf):
    failed_now = trio.Event()
    with wf.parallel() as block:

        @wf.step
        async def bad(ctx):
            failed_now.set()
            return Err("early")

        @wf.step
        async def good(ctx):
            await failed_now.wait()
            await trio.testing.wait_all_tasks_blocked()
            return Ok("late")

        block.into(lambda ctx, results: {"good": results["good"].value, "bad": results["bad"].reason})

    assert await result_of(db, wf) == {"good": "late", "bad": "early"}


async def test_into_is_called_when_all_branches_failed(db, wf):
    with wf.parallel() as block:
        wf.step(lambda ctx: Err(1), name="a", inline=True)
        wf.step(lambda ctx: Err(2), name="b", inline=True)
        block.into(lambda ctx, results: {"reasons": [found.reason for found in results.values()]})
    assert await result_of(db, wf) == {"reasons": [1, 2]}


async def test_under_fail_fast_into_is_not_called_after_an_error(db):
    called = []
    wf, order = deciding(lambda ctx, results: called.append(1), on_error="fail_fast")
    error = await failed(db, wf)
    assert error.error == "why"
    assert (called, order) == ([], [])


async def test_under_fail_fast_into_is_called_when_all_went_well(db, wf):
    with wf.parallel(on_error="fail_fast", into=lambda ctx, results: {"a": results["a"].value}):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    assert await result_of(db, wf) == {"a": 1}


async def test_into_knows_its_block_through_step_info(db):
    seen = []

    def decide(ctx, results):
        seen.append(step_info().path)
        return ctx

    wf, _ = deciding(decide)
    await result_of(db, wf)
    assert seen == ["block"]


async def test_a_restart_during_into_runs_it_again_on_the_same_results_and_no_branch(disk, wf):
    hold = Hold()
    entered, seen = [], []
    with wf.parallel() as block:
        wf.step(lambda ctx: Ok(entered.append("a") or [1, (2,)]), name="a", inline=True)
        wf.step(lambda ctx: entered.append("b") or Err("why"), name="b", inline=True)

        @block.into
        async def decide(ctx, results):
            seen.append((dict(ctx), dict(results)))
            await hold()
            return {"decided": True}

    await interrupt(disk, wf, hold.reached, {"x": {1}})
    hold.let_go()
    assert (await resume(disk, wf)).result == {"decided": True}
    assert sorted(entered) == ["a", "b"]
    assert seen == [({"x": {1}}, {"a": Ok([1, (2,)]), "b": Err("why")})] * 2


async def test_a_decision_is_not_taken_again_after_a_restart(disk):
    hold = Hold()
    called = []

    def decide(ctx, results):
        called.append(1)
        return Goto("later", {"jumped": True})

    wf = Workflow("orders")
    with wf.parallel(into=decide):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    wf.step(lambda ctx: Err("skipped"), name="next", inline=True)

    @wf.step
    async def later(ctx):
        await hold()

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    assert (await resume(disk, wf)).result == {"jumped": True}
    assert called == [1]
