"""The table "What a step returns", at the top level."""

from __future__ import annotations

from collections import Counter, OrderedDict, UserDict, defaultdict
from types import MappingProxyType

import pytest
from engine_helpers import failed, finish, result_of, states

from durable_trio import Err, Failure, Finish, Goto, Ok

# What the engine adds to a context must not depend on how the step handed it over.
MAPPINGS = {
    "Ok of a dict": lambda: Ok({"b": 2}),
    "dict": lambda: {"b": 2},
    "Ok of another mapping": lambda: Ok(MappingProxyType({"b": 2})),
    "another mapping": lambda: UserDict({"b": 2}),
}


@pytest.mark.parametrize("make", MAPPINGS.values(), ids=MAPPINGS)
async def test_a_mapping_replaces_the_context(db, wf, make):
    seen = []
    wf.step(lambda ctx: make(), name="first", inline=True)
    wf.step(lambda ctx: seen.append(dict(ctx)), name="second", inline=True)
    assert await result_of(db, wf, {"a": 1}) == {"b": 2}
    assert seen == [{"b": 2}]


async def test_none_passes_the_context_on(db, wf):
    wf.step(lambda ctx: None, name="first", inline=True)
    assert await result_of(db, wf, {"a": [1]}) == {"a": [1]}


async def test_none_passes_on_what_the_step_changed_in_place_at_any_depth(db, wf):
    seen = []

    @wf.step
    async def change(ctx):
        ctx["user"]["tags"][0]["names"].append("new")
        ctx["added"] = {1, 2}
        del ctx["gone"]

    @wf.step
    async def look(ctx):
        seen.append(dict(ctx))

    expected = {"user": {"tags": [{"names": ["old", "new"]}]}, "added": {1, 2}}
    start = {"user": {"tags": [{"names": ["old"]}]}, "gone": 1}
    assert await result_of(db, wf, start) == expected
    assert seen == [expected]
    assert start == {"user": {"tags": [{"names": ["old"]}]}, "gone": 1}


async def test_a_changed_context_may_be_returned_itself(db, wf):
    @wf.step
    async def change(ctx):
        ctx["n"] += 1
        return ctx

    @wf.step
    async def change_and_wrap(ctx):
        ctx["n"] += 1
        return Ok(ctx)

    assert await result_of(db, wf, {"n": 1}) == {"n": 3}


async def test_contexts_made_from_the_context_are_mappings_too(db, wf):
    wf.step(lambda ctx: ctx | {"b": 2}, name="union", inline=True)
    wf.step(lambda ctx: ctx.assign(c=3), name="assign", inline=True)
    wf.step(lambda ctx: {**ctx}, name="copy", inline=True)
    assert await result_of(db, wf, {"a": 1}) == {"a": 1, "b": 2, "c": 3}


async def test_changes_in_a_context_are_dropped_when_another_mapping_is_returned(db, wf):
    @wf.step
    async def change(ctx):
        ctx["list"].append(2)
        ctx["extra"] = 1
        return {"fresh": True}

    assert await result_of(db, wf, {"list": [1]}) == {"fresh": True}


async def test_changes_in_a_context_are_dropped_when_the_step_is_an_error(db, wf):
    @wf.step
    async def change(ctx):
        ctx["list"].append(2)
        return Err("no")

    info = await finish(db, wf, {"list": [1]})
    assert info.status == "failed"
    assert info.context == {"list": [1]}


async def test_an_err_fails_the_run_with_the_reason_as_given(db, wf):
    entered = []
    wf.step(lambda ctx: Err({"code": 7, "tags": ("a", {1})}), name="first", inline=True)
    wf.step(lambda ctx: entered.append(1), name="second", inline=True)
    error = await failed(db, wf, {})
    assert error.error == {"code": 7, "tags": ("a", {1})}
    assert type(error.error["tags"]) is tuple
    assert error.errors == {"first": {"code": 7, "tags": ("a", {1})}}
    assert entered == []


class Declined(Exception):
    pass


async def test_raising_fails_the_run_with_a_failure(db, wf):
    entered = []

    @wf.step
    async def charge(ctx):
        raise Declined("card 7")

    wf.step(lambda ctx: entered.append(1), name="second", inline=True)
    error = (await failed(db, wf, {})).error
    assert isinstance(error, Failure)
    assert error.type == f"{__name__}.Declined"
    assert error.message == "card 7"
    assert error.attempts == 1
    assert 'raise Declined("card 7")' in error.traceback
    assert entered == []


async def test_a_builtin_exception_is_named_without_its_module(db, wf):
    wf.step(lambda ctx: ctx["missing"], name="first", inline=True)
    error = (await failed(db, wf, {})).error
    assert error.type == "KeyError"
    assert error.message == "'missing'"


async def test_the_exceptions_that_led_to_the_one_raised_are_in_its_traceback(db, wf):
    @wf.step
    async def charge(ctx):
        try:
            raise ValueError("deep down")
        except ValueError as error:
            raise Declined("on top") from error

    assert "ValueError: deep down" in (await failed(db, wf, {})).error.traceback


async def test_an_exception_that_cannot_be_shown_is_a_failure_all_the_same(db, wf):
    class Unshowable(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    wf.step(lambda ctx: (_ for _ in ()).throw(Unshowable), name="first", inline=True)
    error = (await failed(db, wf, {})).error
    assert "Unshowable" in error.type


async def test_an_exception_with_text_that_is_no_unicode_is_a_failure_all_the_same(db, wf):
    @wf.step
    async def first(ctx):
        raise ValueError("file \udcff is bad")

    info = await finish(db, wf, {})
    assert info.status == "failed"
    assert info.error.message == "file \udcff is bad"


async def test_a_step_that_recurses_for_ever_is_a_failure(db, wf):
    def recurse(ctx):
        return recurse(ctx)

    wf.step(recurse, inline=True)
    assert (await failed(db, wf, {})).error.type == "RecursionError"


async def test_a_step_that_times_out_of_its_own_accord_is_an_ordinary_failure(db, wf):
    @wf.step
    async def first(ctx):
        raise TimeoutError("from a library")

    info = await finish(db, wf, {})
    assert (info.error.type, info.error.message) == ("TimeoutError", "from a library")
    assert states(info) == {"first": "error"}


@pytest.mark.parametrize(
    "value",
    [
        42,
        0,
        "text",
        "",
        True,
        False,
        [("a", 1)],
        {1},
        1.5,
        Ok(5),
        Ok("text"),
        Ok([]),
        Failure("a", "b"),
        pytest.param(object(), id="object()"),
    ],
    ids=repr,
)
async def test_anything_else_fails_the_step_and_says_what_is_allowed(db, wf, value):
    entered = []
    wf.step(lambda ctx: value, name="first", inline=True)
    wf.step(lambda ctx: entered.append(1), name="second", inline=True)
    error = (await failed(db, wf, {"a": 1})).error
    assert isinstance(error, Failure)
    shown = value.value if isinstance(value, Ok) else value
    assert repr(shown)[:40] in error.message
    assert "first" in error.message
    for allowed in ("Ok(", "Err(", "Goto(", "Finish(", "None"):
        assert allowed in error.message
    assert entered == []


@pytest.mark.parametrize("value", [Ok, Err, Goto, Finish, Ok(Ok({})), Ok(Err("x")), Ok(Finish({}))], ids=repr)
async def test_instructions_that_are_not_complete_or_wrapped_are_refused(db, wf, value):
    wf.step(lambda ctx: value, name="first", inline=True)
    assert isinstance((await failed(db, wf, {"a": 1})).error, Failure)


async def test_a_coroutine_function_that_was_not_awaited_is_refused(db, wf):
    class Lazy:
        def __await__(self):
            yield

    wf.step(lambda ctx: Lazy(), name="first", inline=True)
    assert "Lazy" in (await failed(db, wf, {})).error.message


async def test_a_run_without_an_input_begins_with_an_empty_context(db, wf):
    seen = []
    wf.step(lambda ctx: seen.append(dict(ctx)), name="first", inline=True)
    assert await result_of(db, wf) == {}
    assert seen == [{}]


async def test_the_steps_run_in_the_order_of_their_declaration(db, wf):
    order = []
    for name in ("c", "a", "b"):
        wf.step(lambda ctx, name=name: order.append(name), name=name, inline=True)
    info = await finish(db, wf, {})
    assert order == ["c", "a", "b"]
    assert [step.path for step in info.steps] == ["c", "a", "b"]
    assert set(states(info).values()) == {"ok"}


async def test_an_err_without_a_reason_fails_the_run_all_the_same(db, wf):
    wf.step(lambda ctx: Err(None), name="first", inline=True)
    error = await failed(db, wf)
    assert error.error is None
    assert error.errors == {"first": None}


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "thread"])
async def test_a_stop_iteration_is_a_failure_like_any_other(db, wf, inline):
    wf.step(lambda ctx: next(iter(())), name="first", inline=inline)
    error = (await failed(db, wf)).error
    assert "StopIteration" in f"{error.type} {error.message}"


@pytest.mark.parametrize("kind", [OrderedDict, defaultdict, Counter], ids=lambda kind: kind.__name__)
async def test_dicts_of_other_kinds_are_mappings(db, wf, kind):
    def make(ctx):
        made = kind()
        made["b"] = 2
        return made

    wf.step(make, inline=True)
    assert await result_of(db, wf, {"a": 1}) == {"b": 2}
