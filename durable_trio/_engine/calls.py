"""What travels between a client and an engine: calls and replies, as bytes.

Values travel as they are stored, so nothing is lost on the way. An error arrives as the class that was
raised, with its text; one that is none of this library's arrives as a ``DurableError`` that names it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from durable_trio._errors import (
    DefinitionError,
    DurableError,
    EngineClosed,
    InputError,
    RunBlocked,
    RunNotFound,
    SnapshotError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
)
from durable_trio._snapshot.codec import Codec

_CLASSES: list[type[DurableError]] = [
    DefinitionError,
    DurableError,
    EngineClosed,
    InputError,
    RunBlocked,
    RunNotFound,
    SnapshotError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
]
_ERRORS = {cls.__name__: cls for cls in _CLASSES}


def pack_call(codec: Codec, operation: str, arguments: Mapping[str, Any]) -> bytes:
    """A call as bytes.

    Raises:
        SnapshotError: an argument cannot be stored; names it, and where in it.
    """
    for name, value in arguments.items():
        codec.freeze(value, name)  # the path in the message then begins with the argument's name
    return codec.encode_value([operation, dict(arguments)])


def unpack_call(codec: Codec, data: bytes) -> tuple[str, dict[str, Any]]:
    """The counterpart of ``pack_call``.

    Raises:
        StoreCorrupt: it is no call.
        UnknownType: an argument has a class that is not known here.
    """
    match codec.decode_value(data):
        case [str(operation), dict(arguments)]:
            return operation, arguments
    raise StoreCorrupt("a request of a client is none that this version knows; update durable-trio")


def pack_value(codec: Codec, value: Any) -> bytes:
    """The reply of a call that gave a value."""
    return codec.encode_value([time.time(), True, value])


def pack_error(codec: Codec, error: Exception) -> bytes:
    """The reply of a call that raised."""
    for cls in type(error).__mro__:
        if _ERRORS.get(cls.__name__) is cls:
            details = (error.path, error.type_name) if isinstance(error, SnapshotError) else ()
            return codec.encode_value([time.time(), False, [cls.__name__, str(error), *details]])
    text = f"the engine could not do this, which is a fault of its own: {type(error).__name__}: {error}"
    return codec.encode_value([time.time(), False, ["DurableError", text]])


def unpack_reply(codec: Codec, data: bytes) -> Any:
    """The value of a reply.

    Raises:
        DurableError: what the call raised.
        StoreCorrupt: it is no reply.
    """
    match codec.decode_value(data):
        case [float(), True, value]:
            return value
        case [float(), False, ["SnapshotError", str(text), str(path), str(type_name)]]:
            raise SnapshotError(text, path=path, type_name=type_name)
        case [float(), False, [str(name), str(text)]]:
            raise _ERRORS.get(name, DurableError)(text)
    raise StoreCorrupt("the reply of the engine is none that this version knows; update durable-trio")


def age_of(codec: Codec, data: bytes | None) -> float:
    """For how many seconds a reply has been there; one that cannot be read is as old as can be."""
    try:
        match None if data is None else codec.decode_value(data):
            case [float(at), *_]:
                return time.time() - at
    except DurableError:
        pass
    return float("inf")
