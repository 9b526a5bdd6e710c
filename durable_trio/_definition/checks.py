"""The checks of single values that a definition is made of.

Each takes ``where`` ("workflow 'orders', step 'charge'"), the beginning of its message, and returns the
value it was given, so that a declaration reads as one expression.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime, timedelta
from typing import Any, TypeVar

from durable_trio._errors import DefinitionError
from durable_trio._retry import Retry, seconds

T = TypeVar("T", bound=str)

MAX_NAME = 200
# A due time is shown as a datetime, whose years end with 9999.
LONGEST_WAIT = timedelta(days=365_000).total_seconds()


def check_text(value: object, where: str, what: str) -> str:
    """A text that people read in lists and that is stored: not empty, not long, nothing invisible in it."""
    if not isinstance(value, str):
        raise DefinitionError(f"{where}: {what} must be a str, not {value!r}")
    if not value:
        raise DefinitionError(f"{where}: {what} is empty; give it at least one character")
    if len(value) > MAX_NAME:
        raise DefinitionError(
            f"{where}: {what} has {len(value)} characters; {MAX_NAME} are allowed (it begins {value[:40]!r})"
        )
    for character in value:
        # Cc: control characters; Cs: half a surrogate pair, which UTF-8 cannot store; Zl, Zp: line ends.
        if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
            raise DefinitionError(
                f"{where}: {what} {value!r} contains the control character {character!r}; leave it out"
            )
    return value


def check_key(value: object, where: str, what: str) -> str:
    """The name of an event or an input, or a key under which a context holds what came from one."""
    key = check_text(value, where, what)
    if key.startswith("__"):
        raise DefinitionError(
            f"{where}: {what} {key!r} starts with '__', which is kept for the engine; choose another"
        )
    return key


def check_name(value: object, where: str, what: str = "name=") -> str:
    """A name that can be part of a path."""
    name = check_key(value, where, what)
    if "/" in name:
        raise DefinitionError(
            f"{where}: {what} {name!r} contains '/', which separates the names in a path; use '_' or '.'"
        )
    return name


def check_count(value: object, where: str, what: str) -> int:
    """A whole number, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DefinitionError(f"{where}: {what} must be an int, 1 or more, not {value!r}")
    return value


def check_choice(value: T, choices: tuple[str, ...], where: str, what: str) -> T:
    """One of a few words."""
    if value not in choices:
        allowed = " or ".join(repr(choice) for choice in choices)
        raise DefinitionError(f"{where}: {what} must be {allowed}, not {value!r}")
    return value


def check_flag(value: object, where: str, what: str) -> bool:
    if not isinstance(value, bool):
        raise DefinitionError(f"{where}: {what} must be True or False, not {value!r}")
    return value


def check_retry(value: object, where: str) -> Retry | None:
    if value is None or isinstance(value, Retry):
        return value
    example = "Retry(max_attempts=3)"
    if isinstance(value, int) and not isinstance(value, bool):
        example = f"Retry(max_attempts={max(value, 1)})"
    raise DefinitionError(f"{where}: retry= takes a Retry, such as {example}, not {value!r}")


def check_timeout(value: Any, where: str) -> float | None:
    """Seconds, from a number or a timedelta."""
    duration: float | timedelta | None = value
    return None if duration is None else seconds(duration, f"{where}: timeout=")


def check_duration(value: Any, where: str, what: str) -> float:
    """How long a wait lasts, in seconds, from a number or a timedelta; an end comes into sight."""
    duration = seconds(value, f"{where}: {what}")
    if duration > LONGEST_WAIT:
        raise DefinitionError(
            f"{where}: {what} may be 1000 years ({LONGEST_WAIT:.0f} seconds) at most, not {value!r}"
        )
    return duration


def check_wait_timeout(value: Any, where: str) -> float | None:
    """The seconds after which a wait is given up; None, or infinity: never."""
    if value is None or value == math.inf:
        return None
    return check_duration(value, where, "timeout=")


def check_instant(value: object, where: str, what: str) -> datetime:
    """An aware datetime."""
    if not isinstance(value, datetime):
        raise DefinitionError(f"{where}: {what} must be a datetime with a time zone, not {value!r}")
    if value.utcoffset() is None:
        raise DefinitionError(
            f"{where}: {what} {value!r} has no time zone, so nobody can tell which instant it is; write "
            "datetime(..., tzinfo=UTC), or datetime.now(UTC) + timedelta(...)"
        )
    return value
