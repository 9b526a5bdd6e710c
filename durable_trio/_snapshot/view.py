"""What a run's header and records say, without the workflow's definition.

``Journal`` is the index that a recovery needs: which outcomes still count. ``run_info`` is the fold that
shows a run to a user: it applies every record in order, as the engine did when it wrote them. Both are one
pass over the records; the fold shares unchanged values between contexts and costs a shallow copy per step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._info import (
    FIRST_ENDED_CODE,
    STATUS_NAMES,
    CompensationInfo,
    RunInfo,
    StepInfo,
    StepStatus,
)
from durable_trio._snapshot.records import (
    BRANCH,
    DELTA,
    KIND_NAMES,
    LISTED,
    MAP,
    MAPPED,
    NODE_STATUS_NAMES,
    OK,
    PARALLEL,
    RESULTS,
    SAME,
    SEQUENCE,
    VALUE,
    Answered,
    Attempt,
    CancelRequested,
    ChildStarted,
    Chosen,
    Compensated,
    Done,
    Ended,
    Failing,
    Header,
    Record,
    Retried,
    Spread,
    Waiting,
)
from durable_trio._speedups.context import apply_delta
from durable_trio._values import Err, Ok

RESULTS_KEY: Final = "__results__"

_Visit = tuple[str, int]  # path and visit
_Detail = Waiting | Answered | Chosen | Spread | Compensated | ChildStarted
_RELATIVE: Final = (SAME, DELTA, RESULTS, MAPPED, LISTED)
_CHAINS: Final = (SEQUENCE, BRANCH)  # their parts get the context that the part before left
NO_CONTEXT: Final = (VALUE, LISTED)  # what has such a form goes on as a branch's data, not as a context


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
        "retried",
        "spread",
        "updated",
        "waiting",
    )

    def __init__(self, records: Iterable[Record]) -> None:
        self.done: dict[_Visit, Done] = {}
        self.attempts: dict[_Visit, Attempt] = {}
        self.cancel: CancelRequested | None = None
        self.failing: Failing | None = None
        self.ended: Ended | None = None
        self.waiting: dict[_Visit, Waiting] = {}
        self.answered: dict[_Visit, Answered] = {}
        self.chosen: dict[_Visit, Chosen] = {}
        self.spread: dict[_Visit, Spread] = {}
        self.compensated: dict[_Visit, Compensated] = {}
        self.children: dict[tuple[str, int, str], str] = {}
        self.called: set[str] = set()
        self.retried: float | None = None
        self.updated = 0.0
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        if isinstance(record, Done):
            key = (record.path, record.visit)
            self.done[key] = record
            self.attempts.pop(key, None)
            self.waiting.pop(key, None)
            at = record.started + record.duration
        elif isinstance(record, Attempt):
            self.attempts[record.path, record.visit] = record
            at = record.started + record.duration
        elif isinstance(record, Ended):
            self.ended = record
            at = record.at
        elif isinstance(record, CancelRequested):
            self.cancel = record
            at = record.at
        elif isinstance(record, Failing):
            self.failing = record
            at = record.at
        elif isinstance(record, Retried):
            self._retry()
            at = self.retried = record.at
        else:
            at = self._add_detail(record)
        self.updated = max(self.updated, at)

    def _add_detail(self, record: _Detail) -> float:
        if isinstance(record, ChildStarted):
            self.children[record.path, record.visit, record.ref] = record.child
            if record.called:
                self.called.add(record.child)
            return record.at
        key = (record.path, record.visit)
        if isinstance(record, Waiting):
            self.waiting[key] = record
            return record.started
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
            above = path.rpartition("/")[0]
            while above and (above, visit) not in self.done:
                above = above.rpartition("/")[0]
            if not above:
                yield wait

    def _retry(self) -> None:
        self.ended = self.failing = self.cancel = None
        self.attempts.clear()
        self.waiting.clear()
        for key in [key for key, answered in self.answered.items() if answered.timed_out]:
            del self.answered[key]  # as for a wait that is a node: what did not come is waited for anew
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


def run_info(header: Header, records: Sequence[Record], status_code: int, *, with_steps: bool) -> RunInfo:
    """Show a run as its records say that it stands.

    Args:
        header: the run's header.
        records: its records, in order.
        status_code: the status that the index has of it.
        with_steps: whether to list the steps too.

    Raises:
        StoreCorrupt: the records contradict each other, or hold what no engine writes.
    """
    try:
        return _run_info(header, records, status_code, with_steps)
    except StoreError:
        raise
    except Exception as error:  # records that are well-formed one by one may fit together in no way
        raise StoreCorrupt(
            f"the records of run {header.id!r} do not fit together ({type(error).__name__}: {error!s:.200}): "
            "they are not what was written; restore the run from a backup, or delete it"
        ) from error


def _run_info(header: Header, records: Sequence[Record], status_code: int, with_steps: bool) -> RunInfo:
    journal = Journal(records)
    status = STATUS_NAMES[status_code]
    fold = Fold(journal, header.input, _kinds(journal, records))
    if with_steps:
        steps = list(_steps(journal, fold))
    else:
        steps = []
        for done in journal.done.values():
            if "/" not in done.path:
                fold.add(done)
    ended, over = journal.ended, journal.over
    return RunInfo(
        id=header.id,
        workflow=header.workflow,
        version=header.version,
        status=status,
        input=header.input,
        context=fold.context,
        result=fold.context if status == "completed" else None,
        error=None if over is None else over.reason,
        errors=dict(over.errors) if over is not None and over.errors else {},
        created_at=_instant(header.created),
        updated_at=_instant(max(header.created, journal.updated)),
        finished_at=None if ended is None else _instant(ended.at),
        current_step=None if status_code >= FIRST_ENDED_CODE or over is not None else _current_step(journal),
        queue=header.queue,
        priority=header.priority,
        parent=header.parent,
        steps=steps,
        compensations=[_compensation(done) for done in journal.compensated.values()] if with_steps else [],
    )


def data_of(journal: Journal, done: Done, base: dict[Any, Any]) -> Any:
    """What a node passed on, or the reason of its error, from the context that it was given.

    Raises:
        StoreCorrupt: a branch that the record of a block names has no record.
    """
    form = done.form
    if form == SAME:
        return base
    if form == DELTA:
        return apply_delta(base, done.data, done.removed or [], False)
    if form == RESULTS:
        results = {key: _branch_result(journal, done, path, base) for key, path in done.data}
        return {**base, RESULTS_KEY: results}
    if form == MAPPED:
        key, count = done.data
        return {**base, RESULTS_KEY: {key: _item_results(journal, done, count, base)}}
    if form == LISTED:
        return _item_results(journal, done, done.data, base)
    return done.data


def _item_results(journal: Journal, done: Done, count: int, base: dict[Any, Any]) -> list[Any]:
    return [_branch_result(journal, done, f"{done.path}/{index}", base) for index in range(count)]


def _branch_result(journal: Journal, block: Done, path: str, base: dict[Any, Any]) -> Ok[Any] | Err[Any]:
    branch = journal.done.get((path, block.visit))
    # A block that names itself, or one around it, would have no end.
    if branch is None or path.rpartition("/")[0] != block.path:
        raise StoreCorrupt(
            f"the records of block {block.path!r} do not fit together: {path!r} is no recorded branch of it; "
            "restore the run from a backup, or delete it"
        )
    data = data_of(journal, branch, base)
    return Ok(data) if branch.status == OK else Err(data)


def _steps(journal: Journal, fold: Fold) -> Iterator[StepInfo]:
    over = journal.over is not None
    for done in journal.done.values():
        ok = done.status == OK
        _, value = fold.add(done)
        yield StepInfo(
            path=done.path,
            kind=KIND_NAMES[done.kind],
            visit=done.visit,
            status=cast("StepStatus", NODE_STATUS_NAMES[done.status]),
            attempt=done.attempt,
            started_at=_instant(done.started) if done.attempt else None,
            duration=done.duration if done.attempt else None,
            result=value if ok else None,
            error=None if ok else value,
        )
    for attempt in journal.attempts.values():
        # What waited for its next attempt when the run ended has no record of its own end.
        yield StepInfo(
            path=attempt.path,
            visit=attempt.visit,
            status="cancelled" if over else "retrying",
            attempt=attempt.attempt,
            started_at=_instant(attempt.started),
            duration=attempt.duration,
            error=attempt.reason,
            due_at=None if over else _instant(attempt.due),
        )
    for wait in () if over else journal.open_waits():
        if wait.kind == PARALLEL:
            continue  # a block with a timeout: it shows when it ends
        yield StepInfo(
            path=wait.path,
            kind=KIND_NAMES[wait.kind],
            visit=wait.visit,
            status="waiting",
            attempt=1,
            started_at=_instant(wait.started),
            due_at=_instant(wait.due) if wait.due is not None else None,
        )


def _compensation(done: Compensated) -> CompensationInfo:
    return CompensationInfo(
        path=done.path,
        visit=done.visit,
        handler=done.handler,
        status="ok" if done.status == OK else "error",
        attempt=done.attempt,
        started_at=_instant(done.started),
        duration=done.duration,
        error=done.reason,
    )


def _kinds(journal: Journal, records: Iterable[Record]) -> dict[str, int]:
    """The kinds of the nodes, as far as the records tell."""
    kinds = {record.path: record.kind for record in records if isinstance(record, Done)}
    kinds.update((path, BRANCH) for path, _ in journal.chosen)
    kinds.update((path, MAP) for path, _ in journal.spread)
    return kinds


class Fold:
    """Which context each node was given, and what it passed on; the outcomes are added in their order.

    A block's parts all get the context that the block was given, a sequence's each the one that the part
    before it left. Which of the two a node is, its own record says, and that comes after its parts. To
    whom does not know the definition, what the later parts of a node that is under way were given is not
    clear, and their results are not shown.

    Args:
        journal: whose outcomes.
        base: the run's input.
        kinds: path to kind, of the nodes that have parts, as far as it is known.

    Attributes:
        context: what the last node at the top level has left.
    """

    def __init__(self, journal: Journal, base: dict[Any, Any], kinds: Mapping[str, int]) -> None:
        self._journal = journal
        self._kinds = kinds
        self._next: dict[_Visit, dict[Any, Any] | None] = {}
        self.context = base

    def add(self, done: Done) -> tuple[dict[Any, Any] | None, Any]:
        """What the node was given (None if that is not clear), and what it passed on, or its reason."""
        parent = done.path.rpartition("/")[0]
        given = self._to_parts_of(parent, done.visit)
        value: Any = None
        if given is not None or done.form not in _RELATIVE:
            value = data_of(self._journal, done, given or {})
        if done.status == OK and done.form not in NO_CONTEXT:
            if not parent:
                self.context = value
            elif parent in self._kinds:
                if self._kinds[parent] in _CHAINS:
                    self._next[parent, done.visit] = value
            elif "/" in parent and done.form != SAME:
                self._next[parent, done.visit] = None
        return given, value

    def _to_parts_of(self, path: str, visit: int) -> dict[Any, Any] | None:
        if not path:
            return self.context
        key = (path, visit)
        if key not in self._next:
            self._next[key] = self._to_parts_of(path.rpartition("/")[0], visit)
        return self._next[key]


def _current_step(journal: Journal) -> str | None:
    if journal.attempts:
        return next(reversed(journal.attempts))[0].partition("/")[0]
    if journal.done:
        last = next(reversed(journal.done.values()))
        top, _, below = last.path.partition("/")
        return top if below else last.next or None
    return None


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
