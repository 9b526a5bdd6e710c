"""What ``freeze`` refuses, how it says so, and that nothing hostile gets past it or breaks it."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import io
import pathlib
import re
import struct
import sys
import threading
import types
import uuid
import zoneinfo

import msgspec
import pytest
from strategies import USER_TYPES, Basket, Color, Order, Point, Unregistered, resolve

from durable_trio._errors import SnapshotError
from durable_trio._speedups.context import MAX_DEPTH, freeze, settle, share
from durable_trio._values import Err, Finish, Goto, Ok


def refusal(value, user_types=USER_TYPES, where="ctx"):
    with pytest.raises(SnapshotError) as caught:
        freeze(value, user_types, resolve, where)
    return caught.value


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


# -- hostile values ----------------------------------------------------------------------------------


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: [v],
        lambda v: (v,),
        lambda v: {"k": v},
        lambda v: {Color.RED: v},
        lambda v: frozenset({v}),
        Ok,
        Err,
        Basket,
        lambda v: Order(1, v),
    ],
)
def test_nesting_has_a_limit_and_no_crash(wrap):
    at_limit = nested(MAX_DEPTH, wrap)
    assert freeze(at_limit, USER_TYPES, resolve)[0] == at_limit
    error = refusal(nested(MAX_DEPTH + 1, wrap))
    assert "nested deeper than 100 levels, or refers to itself" in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize("depth", [500, 100_000])
def test_very_deep_values_do_not_crash(depth):
    value = nested(depth, lambda v: [v])
    assert "nested deeper" in str(refusal(value))
    with pytest.raises(SnapshotError, match="nested deeper"):
        settle({"a": nested(MAX_DEPTH - 1, lambda v: [v])}, {"a": value}, {}, resolve)


def test_the_context_itself_is_a_level():
    freeze({"a": nested(MAX_DEPTH - 1, lambda v: [v])}, {}, resolve)
    settle({}, {"a": nested(MAX_DEPTH - 1, lambda v: [v])}, {}, resolve)
    with pytest.raises(SnapshotError, match="nested deeper"):
        settle({}, {"a": nested(MAX_DEPTH, lambda v: [v])}, {}, resolve)


def test_cycles_are_refused():
    loop = []
    loop.append(loop)
    table = {}
    table["self"] = table
    order = Order(1)
    order.lines = [order]
    ctx = share({})
    ctx["me"] = ctx
    for value in (loop, table, order, ctx, [loop, loop]):
        assert "refers to itself" in str(refusal(value))
    with pytest.raises(SnapshotError, match="refers to itself"):
        settle({}, ctx, {}, resolve)


class Key:
    """A key whose hash and equality do what the test wants."""

    def __init__(self, act=lambda: None):
        self.act = act
        self.armed = False

    def __hash__(self):
        return 1

    def __eq__(self, other):
        if self.armed:
            self.act()
        return self is other


@dataclasses.dataclass(eq=False)
class Hostile:
    """Registered, with code of its own in the places that a copy goes through."""

    x: object = 0

    def __hash__(self):
        return HOOK.hash(self)

    def __eq__(self, other):
        return HOOK.eq(self, other)


HOOK = types.SimpleNamespace()
HOSTILE_TYPES = {Hostile: ("x",)}


@pytest.fixture(autouse=True)
def _calm():
    HOOK.hash = lambda _: 1
    HOOK.eq = lambda a, b: a is b


def broken(*_):
    raise ValueError("broken")


@pytest.mark.parametrize("hook", ["hash", "eq"])
@pytest.mark.parametrize("make", [lambda k: {k: 1, Hostile(): 2}, lambda k: {k, Hostile()}])
def test_an_error_of_a_keys_own_code_is_chained(hook, make):
    value = make(Hostile())
    setattr(HOOK, hook, broken)
    error = refusal({"a": [value]}, HOSTILE_TYPES)
    assert "raised ValueError: broken" in str(error)
    assert 'ctx["a"][0]' in str(error)
    assert isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize("make", [lambda: {Hostile(): 1, Hostile(): 2}, lambda: {Hostile(), Hostile()}])
def test_members_that_become_equal_are_not_lost_silently(make):
    value = make()
    HOOK.eq = lambda a, b: True
    assert "holds less when it is copied" in str(refusal([value], HOSTILE_TYPES))


def test_interrupts_pass_through():
    def interrupt(_):
        raise KeyboardInterrupt

    value = {"a": [{Hostile(): 1}]}
    HOOK.hash = interrupt
    with pytest.raises(KeyboardInterrupt):
        freeze(value, HOSTILE_TYPES, resolve)
    HOOK.hash = lambda _: 1

    def exhaust(_):
        raise MemoryError

    HOOK.hash = exhaust
    with pytest.raises(MemoryError):
        settle({}, value, HOSTILE_TYPES, resolve)


@pytest.mark.parametrize("clear", [dict.clear, lambda d: d.update(dict.fromkeys(range(1000)))])
def test_a_dict_that_changes_meanwhile_gives_what_it_held_at_first(clear):
    value = {Hostile(): [1], "b": [2], Hostile([3]): [4]}
    HOOK.hash = lambda _: clear(value) or 1
    result, _ = freeze(value, HOSTILE_TYPES, resolve)
    assert list(result.values()) == [[1], [2], [4]]


def test_a_list_that_changes_meanwhile_gives_what_it_held_at_first():
    value = [[1], {Hostile()}, [2], [3]]
    HOOK.hash = lambda _: value.clear() or 1
    result, _ = freeze(value, HOSTILE_TYPES, resolve)
    assert [result[0], result[2], result[3]] == [[1], [2], [3]]


def test_a_set_that_changes_meanwhile_gives_what_it_held_at_first():
    elements = [Hostile(i) for i in range(10)]
    value = set(elements)
    HOOK.hash = lambda _: value.clear() or 1
    result, _ = freeze(value, HOSTILE_TYPES, resolve)
    assert sorted(element.x for element in result) == list(range(10))


def test_a_field_that_is_a_property_may_fail_or_meddle():
    @dataclasses.dataclass
    class Meddler:
        x: object

    base = []
    Meddler.x = property(lambda self: base.clear() or broken(), lambda self, value: None)
    base.extend([Meddler(1), [1]])
    error = refusal(base, {Meddler: ("x",)})
    assert error.path == "ctx[0].x"
    assert isinstance(error.__cause__, ValueError)


def test_a_resolver_that_fails_or_answers_nonsense_is_no_crash():
    for answer, message in (
        (broken, "broken"),
        (lambda _: 5, "TypeError"),
        (lambda _: ("nope",), "no value"),
    ):
        with pytest.raises(SnapshotError, match=message):
            freeze([Point(1)], {}, answer)
    with pytest.raises(SnapshotError, match="object, which cannot be stored"):
        freeze([object()], {}, lambda _: ("x",))


def test_a_metaclass_with_its_own_hash_is_refused_like_any_other():
    class Meta(type):
        def __hash__(cls):
            raise ValueError("no hash")

    error = refusal([Meta("Odd", (), {})()])
    assert isinstance(error.__cause__, ValueError)
    assert error.path == "ctx[0]"


def test_an_ok_that_holds_nothing_is_no_crash():
    for kind in (Ok, Err):
        assert "holds one value" in str(refusal([tuple.__new__(kind, ())]))


def test_a_mapping_whose_own_code_fails():
    class Broken(collections.UserDict):
        def __getitem__(self, key):
            raise ValueError("broken")

    with pytest.raises(SnapshotError, match=re.escape("ctx could not be copied")) as caught:
        settle({}, Broken(a=1), {}, resolve)
    assert isinstance(caught.value.__cause__, ValueError)


def test_freezing_what_other_threads_change():
    value = {
        "a": list(range(50)),
        "b": {str(i): [i] for i in range(50)},
        "c": set(range(50)),
        "d": Order(1, []),
    }
    stop = threading.Event()

    def change():
        i = 0
        while not stop.is_set():
            i += 1
            value["a"].append([i])
            value["b"][str(i)] = [i]
            value["c"].add((i,))
            value["d"].lines = [i] * (i % 5)
            if i % 100 == 0:
                value["a"].clear()
                value["b"].clear()
                value["c"].clear()

    threads = [threading.Thread(target=change) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(2000):
            result, special = freeze(value, USER_TYPES, resolve)
            assert special
            assert set(result) == {"a", "b", "c", "d"}
            settle({"a": [1], "b": {}}, value, USER_TYPES, resolve)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)


def test_uuid_and_decimal_subclasses_are_not_taken_for_the_real_ones():
    class Id(uuid.UUID):
        pass

    assert "only UUID itself" in str(refusal(Id(int=1)))


def test_a_reference_to_a_refused_value_does_not_outlive_the_error():
    class Marker:
        pass

    marker = Marker()
    before = sys.getrefcount(marker)
    for _ in range(100):
        with pytest.raises(SnapshotError):
            freeze({"a": [(marker,)]}, {}, resolve)
    assert sys.getrefcount(marker) == before
