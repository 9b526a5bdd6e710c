"""What every store does: keep runs, their journals and a few small tables, as bytes.

A store knows keys, index fields and opaque payloads, nothing of workflows, records or Trio, and all of it
blocks. One run is one header, a journal of rows, at most one alias, and one status byte:

    header      written once, when the run is new
    journal     rows numbered from 0, appended, never rewritten
    alias       the id that a user chose for the run, if any
    status      under which (workflow, status) the run is indexed

``commit`` takes a batch of ``Write``, plain data, so that an implementation may try the same batch again
after making room for it. That, with one transaction per batch and no lock held between calls, is the whole
seam: it asks nothing that a server-side database could not give as well.

What the caller promises is checked (``check_writes`` and the rules of ``Write``), because a journal row that
replaces another, or an index entry that outlives its run, would only be noticed at the next recovery.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from durable_trio._errors import StoreCorrupt
from durable_trio._speedups.batching import (
    MAX_WORKFLOW,
    RUN_KEY_LENGTH,
    Answer,
    Write,
    check_key,
    check_writes,
)

__all__ = [
    "MAX_WORKFLOW",
    "RUN_KEY_LENGTH",
    "Answer",
    "Pair",
    "Store",
    "StoreStatistics",
    "Stored",
    "Write",
    "check_key",
    "check_writes",
]

Pair = tuple[bytes, bytes | None]  # key, and payload unless it is damaged


class Stored(NamedTuple):
    """A run as it is stored.

    Attributes:
        run: its key.
        header: as it was written.
        rows: its journal, in order; empty if rows were not asked for.
        status: the status byte under which it is indexed.
        workflow: the number of its workflow.
        error: not from ``load``: why this run cannot be read. ``header`` and ``rows`` are then empty, and
            ``status`` and ``workflow`` are -1 where they are not known either.
        messages: its mailbox, as ``Store.messages`` gives it; None if it was not read together with the rest.
    """

    run: bytes
    header: bytes
    rows: list[bytes]
    status: int
    workflow: int
    error: StoreCorrupt | None = None
    messages: list[tuple[int, bytes]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatistics:
    """How large a store is. Sizes are in bytes; those of a store in memory are 0.

    Attributes:
        path: the database directory, or None.
        size: of the data file.
        used: of the pages in use; the rest of the data file is reused before it grows.
        map_size: how large the data file can get before the map grows.
        runs: how many runs are stored.
        rows: how many journal rows are stored.
        readers: read transactions under way, or slots kept for them, over all processes.
        batch_number: the number of the last commit.
    """

    path: Path | None
    size: int
    used: int
    map_size: int
    runs: int
    rows: int
    readers: int
    batch_number: int


class Store(ABC):
    """A place for runs.

    ``commit``, ``workflow_number``, ``put_outline`` and ``close`` are called from one thread at a time; all
    other methods may be called from any thread, also during a commit, and see the last finished commit.

    Every method raises ``StoreError`` if the store is closed, if the database cannot be used, and in a forked
    child; ``StoreCorrupt`` if bytes are not what was written.

    Attributes:
        path: the database directory; None for a store in memory.
        threaded: does ``commit`` wait for a disk, so that it belongs in a thread of its own?
        shared: can other processes leave requests?
    """

    path: Path | None
    threaded: bool
    shared: bool

    @abstractmethod
    def commit(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> int:
        """Do all of ``writes`` and ``answers``, or none of it; when this returns, they are on disk.

        At most one ``Write`` per run. An empty batch does nothing.

        Returns:
            The number of the batch; each commit has a higher one than the commit before.

        Raises:
            InputError: the batch contradicts itself or what is stored. Nothing was written, and the store
                can go on.
            StoreFull: no space is left. Nothing of this batch was written.
            StoreError: the commit failed; the message says whether its outcome is known. After this and
                after StoreFull, every commit is refused with the same error until the store is opened anew.
        """

    @abstractmethod
    def find(self, alias: bytes) -> bytes | None:
        """The key of the run with this alias."""

    @abstractmethod
    def load(self, run: bytes, *, with_rows: bool = True) -> Stored | None:
        """Everything about one run, as of one commit; None if it is not stored.

        Raises:
            StoreCorrupt: the header, a row or the index entry is damaged or missing; names the run.
        """

    @abstractmethod
    def load_small(self, runs: Sequence[bytes], *, likely: int, size: int) -> list[Stored | None]:
        """Several runs at once, with all that is stored of them where that is little, as of one commit.

        In the order of ``runs``. A damaged run takes its place with ``error`` set; one that is not stored is
        None.

        Args:
            runs: their keys; in ascending order this is fastest.
            likely: the status byte that most of them have: it is looked for first.
            size: if the journal and the mailbox of a run have more bytes than this together, they are left
                out: ``rows`` is empty, and ``messages`` is None.
        """

    @abstractmethod
    def page(
        self,
        *,
        workflow: int | None = None,
        statuses: Collection[int] | None = None,
        before: bytes | None = None,
        limit: int,
    ) -> list[Stored]:
        """Runs with their journals, newest first, as of one commit.

        A damaged run takes its place in the page with ``error`` set, so that it hides no other.

        Args:
            workflow: of this workflow only.
            statuses: with one of these status bytes only.
            before: older than this key only: the last key of the page before.
            limit: at most so many.
        """

    @abstractmethod
    def keys(
        self, statuses: Collection[int], *, after: bytes | None = None, limit: int
    ) -> list[tuple[bytes, int, int]]:
        """Which runs have one of these status bytes: (key, workflow, status), oldest first.

        Only the index is read: a damaged run is listed too, and shows when it is loaded.

        Args:
            statuses: the status bytes asked for.
            after: newer than this key only: the last key of the page before.
            limit: at most so many.
        """

    @abstractmethod
    def messages(self, run: bytes) -> list[tuple[int, bytes]]:
        """The run's mailbox: (number, payload), in the order of the numbers."""

    @abstractmethod
    def mailboxes(self, *, after: bytes | None = None, limit: int) -> list[bytes]:
        """Runs that have messages, in the order of their keys.

        Args:
            after: greater than this key only: the last key of the page before.
            limit: at most so many.
        """

    @abstractmethod
    def timers(self, *, after: tuple[int, bytes] | None = None, limit: int) -> list[tuple[int, bytes]]:
        """The nearest timers: (milliseconds since the epoch, run), earliest first.

        Args:
            after: later than this one only: the last of the page before.
            limit: at most so many.
        """

    @abstractmethod
    def counts(self) -> dict[tuple[int, int], int]:
        """How many runs there are by (workflow, status); pairs without runs are left out. Costs no scan."""

    def count(self, status: int) -> int:
        """How many runs have this status byte."""
        return sum(number for (_, found), number in self.counts().items() if found == status)

    @abstractmethod
    def workflow_number(self, name: str) -> int:
        """The number that stands for this workflow's name; a new name gets one at once, and keeps it."""

    @abstractmethod
    def workflow_names(self) -> dict[int, str]:
        """All workflow names by number."""

    @abstractmethod
    def put_outline(self, fingerprint: bytes, outline: bytes) -> None:
        """Keep a small document about one workflow definition, unless there is one under this fingerprint."""

    @abstractmethod
    def outline(self, fingerprint: bytes) -> bytes | None:
        """The document kept under this fingerprint."""

    def last_transaction(self) -> int:
        """A number that is another one after each commit, also of another process; cheap to ask for."""
        return self.batch_number()

    def requests(self, *, limit: int) -> list[Pair]:  # noqa: ARG002 - the interface
        """What other processes have asked for, oldest first: (key, payload), at most ``limit``.

        A payload that is damaged is None.
        """
        return []

    def replies(self, *, limit: int) -> list[Pair]:  # noqa: ARG002 - the interface
        """Replies that nobody has taken yet, to the oldest requests first: as ``requests``."""
        return []

    @abstractmethod
    def last_run(self) -> bytes | None:
        """The greatest run key."""

    @abstractmethod
    def batch_number(self) -> int:
        """The number of the last commit; 0 before the first."""

    @abstractmethod
    def statistics(self) -> StoreStatistics:
        """How large the store is."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Waits for calls under way; closing twice is fine."""
