"""Points 2, 3 and 9 of parallel blocks: what the results look like, and who can read them."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import failed, finish, result_of

from durable_trio import Err, Ok, parallel_ok, parallel_result, parallel_results


def backwards(wf, names, **options):
    """A block whose branches end in the opposite order of their declaration."""
    ended = [trio.Event() for _ in names]
    order = []
    with wf.parallel(**options) as block:
        for n, name in enumerate(names):

            @wf.step(name=name)
            async def branch(ctx, n=n, name=name):
                if n + 1 < len(names):
                    await ended[n + 1].wait()
                order.append(name)
                ended[n].set()
                return Ok(n)

    return block, order


async def test_results_stand_in_the_order_of_declaration_whatever_order_the_branches_end_in(db, wf):
    _, order = backwards(wf, ["a", "c", "b"])
    results = (await result_of(db, wf))["__results__"]
    assert order == ["b", "c", "a"]
    assert list(results.items()) == [("a", Ok(0)), ("c", Ok(1)), ("b", Ok(2))]


async def test_into_gets_them_in_that_order_too(db, wf):
    block, _ = backwards(wf, ["z", "a", "m"])
    block.into(
        lambda ctx, results: {"keys": list(results), "values": [found.value for found in results.values()]}
    )
    assert await result_of(db, wf) == {"keys": ["z", "a", "m"], "values": [0, 1, 2]}


async def test_a_result_has_the_key_that_returns_says(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="authorize", returns="payment", inline=True)
        wf.step(lambda ctx: Ok(2), name="other", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"payment": Ok(1), "other": Ok(2)}


async def test_each_result_is_tagged(db, wf):
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Ok({"a": 1}), name="good", inline=True)
        wf.step(lambda ctx: Err("why"), name="bad", inline=True)
    seen = []
    wf.step(lambda ctx: seen.append(ctx["__results__"]), name="look", inline=True)
    await result_of(db, wf)
    (results,) = seen
    assert results["good"] == ("ok", {"a": 1})
    assert results["bad"] == ("error", "why")
    assert type(results["good"]) is Ok
    assert type(results["bad"]) is Err
    match results["good"], results["bad"]:
        case Ok({"a": 1}), Err("why"):
            pass
        case _:
            pytest.fail("the results do not match by class")


async def test_without_into_the_context_is_the_one_from_before_with_the_results(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: {"replaced": True}, name="a", inline=True)
        wf.step(lambda ctx: ctx.update(b=1), name="b", inline=True)
    assert await result_of(db, wf, {"x": [1]}) == {
        "x": [1],
        "__results__": {"a": Ok({"replaced": True}), "b": Ok({"x": [1], "b": 1})},
    }


async def test_a_second_block_replaces_the_results_of_the_first(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    with wf.parallel():
        wf.step(lambda ctx: Ok(sorted(ctx.results)), name="b", inline=True)
    assert await result_of(db, wf) == {"__results__": {"b": Ok(["a"])}}


async def test_a_second_block_with_into_leaves_the_results_of_the_first_alone(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    with wf.parallel() as second:
        wf.step(lambda ctx: Ok(2), name="b", inline=True)
        second.into(lambda ctx, results: Ok(ctx | {"b": results["b"].value}))
    assert await result_of(db, wf) == {"__results__": {"a": Ok(1)}, "b": 2}


async def test_a_step_reads_the_results_of_the_last_block_in_four_ways(db, wf):
    seen = {}
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Ok({"id": 7}), name="pay", returns="payment", inline=True)
        wf.step(lambda ctx: Err("out"), name="stock", inline=True)

    @wf.step
    async def look(ctx):
        expected = {"payment": Ok({"id": 7}), "stock": Err("out")}
        seen["helper"] = parallel_results() == expected
        seen["context"] = ctx["__results__"] == expected
        seen["property"] = ctx.results == expected
        seen["order"] = list(parallel_results())
        seen["one"] = parallel_result("payment")
        seen["ok"] = (parallel_ok("payment"), parallel_ok("stock"))

    await result_of(db, wf)
    assert seen == {
        "helper": True,
        "context": True,
        "property": True,
        "order": ["payment", "stock"],
        "one": Ok({"id": 7}),
        "ok": (True, False),
    }


async def test_a_plain_step_in_a_thread_reads_them_too(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    wf.step(lambda ctx: {"thread": parallel_result("a").value, "ok": parallel_ok("a")}, name="look")
    assert await result_of(db, wf) == {"thread": 1, "ok": True}


async def test_results_can_be_read_some_steps_later_while_they_are_in_the_context(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    wf.step(lambda ctx: ctx | {"more": 1}, name="between", inline=True)
    wf.step(lambda ctx: {"found": parallel_result("a").value}, name="look", inline=True)
    assert await result_of(db, wf) == {"found": 1}


async def test_a_key_that_is_not_there_is_a_key_error_that_lists_those_that_are(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="alpha", inline=True)
        wf.step(lambda ctx: Ok(1), name="beta", inline=True)
    wf.step(lambda ctx: parallel_result("gamma"), name="look", inline=True)
    error = (await failed(db, wf)).error
    assert error.type == "KeyError"
    for name in ("alpha", "beta", "gamma"):
        assert name in error.message


async def test_before_any_block_there_are_no_results(db, wf):
    wf.step(
        lambda ctx: {"results": dict(parallel_results()), "ctx": dict(ctx.results)}, name="look", inline=True
    )
    assert await result_of(db, wf) == {"results": {}, "ctx": {}}


async def test_behind_a_block_with_into_there_are_no_results(db, wf):
    with wf.parallel() as block:
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
        block.into(lambda ctx, results: ctx | {"a": results["a"].value})
    wf.step(lambda ctx: ctx | {"left": dict(parallel_results())}, name="after", inline=True)
    assert await result_of(db, wf) == {"a": 1, "left": {}}


async def test_a_changed_copy_of_the_results_changes_nothing_else(db, wf):
    with wf.parallel():
        wf.step(lambda ctx: Ok([1]), name="a", inline=True)

    @wf.step
    async def change(ctx):
        dict(parallel_results()).clear()
        return ctx

    wf.step(lambda ctx: {"found": parallel_result("a").value}, name="look", inline=True)
    assert await result_of(db, wf) == {"found": [1]}


async def test_the_states_of_a_block_that_went_well_are_all_recorded(db, wf):
    with wf.parallel(name="block"):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
        wf.step(lambda ctx: Ok({"b": 2}), name="b", inline=True)
    info = await finish(db, wf, {"x": 1})
    shown = {step.path: (step.kind, step.status, step.result) for step in info.steps}
    assert shown == {
        "block/a": ("step", "ok", 1),
        "block/b": ("step", "ok", {"b": 2}),
        "block": ("parallel", "ok", {"x": 1, "__results__": {"a": Ok(1), "b": Ok({"b": 2})}}),
    }
