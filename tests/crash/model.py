"""An episode as plain data, which is all that the checker sees; so that its tests can make one by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

OK, ERROR, CANCELLED, TIMED_OUT, NEVER_STARTED = "ok", "error", "cancelled", "timed_out", "never_started"
UNENDED = ("pending", "running", "waiting", "compensating", "blocked")
UNDONE = ("compensated", "compensation_failed")


class Line(NamedTuple):
    """One line of the effects journal.

    Kinds: ``boot``, ``open``, ``exit`` of the process; ``enter``, then ``return``, ``raise``, ``err`` or
    ``cancelled`` of a body; the same with ``into-`` and ``undo-`` in front for an ``into`` and for a
    compensation; ``wait`` and ``got`` of a wait inside a step (``more``: its label, its default);
    ``child`` (``value``: the id, ``more``: the ref); ``asked`` of the function of a branch, a map or a sleep;
    ``key`` (an idempotency key); ``ack-start``, ``ack-result``, ``ack-cancel``, ``ack-refused`` of a caller;
    ``send``, then ``ack-send`` of who sends a message (``more``: kind and name); ``sigterm``, ``drained``;
    ``fault`` of a system call; ``era`` (a failed run goes on), ``retried``, ``forked`` (``more``: of which
    run), ``paused``, ``resume`` (about to be), ``delete`` (about to be), ``deleted``.
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
    at: float | None = None  # when it ended, seconds since the epoch


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
    """A recorded request to cancel; ``undo``: what the run did is undone first."""

    undo: bool = False


class Waiting(NamedTuple):
    """The recorded beginning of a wait. ``name`` is that of the event or input; ``due``: seconds, or None."""

    path: str
    visit: int
    kind: str
    name: str | None
    due: float | None


class Answered(NamedTuple):
    """The recorded answer of a wait inside a step, or of a child; ``tag`` tells how the child ended."""

    path: str
    visit: int
    at: float
    timed_out: bool
    whole: str | None = None
    tag: str = ""
    name: str | None = None  # of the event that came, if there were several to wait for


class Chosen(NamedTuple):
    """The recorded choice of a branch."""

    path: str
    visit: int
    label: str


class Spread(NamedTuple):
    """What a map runs over; ``whole`` identifies it where a function has told."""

    path: str
    visit: int
    count: int
    whole: str | None = None


class Compensated(NamedTuple):
    """The recorded end of a compensation of the step at ``path``."""

    path: str
    visit: int
    handler: str
    status: str
    attempt: int


class Child(NamedTuple):
    """A step's record of a run that it has started."""

    path: str
    visit: int
    ref: str
    child: str


class Failing(NamedTuple):
    """The record behind which nothing but compensations runs."""


class Letter(NamedTuple):
    """A message in a mailbox."""

    number: int
    kind: str  # event or input
    name: str
    whole: str


Record = (
    Done | Attempt | Ended | Cancel | Waiting | Answered | Chosen | Spread | Compensated | Child | Failing
)
R = TypeVar("R", bound=Record)


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
    parent: str | None = None
    at: float | None = None  # when it may begin, seconds since the epoch
    letters: tuple[Letter, ...] = ()
    timers: tuple[int, ...] = ()  # milliseconds since the epoch
    raw: str = ""  # the run's own id, of which ``id`` names an era (see ``eras``)
    era: int = 0
    inherited: int = 0  # so many of the records are from before the era, or from another run
    superseded: Mapping[str, frozenset[int]] = MappingProxyType({})
    paused: bool = False
    was_paused: bool = False
    fork: str | None = None  # the id of the run that it is a fork of,
    point: str = ""  # and where it goes on: a node at the top level
    forks: tuple[str, ...] = ()  # of those that were made of it

    def of(self, kind: type[R]) -> list[R]:
        """Its records of one kind, in order."""
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def done(self) -> dict[tuple[str, int], Done]:
        """The outcomes by path and visit."""
        return {(record.path, record.visit): record for record in self.records if isinstance(record, Done)}

    @property
    def own_done(self) -> list[Done]:
        """The outcomes that are its own."""
        return [record for record in self.records[self.inherited :] if isinstance(record, Done)]

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
    kind: str  # as of StepInfo
    parent: str  # "" at the top level
    position: int  # among its siblings
    mode: str = "async"
    into: bool = False
    fail_fast: bool = False
    need: int = 0
    limit: int | None = None
    keys: tuple[str, ...] = ()  # of a map: its own
    children: tuple[str, ...] = ()
    before: str = ""  # the node before it in the same sequence or clause
    clause: str = ""  # the label of the clause that it is in
    clauses: Mapping[str, tuple[Any, ...]] = MappingProxyType({})  # of a branch: label to values
    asks: bool = False  # a function of the user's decides: which clause, which items, until when
    default: str | None = None  # identifies what a wait gives when its time is over
    undo: str = ""  # the handler that undoes it

    @property
    def gathers(self) -> bool:
        """Whether it has branches that run at once."""
        return self.kind in {"parallel", "map"}

    @property
    def chains(self) -> bool:
        """Whether its parts follow one another."""
        return self.kind in {"sequence", "branch"}


class Tree(NamedTuple):
    """A workflow: its nodes by path, its top level in order, and whether successors wait for the disk."""

    nodes: dict[str, Node]
    top: tuple[str, ...]
    sync: bool = True

    def find(self, path: str) -> Node | None:
        """A node, or an item of a map, which is a step."""
        node = self.nodes.get(path)
        above, _, leaf = path.rpartition("/")
        if node is None and leaf.isdigit() and above in self.nodes and self.nodes[above].kind == "map":
            node = Node(path, "step", above, int(leaf), self.nodes[above].mode)
        return node

    def at(self, path: str) -> Node:
        """The same; it must be there."""
        node = self.find(path)
        assert node is not None, path
        return node

    def branches(self, run: RunDump | None, path: str, visit: int) -> tuple[str, ...]:
        """The paths of what runs at once in a block; of a map, as many as are recorded."""
        node = self.at(path)
        if node.kind != "map":
            return node.children
        spreads = run.of(Spread) if run is not None and run.error is None else []
        count = next((s.count for s in spreads if (s.path, s.visit) == (path, visit)), 0)
        return tuple(f"{path}/{index}" for index in range(count))


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
    is_child: bool = False


class Episode(NamedTuple):
    """Everything that is known of one episode; ``dumps[b]`` is the store after boot ``b``.

    ``damaged`` maps a run to the first boot that found its record damaged. Runs are in eras (see ``eras``).
    """

    trees: dict[str, Tree]
    runs: dict[str, Expected]
    boots: list[Boot]
    lines: list[Line]
    dumps: list[Dump]
    damaged: Mapping[str, int] = MappingProxyType({})
    faults: Mapping[int, Dump] = MappingProxyType({})  # by boot: the store as the fault found it
    going: Mapping[str, int] = MappingProxyType({})  # the runs that were deleted, by the boot that began it

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
