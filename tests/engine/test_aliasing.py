"""A value is what it was when it was handed over: later changes by whoever still holds it are not seen."""

from __future__ import annotations

import trio
from engine_helpers import finish, interrupt, result_of, resume, step_of
from stored_values import Address, Point

from durable_trio import Err, Ok, open_engine


async def test_a_list_that_a_step_returned_and_changes_later(db, wf):
    kept = [1]
    seen = []
    wf.step(lambda ctx: {"kept": kept}, name="first", inline=True)

    @wf.step
    async def second(ctx):
        kept.append("late")
        seen.append(list(ctx["kept"]))

    info = await finish(db, wf)
    assert seen == [[1]]
    assert info.result == {"kept": [1]}
    assert step_of(info, "first").result == {"kept": [1]}


async def test_a_dict_that_a_step_returned_as_its_context_and_changes_later(db, wf):
    kept = {"a": 1}
    wf.step(lambda ctx: kept, name="first", inline=True)
    wf.step(lambda ctx: kept.update(b=2), name="second", inline=True)
    assert await result_of(db, wf) == {"a": 1}


async def test_objects_deep_in_a_result_that_are_changed_later(db, wf):
    point, address = Point(1, {"x": [1]}), Address("s", [1])
    seen = []
    wf.step(lambda ctx: {"deep": [(point, {"a": address})]}, name="first", inline=True)

    @wf.step
    async def second(ctx):
        point.x = "late"
        point.y["x"].append("late")
        address.tags.append("late")
        seen.append(ctx["deep"])

    info = await finish(db, wf, types=[Point, Address])
    expected = [(Point(1, {"x": [1]}), {"a": Address("s", [1])})]
    assert seen == [expected]
    assert info.result == {"deep": expected}


async def test_a_context_that_a_step_kept_and_changes_later(db, wf):
    kept = []

    @wf.step
    async def first(ctx):
        ctx["list"].append("in time")
        kept.append(ctx)

    @wf.step
    async def second(ctx):
        kept[0]["list"].append("late")
        kept[0]["new"] = "late"

    assert await result_of(db, wf, {"list": []}) == {"list": ["in time"]}


async def test_a_container_that_a_step_read_kept_and_changes_later(db, wf):
    kept = []

    @wf.step
    async def first(ctx):
        kept.extend([ctx["list"], ctx["dict"]["deep"]])

    @wf.step
    async def second(ctx):
        kept[0].append("late")
        kept[1].append("late")

    assert await result_of(db, wf, {"list": [], "dict": {"deep": []}}) == {"list": [], "dict": {"deep": []}}


async def test_a_task_that_outlives_its_step_changes_nothing(db, wf):
    go, done = trio.Event(), trio.Event()

    async with trio.open_nursery() as nursery:

        @wf.step
        async def first(ctx):
            async def straggler():
                await go.wait()
                ctx["list"].append("late")
                done.set()

            nursery.start_soon(straggler)
            return ctx

        @wf.step
        async def second(ctx):
            go.set()
            await done.wait()
            return {"list": ctx["list"]}

        assert await result_of(db, wf, {"list": []}) == {"list": []}


async def test_the_data_of_a_branch_that_it_changes_later(db, wf):
    kept = [1]
    returned = trio.Event()
    with wf.parallel(name="block") as block:

        @wf.step
        async def first(ctx):
            returned.set()
            return Ok(kept)

        @wf.step
        async def second(ctx):
            await returned.wait()
            await trio.testing.wait_all_tasks_blocked()
            kept.append("late")
            return Ok(2)

        block.into(lambda ctx, results: {"first": results["first"].value})

    info = await finish(db, wf)
    assert info.result == {"first": [1]}
    assert step_of(info, "block/first").result == [1]


async def test_a_reason_that_is_changed_later(db, wf):
    kept = {"tags": [1]}
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Err(kept), name="bad", inline=True)
    wf.step(lambda ctx: kept["tags"].append("late"), name="later", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"bad": Err({"tags": [1]})}


async def test_the_results_that_into_gets_and_what_it_returns_are_not_shared(db, wf):
    kept = []

    def decide(ctx, results):
        kept.append(results["a"].value)
        return {"data": results["a"].value, "twice": [kept[0]]}

    with wf.parallel(into=decide, name="block"):
        wf.step(lambda ctx: Ok([1]), name="a", inline=True)
    wf.step(lambda ctx: kept[0].append("late"), name="later", inline=True)
    info = await finish(db, wf)
    assert info.result == {"data": [1], "twice": [[1]]}
    assert step_of(info, "block/a").result == [1]


async def test_a_reason_of_a_cancellation_that_is_changed_later(db, wf):
    reason = {"by": ["user"]}

    @wf.step
    async def step(ctx):
        await trio.sleep_forever()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        await engine.cancel(run.id, reason)
        reason["by"].append("late")
        assert (await run.wait()).error == {"by": ["user"]}


async def test_what_the_next_step_gets_is_the_same_live_and_after_a_restart(disk, wf):
    """One object in two places is two objects for the next step, as it is after a restart."""
    held = trio.Event()
    seen = []

    @wf.step
    async def first(ctx):
        shared = [1]
        return {"a": shared, "b": shared}

    @wf.step
    async def second(ctx):
        ctx["a"].append(2)
        seen.append((list(ctx["a"]), list(ctx["b"])))
        held.set()
        if len(seen) == 1:
            await trio.sleep_forever()

    await interrupt(disk, wf, held)
    info = await resume(disk, wf)
    assert seen == [([1, 2], [1])] * 2
    assert info.result == {"a": [1, 2], "b": [1]}
