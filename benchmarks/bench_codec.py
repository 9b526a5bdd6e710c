"""What a record costs against plain msgspec, which loses types and knows no records.

    python -m benchmarks.bench_codec

Each line is the median of alternating repetitions, so that a machine that slows down slows both sides;
``times`` is the ratio of the two medians. Plain is encoding and decoding the same values untyped, without any
promise about what comes back.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import gc
import statistics
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from benchmarks.workloads import INPUT
from durable_trio import Ok
from durable_trio._snapshot.codec import Codec, pack_row
from durable_trio._snapshot.records import DELTA, OK, STEP, Done
from durable_trio._snapshot.types import TypeRegistry

REPETITIONS = 9
SECONDS = 0.05  # of one side of one repetition


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
OBJECTS = {"lines": [Line(f"sku-{number}", Decimal(number)) for number in range(10)]}
RESULTS = {"__results__": {f"branch_{number}": Ok(ACCOUNT) for number in range(10)}}
WIDE = {f"key_{number}": {"number": number, "text": "x" * 20} for number in range(1000)}

CODEC = Codec(TypeRegistry([Line]))
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def plain(value: Any) -> None:
    """Encode and decode with msgspec alone."""
    _decode(_encode(value))


def record(frozen: Any, special: bool) -> None:
    """Encode and decode as the data of a step's record, from a value that is frozen already."""
    data = CODEC.wire(frozen) if special else frozen
    done = Done("onboard", 1, STEP, OK, 1, 1_700_000_000.0, 0.25, DELTA, data)
    CODEC.decode_row(pack_row([CODEC.encode(done)]))


def with_freeze(value: Any) -> None:
    """The same, with the private copy that the engine makes of what a step returns."""
    record(*CODEC.freeze(value))


def seconds_of(function: Callable[[], None], calls: int) -> float:
    """Seconds for one call."""
    began = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - began) / calls


def compare(sides: list[Callable[[], None]]) -> list[float]:
    """Median seconds of each side, measured in turns."""
    calls = [max(1, int(SECONDS / seconds_of(side, 5))) for side in sides]
    samples: list[list[float]] = [[] for _ in sides]
    for _ in range(REPETITIONS):
        for side, count, times in zip(sides, calls, samples, strict=True):
            times.append(seconds_of(side, count))
    return [statistics.median(times) for times in samples]


def main() -> None:
    """Print the table."""
    gc.disable()
    print(
        f"{'value':34}{'bytes':>8}{'plain µs':>10}{'record µs':>11}{'times':>7}{'+freeze µs':>12}{'times':>7}"
    )
    for name, value in [
        ("onboard's context", INPUT),
        ("a plain context", ACCOUNT),
        ("date, Decimal, UUID, tuple", TYPED),
        ("10 dataclasses with Decimals", OBJECTS),
        ("10 tagged results", RESULTS),
        ("1,000 keys", WIDE),
    ]:
        frozen, special = CODEC.freeze(value)
        bare, ours, whole = compare(
            [
                lambda value=value: plain(value),
                lambda frozen=frozen, special=special: record(frozen, special),
                lambda value=value: with_freeze(value),
            ]
        )
        size = len(CODEC.encode(CODEC.wire(frozen)))
        print(
            f"{name:34}{size:8}{bare * 1e6:10.2f}{ours * 1e6:11.2f}{ours / bare:7.2f}"
            f"{whole * 1e6:12.2f}{whole / bare:7.2f}"
        )


if __name__ == "__main__":
    main()
