"""Values, records and headers to bytes, and back to what they were.

On the way out a value is frozen (a private deep copy, see ``_speedups/context.pyx``), wired if it holds
anything that MessagePack has no form for (``wire.py`` says how each type travels), and encoded by msgspec
as part of a record. A journal row is an array of records, made by putting already encoded ones side by side.

On the way in every failure is a ``StoreError``: ``UnknownType`` where the value is sound but its class is
not known here, ``StoreCorrupt`` where the bytes are not what was written. Nothing is imported (``zoneinfo``
may ask the package ``tzdata`` for a time zone), and no code of a user's class runs but its ``__hash__``, its
``__eq__`` and the factories of its fields' defaults.

A plain context costs what msgspec costs, plus a microsecond (``benchmarks/bench_codec.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from msgspec.msgpack import Decoder, Encoder

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._snapshot.records import Header, Message, Record
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._snapshot.wire import Wire
from durable_trio._speedups.context import freeze


class Codec:
    """Encodes and decodes for one engine, or one reader; may be used from several threads.

    Args:
        registry: the user's types that may be stored.

    Attributes:
        user_types, resolve: the registry's, for compiled functions that freeze.
        wire: makes of a frozen value that holds anything special what ``encode`` takes.
        encode: the bytes of a record, a header or any other value that is wired where it must be.
    """

    def __init__(self, registry: TypeRegistry) -> None:
        self.user_types = registry.user_types
        self.resolve = registry.resolve
        wire = Wire(registry)
        self.wire: Callable[[Any], Any] = wire.wire
        self.encode: Callable[[Any], bytes] = Encoder().encode
        self._rows = Decoder(list[Record], ext_hook=wire.unwire).decode
        self._headers = Decoder(Header, ext_hook=wire.unwire).decode
        self._messages = Decoder(Message, ext_hook=wire.unwire).decode
        self._values: Callable[[bytes], Any] = Decoder(ext_hook=wire.unwire).decode

    def freeze(self, value: Any, where: str = "ctx") -> tuple[Any, bool]:
        """Make a private deep copy, and say whether ``wire`` must be asked before it is encoded.

        Raises:
            SnapshotError: something in it cannot be stored; the message names its path, below ``where``.
        """
        return freeze(value, self.user_types, self.resolve, where)

    def encode_value(self, value: Any, where: str = "value") -> bytes:
        """Encode a value by itself, such as an event's payload.

        Raises:
            SnapshotError: something in it cannot be stored; the message names its path, below ``where``.
        """
        frozen, special = self.freeze(value, where)
        return self.encode(self.wire(frozen) if special else frozen)

    def decode_value(self, data: bytes) -> Any:
        """Decode what ``encode_value`` made; the errors are those of ``decode_row``."""
        try:
            return self._values(data)
        except StoreError:
            raise
        except Exception as error:
            raise _corrupt(error, "value") from error

    def decode_row(self, data: bytes) -> list[Record]:
        """Decode one journal row.

        Raises:
            StoreCorrupt: the bytes are not a row of records.
            UnknownType: a value's class, or its time zone, is not known here (never in lenient mode).
        """
        try:
            return self._rows(data)
        except StoreError:
            raise
        except Exception as error:
            raise _corrupt(error, "journal row") from error

    def decode_rows(self, rows: Iterable[bytes]) -> list[Record]:
        """Decode a run's journal rows, in order; the errors are those of ``decode_row``."""
        try:
            return list(chain.from_iterable(map(self._rows, rows)))
        except StoreError:
            raise
        except Exception as error:
            raise _corrupt(error, "journal row") from error

    def decode_message(self, data: bytes) -> Message:
        """Decode a message of a mailbox; the errors are those of ``decode_row``."""
        try:
            return self._messages(data)
        except StoreError:
            raise
        except Exception as error:
            raise _corrupt(error, "message") from error

    def decode_header(self, data: bytes) -> Header:
        """Decode a run's header; the errors are those of ``decode_row``."""
        try:
            return self._headers(data)
        except StoreError:
            raise
        except Exception as error:
            raise _corrupt(error, "run header") from error


def _corrupt(error: Exception, what: str) -> StoreCorrupt:
    # Damaged bytes raise a dozen types of errors, and a user's __hash__ raises any.
    return StoreCorrupt(
        f"a {what} cannot be decoded ({type(error).__name__}: {error!s:.200}): its bytes are not what was "
        "written; restore the run from a backup, or delete it"
    )
