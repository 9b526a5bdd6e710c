"""Values that tell which execution made them, and identities of values that tell every difference.

Each execution of a body makes another value, of a type that changes with the step: so a recorded value is
recognised wherever it turns up, and one that comes back as another type, or was computed anew, is too.
"""

from __future__ import annotations

import enum
import hashlib
import random
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from durable_trio import Failure


class Colour(enum.Enum):
    """A user's Enum."""

    RED = "red"
    GREEN = "green"


class Parcel(msgspec.Struct):
    """A user's Struct."""

    weight: Decimal
    labels: list[str]


@dataclass
class Address:
    """A user's dataclass."""

    street: str
    lines: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


_MAKERS: tuple[Callable[[random.Random], Any], ...] = (
    lambda rng: rng.getrandbits(200),
    lambda rng: Decimal(rng.randrange(10**9)) / 100,
    lambda rng: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randrange(10**15)),
    lambda rng: date(2000, 1, 1) + timedelta(days=rng.randrange(9999)),
    lambda rng: {rng.randrange(99) for _ in range(4)},
    lambda rng: frozenset({rng.random(), None, "x"}),
    lambda rng: rng.randbytes(40),
    lambda rng: (1, [rng.random(), (2.5, float("inf"))], {"k": ()}),
    lambda rng: uuid.UUID(int=rng.getrandbits(128)),
    lambda rng: {1: [rng.random()], b"b": {"deep": {"er": {rng.randrange(9): None}}}},
    lambda rng: rng.choice(list(Colour)),
    lambda rng: Parcel(Decimal(rng.randrange(99)), [str(rng.random())]),
    lambda rng: Address("Rue Ä " + str(rng.random()), (1, 2), {"floor": rng.randrange(9)}),
    lambda rng: "x" * rng.choice((10, 5000)),
    lambda _rng: None,
)


def sample(nonce: str, leaf: str) -> dict[str, Any]:
    """The value of one execution; its type depends on the step."""
    maker = _MAKERS[int.from_bytes(leaf.encode(), "big") % len(_MAKERS)]
    return {"nonce": nonce, "data": maker(random.Random(nonce))}


def digest(value: Any) -> str:
    """The identity of a value: equal values of equal types, at any depth, and nothing else, have the same."""
    return hashlib.blake2b(_canon(value).encode(), digest_size=8).hexdigest()


def own(value: Any, leaf: str) -> str:
    """The identity of what a body made, which is in its context under its name, or is the value itself."""
    if isinstance(value, Failure):
        return f"failure {value.message}"
    if isinstance(value, Mapping) and leaf in value:
        return digest(value[leaf])
    return digest(value)


def _canon(value: Any) -> str:
    kind = type(value).__qualname__
    if isinstance(value, Mapping):
        items = sorted(f"{_canon(key)}:{_canon(item)}" for key, item in value.items())
        # A context is a Context where it is handed out and a dict where it is stored.
        return f"{{{','.join(items)}}}"
    if isinstance(value, (set, frozenset)):
        return f"{kind}<{','.join(sorted(map(_canon, value)))}>"
    if isinstance(value, (list, tuple)):
        return f"{kind}[{','.join(map(_canon, value))}]"
    return f"{kind} {value!r}"
