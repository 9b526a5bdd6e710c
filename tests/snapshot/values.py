"""Strategies for every storable type, at any depth, and for instances of the classes in ``stored_types``."""

from __future__ import annotations

import functools
from decimal import Decimal

import stored_types as t
from hypothesis import strategies as st
from strategies import Strategy, alike, datetimes, keys_of, patient, times, values_of

__all__ = ["contexts", "patient", "same", "values"]

# What was written and read back is the same to the bit.
same = functools.partial(alike, to_the_bit=True)

texts = st.text(st.characters(), max_size=8)  # lone surrogates included
ints = st.integers() | st.integers(-(2**66), 2**66) | st.sampled_from([2**63 - 1, 2**63, 2**64, -(2**63) - 1])
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


def _frozen_records(inner: Strategy) -> Strategy:
    return st.builds(t.Point, inner, y=inner) | st.builds(t.Money, inner)


def _records(inner: Strategy) -> Strategy:
    return (
        _frozen_records(inner)
        | st.builds(
            lambda items, note: t.Basket(line_items=items, note=note), st.lists(inner, max_size=3), inner
        )
        | st.builds(t.Light, inner)
        | st.builds(t.Order, inner, st.lists(inner, max_size=3), inner)
        | st.builds(t.Computed, inner)
        | st.builds(t.Computed.Inner, inner)
    )


values = values_of(scalars, keys_of(plain_keys, _frozen_records), texts, _records)
contexts = st.dictionaries(texts, values, max_size=5)
