"""Is this file an LMDB data file that can be mapped? Asked before LMDB maps it.

LMDB believes what the file says. A file that is shorter than its newest meta page claims kills the process
with SIGBUS at some later read; a file of no bytes becomes a new, empty database. So both meta pages are read
here, with plain reads, and held against the length of the file.

The layout is that of LMDB 0.9 (data version 1) on a 64-bit machine; the reader of it that LMDB itself uses is
``mdb_env_read_header`` in ``mdb.c``. A file may be shorter than its last page number says only if the pages
that are missing are free: LMDB does not write pages that were taken and given back in one transaction.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from lmdb.verify import VerifyError, verify

from durable_trio._errors import StoreCorrupt, StoreError

MAGIC = 0xBEEFC0DE
VERSION = 1
NO_PAGE = 0xFFFF_FFFF_FFFF_FFFF

_BRANCH, _LEAF, _META = 0x01, 0x02, 0x08
_BIG_DATA = 0x01

_PAGE = Struct("=QHHHH")  # number, pad, flags, lower, upper
_NODE = Struct("=IHH")  # size (or page number), flags (or page number, continued), key size
# magic, version, address, map size; two trees: pad, flags, depth, branches, leaves, overflows, entries, root;
# last page, transaction
_META_PAGE = Struct("=IIQQ" + 2 * "IHHQQQQQ" + "QQ")
_MAX_DEPTH = 32


class DataFile(NamedTuple):
    """What the newest meta page says.

    Attributes:
        identity: device and inode.
        map_size: bytes, as of the last commit.
        size: bytes.
        transaction: the number of the last commit.
    """

    identity: tuple[int, int]
    map_size: int
    size: int
    transaction: int


class _Meta(NamedTuple):
    page_size: int
    map_size: int
    free_root: int
    main_root: int
    last_page: int
    transaction: int


def verify_data_file(path: Path) -> list[str]:
    """Everything that is wrong with the structure of a data file that nobody writes to; about 8 ms per MiB.

    A page that was zeroed, or a pointer that was flipped, can make LMDB abort the process. Nothing is mapped
    here, so nothing can happen to this one.
    """
    try:
        problems: list[str] = verify(os.fspath(path), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        return [str(error)]
    except Exception as error:  # noqa: BLE001 - whatever a damaged file leads it to, the finding is the damage
        return [f"{type(error).__name__}: {error}"]
    return problems


def check_data_file(path: Path) -> DataFile:
    """Check that ``path`` can be mapped without harm.

    Raises:
        StoreCorrupt: it is missing, cut short, or no data file.
        StoreError: it cannot be read, or a kind of LMDB wrote it that this library does not use.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise StoreCorrupt(
            f"{path} is missing, though its database is complete otherwise; {RESTORE}"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        try:
            return _check(path, fd)
        except StoreCorrupt:
            # Once more: another process may have been writing a meta page while it was read.
            return _check(path, fd)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(fd)


# What 64-bit processors can address at most; more is damage, and not even a number to LMDB.
_LARGEST_MAP = 1 << 57

RESTORE = (
    "restore the directory from a backup, or, to begin anew without its runs, remove the whole directory"
)


def _check(path: Path, fd: int) -> DataFile:
    if os.fstat(fd).st_size == 0:
        raise StoreCorrupt(f"{path} is empty: its contents were lost; {RESTORE}")
    first = _read_meta(path, fd, 0, 0)
    second = _read_meta(path, fd, 1, first.page_size)
    newest = max(first, second, key=lambda meta: meta.transaction)
    # Only of the newest: LMDB takes a meta page back whose writing failed by putting the old numbers of the
    # last page and the transaction into it, and leaves the roots.
    if not all(
        root == NO_PAGE or 1 < root <= newest.last_page for root in (newest.free_root, newest.main_root)
    ):
        raise StoreCorrupt(f"{path}: its newest meta page is damaged; {RESTORE}")
    if newest.map_size > _LARGEST_MAP:
        raise StoreCorrupt(
            f"{path}: its newest meta page is damaged: it asks for a map of {newest.map_size} bytes; "
            f"{RESTORE}"
        )
    # After the metas, because another process may be committing: what they name was written before them.
    found = os.fstat(fd)
    pages = found.st_size // newest.page_size
    if pages <= newest.last_page and not _tail_is_free(fd, newest, pages):
        raise StoreCorrupt(
            f"{path} is cut short: it has {found.st_size} bytes, and {newest.last_page + 1} pages need "
            f"{(newest.last_page + 1) * newest.page_size}; {RESTORE}"
        )
    return DataFile((found.st_dev, found.st_ino), newest.map_size, found.st_size, newest.transaction)


def _read_meta(path: Path, fd: int, number: int, page_size: int) -> _Meta:
    raw = os.pread(fd, _PAGE.size + _META_PAGE.size, number * page_size)
    if len(raw) < _PAGE.size + _META_PAGE.size:
        raise StoreCorrupt(f"{path} is cut short: its meta page {number} is incomplete; {RESTORE}")
    _, _, flags, _, _ = _PAGE.unpack_from(raw)
    fields = _META_PAGE.unpack_from(raw, _PAGE.size)
    magic, version, _, map_size, page_bytes = fields[:5]
    free_root, main_root, last_page, transaction = fields[11], fields[19], fields[20], fields[21]
    if magic != MAGIC or not flags & _META:
        raise StoreCorrupt(
            f"{path}: its meta page {number} is damaged, or it is no LMDB data file; {RESTORE}"
        )
    if version != VERSION:
        raise StoreError(
            f"{path} is in LMDB's data format {version}; this library uses format {VERSION} (LMDB 0.9)"
        )
    plausible = (
        256 <= page_bytes <= 0x8000
        and page_bytes & (page_bytes - 1) == 0
        and page_size in {0, page_bytes}
        and last_page >= 1
    )
    if not plausible:
        raise StoreCorrupt(f"{path}: its meta page {number} is damaged; {RESTORE}")
    return _Meta(page_bytes, map_size, free_root, main_root, last_page, transaction)


def _tail_is_free(fd: int, meta: _Meta, pages: int) -> bool:
    """Are all pages that the file should have, and has not, in the list of free pages?"""
    # The tail that LMDB left unwritten is what one transaction gave back, far less than the file. The bound
    # keeps a damaged number from making a set of billions.
    if meta.last_page - pages > max(pages, 1 << 16):
        return False
    missing = set(range(pages, meta.last_page + 1))
    try:
        for record in _free_records(fd, meta, pages, meta.free_root, _MAX_DEPTH):
            missing.difference_update(memoryview(record)[8:].cast("Q"))
    except _DamagedError:
        return False
    return not missing


class _DamagedError(Exception):
    pass


def _free_records(fd: int, meta: _Meta, pages: int, number: int, depth: int) -> Iterator[bytes]:
    """The values of the free list's tree: each a count and as many page numbers, 8 bytes each."""
    if number == NO_PAGE:
        return
    page = _read_pages(fd, meta, pages, number, 1)
    _, _, flags, lower, _ = _PAGE.unpack_from(page)
    if (
        depth == 0
        or flags & (_BRANCH | _LEAF) not in {_BRANCH, _LEAF}
        or not _PAGE.size <= lower <= len(page)
    ):
        raise _DamagedError
    for offset in memoryview(page)[_PAGE.size : lower & ~1].cast("H"):
        if offset + _NODE.size > len(page):
            raise _DamagedError
        size, node_flags, key_size = _NODE.unpack_from(page, offset)
        if flags & _BRANCH:
            child = size | node_flags << 32
            yield from _free_records(fd, meta, pages, child, depth - 1)
            continue
        start = offset + _NODE.size + key_size
        if node_flags & _BIG_DATA:
            yield _big_data(fd, meta, pages, page[start : start + 8], size)
        else:
            yield _whole_words(page[start : start + size], size)


def _big_data(fd: int, meta: _Meta, pages: int, where: bytes, size: int) -> bytes:
    if len(where) != 8:
        raise _DamagedError
    count = -(-(_PAGE.size + size) // meta.page_size)
    extent = _read_pages(fd, meta, pages, int.from_bytes(where, sys.byteorder), count)
    return _whole_words(extent[_PAGE.size : _PAGE.size + size], size)


def _whole_words(value: bytes, size: int) -> bytes:
    if len(value) != size or size < 8 or size % 8:
        raise _DamagedError
    return value


def _read_pages(fd: int, meta: _Meta, pages: int, number: int, count: int) -> bytes:
    if not 1 < number <= pages - count:
        raise _DamagedError
    raw = os.pread(fd, count * meta.page_size, number * meta.page_size)
    if len(raw) != count * meta.page_size:
        raise _DamagedError
    return raw
