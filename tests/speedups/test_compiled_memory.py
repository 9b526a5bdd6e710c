"""The compiled modules leak nothing: not on success, not on refusal, not through classes that come and go."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import sys
import tracemalloc
import weakref
from collections import deque

import msgspec
import pytest
from strategies import USER_TYPES, Basket, Color, Order, Point, resolve

from durable_trio._engine.committer import Ledger, Post
from durable_trio._errors import InputError, SnapshotError
from durable_trio._speedups.batching import Answer, Changes, Entry, Write, check_writes, gather, pack_array
from durable_trio._speedups.context import Context, apply_delta, freeze, same, settle, share, thaw
from durable_trio._speedups.results import Collector
from durable_trio._values import Err, Failure, Ok

pytestmark = pytest.mark.slow

VALUE = {
    "n": 1.5,
    "list": [1, "a", (1, [2]), {"x": {1, (2, 3)}}],
    "user": [Order(1, [2]), Basket([3], {"a": 4}), Point([5], Color.RED)],
    "results": {"a": Ok([1]), "b": Err("x", retry=False), "c": Failure("E", "m")},
    "keys": {Color.RED: [1], (1, "a"): {2}, Point(1): 3},
}
BASE = freeze(VALUE, USER_TYPES, resolve)[0]
LOOP: list[object] = []
LOOP.append(LOOP)


class Broken:
    """Breaks as one of two keys of a dict, once it is armed."""

    armed = False

    def __hash__(self):
        return 1

    def __eq__(self, other):
        if Broken.armed:
            raise ValueError("broken")
        return self is other


BROKEN_TYPES: dict[type, tuple[str, ...] | None] = {**USER_TYPES, Broken: None}


def use_context():
    ctx = share(BASE)
    for key in ctx:
        _ = ctx[key]
    ctx["list"].append(object())
    ctx["me"] = ctx
    del ctx["n"]
    new = (ctx | {"a": 1}).assign(b=2)
    _ = new == ctx, repr(new), len(new), dict(new), new.to_dict(), {"x": 1} | new, new.copy()
    new.pop("a")
    new.popitem()
    new.setdefault("q", [])
    new.clear()
    with contextlib.suppress(KeyError):
        _ = new["nope"]
    Context(a=1).update([("b", 2)])


def use_freeze():
    frozen, _ = freeze(VALUE, USER_TYPES, resolve)
    assert same(frozen, thaw(frozen))


def use_refusals():
    for bad in (
        {"a": [1, {"b": (object(),)}]},
        {"a": {(1, object())}},
        {(1, object()): 1},
        LOOP,
        [Order(object())],
        [Ok(object())],
        {Color.RED: object()},
    ):
        with contextlib.suppress(SnapshotError):
            freeze(bad, USER_TYPES, resolve)
        with contextlib.suppress(SnapshotError):
            settle(BASE, {"a": bad}, USER_TYPES, resolve)


def use_hostile_keys():
    Broken.armed = False
    value = {"a": [{Broken(): [1], Broken(): [2]}]}
    ctx = share({}) | {Broken(): 1}
    Broken.armed = True
    with contextlib.suppress(SnapshotError):
        freeze(value, BROKEN_TYPES, resolve)
    with contextlib.suppress(ValueError):
        _ = ctx[Broken()]


def use_settle():
    ctx = share(BASE) | {"a": [1]}
    ctx["list"].append(5)
    del ctx["n"]
    base, changed, removed, replaced, _ = settle(BASE, ctx, USER_TYPES, resolve)
    assert same(apply_delta(BASE, changed, removed, replaced), base)
    settle(BASE, {**ctx, "z": {1}}, USER_TYPES, resolve)
    settle(BASE, {"z": [1]}, USER_TYPES, resolve)
    settle(BASE, share(BASE), USER_TYPES, resolve)


def use_collector():
    collector = Collector(("a", "b", "c"), 2)
    collector.ok(0, [1])
    collector.error(1, {"x": 1})
    with contextlib.suppress(RuntimeError):
        collector.ok(0, 1)
    with contextlib.suppress(RuntimeError):
        collector.merge()
    collector.ok(2, None)
    collector.merge()


def use_batching():
    run, key = Ledger(bytes(16), 1), bytes(15) + b"\1"
    entries = [Entry(run, b"header", 2, b"header", b"alias"), Entry(run, [b"a", b"b" * 3000], 3)]
    entries.append(Entry(Ledger(key, 2, indexed=1), (), 4, post=Post(((1, b"m"),), (2,), 3, 4)))
    queue = deque([*entries, [Write(b"w" * 16, row=b"r"), Answer(b"k", None)], len])
    waiters: list[object] = []
    writes, _, _ = gather(queue, waiters, Ledger, max)
    check_writes(writes)
    changes = Changes(writes)
    assert changes.moves == {(1, 3): 1, (2, 4): 1, (2, 1): -1}


def use_refused_batches():
    for bad in ([Write(b"short")], [Write(bytes(16), seq=-1)], [Write(bytes(16), seq=2**70)], [None]):
        with contextlib.suppress(InputError, TypeError):
            Changes(bad)
    for broken in (Entry(Ledger([], 1), b""), Entry(Ledger(bytes(16), 1), [b"", 5]), Entry(None, b"")):
        with contextlib.suppress(TypeError, AttributeError):
            gather(deque([broken]), [], Ledger, max)
    with contextlib.suppress(TypeError):
        pack_array([b"a", 5])


REFUSING = (use_refusals, use_refused_batches)
USES = [*REFUSING, use_context, use_freeze, use_hostile_keys, use_settle, use_collector, use_batching]


def use_batches_of(data, number):
    run = Ledger(data[:16], 1)
    entries = [Entry(run, data, 2, data, data, Post(((5, data),), (6,), number >> 70)), Entry(run, [data], 3)]
    writes, _, _ = gather(deque(entries), [], Ledger, max)
    Changes(writes)
    writes[0].seq = number
    with pytest.raises(InputError):
        Changes(writes)


def growth(act, rounds):
    """Bytes and gc objects that are left behind by so many rounds, after some to warm up."""
    for _ in range(200):
        act()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(10):
            act()
        gc.collect()
        before, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
        for _ in range(rounds):
            act()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before, len(gc.get_objects()) - objects
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("act", USES)
def test_nothing_is_left_behind(act):
    # One lost reference per round would be 500 objects, or 16 kB at the very least.
    size, objects = growth(act, 500)
    assert size < 8_000
    assert objects < 50


@pytest.mark.parametrize("act", USES)
def test_nothing_is_left_behind_after_very_many_rounds(act):
    """Over a million operations in all; what refuses has tracebacks to make, so fewer of these."""
    size, objects = growth(act, 5_000 if act in REFUSING else 25_000)
    assert size < 8_000
    assert objects < 50


def test_references_to_shared_values_are_counted_right():
    """Immortal or shared objects that are freed too often crash much later; that shows here at once."""
    text, number, pair = "a text of its own" * 2, 10**30, (1, "pair")
    price, stamp = Point(1), Failure("E", "m")
    text_bytes = b"some bytes" * 2
    things = [text, number, pair, price, stamp, Ok, Err, Color.RED, BASE, text_bytes]
    base = {
        "t": text,
        "n": number,
        "p": [pair, {text: number, pair: stamp}],
        "x": {pair, text},
        "q": Ok(price),
    }
    value = {**base, "more": [Color.RED]}
    before = [sys.getrefcount(thing) for thing in things]
    for _ in range(300):
        new_base, changed, *_ = settle(base, value, USER_TYPES, resolve)
        ctx = share(new_base)
        _ = ctx["p"], ctx["x"], ctx["q"], dict(ctx), ctx | {text: text}
        assert same(thaw(new_base), new_base)
        collector = Collector(("a", "b"))
        collector.ok(0, pair)
        collector.error(1, text)
        collector.merge()
        use_batches_of(text_bytes, number)
        with pytest.raises(SnapshotError):
            freeze([pair, {text: [object()]}], USER_TYPES, resolve)
    del new_base, changed, ctx, collector, _
    gc.collect()
    after = [sys.getrefcount(thing) for thing in things]
    assert after == pytest.approx(before, abs=5)


def test_classes_can_go():
    """What is remembered of a class does not keep it, and is not taken for the next one at its address."""

    def make(fields):
        return dataclasses.make_dataclass("Passing", fields), msgspec.defstruct("PassingStruct", fields)

    gone = []
    for round_ in range(50):
        fields = ["a", "b"] if round_ % 2 else ["c"]
        for kind in make(fields):
            value = kind(*([i] for i in range(len(fields))))
            frozen = freeze(value, {kind: tuple(fields)}, resolve)[0]
            assert frozen == value
            assert thaw(frozen) == value
            assert same(frozen, value)
            gone.append(weakref.ref(kind))
        del kind, value, frozen
        gc.collect()
    assert not [ref for ref in gone if ref() is not None]


def test_cycles_through_contexts_are_collected():
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    base = {"a": [1]}
    ctx = share(base)
    ctx["me"] = [ctx, marker]
    base["back"] = ctx  # nobody may do this; it must not leak all the same
    del ctx, marker, base
    gc.collect()
    assert gone() is None
