"""An episode as plain data, which is all that the checker sees; so that its tests can make one by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

OK, ERROR, CANCELLED, TIMED_OUT, NEVER_STARTED = "ok", "error", "cancelled", "timed_out", "never_started"
UNENDED = ("pending", "running", "waiting", "compensating", "blocked")


class Line(NamedTuple):
    """One line of the effects journal.

    Kinds: ``boot``, ``open``, ``exit`` of the process; ``enter``, then ``return``, ``raise``, ``err`` or
    ``cancelled`` of a body; ``into-enter`` and ``into-return``; ``ack-start``, ``ack-result``,
    ``ack-cancel``, ``ack-refused`` of a caller; ``sigterm``, ``drained``; ``fault`` of a system call.
    """

    number: int
    boot: int
    seq: int
    ns: int
    wall: float
    kind: str
    run: str
    path: str
    visit: int
    attempt: int
    value: Any = None
    more: Any = None

    def __str__(self) -> str:
        what = " ".join(str(part) for part in (self.run, self.path) if part)
        which = f" visit {self.visit} attempt {self.attempt}" if self.visit else ""
        return (
            f"line {self.number} (boot {self.boot}): {self.kind} {what}{which} {_shown(self.value)}".rstrip()
        )


class Done(NamedTuple):
    """A node's recorded outcome. ``own`` identifies what the body made, ``whole`` all that it passed on."""

    path: str
    visit: int
    kind: str
    status: str
    attempt: int
    own: str | None = None
    whole: str | None = None
    next: str | None = None


class Attempt(NamedTuple):
    """A recorded failed attempt; ``due`` is when the next may start, seconds since the epoch."""

    path: str
    visit: int
    attempt: int
    due: float


class Ended(NamedTuple):
    """The recorded end of a run; ``whole`` identifies the reason."""

    status: str
    whole: str | None = None


class Cancel(NamedTuple):
    """A recorded request to cancel."""


Record = Done | Attempt | Ended | Cancel


class RunDump(NamedTuple):
    """A run as it is on the disk. ``result`` identifies the final context or the reason of its end."""

    id: str
    workflow: str
    status: str
    rows: tuple[bytes, ...] = ()
    records: tuple[Record, ...] = ()
    input: str | None = None
    result: str | None = None
    error: str | None = None  # the type of the error, if it cannot be read

    @property
    def done(self) -> dict[tuple[str, int], Done]:
        """The outcomes by path and visit."""
        return {(record.path, record.visit): record for record in self.records if isinstance(record, Done)}

    @property
    def top(self) -> list[Done]:
        """The outcomes of the top level, in order."""
        return [record for record in self.records if isinstance(record, Done) and "/" not in record.path]

    @property
    def ended(self) -> Ended | None:
        """Its end."""
        return next((record for record in self.records if isinstance(record, Ended)), None)

    @property
    def cancel(self) -> Cancel | None:
        """Its cancellation."""
        return next((record for record in self.records if isinstance(record, Cancel)), None)

    def attempts(self, path: str, visit: int) -> list[Attempt]:
        """The failed attempts of a node."""
        return [
            record
            for record in self.records
            if isinstance(record, Attempt) and (record.path, record.visit) == (path, visit)
        ]


class Index(NamedTuple):
    """The raw tables: (run key, workflow number, status name), alias to key, key to (id, workflow number)."""

    entries: tuple[tuple[str, int, str], ...] = ()
    aliases: Mapping[str, str] = MappingProxyType({})
    runs: Mapping[str, tuple[str, int]] = MappingProxyType({})
    counts: Mapping[tuple[int, str], int] = MappingProxyType({})


class Dump(NamedTuple):
    """The store after a boot (or, as ``fault``, at the moment of a fault)."""

    runs: Mapping[str, RunDump] = MappingProxyType({})
    index: Index = Index()
    error: str | None = None  # why the database could not be read at all


class Node(NamedTuple):
    """A node of a workflow, as far as the checker must know it."""

    path: str
    kind: str  # step, parallel or sequence
    parent: str  # "" at the top level
    position: int  # among its siblings
    mode: str = "async"
    into: bool = False
    fail_fast: bool = False
    need: int = 0
    limit: int | None = None
    keys: tuple[str, ...] = ()
    children: tuple[str, ...] = ()


class Tree(NamedTuple):
    """A workflow: its nodes by path, its top level in order, and whether successors wait for the disk."""

    nodes: dict[str, Node]
    top: tuple[str, ...]
    sync: bool = True


class Boot(NamedTuple):
    """One life of the worker. ``ending``: ``exit``, ``killed``, ``hung`` or ``error``.

    ``changed``: it was opened with another definition. ``status`` is the exit status or the signal.
    """

    number: int
    ending: str
    status: int = 0
    changed: bool = False
    terminated: bool = False
    seconds: float = 0.0


class Expected(NamedTuple):
    """What a run of the scenario is."""

    workflow: str
    ends: tuple[str, ...] = ("completed",)
    input: str | None = None


class Episode(NamedTuple):
    """Everything that is known of one episode; ``dumps[b]`` is the store after boot ``b``.

    ``damaged`` maps a run to the first boot that found its record damaged.
    """

    trees: dict[str, Tree]
    runs: dict[str, Expected]
    boots: list[Boot]
    lines: list[Line]
    dumps: list[Dump]
    damaged: Mapping[str, int] = MappingProxyType({})
    faults: Mapping[int, Dump] = MappingProxyType({})  # by boot: the store as the fault found it

    def before(self, boot: int) -> Dump:
        """What was on the disk when a boot began."""
        return self.dumps[boot - 1] if boot else Dump()


class Violation(NamedTuple):
    """A broken invariant, with the two things that contradict each other."""

    invariant: int
    run: str
    path: str
    message: str
    first: str = ""
    second: str = ""

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return (
            f"[{self.invariant}] run {self.run!r}{where}: {self.message}\n    {self.first}\n    {self.second}"
        )


class Findings:
    """Collects violations, and counts how often each invariant was really looked at."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.looked: Counter[int] = Counter()

    def expect(
        self,
        condition: bool,
        invariant: int,
        run: str,
        path: str,
        message: str,
        first: Any = "",
        second: Any = "",
    ) -> bool:
        """Look at one thing; gives whether it is as it must be."""
        self.looked[invariant] += 1
        if not condition:
            self.violations.append(Violation(invariant, run, path, message, _shown(first), _shown(second)))
        return condition


def _shown(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"{text[:200]}…" if len(text) > 200 else text
