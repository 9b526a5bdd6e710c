"""A user's types, as a workflow's module would define them. Golden files name them: change nothing here."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import msgspec


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    ALIAS = 1  # noqa: PIE796 - an alias must come back as the member


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Mode(enum.StrEnum):
    FAST = "fast"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Bits(enum.IntFlag):
    ONE = 1
    TWO = 2


class Money(msgspec.Struct, frozen=True):
    amount: Any
    currency: str = "EUR"

    def __post_init__(self):
        if self.currency == "XXX":
            raise ValueError("no such currency")


class Basket(msgspec.Struct, kw_only=True, rename="camel"):
    line_items: list[Any]
    note: Any = None


class Light(msgspec.Struct, gc=False, array_like=True, tag=True):
    x: Any


@dataclasses.dataclass
class Order:
    id: Any
    lines: list[Any] = dataclasses.field(default_factory=list)
    total: Any = 0

    def __post_init__(self):
        if self.id == "refused":
            raise ValueError("validators run only where the user makes an order")


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = dataclasses.field(default=0, kw_only=True)


@dataclasses.dataclass
class Computed:
    base: Any
    derived: Any = dataclasses.field(init=False)

    def __post_init__(self):
        self.derived = [self.base]

    class Inner(msgspec.Struct):
        value: Any


TYPES = (Color, Size, Mode, Access, Bits, Money, Basket, Light, Order, Point, Computed, Computed.Inner)
