"""Whatever is storable comes back with the same type and content, at any depth."""

from __future__ import annotations

import datetime as dt
import threading
from decimal import Decimal

import msgspec
import pytest
import stored_types as t
from hypothesis import given, settings
from values import contexts, patient, same, values

from durable_trio._errors import SnapshotError
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import (
    DELTA,
    OK,
    STEP,
    Attempt,
    CancelRequested,
    Done,
    Ended,
    Header,
    Retried,
)
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._snapshot.wire import MAX_DEPTH
from durable_trio._speedups.batching import array_header, pack_array
from durable_trio._values import Err, Failure, Ok

CODEC = Codec(TypeRegistry(t.TYPES))


@pytest.mark.slow
@given(values)
@settings(patient, max_examples=400)
def test_values_survive(value):
    frozen, special = CODEC.freeze(value)
    assert same(frozen, value)
    assert same(CODEC.decode_value(CODEC.encode(CODEC.wire(frozen))), frozen)
    if not special:
        assert same(CODEC.decode_value(CODEC.encode(frozen)), frozen)
        assert CODEC.wire(frozen) is frozen


@pytest.mark.slow
@given(contexts, contexts)
@settings(patient, max_examples=100)
def test_records_and_headers_survive(context, other):
    wired, other_wired = CODEC.wire(context), CODEC.wire(other)
    records = [
        Done("a/b", 1, STEP, OK, 1, 1.5, 0.25, DELTA, wired, ["gone"], "next"),
        Attempt("a/b", 2, 1, 1.5, 0.25, other_wired, 9.0),
        Ended(17, 3.0, wired, other_wired),
        CancelRequested(4.0, wired),
        Retried(5.0),
    ]
    row = pack_array([CODEC.encode(record) for record in records])
    done, attempt, ended, cancel, retried = CODEC.decode_row(row)
    assert same(done.data, context)
    assert (done.path, done.visit, done.removed, done.next) == ("a/b", 1, ["gone"], "next")
    assert same(attempt.reason, other)
    assert same(ended.reason, context)
    assert same(ended.errors, other)
    assert same(cancel.reason, context)
    assert retried == Retried(5.0)
    header = Header("id", "wf", "1", b"\0\xff", 1.25, wired, "mail", -3, "parent")
    assert same(CODEC.decode_header(CODEC.encode(header)), msgspec.structs.replace(header, input=context))


def test_rows_are_joined_in_order():
    rows = [
        pack_array([CODEC.encode(Retried(float(index))) for index in range(start, start + 3)])
        for start in (0, 3)
    ]
    assert [record.at for record in CODEC.decode_rows(rows)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("length", [1, 15, 16, 65_535, 65_536])
def test_a_row_of_any_length_is_the_array_that_msgspec_would_write(length):
    records = [Retried(1.0)] * length
    encoded = CODEC.encode(records[0])
    assert pack_array([encoded] * length) == msgspec.msgpack.encode(records)


def test_the_longest_array_header():
    assert array_header(2**32 - 1) == b"\xdd\xff\xff\xff\xff"


def test_plain_parts_are_passed_through_and_only_what_holds_something_special_is_rebuilt():
    plain = {"rows": [[1, "a"], {"x": None}], 7: b"bytes"}
    mixed = {"plain": plain, "at": dt.date(2024, 2, 29)}
    wired = CODEC.wire(mixed)
    assert CODEC.wire(plain) is plain
    assert wired is not mixed
    assert wired["plain"] is plain
    assert mixed["at"] == dt.date(2024, 2, 29), "the value itself is left alone"


def test_equal_sets_are_equal_bytes():
    # These collide in a small hash table, so that insertion decides the order of iteration.
    left, right = set([0, 8, 16]), set([16, 8, 0])  # noqa: C405 - equal literals would be one constant
    assert list(left) != list(right)
    forms = {CODEC.encode(CODEC.wire(value)) for value in (left, right)}
    assert len(forms) == 1
    nested = [{frozenset(left)}, {frozenset(right)}]
    assert len({CODEC.encode(CODEC.wire(value)) for value in nested}) == 1


@pytest.mark.parametrize(
    "value",
    [
        {"\ud800": 1},
        {"é": {"é\udfff": "€"}},
        {2**64: 1},
        {-(2**63) - 1: 1},
        {2**64 - 1: 1, 2**63: 2, -(2**63): 3},
        {True: 1, 0: 2},
        [2**64 - 1, "\ud800"],
        {"a": ["\ud800", 1, [2**64]]},
    ],
)
def test_what_lies_just_beyond_the_plain(value):
    assert same(CODEC.decode_value(CODEC.encode_value(value)), value)


def test_err_keeps_its_reason_and_not_the_instruction_to_the_engine():
    back = CODEC.decode_value(CODEC.encode_value(Err("declined", retry=False)))
    assert back == Err("declined")
    assert back.retry is True


def test_the_utc_singleton_stays_itself():
    back = CODEC.decode_value(CODEC.encode_value(dt.datetime(2024, 1, 1, tzinfo=dt.UTC)))
    assert back.tzinfo is dt.UTC


def test_text_of_numbers_is_exact_whatever_the_decimal_context_or_digit_limit():
    big, precise = 10**6000, Decimal("1." + "3" * 200)
    assert CODEC.decode_value(CODEC.encode_value([big, -big, precise])) == [big, -big, precise]


def test_no_initializer_and_no_validator_runs_on_what_is_decoded():
    order = t.Order(1)
    order.id = "refused"  # __post_init__ would refuse it
    money = t.Money(1)
    msgspec.structs.force_setattr(money, "currency", "XXX")
    computed = t.Computed("base")
    computed.derived = "changed by hand"
    back = CODEC.decode_value(CODEC.encode_value([order, money, computed]))
    assert [same(*pair) for pair in zip(back, [order, money, computed], strict=True)] == [True] * 3


def test_decoded_objects_are_whole():
    light, point, inner = CODEC.decode_value(
        CODEC.encode_value([t.Light([1]), t.Point((1,), y={2}), t.Computed.Inner({})])
    )
    light.x.append(2)
    assert light == t.Light([1, 2])
    assert hash(t.Point((1,), y=2)) == hash(CODEC.decode_value(CODEC.encode_value(t.Point((1,), y=2))))
    assert repr(point) == "Point(x=(1,), y={2})"
    assert msgspec.structs.asdict(inner) == {"value": {}}
    with pytest.raises(AttributeError):
        point.x = 3


def test_two_decoded_structs_share_nothing():
    one, two = CODEC.decode_value(CODEC.encode_value([t.Basket(line_items=[]), t.Basket(line_items=[])]))
    one.line_items.append(1)
    one.note = "mine"
    assert (two.line_items, two.note) == ([], None)


def test_what_is_wired_by_mistake_is_refused_by_name():
    for value, name in [(object(), "builtins.object"), ([t], "builtins.module")]:
        with pytest.raises(SnapshotError, match=name):
            CODEC.wire(value)

    class Zone(dt.tzinfo):
        pass

    with pytest.raises(SnapshotError, match=r"Zone.*cannot be stored: use datetime\.timezone"):
        CODEC.wire(dt.datetime(2024, 1, 1, tzinfo=Zone()))


def nested(depth, wrap):
    value = "bottom"
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = [lambda v: [v], lambda v: (v,), lambda v: {1.5: v}, Ok, lambda v: t.Order(0, [], v), t.Money]


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_too_deep_is_refused_when_it_is_written(wrap):
    with pytest.raises(SnapshotError, match=rf"more than {MAX_DEPTH} levels"):
        CODEC.wire(nested(MAX_DEPTH + 2, wrap))


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_was_written_can_be_read_deep_down_in_a_stack(wrap):
    value = nested(MAX_DEPTH - 1, wrap)
    encoded = CODEC.encode(CODEC.wire(value))

    def dive(frames):
        return dive(frames - 1) if frames else CODEC.decode_value(encoded)

    # Of the interpreter's thousand; the rest is for the caller, here pytest.
    assert same(dive(300), value)


def test_one_codec_serves_several_threads():
    value = [Ok((1, Failure("ValueError", "x"))), {Decimal(1), dt.date(2024, 1, 1)}] * 20
    encoded = CODEC.encode_value(value)
    wrong = []

    def work():
        same_each_time = (
            CODEC.encode_value(value) == encoded and CODEC.decode_value(encoded) == value for _ in range(50)
        )
        wrong.extend(fine for fine in same_each_time if not fine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
