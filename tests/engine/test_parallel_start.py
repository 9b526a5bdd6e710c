"""Point 1 of parallel blocks: branches run at the same time, ``limit`` at once, each on its own data."""

from __future__ import annotations

import copy

import pytest
import trio
from engine_helpers import Meeting, finish, result_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Ok, open_engine


async def test_all_branches_run_at_the_same_time(db, wf):
    meeting = Meeting(20)
    with wf.parallel():
        for n in range(20):

            @wf.step(name=f"b{n}")
            async def branch(ctx):
                await meeting()

    assert len((await result_of(db, wf))["__results__"]) == 20


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_at_most_limit_branches_run_at_once_and_as_many_as_that_do(db, wf, limit):
    meeting = Meeting(limit)
    running = most = 0
    with wf.parallel(limit=limit):
        for n in range(limit * 3):

            @wf.step(name=f"b{n}")
            async def branch(ctx, n=n):
                nonlocal running, most
                running += 1
                most = max(most, running)
                await wait_all_tasks_blocked()
                await meeting()
                running -= 1
                return Ok(n)

    results = (await result_of(db, wf))["__results__"]
    assert results == {f"b{n}": Ok(n) for n in range(limit * 3)}
    assert most == limit


async def test_with_a_limit_the_branches_start_in_the_order_of_their_declaration(db, wf):
    order = []
    with wf.parallel(limit=1):
        for name in ("z", "a", "m", "b"):

            @wf.step(name=name)
            async def branch(ctx, name=name):
                order.append(name)
                await trio.lowlevel.checkpoint()

    await result_of(db, wf)
    assert order == ["z", "a", "m", "b"]


async def test_under_a_limit_a_branch_starts_as_soon_as_another_ends(db, wf):
    third_began = trio.Event()
    with wf.parallel(limit=2):

        @wf.step
        async def first(ctx):
            await third_began.wait()

        wf.step(lambda ctx: None, name="second", inline=True)

        @wf.step
        async def third(ctx):
            third_began.set()

    assert len((await result_of(db, wf))["__results__"]) == 3


async def test_under_a_limit_an_error_lets_the_next_one_start_too_with_complete_all(db, wf):
    with wf.parallel(limit=1, on_error="complete_all"):
        wf.step(lambda ctx: Err(1), name="a", inline=True)
        wf.step(lambda ctx: Ok(2), name="b", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"a": Err(1), "b": Ok(2)}


async def test_a_limit_above_the_number_of_branches_is_no_limit(db, wf):
    meeting = Meeting(2)

    async def branch(ctx):
        await meeting()

    with wf.parallel(limit=50):
        wf.step(branch, name="a")
        wf.step(branch, name="b")
    await result_of(db, wf)


def nested():
    return {
        "n": 1,
        "list": [1, [2]],
        "dict": {"k": {"deep": [{"x": 0}]}},
        "set": {1},
        "tuple": ([1], {"a": [2]}),
    }


def spoil(ctx):
    """Every way to change something deep inside."""
    ctx["n"] += 1
    ctx["list"].append("spoiled")
    ctx["list"][1].append("spoiled")
    ctx["dict"]["k"]["deep"][0]["x"] = "spoiled"
    ctx["dict"]["k"]["deep"].append("spoiled")
    ctx.get("dict")["new"] = "spoiled"
    ctx["set"].add("spoiled")
    ctx["tuple"][0].append("spoiled")
    ctx["tuple"][1]["a"].append("spoiled")
    for value in ctx.values():
        if isinstance(value, list):
            value.append("spoiled")
    for _, value in ctx.items():  # noqa: PERF102 - items() hands containers out too
        if isinstance(value, dict):
            value["more"] = "spoiled"
    ctx.setdefault("list", []).append("spoiled")
    (ctx | {})["dict"]["union"] = "spoiled"
    ctx.assign(a=1)["dict"]["assigned"] = "spoiled"
    dict(ctx)["dict"]["copied"] = "spoiled"
    ctx["added"] = "spoiled"
    ctx.pop("n")


async def test_no_branch_sees_anothers_changes_however_deep(db, wf):
    spoiled = trio.Event()
    seen = {}
    with wf.parallel():

        @wf.step
        async def early(ctx):
            spoil(ctx)
            spoiled.set()
            return Ok(None)

        @wf.step
        async def late(ctx):
            await spoiled.wait()
            seen.update(copy.deepcopy(dict(ctx)))
            spoil(ctx)
            return Ok(None)

    wf.step(lambda ctx: seen.update(after=dict(ctx)), name="after", inline=True)
    await result_of(db, wf, nested())
    after = seen.pop("after")
    assert seen == nested()
    assert after.pop("__results__") == {"early": Ok(None), "late": Ok(None)}
    assert after == nested()


async def test_what_a_branch_read_before_another_changed_it_stays_as_it_was(db, wf):
    read = trio.Event()
    spoiled = trio.Event()
    held = {}
    with wf.parallel():

        @wf.step
        async def reader(ctx):
            held.update({key: ctx[key] for key in ctx})
            read.set()
            await spoiled.wait()
            return Ok(held == nested())

        @wf.step
        async def writer(ctx):
            await read.wait()
            spoil(ctx)
            spoiled.set()
            return Ok(None)

    assert (await result_of(db, wf, nested()))["__results__"]["reader"] == Ok(True)


async def test_a_branch_in_a_thread_has_its_own_copy_too(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(spoil(ctx)), name="thread")
        wf.step(lambda ctx: Ok(spoil(ctx)), name="inline", inline=True)
    result = await result_of(db, wf, nested())
    del result["__results__"]
    assert result == nested()


async def test_a_branch_keeps_its_own_changes_in_what_it_returns(db, wf):
    def add(ctx, name):
        ctx["list"][1].append(name)

    with wf.parallel():
        wf.step(lambda ctx: add(ctx, "a"), name="a", inline=True)
        wf.step(lambda ctx: add(ctx, "b"), name="b", inline=True)
    results = (await result_of(db, wf, {"list": [1, [2]]}))["__results__"]
    assert results == {"a": Ok({"list": [1, [2, "a"]]}), "b": Ok({"list": [1, [2, "b"]]})}


async def test_data_that_two_branches_share_in_the_input_is_not_shared_between_them(db, wf):
    shared = [1]
    with wf.parallel():
        wf.step(lambda ctx: Ok(ctx["a"].append(2) or ctx["b"]), name="x", inline=True)
        wf.step(lambda ctx: Ok(ctx["b"].append(3) or ctx["a"]), name="y", inline=True)
    result = await result_of(db, wf, {"a": shared, "b": shared})
    assert result["a"] == [1]
    assert result["b"] == [1]
    assert shared == [1]


async def test_results_that_the_next_step_changes_stay_as_recorded(db, wf):
    with wf.parallel(name="block"):
        wf.step(lambda ctx: Ok({"list": [1]}), name="a", inline=True)

    @wf.step
    async def change(ctx):
        ctx["__results__"]["a"].value["list"].append("spoiled")
        ctx.results["a"].value["more"] = "spoiled"
        return {}

    info = await finish(db, wf, {})
    found = {step.path: step.result for step in info.steps}
    assert found["block/a"] == {"list": [1]}
    assert found["block"]["__results__"] == {"a": Ok({"list": [1]})}


async def test_a_debugger_sees_what_a_branch_is_at(db, wf):
    """In the block's own task as in one of a branch's: nothing lies between that hides the body."""
    with wf.parallel():

        @wf.step
        async def here(ctx):
            seen.append(trio.lowlevel.current_task())
            await trio.sleep_forever()

        @wf.step
        async def beside(ctx):
            seen.append(trio.lowlevel.current_task())
            await trio.sleep_forever()

    seen = []
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.start(wf)
        await wait_all_tasks_blocked()
        names = [[frame.f_code.co_name for frame, _ in task.iter_await_frames()] for task in seen]
    own, other = names
    assert own[0] == "work"
    assert "here" in own
    assert own[-1] == "wait_task_rescheduled" or "sleep_forever" in own
    assert other[0] == "branch"
    assert "beside" in other
