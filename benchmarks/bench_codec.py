"""What a record costs against plain msgspec, which loses types and knows no records.

    python -m benchmarks.bench_codec

``value`` is the value by itself: its private copy, its bytes, and back to what it was, types included. The
other rows are about a step's record around the value, with its ten other fields; ``freeze and encode`` adds
the private copy that the engine makes of what a step returns. Plain is encoding and decoding the same value
untyped, without any promise about what comes back.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import msgspec

from benchmarks.command import main
from benchmarks.measuring import Bench, Session, nanoseconds_in_turns
from benchmarks.workloads import INPUT
from durable_trio import Ok
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, STEP, Done
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._speedups.batching import pack_array


@dataclasses.dataclass
class Line:
    sku: str
    price: Decimal


ACCOUNT = {
    "user_id": 4711,
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "plan": "team",
    "verified": True,
    "account": {"id": "acc_4711", "quota": 50},
}
TYPED = {
    "order_id": uuid.UUID(int=7),
    "at": dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC),
    "total": Decimal("19.90"),
    "tags": ("new", "gift"),
    "name": "Ada Lovelace",
}
VALUES: tuple[tuple[str, Any], ...] = (
    ("onboard's context", INPUT),
    ("a plain context", ACCOUNT),
    ("date, Decimal, UUID, tuple", TYPED),
    ("10 dataclasses with Decimals", {"lines": [Line(f"sku-{n}", Decimal(n)) for n in range(10)]}),
    ("10 tagged results", {"__results__": {f"branch_{n}": Ok(ACCOUNT) for n in range(10)}}),
    ("1,000 keys", {f"key_{n}": {"number": n, "text": "x" * 20} for n in range(1000)}),
)

CODEC = Codec(TypeRegistry([Line]))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode(frozen: Any, special: bool) -> bytes:
    """A journal row with one step's record."""
    data = CODEC.wire(frozen) if special else frozen
    return pack_array([CODEC.encode(Done("onboard", 1, STEP, OK, 1, 1_700_000_000.0, 0.25, DELTA, data))])


def measure(session: Session) -> None:
    for name, value in VALUES:
        _measure(session, name, value)


def _measure(session: Session, name: str, value: Any) -> None:
    frozen, special = CODEC.freeze(value)
    row, plain = encode(frozen, special), _encode(value)
    for what, ours, theirs in (
        (
            "value",
            lambda: CODEC.decode_value(CODEC.encode_value(value)),
            lambda: _decode(_encode(value)),
        ),
        ("freeze and encode", lambda: encode(*CODEC.freeze(value)), lambda: _encode(value)),
        ("encode", lambda: encode(frozen, special), lambda: _encode(value)),
        ("decode", lambda: CODEC.decode_row(row), lambda: _decode(plain)),
        (
            "encode and decode",
            lambda: CODEC.decode_row(encode(frozen, special)),
            lambda: _decode(_encode(value)),
        ),
    ):
        pairs = nanoseconds_in_turns(session, ours, theirs)
        session.add(f"{name}: {what}", len(plain), "ns", "plain msgspec", pairs)


BENCH = Bench(
    "codec",
    "codec: a lossless record",
    measure,
    {"full": (), "quick": (), "tiny": ()},
    "bytes",
    {"full": 0.05, "quick": 0.01, "tiny": 0.0},
)

if __name__ == "__main__":
    main(BENCH)
