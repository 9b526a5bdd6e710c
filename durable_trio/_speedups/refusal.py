"""What is said about a value that cannot be stored; the compiled modules come here only to fail.

The value's place is not known where it is refused. ``Refused`` is raised there, each container on the way
out adds its step, and only at the end the path is put together: a success pays nothing for it.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from durable_trio._errors import SnapshotError
from durable_trio._values import Err, Finish, Goto, Ok

__all__ = ["ATTRIBUTE", "ELEMENT", "ITEM", "KEY", "Refused"]

# How a container leads to what it holds. What a set holds, and the keys of a dict, no expression reaches.
ITEM, ATTRIBUTE, ELEMENT, KEY = range(4)

_LONGEST_KEY: Final = 40
_FIRST_SEGMENTS: Final = 4
_LAST_SEGMENTS: Final = 3

_EXACT: Final[tuple[type, ...]] = (
    Ok,
    Err,
    bool,
    int,
    float,
    str,
    bytes,
    list,
    tuple,
    dict,
    set,
    frozenset,
    datetime,
    date,
    time,
    timedelta,
    Decimal,
    UUID,
)
_PLAIN_DATA: Final = (
    "put plain data into the context (numbers, strings, bytes, lists, tuples, dicts, sets, dates, Decimal, "
    "UUID, enums, dataclasses, msgspec Structs), and open or look up the rest in the step that needs it"
)
# By class and not by instance: asking an instance may run code of the user's.
_ADVICE: Final[tuple[tuple[type | tuple[type, ...], str], ...]] = (
    ((bytearray, memoryview), "convert it with bytes(...)"),
    (types.CoroutineType, "it was not awaited: put what it returns into the context"),
    (types.GeneratorType, "convert it with list(...) or tuple(...)"),
    (
        (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type),
        "store its name, and look it up in the step that needs it",
    ),
    (BaseException, "return it as Err(...), or store its text"),
    ((Goto, Finish), "it is an instruction to the engine: return it from a step by itself"),
    (Mapping, "convert it with dict(...)"),
)


class Refused(Exception):
    """A value on its way out of what holds it.

    Attributes:
        verdict: what is wrong, as it follows the path in a sentence: ``is a socket.socket, which …``.
        type_name: the qualified name of the type that is refused.
        steps: the way to the value, innermost first: how it is reached, and the key or name.
        inside: what the path leads to, if not to the value itself: ``"a key of "``.
    """

    def __init__(self, verdict: str, type_name: str) -> None:
        super().__init__(verdict)
        self.verdict = verdict
        self.type_name = type_name
        self.steps: list[tuple[int, Any]] = []
        self.inside = ""

    def add(self, how: int, key: Any) -> None:
        """Add the step that leads here from one container further out."""
        if how in (ITEM, ATTRIBUTE):
            self.steps.append((how, key))
        else:
            self.steps.clear()
            self.inside = "an element of " if how == ELEMENT else "a key of "

    def error(self, where: str) -> SnapshotError:
        """The error for the user; ``where`` is the name of the outermost value."""
        segments = [_segment(how, key) for how, key in reversed(self.steps)]
        if len(segments) > _FIRST_SEGMENTS + _LAST_SEGMENTS + 1:
            segments[_FIRST_SEGMENTS:-_LAST_SEGMENTS] = ["…"]
        path = where + "".join(segments)
        return SnapshotError(f"{self.inside}{path} {self.verdict}", path=path, type_name=self.type_name)


def refused_type(value: Any) -> Refused:
    """A value whose type is none of the storable ones."""
    name = type_name(type(value))
    return Refused(f"is {_article(name)} {name}, which cannot be stored: {_advice(type(value))}", name)


def refused_by(error: SnapshotError, cls: type) -> Refused:
    """A value whose type could be stored, if it were known; the error says what to do."""
    return Refused(f"cannot be stored: {error}", error.type_name or type_name(cls))


def refused_depth(value: Any, limit: int) -> Refused:
    """A value nested too deep, or without end."""
    return Refused(
        f"is nested deeper than {limit} levels, or refers to itself: keep such data outside, and a "
        "reference to it in the context",
        type_name(type(value)),
    )


def refused_zone(value: Any) -> Refused:
    """A datetime or time whose time zone has no name to find it by again."""
    zone = value.tzinfo
    name = type_name(type(zone))
    return Refused(
        f"is a {type(value).__name__} with a time zone of type {name}, which cannot be stored: use "
        'datetime.timezone, or a zoneinfo.ZoneInfo made from a key, such as ZoneInfo("Europe/Berlin")',
        name,
    )


def refused_unset(value: Any) -> Refused:
    """A field without a value, of the instance given."""
    name = type_name(type(value))
    return Refused(f"has no value, though it is a field of {name}: set it", name)


def refused_stray(value: Any, attribute: str) -> Refused:
    """An instance that holds more than its fields."""
    name = type_name(type(value))
    return Refused(
        f"is {_article(name)} {name} with an attribute {attribute!r} that is none of its fields, and would "
        "be lost: declare it as a field, or remove it",
        name,
    )


def refused_merge(value: Any) -> Refused:
    """A set or dict whose members became equal when they were copied."""
    name = type_name(type(value))
    return Refused(
        f"is a {name} that holds less when it is copied: two of its keys or elements are equal to each other "
        "now; do not change what a hash or __eq__ depends on",
        name,
    )


def refused_key(key: Any) -> Refused:
    """A key of the context itself that is no string."""
    name = type_name(type(key))
    return Refused(
        f"has a key of type {name}: the keys of a context itself are exactly str; convert it with str(...), "
        "or put it into a dict inside the context, which may have other keys",
        name,
    )


def refused_failing(error: BaseException) -> Refused:
    """A value whose own code failed while it was copied."""
    return Refused(f"could not be copied, as its code raised {type(error).__name__}: {error!s:.200}", "")


def refused_no_mapping(value: Any) -> Refused:
    """What should be a context, but is no mapping."""
    name = type_name(type(value))
    return Refused(f"is {_article(name)} {name}, but a context is a mapping: return a dict", name)


def type_name(cls: type) -> str:
    """A class's name, qualified outside builtins."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module}.{cls.__qualname__}"


def _article(name: str) -> str:
    return "an" if name[:1] in "aeiouAEIOU" else "a"


def _segment(how: int, key: Any) -> str:
    if how == ATTRIBUTE:
        return f".{key}"
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001 - a user's __repr__, while another error is on its way
        text = f"<{type(key).__name__}>"
    if len(text) > _LONGEST_KEY:
        text = f"{text[: _LONGEST_KEY - 2]}…{text[-1]}"
    if text[0] == text[-1] == "'" and '"' not in text:
        text = f'"{text[1:-1]}"'
    return f"[{text}]"


def _advice(cls: type) -> str:
    for base in _EXACT:
        if issubclass(cls, base):
            return (
                f"it is a subclass of {base.__name__}, and only {base.__name__} itself comes back as the "
                f"same type: convert it{_conversion(base)}"
            )
    for bases, advice in _ADVICE:
        if issubclass(cls, bases):
            return advice
    if hasattr(cls, "tolist"):
        return "convert it with its method tolist()"
    if hasattr(cls, "__fspath__"):
        return "convert it with str(...)"
    return _PLAIN_DATA


def _conversion(base: type) -> str:
    if vars(builtins).get(base.__name__) is base:
        return f" with {base.__name__}(...)"
    return ""
