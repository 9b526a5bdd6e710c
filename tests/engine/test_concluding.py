"""The short way from what a step returned to its record gives what the long way gives."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_trio import Err, Finish, Goto, Ok
from durable_trio._engine import body
from durable_trio._engine.body import Place
from durable_trio._engine.run import Outcome
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, REPLACED, SAME, STEP, VALUE
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._speedups.context import Concluder, share
from tests import strategies

CODEC = Codec(TypeRegistry([strategies.Color, strategies.Size, strategies.Access]))
CONCLUDE = Concluder(CODEC, Outcome, (OK, STEP, SAME, DELTA, REPLACED, VALUE)).conclude
BASE: dict[str, Any] = {"a": 1, "b": [1, 2], "c": {"d": None}}


def both_ways(ctx: Any, value: Any, place: Place) -> tuple[Any, Any]:
    """What the short way makes of it, and the long one: (value, whether it is a context, record) or None."""
    short = CONCLUDE(BASE, ctx, value, place is Place.BRANCH, "p", 1, 2, 3.0, 4.0)
    verdict = body.returned(CODEC, "step 'p'", BASE, ctx, value, 2, place, {"p": 0})
    record = ["p", 1, 0, verdict.status, 2, 3.0, 4.0, verdict.form, verdict.data, verdict.removed, None]
    long = (verdict.value, verdict.is_context, CODEC.encode([1, *record]))
    if short is None:
        return None, long
    assert short.status == verdict.status == 0
    assert verdict.next is None
    return (short.value, short.is_context, short.record), long


def touched(ctx: Any, changes: dict[str, Any], removed: list[str]) -> Any:
    for key, value in changes.items():
        ctx[key] = value
    for key in removed:
        ctx.pop(key, None)
    return ctx


@pytest.mark.slow
@pytest.mark.parametrize("place", Place)
@given(
    shape=st.sampled_from(["none", "ctx", "dict", "extended", "other", "value"]),
    wrapped=st.booleans(),
    changes=strategies.contexts,
    removed=st.lists(st.sampled_from("abc"), max_size=2),
    value=strategies.values,
)
@strategies.patient
def test_both_ways_agree(
    place: Place, shape: str, wrapped: bool, changes: dict[str, Any], removed: list[str], value: Any
) -> None:
    ctx = touched(share(BASE), changes, removed)
    given = {"none": None, "ctx": ctx, "dict": changes, "extended": {**BASE, **changes}, "value": value}
    given["other"] = touched(share({"z": 1}), changes, removed)
    result = Ok(given[shape]) if wrapped else given[shape]
    short, long = both_ways(ctx, result, place)
    if short is not None:
        assert short[1:] == long[1:]
        assert strategies.alike(short[0], long[0])


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("value", [None, {"x": 1}, {**BASE, "x": [1]}, "ctx", Ok({"x": 1})])
def test_what_most_steps_return_goes_the_short_way(place: Place, value: Any) -> None:
    ctx = share(BASE)
    short, long = both_ways(ctx, ctx if value == "ctx" else value, place)
    assert short == long


class Point(msgspec.Struct):
    x: int = 1


LONGER = [Err("no"), Goto("p"), Finish(), Point(), 5, object(), {"x": object()}]


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("value", LONGER)
def test_what_takes_a_longer_look_is_left_to_it(place: Place, value: Any) -> None:
    assert CONCLUDE(BASE, share(BASE), value, place is Place.BRANCH, "p", 1, 1, 0.0, 0.0) is None
