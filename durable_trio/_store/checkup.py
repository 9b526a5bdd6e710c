"""Is everything as it was written? Each value's checksum, and whether the tables agree with each other.

It reads a page at a time, each in a transaction of its own, so that it can go on for minutes beside an
engine without keeping old pages from being used again. What is compared is compared within one page's
transaction; only the counts are taken over a whole index at once, which reads its keys and nothing else.
About 4 µs per value.

Timers may be left over from runs that were woken by something else, so none of them is too many.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path
from struct import Struct

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._store import identity
from durable_trio._store.base import Stored
from durable_trio._store.batch import read_state
from durable_trio._store.datafile import check_data_file, verify_data_file
from durable_trio._store.environment import Tables, Transaction
from durable_trio._store.lock import has_owner
from durable_trio._store.queries import load
from durable_trio._store.seal import describe, fits

PAGE = 500
_index = Struct(">HB16s").unpack
_OWNED = {"journal": 16, "messages": 16}  # tables whose keys begin with a run, and how many bytes that is


def verify_at_rest(path: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the structure of a data file that no engine has open; nothing is mapped.

    Raises:
        StoreError, StoreCorrupt: it cannot be looked at, or there is nothing that could be.
    """
    directory = Path(os.path.abspath(path))  # noqa: PTH100 - as in open_lmdb
    if identity.inspect(directory) is not identity.Found.COMPLETE:
        raise StoreError(f"there is no database in {directory}; check the path")
    identity.read_identity(directory)
    data = directory / identity.DATA
    before = check_data_file(data).transaction
    if has_owner(directory / identity.WRITER_LOCK):
        return []
    problems = verify_data_file(data)
    written_meanwhile = check_data_file(data).transaction != before
    return [] if written_meanwhile else [f"{data}: {problem}" for problem in problems]


def check_runs(txn: Transaction, tables: Tables, after: bytes | None) -> list[Stored]:
    """A page of runs, oldest first; one that is damaged has its ``error`` set."""
    found: list[Stored] = []
    with txn.cursor(tables.runs) as cursor:
        if cursor.first() if after is None else cursor.set_range(after + b"\0"):
            for run in islice(cursor.iternext(values=False), PAGE):
                try:
                    stored = load(txn, tables, run)
                    assert stored is not None
                except StoreCorrupt as error:
                    stored = Stored(run, b"", [], -1, -1, error.with_traceback(None))
                found.append(stored)
    return found


def check_values(
    txn: Transaction, tables: Tables, table: str, after: bytes | None
) -> tuple[list[str], bytes | None]:
    """What is wrong with a page of a table, and its last key, or None after the last page."""
    problems: list[str] = []
    last: bytes | None = None
    owner: bytes | None = None
    with txn.cursor(getattr(tables, table)) as cursor:
        if not (cursor.first() if after is None else cursor.set_range(after + b"\0")):
            return problems, None
        for key, value in islice(cursor.iternext(), PAGE):
            if last is not None and key <= last:
                problems.append(f"{describe(table, key)}: its key is out of order, it was damaged on disk")
            last = key
            if not fits(key, value):
                problems.append(f"{describe(table, key)}: the checksum does not fit")
            elif table == "statuses":
                problems += _check_status(txn, tables, key)
            elif table == "aliases" and txn.get(value[-16:], db=tables.runs) is None:
                problems.append(f"{describe(table, key)} names a run that is not there")
            elif table in _OWNED and key[:16] != owner:
                owner = key[:16]
                if txn.get(owner, db=tables.runs) is None:
                    problems.append(f"{describe(table, key)} belongs to a run that is not there")
    return problems, last


def _check_status(txn: Transaction, tables: Tables, key: bytes) -> list[str]:
    workflow, status, run = _index(key)
    if txn.get(run, db=tables.runs) is None:
        return [f"{describe('statuses', key)} is there, and the run is not"]
    try:
        stored = load(txn, tables, run, with_rows=False)
    except StoreCorrupt:
        return []  # that is said of the run
    assert stored is not None
    if (stored.workflow, stored.status) != (workflow, status):
        return [f"run {run.hex()} has two statuses, {stored.status} and {status} (table 'statuses')"]
    return []


def check_counts(txn: Transaction, tables: Tables) -> list[str]:
    """Whether the stored counts are those of the index."""
    with txn.cursor(tables.statuses) as cursor:
        counted = Counter(_index(key)[:2] for key in cursor.iternext(values=False))
    kept = Counter(read_state(txn, tables)[1])
    return [
        f"there are {counted[pair]} runs of workflow number {pair[0]} with status {pair[1]}, and the count "
        f"says {kept[pair]} (table 'meta')"
        for pair in sorted(counted.keys() | kept.keys())
        if kept[pair] != counted[pair]
    ]
