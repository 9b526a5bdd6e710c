"""Hypothesis strategies for storable values, and what "the same value" means, told in plain Python.

``values`` draws anything that may be stored, at any depth; ``contexts`` draws what a step may return;
``plain_values`` draws what MessagePack carries as it is. The classes stand for a user's; ``USER_TYPES`` and
``resolve`` are what a registry would say of them.

``alike`` is the reference for the compiled ``same``: slow, and written to be read.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import functools
import math
import struct
import zoneinfo
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from durable_trio._errors import SnapshotError
from durable_trio._values import Err, Failure, Ok

Strategy = st.SearchStrategy[Any]

# How long an example takes says nothing on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


# -- a user's classes --------------------------------------------------------------------------------


class Color(enum.Enum):
    RED = 1
    GREEN = "green"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Money(msgspec.Struct, frozen=True):
    """Immutable, as far as its fields are."""

    amount: Any
    currency: Any = "EUR"

    def __post_init__(self):
        if self.currency == "XXX":
            raise ValueError("no such currency")


class Basket(msgspec.Struct):
    items: Any
    note: Any = None


@dataclasses.dataclass
class Order:
    id: Any
    lines: Any = dataclasses.field(default_factory=list)

    def __post_init__(self):
        if self.id == "refused":
            raise ValueError("runs only where the user makes an order")

    @functools.cached_property
    def label(self):
        return f"order {self.id}"


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = 0


class Unregistered(msgspec.Struct):
    x: Any


USER_TYPES: dict[type, tuple[str, ...] | None] = {
    Color: None,
    Size: None,
    Access: None,
    Money: ("amount", "currency"),
    Basket: ("items", "note"),
    Order: ("id", "lines"),
    Point: ("x", "y"),
}


def resolve(cls: type) -> Any:
    """What a registry says of a type that it has not met: advice for what could be registered."""
    if cls is Unregistered:
        raise SnapshotError(
            "the type Unregistered is not registered: register it", type_name="x.Unregistered"
        )
    return NotImplemented


# -- the reference -----------------------------------------------------------------------------------


def alike(left: Any, right: Any, *, to_the_bit: bool = False) -> bool:
    """Whether two values are the same in type, content and order, to signs of zero and names of zones.

    ``to_the_bit``: one NaN is not as good as another.
    """
    again = functools.partial(alike, to_the_bit=to_the_bit)
    kind = type(left)
    if kind is not type(right):
        return False
    if isinstance(left, enum.Enum):
        return left is right
    if kind is float:
        both_nan = math.isnan(left) and math.isnan(right) and not to_the_bit
        return both_nan or struct.pack(">d", left) == struct.pack(">d", right)
    if kind is Decimal:
        return left.as_tuple() == right.as_tuple()
    if kind in (list, tuple, Ok, Err):
        return len(left) == len(right) and all(map(again, left, right))
    if kind is dict:
        return len(left) == len(right) and all(map(again, left.items(), right.items()))
    if kind in (set, frozenset):
        return len(left) == len(right) and all(any(again(item, other) for other in right) for item in left)
    if kind in (dt.datetime, dt.time):
        bare = left.replace(tzinfo=None) == right.replace(tzinfo=None) and left.fold == right.fold
        return bare and _alike_zone(left.tzinfo, right.tzinfo)
    names = _field_names(kind)
    if names is not None:
        return all(again(getattr(left, name), getattr(right, name)) for name in names)
    return bool(left == right)


def _field_names(kind: type) -> list[str] | None:
    if issubclass(kind, msgspec.Struct):
        return list(kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return None


def _alike_zone(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, zoneinfo.ZoneInfo):
        return left.key == right.key
    return left is None or left.__getinitargs__() == right.__getinitargs__()


def parts(value: Any) -> list[Any]:
    """Everything that a value holds, at any depth, itself included."""
    found = [value]
    inner: Any = ()
    kind = type(value)
    if kind is dict:
        inner = [*value, *value.values()]
    elif kind in (Ok, Err):
        inner = [value[1]]
    elif kind in (list, tuple, set, frozenset):
        inner = value
    elif _field_names(kind) is not None:
        inner = [getattr(value, name) for name in _field_names(kind)]
    for item in inner:
        found.extend(parts(item))
    return found


def mutable_ids(value: Any) -> set[int]:
    """The identity of everything in a value that somebody could change."""
    return {id(part) for part in parts(value) if type(part) in (list, dict, set, Basket, Order)}


def twin(value: Any) -> Any:
    """An equal value that shares nothing mutable with the first, by means of the standard library."""
    return copy.deepcopy(value)


# -- strategies --------------------------------------------------------------------------------------

texts = st.text(max_size=8)
names = st.sampled_from(["a", "b", "c", "d", "e", "__results__", "name", "ünïcödé", "漢字"]) | texts
plain_ints = st.integers(-(2**63), 2**64 - 1)
plain_scalars = (
    st.none()
    | st.booleans()
    | plain_ints
    | st.integers(-3, 300)
    | st.floats()
    | texts
    | st.binary(max_size=8)
)
odd_texts = st.text(st.characters(categories=["Cs", "L", "N"]), max_size=6)
big_ints = st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
offsets = st.timedeltas(dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59))
zones = (
    st.none()
    | st.just(dt.UTC)
    | st.builds(dt.timezone, offsets)
    | st.builds(dt.timezone, offsets, texts | odd_texts)
    | st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"]).map(
        zoneinfo.ZoneInfo
    )
)
folds = st.integers(0, 1)
datetimes = st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds)
times = st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
enums = st.sampled_from([*Color, *Size, *Access, Access.READ | Access.WRITE, Access(0)])
decimals = st.decimals() | st.sampled_from([Decimal("1.0"), Decimal("1.00"), Decimal("-0E+5")])
special_scalars = (
    odd_texts
    | big_ints
    | datetimes
    | st.dates()
    | times
    | st.timedeltas()
    | decimals.filter(lambda value: not value.is_snan())  # which cannot be hashed
    | st.uuids()
    | enums
)
# Deferred, as the repr of what is built from these would run to pages.
scalars = st.deferred(lambda: plain_scalars | special_scalars)


def keys_of(scalars: Strategy, records: Callable[[Strategy], Strategy]) -> Strategy:
    """What may be a key: a scalar, or what holds nothing but keys.

    Args:
        scalars: those that can be hashed.
        records: the instances of a user's frozen classes that hold what is drawn from a strategy.
    """

    def held(inner: Strategy) -> Strategy:
        tuples = st.lists(inner, max_size=3).map(tuple)
        return tuples | st.frozensets(inner, max_size=3) | st.builds(Ok, inner) | records(inner)

    return st.deferred(lambda: st.recursive(scalars, held, max_leaves=4))


def values_of(
    scalars: Strategy, keys: Strategy, texts: Strategy, records: Callable[[Strategy], Strategy]
) -> Strategy:
    """What may be stored, at any depth.

    Args:
        scalars: what holds nothing.
        keys: of dicts, and elements of sets.
        texts: other keys of dicts, and what a Failure says.
        records: as of ``keys_of``, of all classes.
    """

    def held(inner: Strategy) -> Strategy:
        return (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(texts, inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=4)
            | st.sets(keys, max_size=4)
            | st.frozensets(keys, max_size=4)
            | st.builds(Ok, inner)
            | st.builds(Err, inner)
            | st.builds(Failure, texts, texts, texts, st.integers(1, 5))
            | records(inner)
        )

    return st.deferred(lambda: st.recursive(scalars, held, max_leaves=20))


def _frozen_records(inner: Strategy) -> Strategy:
    return st.builds(Money, inner) | st.builds(Point, inner, inner)


def _records(inner: Strategy) -> Strategy:
    orders = st.builds(Order, inner.filter(lambda value: value != "refused"), inner)
    return _frozen_records(inner) | st.builds(Basket, inner, inner) | orders


keys = keys_of(scalars, _frozen_records)
values = values_of(scalars, keys, texts, _records)
contexts = st.dictionaries(names, values, max_size=6)
plain_values = st.deferred(
    lambda: st.recursive(
        plain_scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=20,
    )
)
