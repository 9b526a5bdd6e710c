"""What "the same value" means, and strategies for every storable type, at any depth."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import struct
import zoneinfo
from decimal import Decimal
from typing import Any

import msgspec
import stored_types as t
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from durable_trio._values import Err, Failure, Ok

# Building these values may take long on a busy machine, and that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def same(left: Any, right: Any) -> bool:
    """Whether two values are alike in type, content and order, down to signs of zero and names of zones."""
    kind = type(left)
    if kind is not type(right):
        return False
    if isinstance(left, enum.Enum):
        return left is right or (isinstance(left, enum.Flag) and left.value == right.value)
    if kind is float:
        return struct.pack(">d", left) == struct.pack(">d", right)
    if kind is Decimal:
        return left.as_tuple() == right.as_tuple()
    if kind in (list, tuple, Ok, Err):
        return len(left) == len(right) and all(map(same, left, right))
    if kind is dict:
        return len(left) == len(right) and all(map(same, left.items(), right.items()))
    if kind in (set, frozenset):
        return len(left) == len(right) and all(any(same(item, other) for other in right) for item in left)
    if kind in (dt.datetime, dt.time):
        bare = left.replace(tzinfo=None) == right.replace(tzinfo=None) and left.fold == right.fold
        return bare and _same_zone(left.tzinfo, right.tzinfo)
    if isinstance(left, msgspec.Struct):
        return all(same(getattr(left, name), getattr(right, name)) for name in kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return all(same(getattr(left, name), getattr(right, name)) for name in names)
    return bool(left == right)


def _same_zone(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, zoneinfo.ZoneInfo):
        return left.key == right.key
    return left is None or left.__getinitargs__() == right.__getinitargs__()


texts = st.text(st.characters(), max_size=8)  # lone surrogates included
ints = st.integers() | st.integers(-(2**66), 2**66) | st.sampled_from([2**63 - 1, 2**63, 2**64, -(2**63) - 1])
offsets = st.timedeltas(dt.timedelta(hours=-23, minutes=-59), dt.timedelta(hours=23, minutes=59))
zones = (
    st.none()
    | st.just(dt.UTC)
    | st.builds(dt.timezone, offsets)
    | st.builds(dt.timezone, offsets, texts)
    | st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"]).map(
        zoneinfo.ZoneInfo
    )
)
folds = st.integers(0, 1)
datetimes = st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, folds)
times = st.builds(lambda at, zone, fold: at.replace(tzinfo=zone, fold=fold), st.times(), zones, folds)
decimals = st.decimals() | st.sampled_from([Decimal("sNaN12"), Decimal("-0E+5"), Decimal("1E+9999")])
enums = st.sampled_from([
    *t.Color, *t.Size, *t.Mode, *t.Access, t.Access.READ | t.Access.WRITE, t.Access(0), t.Bits(3), t.Bits(64),
])  # fmt: skip
# Deferred, as the repr of what is built from these would run to pages.
scalars = st.deferred(
    lambda: (
        st.none()
        | st.booleans()
        | ints
        | st.floats()
        | texts
        | st.binary(max_size=8)
        | datetimes
        | st.dates()
        | times
        | st.timedeltas()
        | decimals
        | st.uuids()
        | enums
    )
)
# A signalling NaN refuses to be hashed.
plain_keys = scalars.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan()))
keys = st.deferred(
    lambda: st.recursive(
        plain_keys,
        lambda inner: (
            st.lists(inner, max_size=3).map(tuple)
            | st.frozensets(inner, max_size=3)
            | st.builds(Ok, inner)
            | st.builds(t.Point, inner, y=inner)
            | st.builds(t.Money, inner)
        ),
        max_leaves=4,
    )
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
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
        | st.builds(t.Money, inner)
        | st.builds(
            lambda items, note: t.Basket(line_items=items, note=note), st.lists(inner, max_size=3), inner
        )
        | st.builds(t.Light, inner)
        | st.builds(t.Order, inner, st.lists(inner, max_size=3), inner)
        | st.builds(t.Point, inner, y=inner)
        | st.builds(t.Computed, inner)
        | st.builds(t.Computed.Inner, inner)
    )


values = st.deferred(lambda: st.recursive(scalars, _containers, max_leaves=20))
contexts = st.dictionaries(texts, values, max_size=5)
