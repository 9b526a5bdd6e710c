"""The context as a mapping, and the helpers that read the results of the last block."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

import pytest
import trio

from durable_trio import (
    Context,
    Err,
    Ok,
    Workflow,
    open_engine,
    parallel_ok,
    parallel_result,
    parallel_results,
    step_info,
)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (parallel_results, "parallel_results"),
        (lambda: parallel_result("a"), "parallel_result"),
        (lambda: parallel_ok("a"), "parallel_ok"),
        (step_info, "step_info"),
    ],
    ids=["parallel_results", "parallel_result", "parallel_ok", "step_info"],
)
def test_outside_a_step_they_raise_a_clear_runtime_error(call, name):
    with pytest.raises(RuntimeError, match=name) as caught:
        call()
    assert "step" in str(caught.value)


async def test_between_the_engine_and_a_step_they_raise_too():
    wf = Workflow("w")
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(workflows=[wf]) as engine:
        await engine.run(wf)
        with pytest.raises(RuntimeError):
            step_info()
        with pytest.raises(RuntimeError):
            parallel_results()


async def ask(data, question):
    """What a step that gets this context answers."""
    answers = []
    wf = Workflow("w")

    @wf.step
    async def step(ctx):
        await trio.lowlevel.checkpoint()
        answers.append(question(ctx))
        return {}

    async with open_engine(workflows=[wf]) as engine:
        await engine.run(wf, data)
    (answer,) = answers
    return answer


async def test_a_step_gets_a_mutable_mapping():
    kind = await ask({"a": 1}, type)
    assert kind is Context
    assert issubclass(kind, MutableMapping)
    assert issubclass(kind, Mapping)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (lambda ctx: ctx["a"], 1),
        (lambda ctx: ctx.get("a"), 1),
        (lambda ctx: ctx.get("x"), None),
        (lambda ctx: ctx.get("x", 5), 5),
        (lambda ctx: "a" in ctx, True),
        (lambda ctx: "x" in ctx, False),
        (len, 2),
        (list, ["a", "b"]),
        (lambda ctx: list(ctx.keys()), ["a", "b"]),
        (lambda ctx: list(ctx.values()), [1, [2]]),
        (lambda ctx: list(ctx.items()), [("a", 1), ("b", [2])]),
        (dict, {"a": 1, "b": [2]}),
        (lambda ctx: {**ctx}, {"a": 1, "b": [2]}),
        (lambda ctx: ctx == {"a": 1, "b": [2]}, True),
        (lambda ctx: {"a": 1, "b": [2]} == ctx, True),  # noqa: SIM300 - the dict is asked first
        (lambda ctx: ctx == {"a": 1}, False),
        (lambda ctx: ctx != {"a": 1}, True),
        (lambda ctx: ctx == 5, False),
        (bool, True),
        (lambda ctx: dict(ctx | {"c": 3}), {"a": 1, "b": [2], "c": 3}),
        (lambda ctx: dict({"c": 3} | ctx), {"c": 3, "a": 1, "b": [2]}),
        (lambda ctx: dict(ctx | {"a": 9}), {"a": 9, "b": [2]}),
        (lambda ctx: dict(ctx.assign(a=9, c=3)), {"a": 9, "b": [2], "c": 3}),
        (lambda ctx: dict(ctx.results), {}),
        (lambda ctx: ctx.pop("a"), 1),
        (lambda ctx: ctx.pop("x", 7), 7),
        (lambda ctx: ctx.setdefault("a", 7), 1),
        (lambda ctx: ctx.setdefault("x", 7), 7),
    ],
)
async def test_it_answers_like_a_dict(question, answer):
    assert await ask({"a": 1, "b": [2]}, question) == answer


async def test_assign_and_union_make_a_new_context_and_leave_the_old_one():
    def question(ctx):
        assigned, union = ctx.assign(a=9), ctx | {"a": 8}
        return dict(ctx), dict(assigned), dict(union), type(assigned) is type(union) is Context

    assert await ask({"a": 1}, question) == ({"a": 1}, {"a": 9}, {"a": 8}, True)


async def test_it_changes_in_place_like_a_dict():
    def question(ctx):
        ctx["new"] = 1
        ctx.update(more=2)
        ctx |= {"or": 3}
        del ctx["a"]
        ctx["b"].append(4)
        return dict(ctx), "a" in ctx, len(ctx)

    assert await ask({"a": 1, "b": []}, question) == ({"b": [4], "new": 1, "more": 2, "or": 3}, False, 4)


async def test_it_can_be_cleared_and_filled_again():
    def question(ctx):
        ctx.clear()
        empty = dict(ctx), len(ctx), bool(ctx)
        ctx["b"] = 2
        return empty, dict(ctx)

    assert await ask({"a": 1}, question) == (({}, 0, False), {"b": 2})


async def test_a_key_that_is_deleted_and_set_again_comes_last_like_in_a_dict():
    def question(ctx):
        del ctx["a"]
        ctx["a"] = 9
        return list(ctx)

    assert await ask({"a": 1, "b": 2}, question) == ["b", "a"]


async def test_a_missing_key_is_a_key_error():
    def question(ctx):
        errors = []
        for action in (lambda: ctx["x"], lambda: ctx.pop("x"), lambda: ctx.__delitem__("x")):
            with pytest.raises(KeyError) as caught:
                action()
            errors.append(caught.value.args)
        return errors

    assert await ask({"a": 1}, question) == [("x",)] * 3


async def test_a_container_is_the_same_object_each_time_it_is_read():
    assert await ask({"a": [1]}, lambda ctx: ctx["a"] is ctx["a"] is ctx.get("a") is dict(ctx)["a"]) is True


async def test_it_shows_its_data():
    assert "'a': 1" in await ask({"a": 1}, repr)


async def test_results_are_the_mapping_under_the_results_key():
    answers = []
    wf = Workflow("w")
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Ok([1]), name="a", inline=True)
        wf.step(lambda ctx: Err("b"), name="b", inline=True)

    @wf.step
    async def look(ctx):
        answers.extend(
            [
                ctx.results == ctx["__results__"] == parallel_results() == {"a": Ok([1]), "b": Err("b")},
                list(ctx.results),
                parallel_result("a"),
                parallel_result("b"),
                parallel_ok("a"),
                parallel_ok("b"),
            ]
        )

    async with open_engine(workflows=[wf]) as engine:
        await engine.run(wf)
    assert answers == [True, ["a", "b"], Ok([1]), Err("b"), True, False]


async def test_results_are_empty_when_there_are_none():
    assert await ask({}, lambda ctx: (dict(ctx.results), dict(parallel_results()))) == ({}, {})


async def test_asking_for_a_result_that_is_not_there_lists_those_that_are():
    def question(ctx):
        with pytest.raises(KeyError) as caught:
            parallel_result("x")
        with pytest.raises(KeyError):
            parallel_ok("x")
        return str(caught.value)

    message = await ask({"__results__": {"alpha": Ok(1), "beta": Ok(2)}}, question)
    for name in ("x", "alpha", "beta"):
        assert name in message


async def test_the_helpers_read_what_the_step_was_given_also_in_what_it_calls_and_in_threads():
    answers = []
    wf = Workflow("w")
    with wf.parallel():
        wf.step(lambda ctx: Ok(1), name="a", inline=True)

    @wf.step
    async def look(ctx):
        answers.append(await trio.to_thread.run_sync(parallel_result, "a"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inner)

    async def inner():
        answers.append(parallel_ok("a"))

    async with open_engine(workflows=[wf]) as engine:
        await engine.run(wf)
    assert answers == [Ok(1), True]
