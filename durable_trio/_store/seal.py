"""How a value is kept: one version byte, a CRC-32 over key and payload, then the payload.

The file system and LMDB hand back flipped bits as if nothing had happened, and most flips in a record decode
as another valid record. The key is part of the checksum, so that a value found under another key does not
pass either. A CRC finds what hardware does; it is no protection from somebody who writes to the file.
It costs 5 bytes.
"""

from __future__ import annotations

from durable_trio._errors import StoreCorrupt
from durable_trio._speedups.batching import fits, seal, unsealed

__all__ = ["damaged", "describe", "fits", "seal", "unseal", "unsealed"]


def unseal(table: str, key: bytes, sealed: bytes) -> bytes:
    """The payload of what ``seal`` made.

    Raises:
        StoreCorrupt: it is not what was stored; names the table and the key.
    """
    payload = unsealed(key, sealed)
    if payload is None:
        raise damaged(table, key)
    return payload


def damaged(table: str, key: bytes) -> StoreCorrupt:
    """What to raise where ``unsealed`` says None."""
    # A newer version of the library raises the version of the database, which is refused when it is
    # opened: another version byte here is damage.
    return StoreCorrupt(f"{describe(table, key)}: the checksum does not fit, the bytes were damaged on disk")


def describe(table: str, key: bytes) -> str:
    """Name a value for a person: the run where the key holds one, else the key."""
    match table:
        case "runs":
            return f"run {key.hex()}: its header (table 'runs')"
        case "journal":
            return f"run {key[:16].hex()}: row {int.from_bytes(key[16:])} of its journal (table 'journal')"
        case "statuses":
            return f"run {key[3:].hex()}: its status (table 'statuses')"
        case "messages":
            return (
                f"run {key[:16].hex()}: message {int.from_bytes(key[16:])} of its mailbox (table 'messages')"
            )
        case _:
            return f"table {table!r}, key {key!r}"
