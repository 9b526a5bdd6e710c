"""The table "What a step returns", for a branch of a parallel block."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from types import MappingProxyType

import pytest
from engine_helpers import finish, result_of, states

from durable_trio import Err, Failure, Finish, Goto, Ok


async def outcome_of(db, wf, step, data=None):
    """What the block's results say of a branch that is this function, by the results' own key."""
    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(step, name="branch", inline=True)
        wf.step(lambda ctx: Ok("other"), name="other", inline=True)
    result = await result_of(db, wf, data)
    results = result.pop("__results__")
    assert result == (data or {})
    assert results["other"] == Ok("other")
    return results["branch"]


@pytest.mark.parametrize(
    "value", [5, 0, None, "text", b"bytes", [1, [2]], (1, 2), {1, 2}, True, {"a": {"b": 1}}, {}], ids=repr
)
async def test_a_branch_may_return_ok_of_anything_storable(db, wf, value):
    outcome = await outcome_of(db, wf, lambda ctx: Ok(value))
    assert outcome == Ok(value)
    assert type(outcome) is Ok
    assert type(outcome.value) is type(value)


async def test_a_branch_may_return_a_plain_mapping(db, wf):
    assert await outcome_of(db, wf, lambda ctx: {"b": 2}, {"a": 1}) == Ok({"b": 2})


async def test_a_branch_that_returns_none_gives_its_context_as_it_changed_it(db, wf):
    def change(ctx):
        ctx["list"].append(2)
        ctx["new"] = True

    outcome = await outcome_of(db, wf, change, {"list": [1]})
    assert outcome == Ok({"list": [1, 2], "new": True})


async def test_a_branch_may_return_its_changed_context(db, wf):
    def change(ctx):
        ctx["list"].append(2)
        return Ok(ctx)

    assert await outcome_of(db, wf, change, {"list": [1]}) == Ok({"list": [1, 2]})


async def test_ok_and_err_may_be_data(db, wf):
    outcome = await outcome_of(db, wf, lambda ctx: Ok([Ok(1), Err("inner")]))
    assert outcome == Ok([Ok(1), Err("inner")])
    assert [type(item) for item in outcome.value] == [Ok, Err]


@pytest.mark.parametrize("reason", ["out_of_stock", None, 0, {"code": 7}, ("a", {1})], ids=repr)
async def test_an_err_is_the_branchs_result_with_its_reason_as_given(db, wf, reason):
    outcome = await outcome_of(db, wf, lambda ctx: Err(reason))
    assert type(outcome) is Err
    assert outcome.reason == reason
    assert type(outcome.reason) is type(reason)


async def test_a_branch_that_raises_gives_an_err_of_a_failure(db, wf):
    outcome = await outcome_of(db, wf, lambda ctx: ctx["missing"])
    assert type(outcome) is Err
    assert (outcome.reason.type, outcome.reason.message) == ("KeyError", "'missing'")
    assert outcome.reason.attempts == 1
    assert "KeyError" in outcome.reason.traceback


@pytest.mark.parametrize("jump", [Goto("after", {}), Finish({"a": 1})], ids=repr)
async def test_a_branch_cannot_jump_or_finish_the_run(db, wf, jump):
    entered = []
    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(lambda ctx: jump, name="branch", inline=True)
    wf.step(lambda ctx: entered.append(1), name="between", inline=True)
    wf.step(lambda ctx: None, name="after", inline=True)
    result = await result_of(db, wf, {})
    outcome = result["__results__"]["branch"]
    assert type(outcome) is Err
    assert isinstance(outcome.reason, Failure)
    assert type(jump).__name__ in outcome.reason.message
    assert entered == [1]


@pytest.mark.parametrize("value", [42, "text", [1], True, pytest.param(object(), id="object()")], ids=repr)
async def test_anything_else_is_an_err_that_says_what_is_allowed(db, wf, value):
    outcome = await outcome_of(db, wf, lambda ctx: value)
    assert type(outcome) is Err
    assert isinstance(outcome.reason, Failure)
    assert repr(value)[:40] in outcome.reason.message
    assert "branch" in outcome.reason.message
    assert "Ok(" in outcome.reason.message


async def test_what_cannot_be_stored_is_an_err_of_this_branch_only(db, wf):
    outcome = await outcome_of(db, wf, lambda ctx: Ok({"user": [object()]}))
    assert type(outcome) is Err
    assert outcome.reason.type.endswith("SnapshotError")
    assert '["user"][0]' in outcome.reason.message


async def test_a_branch_alone_in_its_block_is_a_block_all_the_same(db, wf):
    with wf.parallel(name="block"):
        wf.step(lambda ctx: Ok(1), name="only", inline=True)
    info = await finish(db, wf, {"a": 1})
    assert info.result == {"a": 1, "__results__": {"only": Ok(1)}}
    assert states(info) == {"block/only": "ok", "block": "ok"}


@pytest.mark.parametrize("wrap", [lambda found: found, Ok], ids=["mapping", "Ok of a mapping"])
@pytest.mark.parametrize("kind", [UserDict, MappingProxyType, OrderedDict], ids=lambda kind: kind.__name__)
async def test_any_mapping_is_a_branchs_data_as_it_is_a_steps_context(db, wf, wrap, kind):
    outcome = await outcome_of(db, wf, lambda ctx: wrap(kind({"b": [2]})))
    assert outcome == Ok({"b": [2]})
    assert type(outcome.value) is dict
