"""Any storable value as JSON, for people and for other programs.

It is a view and cannot be read back; what JSON has no word for is shown so:

=======================  ====================================================================
bytes                    ``{"base64": "..."}``
datetime, date, time     ISO 8601 text
timedelta                seconds
Decimal, UUID            text
nan, inf, -inf           ``"NaN"``, ``"Infinity"``, ``"-Infinity"``
an int of over 4,000     hexadecimal text
digits
tuple, set, frozenset    a list; a set's in a fixed order
an enum's member         its value
Struct, dataclass        an object of its fields
``Ok(v)``, ``Err(r)``    ``{"ok": v}``, ``{"error": r}``
a key that is no str     its text
=======================  ====================================================================
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
import math
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from durable_trio import Err, Ok

_LONG_INT_BITS = 13_000  # about 4,000 digits: Python refuses to write more than 4,300 in decimal
_NOT_ASCII = re.compile(r"[^\n -~]")


def jsonable(value: Any) -> Any:
    """The value as what ``json.dumps`` takes. See the module's text for how each type is shown."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return jsonable(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < _LONG_INT_BITS else hex(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": base64.b64encode(value).decode()}
    return _container(value)


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _container(value: Any) -> Any:
    if isinstance(value, Ok):
        return {"ok": jsonable(value.value)}
    if isinstance(value, Err):
        return {"error": jsonable(value.reason)}
    if isinstance(value, Mapping):
        return _object(value)
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(jsonable, value), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, msgspec.Struct):
        return {name: jsonable(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return repr(value)


def _object(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for key, value in mapping.items():
        text = key if isinstance(key, str) and not isinstance(key, enum.Enum) else _key(key)
        while text in shown or (text is not key and text in mapping):
            text = f"{text} ({type(key).__name__})"  # 1 and "1" are two keys, and neither is to be lost
        shown[text] = jsonable(value)
    return shown


def _key(key: Any) -> str:
    plain = jsonable(key)
    return plain if isinstance(plain, str) else json.dumps(plain)


def dumps(value: Any, *, pretty: bool = False, ascii_only: bool = True) -> str:
    """JSON text of any storable value.

    Args:
        value: the value.
        pretty: over several lines, for people.
        ascii_only: escape everything that is not ASCII; otherwise only what a terminal cannot show.
    """
    text = json.dumps(jsonable(value), ensure_ascii=ascii_only, allow_nan=False, indent=2 if pretty else None)
    return text if ascii_only else _NOT_ASCII.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else json.dumps(char)[1:-1]
