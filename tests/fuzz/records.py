"""Damaged headers and journal rows, as if their seal had been forged: the decoder must not trip over them.

There is no checksum here to notice a changed value, so what may come out is a record or a typed error; that
no class is imported and no code is run on the way is what ``tests/snapshot`` looks at.
"""

from __future__ import annotations

import random

from durable_trio import StoreError
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._snapshot.view import run_info

from .corpus import TYPES, Content

CODEC = Codec(TypeRegistry(TYPES, lenient=False))
_LENIENT = Codec(TypeRegistry(TYPES, lenient=True))
_DICTIONARY = (
    b"\xc1", b"\xc0", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\x91" * 600, b"\xc7\x00\x01", b"\xd9\x01\xff", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\xcf" + b"\xff" * 8,
)  # fmt: skip


def decode(header: bytes, rows: list[bytes]) -> bool:
    """Decode a run as an engine and as a command line would; False if that was refused with a typed error.

    Raises:
        Exception: any other error, which is a finding.
    """
    try:
        for codec in (CODEC, _LENIENT):
            found = codec.decode_header(header)
            run_info(found, codec.decode_rows(rows), 2, with_steps=True)
    except StoreError:
        return False
    return True


def mutated(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    """Some bytes of a record are other ones."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if changed:
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
            case 1:
                del changed[place : place + rng.randrange(1, 9)]
            case 2:
                changed[place:place] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                changed[place:place] = rng.choice(_DICTIONARY)
            case 4:
                start = rng.randrange(len(donor) + 1)
                changed[place : place + 20] = donor[start : start + rng.randrange(1, 40)]
            case _:
                changed = changed[:place]
    return bytes(changed)


def _other(rng: random.Random, data: bytes, donor: bytes) -> bytes:
    """``mutated``, and not by chance into what it was."""
    while (changed := mutated(rng, data, donor)) == data:
        pass
    return changed


def try_one(rng: random.Random, content: Content) -> str:
    """One damaged run; ``decoded`` or ``refused``."""
    key = rng.choice(list(content.headers))
    header, rows = content.headers[key], list(content.rows[key])
    donor = b"".join(content.rows[rng.choice(list(content.rows))])
    if rows and rng.random() < 0.8:
        place = rng.randrange(len(rows))
        rows[place] = _other(rng, rows[place], donor)
    else:
        header = _other(rng, header, donor)
    return "decoded" if decode(header, rows) else "refused"
