"""``freeze`` and ``thaw``: what comes out is alike, is nobody else's, and is called special where it is."""

from __future__ import annotations

import dataclasses
import functools
from collections import OrderedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    USER_TYPES,
    Color,
    Money,
    Order,
    Point,
    alike,
    mutable_ids,
    patient,
    plain_values,
    resolve,
    twin,
    values,
)

from durable_trio._speedups.context import Context, freeze, share, thaw
from durable_trio._values import Err, Failure, Ok


def frozen(value):
    return freeze(value, USER_TYPES, resolve)[0]


def is_special(value):
    return freeze(value, USER_TYPES, resolve)[1]


@patient
@given(values)
def test_a_frozen_value_is_alike_and_shares_nothing_that_can_change(value):
    before = twin(value)
    result = frozen(value)
    assert alike(result, value)
    assert alike(value, before)
    assert not mutable_ids(result) & mutable_ids(value)


@patient
@given(values)
def test_a_thawed_value_is_alike_and_shares_nothing_that_can_change(value):
    base = frozen(value)
    result = thaw(base)
    assert alike(result, base)
    assert not mutable_ids(result) & mutable_ids(base)


@patient
@given(plain_values)
def test_plain_data_is_not_special(value):
    assert not is_special(value)


@patient
@given(values)
def test_what_is_not_special_survives_untyped_messagepack(value):
    result, special = freeze(value, USER_TYPES, resolve)
    if not special:
        assert alike(msgspec.msgpack.decode(msgspec.msgpack.encode(result)), value)


@pytest.mark.parametrize(
    "value",
    [
        (1,),
        {1},
        frozenset(),
        {1: 2},
        {None: 2},
        2**64,
        -(2**63) - 1,
        "\ud800",
        "漢\udfff",
        "😀\udc00",
        {"\ud800": 1},
        Ok(1),
        Err(1),
        Failure("E", "m"),
        Color.RED,
        Money(1),
        Point(1),
    ],
)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [0, v], lambda v: {"k": [{"deep": v}]}])
def test_what_messagepack_cannot_carry_is_special_at_any_depth(value, wrap):
    assert is_special(wrap(value)) is True


@pytest.mark.parametrize(
    "value",
    [2**64 - 1, -(2**63), "", "é", "漢字", "😀", "\ue000", "\ud7ff", {"漢": 1}, {"a": {}}, [], {}, b"\xff"],
)
def test_what_messagepack_can_carry_is_not_special(value):
    assert is_special(value) is False


def test_immutable_values_are_shared():
    value = {"text": "x" * 100, "pair": (1, ("a", frozenset({2}))), "price": Money(2), "ok": Ok(1)}
    result = frozen(value)
    assert all(result[key] is value[key] for key in value)
    again = thaw(result)
    assert again is not result
    assert all(again[key] is value[key] for key in value)


def test_an_immutable_around_something_mutable_is_copied():
    value = (1, [2])
    result = frozen(value)
    assert result == value
    assert result[1] is not value[1]
    price = frozen(Money([1]))
    assert thaw(price).amount is not price.amount


def test_one_list_in_two_places_becomes_two():
    shared = []
    result = frozen([shared, {"k": shared}])
    assert result[0] is not result[1]["k"]


def test_an_err_loses_its_retry_flag_and_is_never_shared():
    value = Err("x", retry=False)
    result = frozen(value)
    assert type(result) is Err
    assert result.retry
    handed_out = thaw(result)
    handed_out.retry = False
    assert result.retry


def test_a_nested_context_becomes_a_dict():
    ctx = share({"a": [1], "gone": 1}) | {"b": 2}
    del ctx["gone"]
    ctx["a"].append(3)
    result = frozen({"inner": ctx})
    assert type(result["inner"]) is dict
    assert list(result["inner"].items()) == [("a", [1, 3]), ("b", 2)]
    assert result["inner"]["a"] is not ctx["a"]
    assert not is_special([ctx])


def test_the_order_of_a_dict_with_any_keys_is_kept():
    value = {Color.RED: [1], "s": [2], (1, 2): [3], Point(1): [4], 5: [6]}
    for result in (frozen(value), thaw(frozen(value))):
        assert list(result.items()) == list(value.items())
        assert all(result[key] is not value[key] for key in value)


def test_mutable_keys_and_elements_are_copied_too():
    @dataclasses.dataclass(eq=False)
    class Node:
        data: list

    node = Node([1])
    types = {Node: ("data",)}
    key = next(iter(freeze({node: 1}, types, resolve)[0]))
    element = next(iter(freeze({node}, types, resolve)[0]))
    for copied in (key, element):
        assert copied is not node
        assert copied.data == [1]
        assert copied.data is not node.data


# -- the user's classes ------------------------------------------------------------------------------


def test_no_constructor_and_no_validator_runs():
    order = Order(1)
    order.id = "refused"
    assert thaw(frozen(order)).id == "refused"
    price = Money(1)
    msgspec.structs.force_setattr(price, "currency", "XXX")
    msgspec.structs.force_setattr(price, "amount", [1])
    assert thaw(frozen(price)).currency == "XXX"


def test_frozen_and_slotted_dataclasses_are_copied():
    point = Point([1], {"a": [2]})
    result = frozen(point)
    assert result == point
    assert result.x is not point.x
    assert result.y["a"] is not point.y["a"]


def test_what_is_remembered_in_a_cached_property_is_left_out():
    order = Order(7)
    assert order.label == "order 7"
    assert "label" not in vars(frozen(order))
    assert thaw(frozen(order)).label == "order 7"


def test_cached_properties_of_a_base_class_are_left_out_too():
    class Base:
        @functools.cached_property
        def total(self):
            return 1

    @dataclasses.dataclass
    class Derived(Base):
        x: int

    value = Derived(1)
    assert value.total == 1
    assert freeze(value, {Derived: ("x",)}, resolve)[0] == Derived(1)


def test_a_type_is_resolved_once_where_the_answer_is_kept():
    asked = []
    known = {}

    def answer(cls):
        asked.append(cls)
        known[cls] = ("x", "y")
        return known[cls]

    assert freeze([Point(1), Point(2)], known, answer) == ([Point(1), Point(2)], True)
    assert asked == [Point]


def test_failure_needs_no_registration():
    failure = Failure("E", "m")
    assert freeze(failure, {}, resolve) == (failure, True)


def test_a_struct_without_gc_and_one_with_a_dict():
    class Light(msgspec.Struct, gc=False):
        x: object

    class Open(msgspec.Struct, dict=True, frozen=True):
        x: object

    types = {Light: ("x",), Open: ("x",)}
    value = [Light([1]), Open(2)]
    result = freeze(value, types, resolve)[0]
    assert result == value
    # It has a __dict__, into which anybody can write: it is not as immutable as it says.
    assert result[1] is not value[1]
    assert thaw(result)[1] is not result[1]


def test_thaw_refuses_what_no_frozen_value_holds():
    with pytest.raises(TypeError, match=r"OrderedDict is no part of a frozen value"):
        thaw([OrderedDict()])
    with pytest.raises(TypeError, match=r"Context is no part"):
        thaw({"a": Context()})
    loop = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        thaw(loop)


@patient
@given(values, st.integers(0, 90))
def test_depth_does_not_change_what_comes_out(value, depth):
    wrapped = value
    for _ in range(depth):
        wrapped = [wrapped]
    result = frozen(wrapped)
    for _ in range(depth):
        (result,) = result
    assert alike(result, value)
