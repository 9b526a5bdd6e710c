"""Bytes that nobody wrote: they give a value or a typed error, soon, and nothing else happens."""

from __future__ import annotations

import os
import resource
import signal
import sys
import traceback

import msgspec
import pytest
import stored_types as t
from hypothesis import example, given, settings
from hypothesis import strategies as st
from values import contexts, patient

from durable_trio._errors import StoreCorrupt
from durable_trio._snapshot import wire as codes
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, STEP, Done, Header, Retried
from durable_trio._snapshot.types import TypeRegistry, UnknownType
from durable_trio._speedups.batching import array_header, pack_array

CODEC = Codec(TypeRegistry(t.TYPES, modules=["stored_types"]))
LENIENT = Codec(TypeRegistry(lenient=True))

encode = msgspec.msgpack.encode


def ext(code, payload):
    return encode(msgspec.msgpack.Ext(code, payload))


# Seconds: no measure of anything, only the end of what hangs.
PATIENCE = 60
# What takes quadratic time, takes hours for so many bytes.
LARGE = 10_000_000


def comes_to_an_end(act):
    """Do it in a process of its own, which the kernel ends if it hangs: no handler runs while C code does."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE)
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def try_all(data):
    for codec in (CODEC, LENIENT):
        for decode in (
            codec.decode_value,
            codec.decode_row,
            codec.decode_header,
        ):
            try:
                decode(data)
            except StoreCorrupt:
                pass
            except UnknownType:
                assert codec is CODEC


@given(st.binary(max_size=200))
@settings(patient, max_examples=300)
def test_random_bytes(data):
    try_all(data)
    for code in range(1, 19):
        try_all(ext(code, data))


# Valid MessagePack under every code gets further into the readers than random bytes do.
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["stored_types:Order", "stored_types:Color", "stored_types:Access", "os:system", "zz:"]
)
payloads = plain | st.tuples(names, plain) | st.tuples(st.just("2024-01-01"), plain, st.integers(0, 2))


@given(st.integers(-128, 127), payloads)
@example(codes.DATETIME, ("9999-12-31T23:59:59", 2**63, 0))
@example(codes.DATETIME, ("2024-01-01", [1, 2], 0))
@example(codes.DATETIME, ("2024-01-01", None, 7))
@example(codes.TIMEDELTA, (2**62, 0, 0))
@example(codes.PAIRS, [1, 2, 3])
@example(codes.PAIRS, [[], 2])
@example(codes.SET, [{}])
@example(codes.FAILURE, ["only a type"])
@example(codes.FAILURE, [1] * 9)
@example(codes.ENUM, ("stored_types:Access", 2**63))
@example(codes.ENUM, ("stored_types:Order", "x"))
@example(codes.OBJECT, ("stored_types:Color", {}))
@settings(patient, max_examples=500)
def test_misshapen_payloads(code, payload):
    try_all(ext(code, encode(payload)))


@pytest.mark.slow
@given(contexts, st.data())
@settings(patient, max_examples=200)
def test_mutated_records(context, data):
    done = Done("a", 1, STEP, OK, 1, 1.5, 0.25, DELTA, CODEC.wire(context))
    row = bytearray(pack_array([CODEC.encode(done)]))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(row) - 1))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip":
                row[position] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del row[position : position + data.draw(st.integers(1, 4))]
                row = row or bytearray(b"\x90")
            case "insert":
                row[position:position] = data.draw(st.binary(min_size=1, max_size=4))
    try_all(bytes(row))


BAD = {
    "empty": b"",
    "cut short": pack_array([encode([5, 1.0])])[:-1],
    "more behind": pack_array([encode([5, 1.0])]) + b"\xc0",
    "no array": encode({"a": 1}),
    "unknown record": encode([[77, 1.0]]),
    "a field too few": encode([[5]]),
    "a field of another type": encode([[5, "now"]]),
    "invalid UTF-8": b"\x91\x93\x03\x01\xa2\xff\xff",
    "unknown extension": encode([[4, 1.0, msgspec.msgpack.Ext(99, b"")]]),
    "the extension of a timestamp, out of range": encode([[4, 1.0, msgspec.msgpack.Ext(-1, b"\xff" * 12)]]),
    "an unhashable key": encode([[4, 1.0, msgspec.msgpack.Ext(codes.PAIRS, encode([[], 1]))]]),
    "a key without a value": encode([[4, 1.0, msgspec.msgpack.Ext(codes.PAIRS, encode([1, 2, 3]))]]),
    "an impossible date": encode([[4, 1.0, msgspec.msgpack.Ext(codes.DATE, b"2024-02-30")]]),
    "text that is no number": encode([[4, 1.0, msgspec.msgpack.Ext(codes.DECIMAL, b"one")]]),
    "a UUID too short": encode([[4, 1.0, msgspec.msgpack.Ext(codes.UUID_, b"\0" * 15)]]),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_damaged_rows_are_corrupt_and_say_what_to_do(data):
    with pytest.raises(StoreCorrupt, match=r"a (journal row|stored value)") as caught:
        CODEC.decode_row(data)
    message = str(caught.value)
    assert "restore the run from a backup, or delete it" in message or "newer version" in message


def test_a_damaged_header_is_corrupt():
    data = CODEC.encode(Header("id", "wf", "1", b"f", 1.0, {}))
    assert CODEC.decode_header(data).id == "id"
    with pytest.raises(StoreCorrupt, match="a run header cannot be decoded"):
        CODEC.decode_header(data[:-2])


def test_one_damaged_row_among_many():
    good = pack_array([CODEC.encode(Retried(1.0))])
    with pytest.raises(StoreCorrupt):
        CODEC.decode_rows([good, good[:-1], good])


def test_deep_bytes_are_corrupt_whatever_they_nest():
    arrays = b"\x91" * 1_000_000 + b"\xc0"
    tuples = b"\xc0"
    for _ in range(2000):
        tuples = ext(codes.OK, tuples)
    for data in (arrays, tuples):
        with pytest.raises(StoreCorrupt, match="RecursionError"):
            CODEC.decode_value(data)


def test_a_users_hash_that_fails_is_no_crash():
    point = t.Point([])  # frozen, but what it holds has no hash
    data = ext(codes.SET, array_header(1) + CODEC.encode(CODEC.wire(point)))
    with pytest.raises(StoreCorrupt, match="unhashable"):
        CODEC.decode_value(data)


@pytest.mark.parametrize("opening", [b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"])
def test_lengths_that_lie_cost_neither_time_nor_memory(opening):
    data = opening + b"\xff\xff\xff\xff\x01"

    def decode():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for depth in range(1, 50):
            with pytest.raises(StoreCorrupt):
                CODEC.decode_value(data * depth)
            with pytest.raises(StoreCorrupt):
                CODEC.decode_value(ext(codes.TUPLE, data * depth))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes"

    comes_to_an_end(decode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "payload"),
    [
        (codes.BIG_INT, b"\x7f" * LARGE),
        (codes.DECIMAL, b"9" * LARGE),
        (codes.SURROGATES, b"\xed\xa0\x80" * (LARGE // 3)),
        (codes.ENUM, encode(["stored_types:Bits", msgspec.msgpack.Ext(codes.BIG_INT, b"\x7f" * LARGE)])),
        (codes.DATE, b"2" * LARGE),
        (codes.DATETIME, encode(["2024-01-01", "Europe/" * (LARGE // 10) + "Berlin", 0])),
    ],
    ids=["int", "Decimal", "str", "flag", "date", "zone"],
)
def test_large_values_take_no_quadratic_time(code, payload):
    comes_to_an_end(lambda: try_all(ext(code, payload)))


def test_a_zone_with_an_impossible_name_is_one_that_this_system_does_not_have():
    data = ext(codes.DATETIME, encode(["2024-01-01", "Europe/" * 10_000 + "Berlin", 0]))
    with pytest.raises(UnknownType, match="install its time zone data"):
        CODEC.decode_value(data)
    assert LENIENT.decode_value(data).type == "zoneinfo:ZoneInfo"


def test_nothing_is_imported():
    before = set(sys.modules)
    for name in ("os:system", "antigravity:fly", "stored_types:msgspec", "subprocess:Popen", "this:s"):
        try_all(ext(codes.OBJECT, encode([name, {"command": "true"}])))
        try_all(ext(codes.ENUM, encode([name, "A"])))
        try_all(ext(codes.DATETIME, encode(["2024-01-01", name.replace(":", "/"), 0])))
    new = {
        name for name in set(sys.modules) - before if not name.startswith(("tzdata", "importlib.resources"))
    }
    assert not new & {"antigravity", "this", "subprocess"}
    assert not new
