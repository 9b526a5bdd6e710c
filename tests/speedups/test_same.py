"""``same`` against its plain reference, and where it is stricter or kinder than ``==``."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import struct
import zoneinfo
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Access, Basket, Color, Money, Order, Point, Size, alike, keys, patient, twin, values

from durable_trio._speedups.context import same, share
from durable_trio._values import Err, Failure, Ok


@patient
@given(values)
def test_a_value_is_the_same_as_its_copy(value):
    assert same(value, value) is True
    assert same(value, twin(value)) is True


@patient
@given(values, values)
def test_it_agrees_with_the_reference(left, right):
    assert same(left, right) is alike(left, right)


@patient
@given(st.sets(keys, max_size=8), st.randoms())
def test_sets_are_compared_whatever_the_order_they_were_filled_in(elements, random):
    copies = [twin(element) for element in elements]
    random.shuffle(copies)
    assert same(elements, set(copies))
    assert same(frozenset(elements), frozenset(copies))
    if copies:
        assert not same(elements, set(copies[1:]))


def nan(payload):
    return struct.unpack(">d", struct.pack(">Q", 0x7FF8000000000000 | payload))[0]


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
BERLIN_AGAIN = zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
NAMED_HOUR = dt.timezone(dt.timedelta(hours=1), "an hour")
HOUR = dt.timedelta(hours=1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (nan(1), nan(2)),
        ([nan(1)], [nan(1)]),
        ({nan(1), 1}, {1, nan(1)}),
        ((0.0, "a"), (0.0, "".join("a"))),
        (dt.datetime(2020, 1, 1, tzinfo=BERLIN), dt.datetime(2020, 1, 1, tzinfo=BERLIN_AGAIN)),
        (dt.time(1, tzinfo=dt.timezone(HOUR)), dt.time(1, tzinfo=dt.timezone(HOUR))),
        (Decimal("NaN"), Decimal("NaN")),
        (Decimal("sNaN"), Decimal("sNaN")),
        ({Decimal("NaN")}, {Decimal("NaN")}),
        (Err("x"), Err("x", retry=False)),
        (Failure("a", "b"), Failure("a", "b")),
        ({Point(1), Point(1.0, 2)}, {Point(1.0, 2), Point(1)}),
    ],
)  # fmt: skip
def test_these_are_the_same(left, right):
    assert same(left, right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (0, False),
        ("1", b"1"),
        ((1,), [1]),
        ({1}, frozenset({1})),
        ({1}, {True}),
        ({0.0}, {-0.0}),
        ({(1,)}, {(1.0,)}),
        ({Point(1)}, {Point(True)}),
        ({frozenset({1})}, {frozenset({1.0})}),
        ({1: "a"}, {1.0: "a"}),
        ({nan(1), nan(2)}, {nan(1), 1.0}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ([1], [1, 1]),
        (Ok(1), ("ok", 1)),
        (Ok(1), Err(1)),
        (Err(1), Err(True)),
        (Color.RED, Color.GREEN),
        (Size.SMALL, 1),
        (Access.READ, Access.READ | Access.WRITE),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal(0), Decimal("-0")),
        (UUID(int=1), UUID(int=2)),
        (dt.datetime(2020, 1, 1), dt.date(2020, 1, 1)),  # noqa: DTZ001
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, 1, tzinfo=dt.timezone(HOUR))),
        (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC"))),
        (dt.datetime(2020, 1, 1, tzinfo=dt.timezone(HOUR)), dt.datetime(2020, 1, 1, tzinfo=NAMED_HOUR)),
        (dt.datetime(2020, 10, 25, 2, tzinfo=BERLIN), dt.datetime(2020, 10, 25, 2, tzinfo=BERLIN, fold=1)),
        (dt.time(1), dt.time(1, tzinfo=dt.UTC)),
        (Money(1), Money(1.0)),
        (Money(1), Point(1, "EUR")),
        (Order(1, [1]), Order(1, [True])),
        (Basket([0.0]), Basket([-0.0])),
    ],
)  # fmt: skip
def test_these_are_not_the_same(left, right):
    assert not same(left, right)
    assert not same(right, left)
    assert not same([{"k": left}], [{"k": right}])


def test_no_code_of_a_users_runs():
    @dataclasses.dataclass(eq=False)
    class Loud:
        x: object

        def __eq__(self, other):
            raise AssertionError("asked")

        def __hash__(self):
            raise AssertionError("asked")

    class LoudStruct(msgspec.Struct, eq=False):
        x: object

        __eq__ = __hash__ = Loud.__eq__

    assert same([Loud(1), {"a": LoudStruct([2])}], [Loud(1), {"a": LoudStruct([2])}])
    assert not same(Loud(1), Loud(2))


def test_what_could_not_be_stored_is_the_same_only_as_itself():
    thing = object()
    assert same(thing, thing)
    assert not same(object(), object())
    assert not same({"a": share({})}, {"a": share({})})
    order, other = Order(1), Order(1)
    assert same(order, other)
    order.extra = 1
    assert not same(order, other)
    assert not same(other, order)


def test_what_a_cached_property_remembers_makes_no_difference():
    order = Order(1)
    assert order.label
    assert same(order, Order(1))


def test_an_unset_field_is_no_crash():
    empty = Basket(1)
    del empty.items
    assert not same(empty, Basket(1))
    assert not same({"a": empty}, {"a": Basket(None)})


def test_endless_values_are_not_the_same():
    left, right = [], []
    left.append(left)
    right.append(right)
    assert same(left, left)
    assert not same(left, right)
    for _ in range(100_000):
        left, right = [left], [right]
    assert not same(left, right)


def test_large_sets_take_no_quadratic_time():
    left = {(i, str(i)) for i in range(20_000)}
    right = {(i, str(i)) for i in reversed(range(20_000))}
    assert same(left, right)
    right.remove((0, "0"))
    right.add((0.0, "0"))
    assert not same(left, right)


def test_floats_with_a_sign():
    for left in (0.0, -0.0, math.inf, -math.inf, 1.5, -1.5):
        for right in (0.0, -0.0, math.inf, -math.inf, 1.5, -1.5):
            assert same(left, right) is (math.copysign(1, left) == math.copysign(1, right) and left == right)
