"""Ids of runs: what users call them, and the keys under which they are stored."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

from durable_trio._errors import InputError

MAX_ID_BYTES = 255

_FIXED = 0x7 << 76 | 0b10 << 62  # the version, and the variant
_FREE = ~(0xF << 76 | 0b11 << 62)


class KeySource:
    """New run keys, each greater than all before it: UUIDv7 (RFC 9562), 16 bytes.

    Keys that ascend make inserts appends, and the order of the keys the order of the starts. The clock
    may jump back: then the keys count on from the last one until the clock has caught up.

    Args:
        now: seconds since the epoch.
        last: the greatest key in the store.
    """

    def __init__(self, now: Callable[[], float], last: bytes | None) -> None:
        self._now = now
        self._last = int.from_bytes(last, "big") if last else 0
        self._random = random.Random()  # noqa: S311 - a key must be new, not secret

    def __call__(self) -> bytes:
        milliseconds = max(int(self._now() * 1000), 0)
        key = (milliseconds << 80 | self._random.getrandbits(80)) & _FREE | _FIXED
        if key <= self._last:
            key = self._last + 1
        self._last = key
        return key.to_bytes(16, "big")


def id_of_key(key: bytes) -> str:
    """The id of a run for which the user chose none."""
    text = key.hex()  # as uuid.UUID writes it, without making one
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def key_of_id(run_id: str) -> bytes | None:
    """The key, if the id is one that ``id_of_key`` gives."""
    try:
        key = uuid.UUID(run_id)
    except ValueError:
        return None
    return key.bytes if str(key) == run_id else None


def check_id(run_id: object) -> bytes:
    """The bytes of an id that a user chose.

    Raises:
        InputError: it is no str, empty, too long, or no Unicode text.
    """
    if not isinstance(run_id, str):
        raise InputError(f"a run's id is a str, not {type(run_id).__name__}: {run_id!r}")
    try:
        encoded = run_id.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the run id {run_id[:40]!r} has a lone surrogate at position {error.start}, which is no text"
        ) from None
    if not 0 < len(encoded) <= MAX_ID_BYTES:
        shown = f"{run_id[:20]!r}…" if run_id else "''"
        raise InputError(
            f"a run's id has 1 to {MAX_ID_BYTES} bytes of UTF-8, and {shown} has {len(encoded)}; "
            "use a shorter one, such as a hash of it"
        )
    return encoded
