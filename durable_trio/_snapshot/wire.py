"""Values as msgspec's MessagePack can carry them without loss.

``None``, bools, 64-bit ints, floats, strings, bytes, lists, and dicts with string or int keys are
MessagePack's own. Everything else travels as an extension whose code says what it is. A code is never given
to another type, and what a payload looks like never changes; a new layout gets a new code.

====  ===============  ==========================================================================
code  type             payload (msgpack, unless said otherwise; "value" may hold extensions)
====  ===============  ==========================================================================
1     tuple            array of values
2     set              array of values, ordered by their bytes, so that equal sets are equal bytes
3     frozenset        as set
4     dict             array of key, value, key, value, … (keys other than str and 64-bit int)
5     int              beyond 64 bits: raw, two's complement, big-endian
6     str              with lone surrogates: raw, UTF-8 that lets them through
7     Decimal          raw, its text
8     UUID             raw, 16 bytes
9     datetime         array of ISO text without zone, zone, fold
10    date             raw, ISO text
11    time             array of ISO text without zone, zone, fold
12    timedelta        array of days, seconds, microseconds
13    Ok               its value
14    Err              its reason
15    Failure          array of type, message, traceback, attempts; may grow at the end
16    Enum             array of "module:qualname", the member's name (of a Flag: its value)
17    Struct           array of "module:qualname", map of field to value; dataclasses too
====  ===============  ==========================================================================

A zone is nil, the key of a ``zoneinfo.ZoneInfo``, the offset of a ``datetime.timezone`` in microseconds, or
an array of that offset and the name it was given.

What is special costs one to three microseconds for each value, written and read, and its bytes are copied
once per level of extensions around them. A context that is plain altogether costs nothing here, as ``freeze``
says that it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.msgpack import Decoder, Encoder, Ext

from durable_trio._errors import SnapshotError, StoreCorrupt
from durable_trio._snapshot.shape import EnumShape, TypeChanged, UnknownType
from durable_trio._snapshot.types import Opaque, TypeRegistry
from durable_trio._speedups.batching import pack_array
from durable_trio._values import Err, Failure, Ok

TUPLE, SET, FROZENSET, PAIRS, BIG_INT, SURROGATES, DECIMAL, UUID_, DATETIME = range(1, 10)
DATE, TIME, TIMEDELTA, OK, ERR, FAILURE, ENUM, OBJECT = range(10, 18)

# Freezing allows 100 levels; a block's results put what was frozen a few levels further down. Reading a level
# takes up to four frames of the interpreter's recursion limit (1,000 unless the program says otherwise), and
# what was written at the top of a stack must be readable far down in one.
MAX_DEPTH: Final = 140

_MICROSECOND: Final = timedelta(microseconds=1)
# Names of zones lead to files (and to modules under tzdata.zoneinfo): nothing else gets that far, and nothing
# that is longer than a file's name, for looking costs more than linear time.
_ZONE_KEY: Final = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*")
_PLAIN: Final = frozenset({type(None), bool, float, bytes})


class Wire:
    """Both directions between a frozen value and what msgspec encodes and decodes.

    Args:
        registry: the user's types that are known; if it is lenient, others are read as ``Opaque``.
    """

    def __init__(self, registry: TypeRegistry) -> None:
        self._registry = registry
        self._encode: Callable[[Any], bytes] = Encoder().encode
        self._writers: dict[type, Callable[[Any, int], Any]] = {
            int: self._write_int,
            str: self._write_str,
            list: self._write_items,
            dict: self._write_dict,
            tuple: self._write_tuple,
            set: self._write_set,
            frozenset: self._write_frozenset,
            Ok: self._write_ok,
            Err: self._write_err,
            Failure: self._write_failure,
            datetime: self._write_datetime,
            date: lambda value, _: Ext(DATE, value.isoformat().encode()),
            time: self._write_time,
            timedelta: self._write_timedelta,
            Decimal: lambda value, _: Ext(DECIMAL, str(value).encode()),
            UUID: lambda value, _: Ext(UUID_, value.bytes),
        }
        self._decode: Callable[[Any], Any] = Decoder(ext_hook=self.unwire).decode
        self._decode_list = Decoder(list[Any], ext_hook=self.unwire).decode
        self._decode_stamp = Decoder(tuple[str, Any, int], ext_hook=self.unwire).decode
        self._decode_delta = Decoder(tuple[int, int, int]).decode
        self._decode_enum = Decoder(tuple[str, Any], ext_hook=self.unwire).decode
        self._decode_object = Decoder(tuple[str, dict[str, Any]], ext_hook=self.unwire).decode
        self._readers: dict[int, Callable[[Any], Any]] = {
            TUPLE: Decoder(tuple[Any, ...], ext_hook=self.unwire).decode,
            SET: Decoder(set[Any], ext_hook=self.unwire).decode,
            FROZENSET: Decoder(frozenset[Any], ext_hook=self.unwire).decode,
            PAIRS: self._read_pairs,
            BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
            SURROGATES: lambda data: str(data, "utf-8", "surrogatepass"),
            DECIMAL: lambda data: Decimal(str(data, "ascii")),
            UUID_: lambda data: UUID(bytes=bytes(data)),
            DATETIME: self._read_datetime,
            DATE: lambda data: date.fromisoformat(str(data, "ascii")),
            TIME: self._read_time,
            TIMEDELTA: lambda data: timedelta(*self._decode_delta(data)),
            OK: lambda data: Ok(self._decode(data)),
            ERR: lambda data: Err(self._decode(data)),
            FAILURE: lambda data: Failure(*self._decode_list(data)),
            ENUM: self._read_enum,
            OBJECT: self._read_object,
        }

    def wire(self, value: Any, depth: int = 0) -> Any:
        """What msgspec encodes for a frozen value; plain parts are passed through, not copied.

        Raises:
            SnapshotError: it is nested too deep, or holds what ``freeze`` would have refused.
        """
        kind = type(value)
        if kind in _PLAIN or (kind is str and value.isascii()):
            return value
        if depth > MAX_DEPTH:
            raise SnapshotError(
                f"a value is nested more than {MAX_DEPTH} levels deep: keep such data outside, and a "
                "reference to it in the context"
            )
        write = self._writers.get(kind)
        return self._write_user(value, depth) if write is None else write(value, depth + 1)

    def unwire(self, code: int, data: memoryview) -> Any:
        """The value of an extension: msgspec's ``ext_hook``."""
        read = self._readers.get(code)
        if read is None:
            raise StoreCorrupt(
                f"a stored value has the unknown kind {code}: it is damaged, or a newer version of "
                "durable-trio wrote it"
            )
        return read(data)

    def _write_int(self, value: int, _: int) -> Any:
        if -(1 << 63) <= value < 1 << 64:
            return value
        return Ext(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))

    def _write_str(self, value: str, _: int) -> Any:
        try:
            value.encode()
        except UnicodeEncodeError:
            return Ext(SURROGATES, value.encode("utf-8", "surrogatepass"))
        return value

    def _write_items(self, value: list[Any] | tuple[Any, ...], depth: int) -> Any:
        wired: list[Any] | None = None
        for index, item in enumerate(value):
            if type(item) in _PLAIN:
                continue
            new = self.wire(item, depth)
            if new is not item:
                if wired is None:
                    wired = list(value)
                wired[index] = new
        return value if wired is None else wired

    def _write_dict(self, value: dict[Any, Any], depth: int) -> Any:
        wired: dict[Any, Any] | None = None
        for key, item in value.items():
            if type(key) is str:
                if not key.isascii() and self._write_str(key, depth) is not key:
                    return self._write_pairs(value, depth)
            elif type(key) is not int or self._write_int(key, depth) is not key:
                return self._write_pairs(value, depth)
            if type(item) in _PLAIN:
                continue
            new = self.wire(item, depth)
            if new is not item:
                if wired is None:
                    wired = dict(value)
                wired[key] = new
        return value if wired is None else wired

    def _write_pairs(self, value: dict[Any, Any], depth: int) -> Any:
        flat = [self.wire(part, depth) for pair in value.items() for part in pair]
        return Ext(PAIRS, self._encode(flat))

    def _write_tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        return Ext(TUPLE, self._encode(self._write_items(value, depth)))

    def _write_set(self, value: set[Any], depth: int) -> Any:
        return Ext(SET, self._sorted_items(value, depth))

    def _write_frozenset(self, value: frozenset[Any], depth: int) -> Any:
        return Ext(FROZENSET, self._sorted_items(value, depth))

    def _sorted_items(self, items: Iterable[Any], depth: int) -> bytes:
        return pack_array(sorted(self._encode(self.wire(item, depth)) for item in items))

    def _write_ok(self, value: Ok[Any], depth: int) -> Any:
        return Ext(OK, self._encode(self.wire(value[1], depth)))

    def _write_err(self, value: Err[Any], depth: int) -> Any:
        return Ext(ERR, self._encode(self.wire(value[1], depth)))

    def _write_failure(self, value: Failure, depth: int) -> Any:
        fields = [self.wire(getattr(value, field), depth) for field in Failure.__struct_fields__]
        return Ext(FAILURE, self._encode(fields))

    def _write_datetime(self, value: datetime, _: int) -> Any:
        text = value.replace(tzinfo=None).isoformat()
        return Ext(DATETIME, self._encode((text, self._write_zone(value.tzinfo), value.fold)))

    def _write_time(self, value: time, _: int) -> Any:
        text = value.replace(tzinfo=None).isoformat()
        return Ext(TIME, self._encode((text, self._write_zone(value.tzinfo), value.fold)))

    def _write_timedelta(self, value: timedelta, _: int) -> Any:
        return Ext(TIMEDELTA, self._encode((value.days, value.seconds, value.microseconds)))

    def _write_zone(self, zone: tzinfo | None) -> Any:
        if zone is None:
            return None
        if type(zone) is timezone:
            # The arguments that pickle would use: the only way to tell a given name from a derived one.
            offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
            micros = offset // _MICROSECOND
            return [micros, self.wire(name[0])] if name else micros
        if type(zone) is ZoneInfo and zone.key is not None:
            return zone.key
        raise SnapshotError(
            f"the time zone {zone!r} cannot be stored: use datetime.timezone or zoneinfo.ZoneInfo(key)",
            type_name=f"{type(zone).__module__}.{type(zone).__qualname__}",
        )

    def _write_user(self, value: Any, depth: int) -> Any:
        shape = self._registry.shape_of(type(value))
        if isinstance(shape, EnumShape):
            return Ext(ENUM, self._encode((shape.name, self.wire(shape.take(value), depth))))
        fields = {field: self.wire(getattr(value, field), depth + 1) for field in shape.fields}
        return Ext(OBJECT, self._encode((shape.name, fields)))

    def _read_pairs(self, data: memoryview) -> dict[Any, Any]:
        flat = self._decode_list(data)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _read_datetime(self, data: memoryview) -> Any:
        text, stored, fold = self._decode_stamp(data)
        naive = datetime.fromisoformat(text)
        zone = self._read_zone(stored, text)
        return zone if isinstance(zone, Opaque) else naive.replace(tzinfo=zone, fold=fold)

    def _read_time(self, data: memoryview) -> Any:
        text, stored, fold = self._decode_stamp(data)
        naive = time.fromisoformat(text)
        zone = self._read_zone(stored, text)
        return zone if isinstance(zone, Opaque) else naive.replace(tzinfo=zone, fold=fold)

    def _read_zone(self, stored: Any, text: str) -> tzinfo | Opaque | None:
        match stored:
            case None:
                return None
            case str():
                return self._find_zone(stored, text)
            case [offset, name]:
                return timezone(offset * _MICROSECOND, name)
            case _:
                return timezone(stored * _MICROSECOND)

    def _find_zone(self, key: str, text: str) -> tzinfo | Opaque:
        try:
            if _ZONE_KEY.fullmatch(key):
                return ZoneInfo(key)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            pass
        if self._registry.lenient:
            return Opaque("zoneinfo:ZoneInfo", {"key": key, "instant": text})
        raise UnknownType(
            f"a stored value names the time zone {_short(key)}, which this system does not have: install "
            "its time zone data, such as the package tzdata"
        )

    def _read_enum(self, data: memoryview) -> Any:
        name, stored = self._decode_enum(data)
        shape = self._registry.find(name)
        try:
            if shape is None:
                raise _unknown(name)
            if not isinstance(shape, EnumShape):
                raise TypeChanged(f"{name} is no enum any more, but a member of it is stored")
            return shape.build(stored)
        except UnknownType:
            if not self._registry.lenient:
                raise
            return Opaque(name, {"member" if isinstance(stored, str) else "value": stored})

    def _read_object(self, data: memoryview) -> Any:
        name, fields = self._decode_object(data)
        shape = self._registry.find(name)
        try:
            if shape is None:
                raise _unknown(name)
            if isinstance(shape, EnumShape):
                raise TypeChanged(f"{name} is an enum now, but a value with fields is stored")
            return shape.build(fields)
        except UnknownType:
            if not self._registry.lenient:
                raise
            return Opaque(name, fields)


def _short(name: str) -> str:
    return repr(name if len(name) <= 200 else f"{name[:200]}…")


def _unknown(name: str) -> UnknownType:
    example = f" (open_engine(..., types=[{name.replace(':', '.')}]))" if len(name) <= 200 else ""
    return UnknownType(
        f"a stored value has the type {_short(name)}, which is not known here: register it{example}, or "
        "register the workflow of its module"
    )
