"""A store in memory: for tests, for runs that need not outlive the process, and as the model of the others.

It keeps the same rules as the store on disk, and refuses what that refuses. It starts no thread and never
blocks, so a test's clock cannot leap past it. ``copy`` freezes an image of it: a crash, in a test, is to drop
the engine and go on with the image.

The index is a sorted list of keys per (workflow, status), as it is a range of keys on disk. Keys sort by
time, so an insert is an append, nearly always.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from durable_trio._errors import InputError, StoreCorrupt, StoreError
from durable_trio._store.base import (
    MAX_WORKFLOW,
    Answer,
    Store,
    Stored,
    StoreStatistics,
    Write,
    check_key,
    check_writes,
)


class _Run(NamedTuple):
    header: bytes
    workflow: int


class MemoryStore(Store):
    """See ``Store``. Nothing survives the object."""

    path: Path | None = None
    threaded = False
    shared = False

    def __init__(self) -> None:
        self._runs: dict[bytes, _Run] = {}
        self._order: list[bytes] = []  # the keys of _runs, sorted
        self._journal: dict[bytes, dict[int, bytes]] = {}
        self._aliases: dict[bytes, bytes] = {}
        self._index: dict[tuple[int, int], list[bytes]] = {}
        self._status: dict[bytes, int] = {}
        self._workflows: dict[str, int] = {}
        self._outlines: dict[bytes, bytes] = {}
        self._messages: dict[bytes, dict[int, bytes]] = {}
        self._timers: list[tuple[int, bytes]] = []  # sorted
        self._batch = 0
        self._closed = False
        self._lock = threading.Lock()

    def copy(self) -> MemoryStore:
        """An image of what is stored now, open, and independent of this store (which may be closed)."""
        with self._lock:
            image = MemoryStore()
            image._runs = dict(self._runs)
            image._order = list(self._order)
            image._journal = {run: dict(rows) for run, rows in self._journal.items()}
            image._aliases = dict(self._aliases)
            image._index = {key: list(runs) for key, runs in self._index.items()}
            image._status = dict(self._status)
            image._workflows = dict(self._workflows)
            image._outlines = dict(self._outlines)
            image._messages = {run: dict(messages) for run, messages in self._messages.items()}
            image._timers = list(self._timers)
            image._batch = self._batch
            return image

    def commit(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> int:
        check_writes(writes)
        if answers:
            raise InputError("no other process can ask anything of a store in memory, so nothing is answered")
        with self._lock:
            self._check_open()
            if not writes:
                return self._batch
            # Everything that can be refused is refused before anything changes: all of the batch or none.
            freed = {write.alias for write in writes if write.delete and self._owns(write)}
            for write in writes:
                if not write.delete:
                    self._check(write, freed)
            # Deletions first: an alias may go from one run to another in one batch.
            for write in sorted(writes, key=lambda write: not write.delete):
                if write.delete:
                    self._delete(write)
                else:
                    self._apply(write)
            self._batch += 1
            return self._batch

    def _owns(self, write: Write) -> bool:
        return write.alias is not None and self._aliases.get(write.alias) == write.run

    def _check(self, write: Write, freed: Collection[bytes | None]) -> None:
        run = write.run
        if write.header is not None and run in self._runs:
            raise InputError(f"run {run.hex()} is already stored")
        if write.alias is not None and write.alias in self._aliases and write.alias not in freed:
            raise InputError(f"alias {write.alias!r} already names another run")
        for number, _ in write.messages:
            if number in self._messages.get(run, ()):
                raise InputError(f"message {number} of run {run.hex()} is already stored")
        if write.row is not None and write.seq in self._journal.get(run, ()):
            raise InputError(f"row {write.seq} of run {run.hex()} is already stored")
        if write.new is not None and write.new != write.old:
            indexed = self._status.get(run)
            if indexed != write.old or (write.old is not None and self._runs[run].workflow != write.workflow):
                raise InputError(f"run {run.hex()} is not indexed under status {write.old}")

    def _apply(self, write: Write) -> None:
        run = write.run
        if write.header is not None:
            self._runs[run] = _Run(write.header, write.workflow)
            insort(self._order, run)
        if write.alias is not None:
            self._aliases[write.alias] = run
        if write.row is not None:
            self._journal.setdefault(run, {})[write.seq] = write.row
        if write.messages:
            self._messages.setdefault(run, {}).update(write.messages)
        self._take(write)
        if write.timer is not None:
            self._drop_timer(write.timer, run)  # one and the same is kept once
            insort(self._timers, (write.timer, run))
        if write.new is not None and write.new != write.old:
            if write.old is not None:
                self._unindex(write.workflow, write.old, run)
            insort(self._index.setdefault((write.workflow, write.new), []), run)
            self._status[run] = write.new

    def _take(self, write: Write) -> None:
        """Empty the mailbox of what is taken, and drop the timer that goes."""
        run = write.run
        mailbox = self._messages.get(run)
        if mailbox is not None:
            for number in write.taken:
                mailbox.pop(number, None)
            if not mailbox:
                del self._messages[run]
        if write.old_timer is not None and write.old_timer != write.timer:
            self._drop_timer(write.old_timer, run)

    def _drop_timer(self, due: int, run: bytes) -> None:
        place = bisect_left(self._timers, (due, run))
        if self._timers[place : place + 1] == [(due, run)]:
            del self._timers[place]

    def _delete(self, write: Write) -> None:
        run = write.run
        self._messages.pop(run, None)
        if write.old_timer is not None:
            self._drop_timer(write.old_timer, run)
        if self._runs.pop(run, None) is not None:
            del self._order[bisect_left(self._order, run)]
        self._journal.pop(run, None)
        if write.alias is not None and self._owns(write):
            del self._aliases[write.alias]
        if write.old is not None and self._status.get(run) == write.old:
            self._unindex(write.workflow, write.old, run)

    def _unindex(self, workflow: int, status: int, run: bytes) -> None:
        runs = self._index[workflow, status]
        del runs[bisect_left(runs, run)]
        if not runs:
            del self._index[workflow, status]
        del self._status[run]

    def find(self, alias: bytes) -> bytes | None:
        check_key(alias, "an alias")
        with self._lock:
            self._check_open()
            return self._aliases.get(alias)

    def load(self, run: bytes, *, with_rows: bool = True) -> Stored | None:
        with self._lock:
            self._check_open()
            return self._load(run, with_rows=with_rows) if run in self._runs else None

    def _load(self, run: bytes, *, with_rows: bool = True) -> Stored:
        header, workflow = self._runs[run]
        rows: list[bytes] = []
        if with_rows:
            journal = self._journal.get(run, {})
            try:
                rows = [journal[seq] for seq in range(len(journal))]
            except KeyError as error:
                raise StoreCorrupt(
                    f"run {run.hex()}: row {error.args[0]} of its journal is missing"
                ) from None
        return Stored(run, header, rows, self._status[run], workflow)

    def load_small(self, runs: Sequence[bytes], *, likely: int, size: int) -> list[Stored | None]:  # noqa: ARG002 - the interface
        with self._lock:
            self._check_open()
            return [self._small(run, size) if run in self._runs else None for run in runs]

    def _small(self, run: bytes, size: int) -> Stored:
        stored = self._shown(run)
        messages = sorted(self._messages.get(run, {}).items())
        if sum(map(len, stored.rows)) + sum(len(payload) for _, payload in messages) > size:
            return stored._replace(rows=[])
        return stored if stored.error is not None else stored._replace(messages=messages)

    def page(
        self,
        *,
        workflow: int | None = None,
        statuses: Collection[int] | None = None,
        before: bytes | None = None,
        limit: int,
    ) -> list[Stored]:
        with self._lock:
            self._check_open()
            wanted = [
                runs
                for (number, status), runs in self._index.items()
                if (workflow is None or number == workflow) and (statuses is None or status in statuses)
            ]
            newest = merge(*(_descending(runs, before) for runs in wanted), reverse=True)
            return [self._shown(run) for run in islice(newest, max(0, limit))]

    def _shown(self, run: bytes) -> Stored:
        try:
            return self._load(run)
        except StoreCorrupt as error:
            return Stored(run, b"", [], self._status[run], self._runs[run].workflow, error)

    def keys(
        self, statuses: Collection[int], *, after: bytes | None = None, limit: int
    ) -> list[tuple[bytes, int, int]]:
        with self._lock:
            self._check_open()
            wanted = [
                _ascending(runs, after, number, status)
                for (number, status), runs in self._index.items()
                if status in statuses
            ]
            return list(islice(merge(*wanted), max(0, limit)))

    def messages(self, run: bytes) -> list[tuple[int, bytes]]:
        with self._lock:
            self._check_open()
            return sorted(self._messages.get(run, {}).items())

    def mailboxes(self, *, after: bytes | None = None, limit: int) -> list[bytes]:
        with self._lock:
            self._check_open()
            return sorted(run for run in self._messages if after is None or run > after)[: max(0, limit)]

    def timers(self, *, after: tuple[int, bytes] | None = None, limit: int) -> list[tuple[int, bytes]]:
        with self._lock:
            self._check_open()
            start = 0 if after is None else bisect_right(self._timers, after)
            return self._timers[start : start + max(0, limit)]

    def counts(self) -> dict[tuple[int, int], int]:
        with self._lock:
            self._check_open()
            return {key: len(runs) for key, runs in self._index.items()}

    def workflow_number(self, name: str) -> int:
        check_key(name.encode(), "a workflow's name")
        with self._lock:
            self._check_open()
            if name not in self._workflows and len(self._workflows) >= MAX_WORKFLOW:
                raise StoreError(f"this store has {MAX_WORKFLOW} workflow names already")
            return self._workflows.setdefault(name, len(self._workflows) + 1)

    def workflow_names(self) -> dict[int, str]:
        with self._lock:
            self._check_open()
            return {number: name for name, number in self._workflows.items()}

    def put_outline(self, fingerprint: bytes, outline: bytes) -> None:
        check_key(fingerprint, "a fingerprint")
        with self._lock:
            self._check_open()
            self._outlines.setdefault(fingerprint, outline)

    def outline(self, fingerprint: bytes) -> bytes | None:
        check_key(fingerprint, "a fingerprint")
        with self._lock:
            self._check_open()
            return self._outlines.get(fingerprint)

    def last_run(self) -> bytes | None:
        with self._lock:
            self._check_open()
            return self._order[-1] if self._order else None

    def batch_number(self) -> int:
        with self._lock:
            self._check_open()
            return self._batch

    def statistics(self) -> StoreStatistics:
        with self._lock:
            self._check_open()
            return StoreStatistics(
                path=None,
                size=0,
                used=0,
                map_size=0,
                runs=len(self._runs),
                rows=sum(map(len, self._journal.values())),
                readers=0,
                batch_number=self._batch,
            )

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("this store is closed: what was in memory can no longer be used")


def _descending(runs: list[bytes], before: bytes | None) -> Iterator[bytes]:
    end = len(runs) if before is None else bisect_left(runs, before)
    return (runs[i] for i in range(end - 1, -1, -1))


def _ascending(
    runs: list[bytes], after: bytes | None, workflow: int, status: int
) -> Iterator[tuple[bytes, int, int]]:
    start = 0 if after is None else bisect_right(runs, after)
    return ((run, workflow, status) for run in islice(runs, start, None))
