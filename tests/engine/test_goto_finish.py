"""``Goto`` and ``Finish`` at the top level: where they lead, and how visits are told apart and counted."""

from __future__ import annotations

import pytest
from engine_helpers import Hold, failed, finish, interrupt, result_of, resume, states, step_of

from durable_trio import DefinitionError, Err, Failure, Finish, Goto, Ok, Workflow


def recorder(wf, name, order):
    wf.step(lambda ctx: order.append(name), name=name, inline=True)


async def test_goto_forward_skips_what_lies_between(db, wf):
    order = []
    wf.step(lambda ctx: Goto("third", {"b": 2}), name="first", inline=True)
    recorder(wf, "second", order)
    recorder(wf, "third", order)
    recorder(wf, "fourth", order)
    info = await finish(db, wf, {"a": 1})
    assert info.result == {"b": 2}
    assert order == ["third", "fourth"]
    assert "second" not in states(info)


async def test_goto_backward_visits_again_and_each_visit_is_recorded(db, wf):
    wf.step(lambda ctx: {"n": ctx["n"] + 1}, name="count", inline=True)
    wf.step(lambda ctx: Goto("count", ctx) if ctx["n"] < 3 else None, name="again", inline=True)
    info = await finish(db, wf, {"n": 0})
    assert info.result == {"n": 3}
    assert [(step.path, step.visit) for step in info.steps] == [
        ("count", 1),
        ("again", 1),
        ("count", 2),
        ("again", 2),
        ("count", 3),
        ("again", 3),
    ]
    assert [step_of(info, "count", visit).result for visit in (1, 2, 3)] == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_a_step_may_jump_to_itself(db, wf):
    @wf.step
    async def count(ctx):
        ctx["n"] += 1
        return Goto("count", ctx) if ctx["n"] < 4 else ctx

    info = await finish(db, wf, {"n": 0})
    assert info.result == {"n": 4}
    assert [step.visit for step in info.steps] == [1, 2, 3, 4]


async def test_goto_takes_the_context_as_the_step_changed_it(db, wf):
    @wf.step
    async def first(ctx):
        ctx["deep"]["list"].append(2)
        return Goto("third", ctx)

    wf.step(lambda ctx: Err("skipped"), name="second", inline=True)
    wf.step(lambda ctx: None, name="third", inline=True)
    assert await result_of(db, wf, {"deep": {"list": [1]}}) == {"deep": {"list": [1, 2]}}


async def test_goto_leads_to_a_block_too_and_its_branches_have_visits(db, wf):
    with wf.parallel(name="both") as both:
        wf.step(lambda ctx: Ok(ctx["n"]), name="a", inline=True)
        wf.step(lambda ctx: Ok(-ctx["n"]), name="b", inline=True)

        @both.into
        def add(ctx, results):
            return {"n": ctx["n"] + 1, "seen": [*ctx["seen"], results["a"].value, results["b"].value]}

    wf.step(lambda ctx: Goto("both", ctx) if ctx["n"] < 3 else None, name="again", inline=True)
    info = await finish(db, wf, {"n": 1, "seen": []})
    assert info.result == {"n": 3, "seen": [1, -1, 2, -2]}
    assert step_of(info, "both/a", 1).result == 1
    assert step_of(info, "both/a", 2).result == 2


async def test_an_unknown_target_fails_the_run_and_the_error_lists_the_known_steps(db, wf):
    wf.step(lambda ctx: Goto("secnd", {}), name="first", inline=True)
    with wf.parallel(name="block"):
        wf.step(lambda ctx: None, name="inside", inline=True)
    wf.step(lambda ctx: None, name="second", inline=True)
    error = (await failed(db, wf)).error
    assert isinstance(error, Failure)
    for part in ("'secnd'", "first", "block", "second"):
        assert part in error.message
    assert "inside" not in error.message


async def test_a_branch_is_no_target(db, wf):
    with wf.parallel(name="block"):
        wf.step(lambda ctx: None, name="inside", inline=True)
    wf.step(lambda ctx: Goto("inside", {}), name="jump", inline=True)
    error = (await failed(db, wf)).error
    assert "'inside'" in error.message


@pytest.mark.parametrize(
    "jump", [Goto("second", 5), Goto("second", "text"), Finish(5), Finish([1])], ids=repr
)
async def test_the_context_of_a_jump_is_a_mapping(db, wf, jump):
    wf.step(lambda ctx: jump, name="first", inline=True)
    wf.step(lambda ctx: None, name="second", inline=True)
    error = (await failed(db, wf)).error
    assert isinstance(error, Failure)
    assert "first" in error.message


async def test_the_context_of_a_jump_must_be_storable(db, wf):
    wf.step(lambda ctx: Goto("second", {"a": [object()]}), name="first", inline=True)
    wf.step(lambda ctx: None, name="second", inline=True)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert 'ctx["a"][0]' in error.message


async def test_finish_completes_the_run_now(db, wf):
    order = []
    wf.step(lambda ctx: Finish({"done": True}), name="first", inline=True)
    recorder(wf, "second", order)
    info = await finish(db, wf, {"a": 1})
    assert info.status == "completed"
    assert info.result == {"done": True}
    assert order == []
    assert states(info) == {"first": "ok"}


def loop(visits, max_visits):
    wf = Workflow("loop", max_visits=max_visits)

    @wf.step
    async def count(ctx):
        ctx["n"] += 1
        return Goto("count", ctx) if ctx["n"] < visits else ctx

    return wf


async def test_as_many_steps_as_max_visits_are_allowed(db):
    assert await result_of(db, loop(7, max_visits=7), {"n": 0}) == {"n": 7}


async def test_more_steps_than_max_visits_fail_the_run_with_a_clear_error(db):
    info = await finish(db, loop(8, max_visits=7), {"n": 0})
    assert info.status == "failed"
    assert isinstance(info.error, Failure)
    assert "7" in info.error.message
    assert "max_visits" in info.error.message
    assert info.context == {"n": 7}


async def test_max_visits_counts_over_restarts(disk):
    hold = Hold()
    wf = Workflow("loop", max_visits=5)

    @wf.step
    async def count(ctx):
        if ctx["n"] == 3:
            await hold()
        return Goto("count", {"n": ctx["n"] + 1})

    await interrupt(disk, wf, hold.reached, {"n": 0})
    hold.let_go()
    info = await resume(disk, wf)
    assert info.status == "failed"
    assert "max_visits" in info.error.message
    assert info.context == {"n": 5}


async def test_a_recorded_jump_is_not_decided_again_after_a_restart(disk, wf):
    hold = Hold()
    order = []

    @wf.step
    async def first(ctx):
        order.append("first")
        return Goto("third", {"from": "goto"})

    recorder(wf, "second", order)

    @wf.step
    async def third(ctx):
        order.append("third")
        await hold()

    await interrupt(disk, wf, hold.reached, {})
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"from": "goto"}
    assert order == ["first", "third", "third"]


async def test_a_restart_in_a_later_visit_runs_that_visit_only(disk, wf):
    hold = Hold()
    entered = []

    @wf.step
    async def count(ctx):
        entered.append(ctx["n"])
        if ctx["n"] == 2:
            await hold()
        return {"n": ctx["n"] + 1}

    wf.step(lambda ctx: Goto("count", ctx) if ctx["n"] < 4 else None, name="again", inline=True)
    await interrupt(disk, wf, hold.reached, {"n": 0})
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"n": 4}
    assert entered == [0, 1, 2, 2, 3]


def test_a_workflow_refuses_a_bound_that_makes_no_sense():
    with pytest.raises(DefinitionError):
        Workflow("loop", max_visits=0)
