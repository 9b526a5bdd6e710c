"""What of a run's records still counts, without the workflow's definition.

``Journal`` is the index that a recovery needs, and one pass over the records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from durable_trio._errors import StoreCorrupt
from durable_trio._snapshot.records import (
    OK,
    Answered,
    Attempt,
    CancelRequested,
    ChildStarted,
    Chosen,
    Compensated,
    Done,
    Ended,
    Failing,
    Forked,
    ForkMade,
    Paused,
    Record,
    Resumed,
    Retried,
    Rewound,
    Spread,
    Waiting,
)

Visit = tuple[str, int]  # path and visit
_NONE: frozenset[Any] = frozenset()
_Detail = Answered | Chosen | Spread | Compensated | ChildStarted
_Act = Retried | Rewound | Forked | ForkMade | Paused | Resumed  # what somebody did to the run, but a cancel


class Journal:
    """What of a run's records still counts.

    Attributes:
        done: (path, visit) to the outcome, in the order in which they ended; an outcome that was not OK
            is gone after a ``Retried``.
        attempts: (path, visit) to the last failed attempt of a node that has no outcome yet.
        cancel: set if the run is to be cancelled.
        failing: set if the steps of the run are being undone, or were.
        ended: set if the run has ended, and was not retried since.
        waiting: (path, visit) to a wait that has begun and is not over.
        answered: (path, visit) to how a wait inside a step that has no outcome yet was answered.
        chosen: (path, visit) to the clause that a branch has taken.
        spread: (path, visit) to what a map runs over.
        compensated: (path, visit) to the compensation that has run for it, in order.
        children: (path, visit, ref) to the id of the run that a step has started.
        called: the ids of those among them that their steps wait for.
        retried: when the run was last let go on after it had failed, or None.
        unheard: (path, visit) of the calls of children that had answered with an error by then.
        superseded: (path, visit) of the nodes at the top level that were when the run was let go on from an
            earlier one, or that were in the run that it was forked from.
        forked_from: the id of the run that what is in ``taken_over`` was recorded of, or None.
        taken_over: (path, visit) of what was recorded of that run.
        paused: no step starts.
        updated: when the last thing happened, seconds since the epoch; 0.0 if there are no records.
    """

    __slots__ = (
        "answered",
        "attempts",
        "called",
        "cancel",
        "children",
        "chosen",
        "compensated",
        "done",
        "ended",
        "failing",
        "forked_from",
        "paused",
        "retried",
        "spread",
        "superseded",
        "taken_over",
        "unheard",
        "updated",
        "waiting",
    )

    def __init__(self, records: Iterable[Record]) -> None:
        self.done: dict[Visit, Done] = {}
        self.attempts: dict[Visit, Attempt] = {}
        self.cancel: CancelRequested | None = None
        self.failing: Failing | None = None
        self.ended: Ended | None = None
        self.waiting: dict[Visit, Waiting] = {}
        self.answered: dict[Visit, Answered] = {}
        self.chosen: dict[Visit, Chosen] = {}
        self.spread: dict[Visit, Spread] = {}
        self.compensated: dict[Visit, Compensated] = {}
        self.children: dict[tuple[str, int, str], str] = {}
        # Most runs have none of these, and a set is as large as three dicts.
        self.called: AbstractSet[str] = _NONE
        self.retried: float | None = None
        self.unheard: AbstractSet[Visit] = _NONE
        self.superseded: AbstractSet[Visit] = _NONE
        self.forked_from: str | None = None
        self.taken_over: frozenset[Visit] = _NONE
        self.paused = False
        self.updated = 0.0
        done, attempts, waiting = self.done, self.attempts, self.waiting
        for record in records:
            if type(record) is Done and not attempts and not waiting:
                # As ``add``, without a call for each: most of what is recorded is this.
                done[record.path, record.visit] = record
                at = record.started + record.duration
                if at > self.updated:  # noqa: PLR1730 - a call is what is saved here
                    self.updated = at
            else:
                self.add(record)

    def add(self, record: Record) -> None:
        """Take account of what happened next."""
        if isinstance(record, Done):
            key = (record.path, record.visit)
            self.done[key] = record
            self.attempts.pop(key, None)
            self.waiting.pop(key, None)
            at = record.started + record.duration
        elif isinstance(record, Waiting):
            self.waiting[record.path, record.visit] = record
            at = record.started
        elif isinstance(record, Attempt):
            self.attempts[record.path, record.visit] = record
            at = record.started + record.duration
        elif isinstance(record, Ended):
            self.ended = record
            self.paused = False
            at = record.at
        elif isinstance(record, CancelRequested):
            self.cancel = record
            self.paused = False
            at = record.at
        elif isinstance(record, Failing):
            self.failing = record
            self.paused = False
            self.waiting.clear()
            at = record.at
        elif isinstance(record, _Act):
            self._add_act(record)
            at = record.at
        else:
            at = self._add_detail(record)
        self.updated = max(self.updated, at)

    def _add_act(self, record: _Act) -> None:
        if isinstance(record, Retried | Rewound):
            if isinstance(record, Rewound):
                self._supersede(record.path, record.visit)
            self._retry()
            self.retried = record.at
        elif isinstance(record, Forked):
            self.forked_from = record.run
            self.taken_over = frozenset(self.done)
            self.superseded |= set(record.superseded or ())
        elif not isinstance(record, ForkMade):
            self.paused = isinstance(record, Paused)

    def _add_detail(self, record: _Detail) -> float:
        if isinstance(record, ChildStarted):
            self.children[record.path, record.visit, record.ref] = record.child
            if record.called:
                if not isinstance(self.called, set):
                    self.called = set(self.called)
                self.called.add(record.child)
            return record.at
        key = (record.path, record.visit)
        if isinstance(record, Answered):
            self.waiting.pop(key, None)
            self.answered[key] = record
        elif isinstance(record, Chosen):
            self.chosen[key] = record
        elif isinstance(record, Spread):
            self.spread[key] = record
        else:
            self.compensated[key] = record
            return record.started + record.duration
        return record.at

    def open_waits(self) -> Iterator[Waiting]:
        """The waits that a run may be at: not those in what has ended without them, such as a step that took
        too long.
        """
        for (path, visit), wait in self.waiting.items():
            step, _, handler = path.partition("/!")
            if handler:  # the handler of a step that has ended itself
                if (step, visit) not in self.compensated:
                    yield wait
                continue
            above = path.rpartition("/")[0]
            while above and (above, visit) not in self.done:
                above = above.rpartition("/")[0]
            if not above:
                yield wait

    def points(self) -> list[Visit]:
        """The nodes at the top level that the run has come to and that count, (path, visit), in order."""
        # They come one after another. So all that has ended was before what has not, and the details of what
        # has ended tell nothing new.
        details = (self.attempts, self.waiting, self.answered, self.chosen, self.spread)
        return list(dict.fromkeys(top_of(key) for table in (self.done, *details) for key in table))

    def _supersede(self, path: str, visit: int) -> None:
        points = self.points()
        if (path, visit) not in points:
            raise StoreCorrupt(
                f"the run was let go on from visit {visit} of {path!r}, of which it has no record; restore "
                "the run from a backup, or delete it"
            )
        gone = set(points[points.index((path, visit)) :])
        self.superseded |= gone
        tables: tuple[dict[Visit, Any], ...] = (
            self.done,
            self.attempts,
            self.waiting,
            self.answered,
            self.chosen,
            self.spread,
        )
        for table in tables:
            for key in [key for key in table if top_of(key) in gone]:
                del table[key]

    def _retry(self) -> None:
        self.ended = self.failing = self.cancel = None
        self.attempts.clear()
        self.waiting.clear()
        for key, answered in list(self.answered.items()):
            if answered.timed_out:
                del self.answered[key]  # as for a wait that is a node: what did not come is waited for anew
            elif "/__child:" in key[0] and answered.payload[0] != "ok":
                del self.answered[key]
                self.unheard |= {key}  # the child is let go on too, if it can be
        for key in [key for key, done in self.done.items() if done.status != OK]:
            if not self._is_settled(*key):
                del self.done[key]

    @property
    def over(self) -> Ended | Failing | None:
        """Set if no step starts any more: how that came about."""
        return self.ended or self.failing

    def _is_settled(self, path: str, visit: int) -> bool:
        """Whether a node above this one ended well: then its errors were dealt with there."""
        while path:
            path = path.rpartition("/")[0]
            above = self.done.get((path, visit))
            if above is not None and above.status == OK:
                return True
        return False


def visit_from(superseded: Collection[Visit], path: str, visit: int) -> int:
    """Which visit of a node at the top level comes at or after this one, where some were superseded.

    One that was does not count, but its number is taken: whatever has a record is never entered again.
    """
    while superseded and (path, visit) in superseded:
        visit += 1
    return visit


def top_of(key: Visit) -> Visit:
    """The node at the top level that this one is in, or is."""
    return key[0].partition("/")[0], key[1]
