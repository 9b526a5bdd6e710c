"""Databases with very many runs, made in a fraction of the time that running them would take.

One real run is recorded, transaction by transaction, and what it wrote is written again under other keys. So
each of the copies has the same rows, index entries and checksums as a run that an engine ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from benchmarks.rawlmdb import recorded_writes
from durable_trio import Workflow, open_engine
from durable_trio._engine.ids import KeySource, id_of_key
from durable_trio._store.base import Write
from durable_trio._store.lmdb import open_lmdb

_AT_ONCE = 5000  # runs in one transaction

Template = list[Write]
Timer = Callable[[int, int], int]


async def record(path: Path, workflow: Workflow, context: dict[str, Any], until: str) -> Template:
    """What one run writes until it has a status, one ``Write`` per transaction. The run stays there."""
    async with open_engine(path, workflows=[workflow]) as engine:

        async def one() -> None:
            run = await engine.start(workflow, context)
            while run.status != until:  # noqa: ASYNC110 - nothing says that a run waits
                await trio.sleep(0.001)
            await engine.get(run.id)  # what is not on disk yet is committed before this is answered

        batches = await recorded_writes(engine, one)
    return [write for batch in batches for write in batch]


def fill(path: Path, template: Template, runs: int, timer: Timer = lambda due, _number: due) -> None:
    """Add as many copies to a database that nobody has open.

    Args:
        path: where the template was recorded, or a database with the same workflows in the same order.
        template: of ``record``.
        runs: how many.
        timer: the due time (ms since the epoch) of the copy with this number, given the recorded one.
    """
    original = template[0].run
    old_id = id_of_key(original).encode()
    store = open_lmdb(path)
    try:
        keys = KeySource(time.time, store.last_run())
        for first in range(0, runs, _AT_ONCE):
            copies = [keys() for _ in range(min(_AT_ONCE, runs - first))]
            for write in template:
                store.commit([_copy(write, old_id, key, first + i, timer) for i, key in enumerate(copies)])
    finally:
        store.close()


def _copy(write: Write, old_id: bytes, key: bytes, number: int, timer: Timer) -> Write:
    header = write.header
    if header is not None:
        header = header.replace(old_id, id_of_key(key).encode())
    due, old_due = write.timer, write.old_timer
    return Write(
        key,
        header,
        write.alias,
        write.seq,
        write.row,
        write.workflow,
        write.old,
        write.new,
        messages=write.messages,
        taken=write.taken,
        timer=None if due is None else timer(due, number),
        old_timer=None if old_due is None else timer(old_due, number),
    )
