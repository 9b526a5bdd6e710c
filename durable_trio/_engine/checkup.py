"""Everything that can be said about a database without running anything: its figures, and what is wrong."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import trio

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._info import FIRST_ENDED_CODE, STATUS_NAMES, DatabaseInfo, DatabaseReport, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.base import Stored
from durable_trio._store.checkup import check_counts, check_runs, check_values, verify_at_rest
from durable_trio._store.environment import Tables
from durable_trio._store.lmdb import LmdbStore, open_lmdb_client
from durable_trio._store.requests import RequestBox

MOST_PROBLEMS = 1000  # that are listed; a file that is damaged all over has as many as it has values


async def check_database(path: str | os.PathLike[str]) -> DatabaseReport:
    """Check a database: its files, each checksum, each record, and that its tables agree with each other.

    It only reads, and may be done while an engine has the database open; then the structure of the data file
    is left out, which is only at rest without one. It takes about a minute per 10 million values.

    Args:
        path: the database directory.

    Returns:
        What was found. That there is no database, or that it cannot be opened, is found too.

    Cancelling this ends it at once.
    """
    try:
        problems = await trio.to_thread.run_sync(verify_at_rest, path)
        if problems:  # LMDB could end this process if it had to read that
            return DatabaseReport(info=None, problems=problems[:MOST_PROBLEMS])
        store, box = await trio.to_thread.run_sync(open_lmdb_client, path)
    except StoreError as error:
        return DatabaseReport(info=None, problems=[str(error)])
    try:
        info = await trio.to_thread.run_sync(database_info, store, box)
        problems = await _check_records(store)
        for table in Tables._fields:
            if table != "runs":
                problems += await _check_table(store, table)
        problems += await trio.to_thread.run_sync(store.look, check_counts)
    except StoreError as error:
        return DatabaseReport(info=None, problems=[*problems, str(error)])
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(box.close)
            await trio.to_thread.run_sync(store.close)
    return DatabaseReport(info=info, problems=problems[:MOST_PROBLEMS])


def database_info(store: LmdbStore, box: RequestBox) -> DatabaseInfo:
    """The figures of a database; costs no scan."""
    statistics = store.statistics()
    by_status: Counter[RunStatus] = Counter()
    for (_, status), count in store.counts().items():
        if status in STATUS_NAMES:
            by_status[STATUS_NAMES[status]] += count
    return DatabaseInfo(
        path=str(store.path),
        engine=box.has_engine(),
        runs=statistics.runs,
        by_status={name: by_status[name] for name in STATUS_NAMES.values() if by_status[name]},
        requests=len(store.requests(limit=MOST_PROBLEMS)),
        size=statistics.size,
        used=statistics.used,
        disk_free=shutil.disk_usage(store.path).free,
        readers=statistics.readers,
    )


async def _check_table(store: LmdbStore, table: str) -> list[str]:
    problems: list[str] = []
    after: bytes | None = None
    while len(problems) < MOST_PROBLEMS:
        found, after = await trio.to_thread.run_sync(store.look, check_values, table, after)
        problems += found
        if after is None:
            break
    return problems


async def _check_records(store: LmdbStore) -> list[str]:
    codec = Codec(TypeRegistry(lenient=True))
    problems: list[str] = []
    after: bytes | None = None
    while len(problems) < MOST_PROBLEMS:
        page = await trio.to_thread.run_sync(store.look, check_runs, after)
        if not page:
            break
        problems += await trio.to_thread.run_sync(_problems_of, codec, page)
        after = page[-1].run
    return problems


def _problems_of(codec: Codec, page: list[Stored]) -> list[str]:
    found = []
    for stored in page:
        try:
            if stored.error is not None:
                raise stored.error
            header = codec.decode_header(stored.header)
            ended = Journal(codec.decode_rows(stored.rows)).ended
        except StoreCorrupt as error:
            text = str(error)
            found.append(text if stored.run.hex() in text else f"run {stored.run.hex()}: {text}")
            continue
        status = STATUS_NAMES.get(stored.status, str(stored.status))
        recorded = None if ended is None else ended.status
        if recorded != (stored.status if stored.status >= FIRST_ENDED_CODE else None):
            said = "no end" if recorded is None else f"the end {STATUS_NAMES.get(recorded, recorded)!r}"
            found.append(f"run {header.id!r} has the status {status!r}, and its journal has {said}")
    return found
