"""Nothing hostile gets past ``freeze`` or breaks it: depth, cycles, code of the values, other threads."""

from __future__ import annotations

import collections
import dataclasses
import re
import sys
import threading
import types
import uuid

import pytest
from refusals import refusal
from strategies import USER_TYPES, Basket, Color, Order, Point, resolve

from durable_trio._errors import SnapshotError
from durable_trio._speedups.context import MAX_DEPTH, freeze, settle, share
from durable_trio._values import Err, Ok


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
