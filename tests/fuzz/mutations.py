"""What is done to a data file. Each takes the dice and a corpus, and gives the bytes of another file."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from .corpus import Corpus

PAGE = 4096
SECTOR = 512
_EDGES = (0, 1, 2, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)

Mutation = Callable[[random.Random, Corpus], bytes]
MUTATIONS: dict[str, Mutation] = {}


def _mutation(function: Mutation) -> Mutation:
    MUTATIONS[function.__name__] = function
    return function


def _newest(corpus: Corpus) -> bytearray:
    return bytearray(corpus.versions[-1])


def _page(rng: random.Random, data: bytes | bytearray) -> int:
    return rng.randrange(len(data) // PAGE) * PAGE


@_mutation
def flipped_bits(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    for _ in range(rng.choice((1, 1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


@_mutation
def flipped_bits_of_one_page(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    start = _page(rng, data)
    for _ in range(rng.choice((1, 4, 32))):
        data[start + rng.randrange(PAGE)] ^= 1 << rng.randrange(8)
    return bytes(data)


@_mutation
def changed_page_headers(rng: random.Random, corpus: Corpus) -> bytes:
    """Flags, bounds and offsets of the nodes of a page: what LMDB believes without a doubt."""
    data = _newest(corpus)
    start = _page(rng, data)
    for _ in range(rng.choice((1, 2))):
        struct.pack_into("<H", data, start + rng.randrange(8, 64, 2), rng.choice(_EDGES) & 0xFFFF)
    return bytes(data)


@_mutation
def changed_meta_pages(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    for start in rng.choice(((0,), (PAGE,), (0, PAGE))):
        struct.pack_into("<Q", data, start + rng.randrange(0, 160, 8), rng.choice(_EDGES))
    return bytes(data)


@_mutation
def zeroed_sectors(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    for _ in range(rng.choice((1, 2, 8))):
        start = rng.randrange(len(data) // SECTOR) * SECTOR
        data[start : start + SECTOR] = bytes(SECTOR)
    return bytes(data)


@_mutation
def noise(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    start = rng.randrange(len(data))
    length = min(rng.choice((4, 100, SECTOR, PAGE, 5 * PAGE)), len(data) - start)
    data[start : start + length] = rng.randbytes(length)
    return bytes(data)


@_mutation
def cut_off(rng: random.Random, corpus: Corpus) -> bytes:
    data = bytes(_newest(corpus))
    cut = rng.choice((rng.randrange(len(data)), _page(rng, data), rng.randrange(3 * PAGE)))
    return data[:cut]


@_mutation
def longer_than_it_was(rng: random.Random, corpus: Corpus) -> bytes:
    return bytes(_newest(corpus)) + rng.randbytes(rng.choice((1, SECTOR, PAGE, 9 * PAGE)))


@_mutation
def swapped_pages(rng: random.Random, corpus: Corpus) -> bytes:
    data = _newest(corpus)
    one, two = _page(rng, data), _page(rng, data)
    data[one : one + PAGE], data[two : two + PAGE] = data[two : two + PAGE], data[one : one + PAGE]
    return bytes(data)


@_mutation
def pages_of_an_older_state(rng: random.Random, corpus: Corpus) -> bytes:
    return _spliced(rng, _newest(corpus), rng.choice(corpus.versions[:-1]))


@_mutation
def pages_of_another_database(rng: random.Random, corpus: Corpus) -> bytes:
    return _spliced(rng, _newest(corpus), corpus.foreign)


@_mutation
def an_older_body_under_newer_meta_pages(rng: random.Random, corpus: Corpus) -> bytes:
    old = bytearray(rng.choice(corpus.versions[:-1]))
    old[: 2 * PAGE] = corpus.versions[-1][: 2 * PAGE]
    return bytes(old)


@_mutation
def something_else(rng: random.Random, _corpus: Corpus) -> bytes:
    return rng.choice(
        (
            b"",
            b"SQLite format 3\0" + rng.randbytes(8 * PAGE),
            b"\x7fELF" + rng.randbytes(3 * PAGE),
            bytes(rng.choice((1, PAGE, 16 * PAGE))),
            rng.randbytes(rng.choice((10, PAGE, 16 * PAGE))),
            b"hello\n" * rng.randrange(1, 9999),
        )
    )


def _spliced(rng: random.Random, data: bytearray, donor: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 3))):
        start = rng.randrange(min(len(data), len(donor)) // PAGE) * PAGE
        data[start : start + PAGE] = donor[start : start + PAGE]
    return bytes(data)
