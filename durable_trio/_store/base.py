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
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from durable_trio._errors import InputError, StoreCorrupt

RUN_KEY_LENGTH = 16
MAX_KEY_LENGTH = 511  # LMDB's; every store keeps to it, so that data can be moved between stores
MAX_SEQ = 0xFFFF_FFFF
MAX_WORKFLOW = 0xFFFF
MAX_STATUS = 0xFF
MAX_MESSAGE = 0xFFFF_FFFF_FFFF_FFFF
MAX_INSTANT = 0x7FFF_FFFF_FFFF_FFFF  # milliseconds since the epoch, in 8 bytes

Pair = tuple[bytes, bytes | None]  # key, and payload unless it is damaged


@dataclass(slots=True)
class Write:
    """All that one commit does to one run.

    Attributes:
        run: the run's key, 16 bytes that sort by the time of its start (a UUIDv7).
        header: the header of a new run. The key must be unused.
        alias: the id that a user chose for a new run, 1 to 511 bytes of UTF-8. It must be unused. For a
            ``delete``, the alias that goes too (one that names another run by now stays).
        seq: the number of ``row`` in the run's journal, from 0. It must be unused.
        row: one journal row.
        workflow: the number of the run's workflow; needed with ``header``, ``new`` and ``delete``.
        old: the status byte under which the run is indexed now; None: not yet.
        new: the status byte from now on; None: as it is.
        messages: (number, payload) to put into the run's mailbox. A number must be unused.
        taken: the numbers of messages that leave the mailbox; one that is not there is passed over.
        timer: milliseconds since the epoch at which the run is due.
        old_timer: a timer of the run that goes; one that is not there is passed over.
        delete: forget the run: header, journal, mailbox, ``alias``, its index entry under ``old``, and the
            timer ``old_timer``.
            What is already gone is passed over. Nothing else of this Write is looked at.
    """

    run: bytes
    header: bytes | None = None
    alias: bytes | None = None
    seq: int = 0
    row: bytes | None = None
    workflow: int = 0
    old: int | None = None
    new: int | None = None
    delete: bool = False
    messages: Sequence[tuple[int, bytes]] = ()
    taken: Sequence[int] = ()
    timer: int | None = None
    old_timer: int | None = None


@dataclass(slots=True)
class Answer:
    """The end of a request that another process has left; see ``requests.py``.

    Attributes:
        request: its key; it goes, if it is still there.
        reply: what whoever left it is told, unless the request is gone. None: nobody is told anything, and
            what was said goes too.
    """

    request: bytes
    reply: bytes | None


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


def check_writes(writes: Iterable[Write]) -> None:
    """Refuse a batch that no store could take, before anything is written.

    Raises:
        InputError: says which Write does not fit, and why.
    """
    runs: set[bytes] = set()
    aliases: set[bytes] = set()
    for write in writes:
        run = write.run
        if len(run) != RUN_KEY_LENGTH:
            raise InputError(f"a run key has {RUN_KEY_LENGTH} bytes, not {len(run)}: {run!r}")
        if run in runs:
            raise InputError(f"run {run.hex()} is twice in one batch: merge its writes into one")
        runs.add(run)
        _check_numbers(write)
        if write.delete:
            continue
        is_new = write.header is not None
        if is_new != (write.new is not None and write.old is None) or (
            write.alias is not None and not is_new
        ):
            raise InputError(
                f"run {run.hex()}: a new run has a header and a `new` status and no `old` one; any other run "
                "has no header and no alias, and changes its status from `old` to `new`"
            )
        if write.alias is not None:
            check_key(write.alias, "an alias")
            if write.alias in aliases:
                raise InputError(f"alias {write.alias!r} is twice in one batch")
            aliases.add(write.alias)


def _check_numbers(write: Write) -> None:
    if not 0 <= write.seq <= MAX_SEQ:
        raise InputError(f"row number {write.seq} of run {write.run.hex()} is not between 0 and {MAX_SEQ}")
    if not 0 <= write.workflow <= MAX_WORKFLOW:
        raise InputError(f"workflow number {write.workflow} is not between 0 and {MAX_WORKFLOW}")
    for status in (write.old, write.new):
        if status is not None and not 0 <= status <= MAX_STATUS:
            raise InputError(f"status {status} of run {write.run.hex()} is not one byte")
    for due in (write.timer, write.old_timer):
        if due is not None and not 0 <= due <= MAX_INSTANT:
            raise InputError(
                f"a timer of run {write.run.hex()} is due {due} ms after 1970: give 0 to {MAX_INSTANT}"
            )
    if write.messages or write.taken:
        _check_messages(write)


def _check_messages(write: Write) -> None:
    numbers = [number for number, _ in write.messages]
    for number in (*numbers, *write.taken):
        if not 0 <= number <= MAX_MESSAGE:
            raise InputError(
                f"message number {number} of run {write.run.hex()} is not between 0 and {MAX_MESSAGE}"
            )
    if len(set(numbers)) != len(numbers):
        raise InputError(f"run {write.run.hex()} is sent two messages with one number: {sorted(numbers)}")


def check_key(key: bytes, what: str) -> None:
    """Refuse what cannot be a key: nothing at all, or more than 511 bytes."""
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise InputError(
            f"{what} has 1 to {MAX_KEY_LENGTH} bytes, not {len(key)}"
            + (f": {key[:40]!r}…" if key else "")
            + "; use a shorter one, or a hash of it"
        )
