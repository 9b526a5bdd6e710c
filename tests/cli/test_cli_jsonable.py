"""Any storable value as JSON: nothing is lost silently, and the result is always valid JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from uuid import UUID

import msgspec
import pytest

from durable_trio import Err, Failure, Ok
from durable_trio.cli.jsonable import dumps, jsonable


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Point(msgspec.Struct):
    x: int
    label: bytes


@dataclass
class Plan:
    name: str
    until: date


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("text", "text"),
        (b"\x00\xff", {"base64": "AP8="}),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Color.RED, "red"),
        (Level.HIGH, 3),
        ((1, [2, (3,)]), [1, [2, [3]]]),
        ({3, 1, 2}, [1, 2, 3]),
        pytest.param(frozenset({"b", "a"}), ["a", "b"], id="a frozenset"),
        (Ok({"a": 1}), {"ok": {"a": 1}}),
        (Err("no"), {"error": "no"}),
        (Point(1, b"x"), {"x": 1, "label": {"base64": "eA=="}}),
        (Plan("free", date(2026, 1, 2)), {"name": "free", "until": "2026-01-02"}),
        (
            Failure("ValueError", "no", attempts=2),
            {"type": "ValueError", "message": "no", "traceback": "", "attempts": 2},
        ),
        (
            {1: "a", None: "b", (1, 2): "c", b"k": "d"},
            {"1": "a", "null": "b", "[1, 2]": "c", '{"base64": "aw=="}': "d"},
        ),
        ({Color.RED: 1}, {"red": 1}),
    ],
    ids=repr,
)
def test_every_storable_type_is_shown(value, shown):
    assert jsonable(value) == shown
    assert json.loads(dumps(value)) == shown


@pytest.mark.parametrize("keys", [(1, "1"), ("1", 1)])
def test_keys_that_look_the_same_are_both_kept(keys):
    shown = jsonable(dict.fromkeys(keys, "x"))
    assert shown == {"1": "x", "1 (int)": "x"}


def test_a_number_too_long_for_python_to_print_is_hexadecimal():
    number = 10**5000
    assert jsonable(number) == hex(number)
    assert json.loads(dumps({"n": number})) == {"n": hex(number)}


def test_what_a_terminal_must_not_see_is_escaped_and_still_the_same_json():
    value = {"a\x1b[31m\x7f": "é\x9b\u202e\U000e0001\ud800 ✓"}
    text = dumps(value, pretty=True, ascii_only=False)
    assert json.loads(text) == value
    assert "é" in text
    assert "✓" in text
    assert all(char == "\n" or char.isprintable() for char in text)


def test_for_machines_it_is_one_line_of_ascii():
    text = dumps({"name": "Åda\n", "list": [1, 2]})
    assert text.isascii()
    assert "\n" not in text
