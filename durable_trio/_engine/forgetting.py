"""Deletes runs that have ended, one or many."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from durable_trio._engine import inputs
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.ids import id_of_key
from durable_trio._engine.reader import status_codes
from durable_trio._errors import InputError, RunNotFound
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES, STATUS_NAMES, RunStatus
from durable_trio._store.base import Stored, Write

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

ENDED: tuple[RunStatus, ...] = tuple(name for name, code in STATUS_CODES.items() if code >= FIRST_ENDED_CODE)
_PRUNE_PAGE = 200


async def delete(engine: Engine, run_id: str) -> None:
    """See ``Engine.delete``."""
    await nothing_on_its_way(engine, run_id)
    delete_now(engine, run_id)
    await engine.committer.durable()


async def nothing_on_its_way(engine: Engine, run_id: str) -> None:
    """Wait until what is being added to the journal of a run that has ended is there."""
    engine.check_open()
    if run_id not in engine.live:
        stored = stored_now(engine, run_id, with_rows=False)
        while stored.run in engine.touched:
            await engine.committer.durable()


def delete_now(engine: Engine, run_id: str) -> None:
    """Hand over the deletion of a run."""
    engine.check_open()
    known = engine.live.get(run_id)
    if known is not None:
        raise _not_ended(run_id, known.status)
    stored = stored_now(engine, run_id, with_rows=False)
    if stored.status < FIRST_ENDED_CODE:  # it is parked
        raise _not_ended(run_id, STATUS_NAMES[stored.status])
    _forget(engine, [_deletion(stored.run, run_id, stored.workflow, stored.status)])


def _not_ended(run_id: str, status: RunStatus) -> InputError:
    return InputError(f"run {run_id!r} is {status}; cancel it before you delete it")


def stored_now(engine: Engine, run_id: str, *, with_rows: bool = True) -> Stored:
    """A run that has ended, as it is stored now.

    It is read here and not in a thread: what is done with it then must not find it changed by a retry or
    a deletion that came in between.
    """
    stored = engine.reader.load(run_id, with_rows=with_rows)
    if stored.run in engine.going:
        raise RunNotFound(f"there is no run {run_id!r} any more: it is being deleted")
    return stored


def _forget(engine: Engine, deletions: Sequence[Write]) -> None:
    keys = {write.run for write in deletions}
    engine.going |= keys
    for write in deletions:
        engine.committer.put_write(write)
    if ARMED and deletions:
        failpoint("delete.put")
    engine.committer.when_durable(partial(engine.going.difference_update, keys))


async def prune(
    engine: Engine,
    older_than: float | timedelta | datetime,
    statuses: RunStatus | Collection[RunStatus],
) -> int:
    """See ``Engine.prune``."""
    engine.check_open()
    limit = inputs.instant_before(older_than, engine.now())
    codes = status_codes(statuses) or set()
    for code in codes:
        if code < FIRST_ENDED_CODE:
            raise InputError(
                f"a run that is {STATUS_NAMES[code]} has not ended and cannot be pruned; statuses= "
                f"takes: {', '.join(ENDED)}"
            )
    deleted = 0
    after: bytes | None = None
    while True:
        page = await engine.reader.call(_old_runs, engine, codes, after, limit)
        if page is None:
            return deleted
        after, old = page
        engine.check_open()
        deletions = [write for write, run_id in old if _is_as_read(engine, write, run_id, limit)]
        _forget(engine, deletions)
        await engine.committer.durable()
        deleted += len(deletions)


def _is_as_read(engine: Engine, write: Write, run_id: str, limit: float) -> bool:
    """Whether a run that was read in a thread was neither retried, forked nor deleted since."""
    if run_id in engine.live or write.run in engine.going or write.run in engine.touched:
        return False
    retried = write.run in engine.retried  # then it may have ended once more, just now
    stored = engine.store.load(write.run, with_rows=retried)
    if stored is None or stored.status != write.old:
        return False
    return not retried or _ended_before(engine, stored, limit)


def _ended_before(engine: Engine, stored: Stored, limit: float) -> bool:
    finished = engine.reader.info(stored, with_steps=False).finished_at
    return finished is not None and finished.timestamp() < limit


def _old_runs(
    engine: Engine, codes: Collection[int], after: bytes | None, limit: float
) -> tuple[bytes, list[tuple[Write, str]]] | None:
    keys = engine.store.keys(codes, after=after, limit=_PRUNE_PAGE)
    if not keys:
        return None
    old = []
    for key, workflow, status in keys:
        stored = engine.store.load(key)
        if stored is not None and _ended_before(engine, stored, limit):
            run_id = engine.reader.codec.decode_header(stored.header).id
            old.append((_deletion(key, run_id, workflow, status), run_id))
    return keys[-1][0], old


def _deletion(key: bytes, run_id: str, workflow: int, status: int) -> Write:
    alias = None if id_of_key(key) == run_id else run_id.encode()
    return Write(key, alias=alias, workflow=workflow, old=status, delete=True)
