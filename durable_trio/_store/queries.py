"""What is read from LMDB, within a read transaction that the caller holds.

The index holds a run under (workflow, status, run). What exists of the first two is found by seeking from one
range to the next, two seeks each, so that neither a list of all statuses nor a scan is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import islice, pairwise
from math import inf
from struct import Struct
from typing import TypeAlias

import lmdb

from durable_trio._errors import StoreCorrupt
from durable_trio._store.base import Stored
from durable_trio._store.environment import Tables, Transaction
from durable_trio._store.seal import damaged, describe, fits, unseal, unsealed

Cursor: TypeAlias = "lmdb.Cursor[bytes]"
Found: TypeAlias = tuple[bytes, int, int]  # run, workflow, status
UNKNOWN = -1
_PAST = b"\xff" * 9  # behind every message of a run

_index_key = Struct(">HB16s").pack
_timer_key = Struct(">Q16s").pack
_range = Struct(">HB")
_AFTER_ALL = b"\xff" * 17  # sorts behind every run of a range


def look_up(txn: Transaction, tables: Tables, table: str, key: bytes) -> bytes | None:
    """What is stored under a key, or None; a key that is damaged does not count as absent."""
    handle = getattr(tables, table)
    sealed = txn.get(key, db=handle)
    if sealed is not None:
        return unseal(table, key, sealed)
    with txn.cursor(handle) as cursor:
        cursor.set_range(key)
        check_absent(cursor, table, key)
    return None


def check_absent(cursor: Cursor, table: str, key: bytes, *, known: bytes = b"") -> None:
    """Is a key that was sought truly absent, or were the bytes damaged that should have led to it?

    A flipped bit in a key hides its value, and can hide others by leading the search astray. Either way the
    search ends beside the damage: there, the keys are out of order, or a value belongs to another key.

    Args:
        cursor: where ``set_range(key)`` has left it; it is moved.
        table: its name.
        key: is not there.
        known: a key whose value was found to be right already.

    Raises:
        StoreCorrupt: it was damaged.
    """
    landed = cursor.key()
    if not (landed and cursor.next()):
        cursor.last()
    keys = list(islice(cursor.iterprev(keys=True, values=False), 4))[::-1]
    place = keys.index(landed) if landed in keys else len(keys)
    beside = [other for other in keys[max(0, place - 1) : place + 1] if other != known]
    keys.insert(place, key)
    in_order = all(low < high for low, high in pairwise(keys))
    if not in_order or any(cursor.set_key(other) and fits(key, cursor.value()) for other in beside):
        raise StoreCorrupt(f"{describe(table, key)}: its key, or one beside it, was damaged on disk")


def load(txn: Transaction, tables: Tables, run: bytes, with_rows: bool = True) -> Stored | None:
    """See ``Store.load``."""
    payload = look_up(txn, tables, "runs", run)
    if payload is None:
        for workflow, status in _ranges(txn, tables):
            if txn.get(_index_key(workflow, status, run), db=tables.statuses) is not None:
                raise StoreCorrupt(f"{describe('runs', run)} is missing, although the run has a status")
        return None
    workflow, header = int.from_bytes(payload[:2]), payload[2:]
    status = _status(txn, tables, workflow, run)
    rows: list[bytes] | None = []
    if with_rows:
        with txn.cursor(tables.journal) as cursor:
            rows = _rows(cursor, run)
    assert rows is not None  # there is no limit
    return Stored(run, header, rows, status, workflow)


def _load_or_error(txn: Transaction, tables: Tables, found: Found) -> Stored:
    """A run for a page, whether it can be read or not."""
    run, workflow, status = found
    try:
        stored = load(txn, tables, run)
        if (
            stored is not None
            and status in {UNKNOWN, stored.status}
            and workflow in {UNKNOWN, stored.workflow}
        ):
            return stored
        error = StoreCorrupt(
            f"{describe('runs', run)} is missing, although the run has a status"
            if stored is None
            else f"run {run.hex()} has two statuses, {stored.status} and {status} (table 'statuses')"
        )
    except StoreCorrupt as damage:
        # A page outlives its transaction, which the frames of a traceback would keep.
        error = damage.with_traceback(None)
    return Stored(run, b"", [], status, workflow, error)


def load_small(
    txn: Transaction, tables: Tables, runs: Sequence[bytes], likely: int, size: int
) -> list[Stored | None]:
    """See ``Store.load_small``."""
    found: list[Stored | None] = []
    with txn.cursor(tables.journal) as journal, txn.cursor(tables.messages) as mailboxes:
        for run in runs:
            try:
                found.append(_load_small(txn, tables, journal, mailboxes, run, likely, size))
            except StoreCorrupt as damage:
                error = damage.with_traceback(None)  # as in a page
                found.append(Stored(run, b"", [], UNKNOWN, UNKNOWN, error))
    return found


def _load_small(
    txn: Transaction,
    tables: Tables,
    journal: Cursor,
    mailboxes: Cursor,
    run: bytes,
    likely: int,
    size: int,
) -> Stored | None:
    sealed = txn.get(run, db=tables.runs)
    if sealed is None:
        return load(txn, tables, run, with_rows=False)  # which finds out whether it is truly absent
    payload = unseal("runs", run, sealed)
    workflow = int.from_bytes(payload[:2])
    key = _index_key(workflow, likely, run)
    sealed = txn.get(key, db=tables.statuses)
    if sealed is None:
        status = _status(txn, tables, workflow, run)
    else:
        unseal("statuses", key, sealed)
        status = likely
    rows = _rows(journal, run, size)
    messages = None if rows is None else _messages(mailboxes, run, size - sum(map(len, rows)))
    if rows is None or messages is None:
        return Stored(run, payload[2:], [], status, workflow)
    return Stored(run, payload[2:], rows, status, workflow, None, messages)


def page(
    txn: Transaction,
    tables: Tables,
    workflow: int | None,
    statuses: Collection[int] | None,
    before: bytes | None,
    limit: int,
) -> list[Stored]:
    """See ``Store.page``."""
    if workflow is None and statuses is None:
        runs = _newest_runs(txn, tables, before)
    else:
        runs = _newest_indexed(txn, tables, workflow, statuses, before)
    return [_load_or_error(txn, tables, found) for found in islice(runs, max(0, limit))]


def keys(
    txn: Transaction, tables: Tables, statuses: Collection[int], after: bytes | None, limit: int
) -> list[Found]:
    """See ``Store.keys``."""
    ranges = [
        _forwards(txn, tables, workflow, status, after)
        for workflow, status in _ranges(txn, tables)
        if status in statuses
    ]
    return list(islice(merge(*ranges), max(0, limit)))


def messages(txn: Transaction, tables: Tables, run: bytes) -> list[tuple[int, bytes]]:
    """See ``Store.messages``."""
    with txn.cursor(tables.messages) as cursor:
        found = _messages(cursor, run)
    assert found is not None  # there is no limit
    return found


def mailboxes(txn: Transaction, tables: Tables, after: bytes | None, limit: int) -> list[bytes]:
    """See ``Store.mailboxes``. Seeks from run to run."""
    runs: list[bytes] = []
    with txn.cursor(tables.messages) as cursor:
        found = cursor.first() if after is None else cursor.set_range(after + _PAST)
        while found and len(runs) < limit:
            run = cursor.key()[:16]
            runs.append(run)
            found = cursor.set_range(run + _PAST)
    return runs


def timers(
    txn: Transaction, tables: Tables, after: tuple[int, bytes] | None, limit: int
) -> list[tuple[int, bytes]]:
    """See ``Store.timers``."""
    with txn.cursor(tables.timers) as cursor:
        if not (cursor.first() if after is None else cursor.set_range(_timer_key(*after) + b"\0")):
            return []
        return [
            (int.from_bytes(key[:8]), key[8:]) for key in islice(cursor.iternext(values=False), max(0, limit))
        ]


def last_run(txn: Transaction, tables: Tables) -> bytes | None:
    """See ``Store.last_run``."""
    with txn.cursor(tables.runs) as cursor:
        return cursor.key() if cursor.last() else None


def workflows(txn: Transaction, tables: Tables) -> dict[bytes, int]:
    """All workflow names with their numbers."""
    with txn.cursor(tables.workflows) as cursor:
        return {name: int.from_bytes(unseal("workflows", name, sealed)) for name, sealed in cursor}


def sizes(txn: Transaction, tables: Tables) -> tuple[int, int, int]:
    """Bytes in use, runs, rows."""
    stats = [txn.stat(), *(txn.stat(table) for table in tables)]
    pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
    runs, rows = txn.stat(tables.runs)["entries"], txn.stat(tables.journal)["entries"]
    return pages * stats[0]["psize"], runs, rows


def _newest_runs(txn: Transaction, tables: Tables, before: bytes | None) -> Iterator[Found]:
    """All runs, newest first; workflow and status are left to be looked up."""
    with txn.cursor(tables.runs) as cursor:
        if cursor.last() if before is None or not cursor.set_range(before) else cursor.prev():
            for key in cursor.iterprev(keys=True, values=False):
                yield key, UNKNOWN, UNKNOWN


def _newest_indexed(
    txn: Transaction,
    tables: Tables,
    workflow: int | None,
    statuses: Collection[int] | None,
    before: bytes | None,
) -> Iterator[Found]:
    """Runs of a workflow, or with one of some statuses, newest first."""
    ranges = [
        _backwards(txn, tables, number, status, before)
        for number, status in _ranges(txn, tables)
        if (workflow is None or number == workflow) and (statuses is None or status in statuses)
    ]
    return merge(*ranges, reverse=True)


def _messages(cursor: Cursor, run: bytes, size: float = inf) -> list[tuple[int, bytes]] | None:
    """A run's mailbox; None if it has more bytes than ``size``."""
    found: list[tuple[int, bytes]] = []
    cursor.set_range(run)
    while (key := cursor.key()).startswith(run):
        message = unseal("messages", key, cursor.value())
        size -= len(message)
        if size < 0:
            return None
        found.append((int.from_bytes(key[16:]), message))
        cursor.next()
    return found


def _rows(cursor: Cursor, run: bytes, size: float = inf) -> list[bytes] | None:
    """A run's journal; None if it has more bytes than ``size``."""
    rows: list[bytes] = []
    expected = run + b"\0\0\0\0"
    if cursor.set_range(expected):
        for key, sealed in cursor:
            if key != expected:
                if key.startswith(run):
                    raise StoreCorrupt(f"{describe('journal', expected)} is missing")
                if rows and key > expected and fits(key, sealed):
                    return rows  # a sound row on either side, with nothing in between: there are no more
                break
            row = unsealed(key, sealed)  # and not ``unseal``: so many are read when a database is opened
            if row is None:
                raise damaged("journal", key)
            size -= len(row)
            if size < 0:
                return None
            rows.append(row)
            expected = run + len(rows).to_bytes(4)
    known = run + (len(rows) - 1).to_bytes(4) if rows else b""
    check_absent(cursor, "journal", expected, known=known)
    return rows


def _status(txn: Transaction, tables: Tables, workflow: int, run: bytes) -> int:
    """Under which status is this run indexed? Seeks through the statuses that its workflow has."""
    with txn.cursor(tables.statuses) as cursor:
        status = 0
        while status <= 0xFF and cursor.set_range(wanted := _index_key(workflow, status, run)):
            key = cursor.key()
            if key == wanted:
                unseal("statuses", key, cursor.value())
                return status
            number, found = _range.unpack_from(key)
            if number != workflow:
                break
            status = max(found, status + 1)
    raise StoreCorrupt(f"{describe('statuses', _index_key(workflow, 0, run))} is missing")


def _ranges(txn: Transaction, tables: Tables) -> list[tuple[int, int]]:
    """Each (workflow, status) that has a run."""
    ranges: list[tuple[int, int]] = []
    with txn.cursor(tables.statuses) as cursor:
        found = cursor.first()
        while found:
            key = cursor.key()
            ranges.append(_range.unpack_from(key))
            found = cursor.set_range(key[: _range.size] + _AFTER_ALL)
    return ranges


def _backwards(
    txn: Transaction, tables: Tables, workflow: int, status: int, before: bytes | None
) -> Iterator[Found]:
    prefix = _range.pack(workflow, status)
    with txn.cursor(tables.statuses) as cursor:
        end = prefix + (_AFTER_ALL if before is None else before)
        if cursor.prev() if cursor.set_range(end) else cursor.last():
            for key in cursor.iterprev(keys=True, values=False):
                if not key.startswith(prefix):
                    break
                yield key[_range.size :], workflow, status


def _forwards(
    txn: Transaction, tables: Tables, workflow: int, status: int, after: bytes | None
) -> Iterator[Found]:
    prefix = _range.pack(workflow, status)
    with txn.cursor(tables.statuses) as cursor:
        if cursor.set_range(prefix if after is None else prefix + after + b"\0"):
            for key in cursor.iternext(keys=True, values=False):
                if not key.startswith(prefix):
                    break
                yield key[_range.size :], workflow, status
