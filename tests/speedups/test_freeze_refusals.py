"""What ``freeze`` refuses, and how it says so."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import io
import pathlib
import struct
import sys
import types
import zoneinfo

import msgspec
import pytest
from refusals import refusal
from strategies import USER_TYPES, Basket, Order, Point, Unregistered, resolve

from durable_trio._errors import SnapshotError
from durable_trio._speedups.context import freeze, settle, share
from durable_trio._values import Err, Finish, Goto, Ok

# -- where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "ctx"),
        ({"user": {"socket": object()}}, 'ctx["user"]["socket"]'),
        ({"a": [1, object()]}, 'ctx["a"][1]'),
        ({"a": (0, 0, [object()])}, 'ctx["a"][2][0]'),
        ({"order": Order(1, [object()])}, 'ctx["order"].lines[0]'),
        ({"basket": Basket(object())}, 'ctx["basket"].items'),
        ([Ok({"a": object()})], 'ctx[0].value["a"]'),
        ([Err([object()])], "ctx[0].reason[0]"),
        ({1: object()}, "ctx[1]"),
        ({None: {b"k": object()}}, "ctx[None][b'k']"),
        ({(1, "a"): object()}, "ctx[(1, 'a')]"),
        ({"it's": object()}, 'ctx["it\'s"]'),
        ({'say "hi"': object()}, "ctx['say \"hi\"']"),
        ({"new\nline": object()}, 'ctx["new\\nline"]'),
        ({"a": share({"b": 1}) | {"c": object()}}, 'ctx["a"]["c"]'),
    ],
)
def test_the_path_leads_to_the_value(value, path):
    error = refusal(value)
    assert error.path == path
    assert error.type_name == "object"
    assert str(error).startswith(f"{path} is an object, which cannot be stored: ")


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ({"tags": {object()}}, 'an element of ctx["tags"] is an object'),
        ({"tags": {(1, (2, object()))}}, 'an element of ctx["tags"] is an object'),
        ({"a": {object(): 1}}, 'a key of ctx["a"] is an object'),
        ({"a": [{(1, object()): 1}]}, 'a key of ctx["a"][0] is an object'),
        ([{frozenset({(object(),)}): 1}], "a key of ctx[0] is an object"),
        ({"a": {(1, object()): 1}, "b": 1}, 'a key of ctx["a"] is an object'),
    ],
)
def test_keys_and_elements_are_named_by_what_holds_them(value, start):
    error = refusal(value)
    assert str(error).startswith(start)
    assert start.endswith(f"of {error.path} is an object")


def test_the_root_has_the_name_that_is_given():
    assert refusal([object()], where="payload").path == "payload[0]"
    with pytest.raises(SnapshotError) as caught:
        settle({}, {"a": object()}, {}, resolve, "input")
    assert caught.value.path == 'input["a"]'


def test_long_paths_keep_their_ends():
    value = object()
    for name in reversed("abcdefghijkl"):
        value = {name: value}
    assert refusal(value).path == 'ctx["a"]["b"]["c"]["d"]…["j"]["k"]["l"]'
    assert refusal([[[[[[[[object()]]]]]]]]).path == "ctx[0][0][0][0][0][0][0][0]"


def test_long_keys_are_cut():
    path = refusal({"k" * 1000: object()}).path
    assert path.startswith('ctx["kkkk')
    assert path.endswith('k…"]')
    assert len(path) < 50


def test_a_key_that_cannot_be_shown_is_named_by_its_type():
    class Shy(enum.Enum):
        ONE = 1

        def __repr__(self):
            raise ValueError("no")

    assert refusal({Shy.ONE: object()}, {Shy: None}).path == "ctx[<Shy>]"


# -- what, and what to do ----------------------------------------------------------------------------


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Instant(dt.datetime):
    pass


Pair = collections.namedtuple("Pair", "x y")  # noqa: PYI024 - the classic form is what users have


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (collections.OrderedDict(), "dict itself comes back as the same type: convert it with dict(...)"),
        (collections.defaultdict(list), "convert it with dict(...)"),
        (collections.Counter(), "convert it with dict(...)"),
        (Pair(1, 2), "convert it with tuple(...)"),
        (Text("x"), "convert it with str(...)"),
        (Number(1), "convert it with int(...)"),
        (Instant(2020, 1, 1), "only datetime itself comes back as the same type"),
        (type("Sub", (Ok,), {})(1), "only Ok itself"),
        (type("Money", (decimal.Decimal,), {})(1), "only Decimal itself"),
        (bytearray(b"x"), "bytes(...)"),
        (memoryview(b"x"), "bytes(...)"),
        ((x for x in ()), "list(...)"),
        (types.MappingProxyType({}), "dict(...)"),
        (len, "store its name"),
        (lambda: 0, "store its name"),
        (int, "store its name"),
        (ValueError("x"), "Err(...)"),
        (Goto("a"), "return it from a step by itself"),
        (Finish(), "return it from a step by itself"),
        (pathlib.PurePosixPath("x"), "str(...)"),
        (type("Array", (), {"tolist": None})(), "tolist()"),
        (io.StringIO(), "look up the rest in the step that needs it"),
        (sys, "look up the rest in the step that needs it"),
        (1j, "look up the rest in the step that needs it"),
        (dt.UTC, "look up the rest in the step that needs it"),
    ],
)
def test_the_message_says_what_to_do(value, advice):
    error = refusal({"a": value})
    assert error.path == 'ctx["a"]'
    assert type(value).__qualname__ in error.type_name
    assert error.type_name in str(error)
    assert advice in str(error)


def test_a_forgotten_await_is_named():
    waiting = asyncio.sleep(0)
    try:
        assert "it was not awaited" in str(refusal(waiting))
    finally:
        waiting.close()


def test_the_registrys_advice_is_passed_on():
    error = refusal({"a": [Unregistered(1)]})
    assert str(error) == (
        'ctx["a"][0] cannot be stored: the type Unregistered is not registered: register it'
    )
    assert error.path == 'ctx["a"][0]'
    assert error.type_name == "x.Unregistered"
    assert error.__suppress_context__


@pytest.mark.parametrize("make", [dt.datetime(2020, 1, 1).replace, dt.time(1).replace])  # noqa: DTZ001
def test_time_zones_that_cannot_be_found_again_are_refused(make):
    class Zone(dt.tzinfo):
        def utcoffset(self, _):
            return dt.timedelta(0)

    # The smallest time zone file there can be: one type, no transitions.
    data = struct.pack(">4s16x6I", b"TZif", 0, 0, 0, 0, 1, 4) + struct.pack(">iBB4s", 0, 0, 0, b"UTC")
    for zone in (Zone(), zoneinfo.ZoneInfo.from_file(io.BytesIO(data))):
        error = refusal({"at": make(tzinfo=zone)})
        assert error.path == 'ctx["at"]'
        assert "zoneinfo.ZoneInfo made from a key" in str(error)
        assert type(zone).__qualname__ in error.type_name


@pytest.mark.parametrize("where", [{}, {"a": 1}])
def test_the_keys_of_a_context_are_strings(where):
    for key, name in ((1, "int"), (None, "NoneType"), (Text("x"), "Text"), ((1,), "tuple")):
        with pytest.raises(SnapshotError) as caught:
            settle(where, {**where, key: 1}, USER_TYPES, resolve)
        assert f"a key of type {caught.value.type_name}" in str(caught.value)
        assert caught.value.type_name.endswith(name)
        ctx = share(where)
        ctx[key] = 1
        with pytest.raises(SnapshotError, match="a key of type"):
            settle(where, ctx, USER_TYPES, resolve)


def test_what_is_no_mapping_is_no_context():
    for value in (None, [("a", 1)], 5):
        with pytest.raises(SnapshotError, match="a context is a mapping"):
            settle({}, value, {}, resolve)


# -- instances that hold more or less than their fields ----------------------------------------------


def test_an_attribute_that_is_no_field_is_refused_by_name():
    order = Order(1)
    order.extra = 5
    error = refusal({"o": order})
    assert error.path == 'ctx["o"]'
    assert "'extra'" in str(error)

    class Open(msgspec.Struct, dict=True):
        x: int

    value = Open(1)
    value.extra = 5
    assert "'extra'" in str(refusal([value], {Open: ("x",)}))


def test_a_slot_that_is_no_field_is_refused_by_name():
    @dataclasses.dataclass
    class Slotted:
        __slots__ = ("cache", "x")
        x: int

    types_ = {Slotted: ("x",)}
    value = Slotted(1)
    assert freeze(value, types_, resolve)[0] == value
    value.cache = 1
    assert "'cache'" in str(refusal(value, types_))


@pytest.mark.parametrize("make", [lambda: Order(1), lambda: Basket(1), lambda: Point(1)])
def test_a_field_without_a_value_is_refused_by_name(make):
    value = make()
    name = USER_TYPES[type(value)][1]
    if type(value) is Basket:
        del value.note
    else:
        object.__delattr__(value, name)
    error = refusal([value])
    assert error.path == f"ctx[0].{name}"
    assert "has no value" in str(error)
