"""One of everything that may be stored, and a comparison that looks at types too."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import uuid
import zoneinfo
from decimal import Decimal
from typing import Any

import msgspec

from durable_trio import Err, Failure, Ok


class Colour(enum.Enum):
    RED = "red"
    GREEN = (0, 255, 0)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Name(enum.StrEnum):
    ADA = "ada"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(msgspec.Struct):
    x: int
    y: Any = None


class Frozen(msgspec.Struct, frozen=True):
    key: str


@dataclasses.dataclass
class Address:
    street: str
    tags: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class Id:
    number: int


class Outer:
    @dataclasses.dataclass
    class Inner:
        value: Any


_NOON = dt.datetime(2024, 5, 17, 12, 30, 1, 123456)  # noqa: DTZ001 - naive ones may be stored too

VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    "0": 0,
    "-1": -1,
    "2**63": 2**63,
    "2**64": 2**64,
    "-2**63-1": -(2**63) - 1,
    "a large int": -(10**400),
    "0.0": 0.0,
    "-0.0": -0.0,
    "1.0": 1.0,
    "tiny": 5e-324,
    "inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
    "empty text": "",
    "text": "päivä 🦀\x00\n",
    "a lone surrogate": "\udcff",
    "long text": "x" * 100_000,
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "empty list": [],
    "list": [1, [2, [3]]],
    "empty tuple": (),
    "tuple": (1, (2, [3, (4,)])),
    "empty dict": {},
    "int keys": {1: "a", -5: "b", 2**70: "c"},
    "bytes keys": {b"k": 1, b"": 2},
    "tuple keys": {(1, ("a", b"b")): 1},
    "mixed keys": {"1": "text", 1: "int", b"1": "bytes", None: "none", 1.5: "float", (1,): "tuple"},
    "keys of other kinds": {
        Colour.RED: 1,
        uuid.UUID(int=7): 2,
        dt.date(2024, 1, 1): 3,
        frozenset({1}): 4,
        Id(1): 5,
    },
    "order of keys": {"z": 1, "a": 2, "m": 3},
    "empty set": set(),
    "set": {1, "a", (2, b"b"), frozenset({3})},
    "frozenset": frozenset({1, frozenset()}),
    "naive datetime": _NOON,
    "utc": _NOON.replace(tzinfo=dt.UTC),
    "an offset": _NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=45))),
    "a zone": _NOON.replace(tzinfo=zoneinfo.ZoneInfo("Europe/Helsinki")),
    "a fold": dt.datetime(2024, 10, 27, 3, 30, tzinfo=zoneinfo.ZoneInfo("Europe/Helsinki"), fold=1),
    "datetime.min": dt.datetime.min,  # noqa: DTZ901
    "datetime.max": dt.datetime.max,  # noqa: DTZ901
    "date": dt.date(1, 1, 1),
    "time": dt.time(23, 59, 59, 999999),
    "aware time": dt.time(1, 2, tzinfo=dt.UTC),
    "timedelta": dt.timedelta(days=-3, seconds=5, microseconds=7),
    "timedelta.max": dt.timedelta.max,
    "Decimal": Decimal("1.10"),
    "Decimal with an exponent": Decimal("-1E+100"),
    "Decimal nan": Decimal("NaN"),
    "Decimal -0": Decimal("-0.00"),
    "UUID": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "Enum": Colour.RED,
    "Enum of a tuple": Colour.GREEN,
    "IntEnum": Level.HIGH,
    "StrEnum": Name.ADA,
    "Flag": Rights.READ | Rights.WRITE,
    "Struct": Point(1, [Point(2), (3,)]),
    "frozen Struct": Frozen("k"),
    "dataclass": Address("main", [{1}, (2,)]),
    "frozen dataclass": Id(7),
    "nested class": Outer.Inner(Outer.Inner(1)),
    "Ok": Ok([1, (2,)]),
    "Err": Err({"why": {1}}),
    "Ok of None": Ok(None),
    "Failure": Failure("a.B", "message", "traceback", 3),
    "nested results": Ok(Err(Ok(Failure("a", "b")))),
    "a tuple that looks like Ok": ("ok", 1),
    "a list that looks like Err": ["error", "x"],
    "all kinds in each other": [{"a": ({1: {2.5}}, Point((1,), Address("s", [Ok(Decimal(1))])))}],
}


def same(one: Any, two: Any) -> bool:
    """Whether two values are of the same types and content, at any depth; nan equals nan, 0.0 is not -0.0."""
    if type(one) is not type(two):
        return False
    if isinstance(one, float):
        return one.hex() == two.hex()
    if isinstance(one, Decimal):
        return one.as_tuple() == two.as_tuple()
    if isinstance(one, dt.datetime | dt.time):
        return (str(one), one.fold, str(one.tzinfo)) == (str(two), two.fold, str(two.tzinfo))
    if isinstance(one, dict):
        return len(one) == len(two) and all(
            same(*keys) and same(one[keys[0]], two[keys[1]]) for keys in zip(one, two, strict=True)
        )
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(same(*items) for items in zip(one, two, strict=True))
    if isinstance(one, set | frozenset):
        return one == two and sorted(map(_typed, one)) == sorted(map(_typed, two))
    if isinstance(one, enum.Enum):
        return one is two
    if isinstance(one, msgspec.Struct):
        return all(same(getattr(one, field), getattr(two, field)) for field in one.__struct_fields__)
    if dataclasses.is_dataclass(one):
        fields = dataclasses.fields(one)
        return all(same(getattr(one, field.name), getattr(two, field.name)) for field in fields)
    return one == two


def _typed(value: Any) -> str:
    return f"{type(value).__qualname__} {value!r}"
