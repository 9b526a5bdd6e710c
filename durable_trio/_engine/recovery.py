"""What happens on opening: every unfinished run is found through the index and goes on, or is blocked.

The headers are read then, and such journals as are small, page by page. Any other is read when its run gets
its place, so that opening does not depend on how much was done before, and not at all on the runs that have
ended.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import trio

from durable_trio._definition.outline import explain_difference
from durable_trio._definition.plan import Plan
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.ending import end
from durable_trio._engine.mailbox import Letter
from durable_trio._engine.replay import plain_head
from durable_trio._engine.run import Ending, Kept, RunState, milliseconds
from durable_trio._errors import StoreCorrupt, StoreError
from durable_trio._info import FIRST_ENDED_CODE, PAUSED_CODE, STATUS_CODES, RunStatus
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import OK, CancelRequested, Header, Record
from durable_trio._snapshot.types import UnknownType
from durable_trio._store.base import Stored, Write

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

_logger = logging.getLogger("durable_trio")
_PAGE = 1000
_EMPTY = Journal(())
_NO_CHILDREN: frozenset[str] = frozenset()
SMALL = 4096  # bytes of a journal and a mailbox that are read ahead of a run's turn
_MOST_KEPT = 10_000  # runs whose turn is still to come, and of which that is kept: 40 MB at the most
# Runs that wait stay where they are: a timer or a message wakes them.
_MAY_BE_CANCELLED = tuple(
    STATUS_CODES[name] for name in ("cancelled", "compensating", "compensated", "compensation_failed")
)
_TAKEN_UP = tuple(
    code for name, code in STATUS_CODES.items() if code < FIRST_ENDED_CODE and name != "waiting"
)


async def recover(engine: Engine) -> None:
    """Queue every run that has not ended, those that had begun first."""
    after: bytes | None = None
    found: list[RunState] = []
    while True:
        after, page = await engine.reader.call(_headers, engine, after)
        if after is None:
            break
        for stored in page:
            run = taken_over(engine, stored)
            if run is not None and run.status == "blocked":
                _end_if_cancelled(engine, run)
            elif run is not None and run.status in ("pending", "compensating"):
                run.kept = kept(stored, len(found))
                found.append(run)
    await _block_waiting(engine)
    await engine.committer.durable()  # who is blocked shows in a list from the start
    if engine.requests is not None:
        await engine.requests.begin()
    _admit(engine, found)
    engine.timers.begin()
    if ARMED:
        failpoint("recover.end")


def _admit(engine: Engine, found: list[RunState]) -> None:
    """Take up the families, and the others as there are places."""
    parents = {run.header.parent for run in found}
    children = []
    for run in found:
        if run.header.parent is not None:
            children.append(run)
        elif run.begun and run.id in parents:
            # It had a place. If it waited for one behind its child, which waits for it, both would for ever.
            engine.admission.enter(run, anyway=True)
            engine.take_up(run)
        else:
            engine.admission.queue(run)
    for run in children:
        engine.admission.enter(run)  # never refused
        engine.take_up(run)
    engine.admit()


def _headers(engine: Engine, after: bytes | None) -> tuple[bytes | None, list[Stored]]:
    keys = engine.store.keys(_TAKEN_UP, after=after, limit=_PAGE)
    if not keys:
        return None, []
    page = engine.store.load_small([key for key, _, _ in keys], likely=STATUS_CODES["running"], size=SMALL)
    return keys[-1][0], [_whatever_can_be_read(engine, stored) for stored in page if stored is not None]


def _whatever_can_be_read(engine: Engine, stored: Stored) -> Stored:
    """A run of whose journal something is damaged has a header still, and is blocked when it is its turn."""
    if stored.error is not None:
        with suppress(StoreCorrupt):
            return engine.store.load(stored.run, with_rows=False) or stored
    return stored


def taken_over(engine: Engine, stored: Stored) -> RunState | None:
    """A stored run as a live one, ``pending``, ``compensating`` or ``blocked``; None if it is damaged."""
    try:
        if stored.error is not None:
            raise stored.error
        known = with_header(engine, stored)
    except StoreCorrupt as error:
        _logger.error("a run cannot be recovered, and is left as it is: %s", error)  # noqa: TRY400 - says all
        return None
    return take_over(engine, known)


class Known(NamedTuple):
    """A stored run with its header, and the plan to go on by or the reason why there is none."""

    stored: Stored
    header: Header
    plan: Plan | None
    reason: str


def take_over(engine: Engine, known: Known) -> RunState:
    """The same, of a run whose header was read by ``with_header``."""
    stored, header, plan, reason = known
    run = RunState(engine, plan, header, stored.run, stored.workflow, indexed=stored.status)
    run.seq = -1  # not known until the journal is read
    run.begun = stored.status != STATUS_CODES["pending"]
    engine.live[header.id] = run
    if ARMED:
        failpoint("recover.run")
    if plan is None:
        block(run, reason)
    elif stored.status == STATUS_CODES["compensating"]:
        run.status = "compensating"
    else:
        run.status = "pending"
    return run


def _end_if_cancelled(engine: Engine, run: RunState) -> None:
    """End a blocked run if somebody was told that it is cancelled, unless something of it is to be undone:
    no definition is needed for that.
    """
    try:
        load_seq(engine, run)
        stored = engine.store.load(run.key)
        assert stored is not None
        journal = Journal(engine.codec.decode_rows(stored.rows))
    except StoreError:
        return  # what is recorded cannot be read now
    cancel = journal.cancel
    undoes = (
        cancel is not None and cancel.compensate and any(done.status == OK for done in journal.done.values())
    )
    if cancel is not None and journal.failing is None and not undoes:
        run.stopped = True
        run.reason = cancel.reason
        end(run, Ending("cancelled", cancel.reason, {}), [])


async def _block_waiting(engine: Engine) -> None:
    """Block the waiting runs whose workflow is not registered at all.

    Of the others not even the headers are read here: a waiting run whose version is missing is blocked when
    somebody asks for it.
    """
    known = {name for name, _ in engine.plans}
    counts = engine.store.counts()
    for number, name in engine.store.workflow_names().items():
        for code in (STATUS_CODES["waiting"], PAUSED_CODE):
            if name not in known and counts.get((number, code)):
                await _block_all(engine, number, code)


async def _block_all(engine: Engine, number: int, code: int) -> None:
    before: bytes | None = None
    while page := await engine.reader.call(_page, engine, number, code, before):
        before = page[-1].run
        for stored in page:
            # Without an object for each: there may be very many.
            blocked = STATUS_CODES["blocked"]
            engine.committer.put_write(Write(stored.run, workflow=number, old=code, new=blocked))
        await engine.committer.durable()


def _page(engine: Engine, number: int, code: int, before: bytes | None) -> list[Stored]:
    return engine.store.page(workflow=number, statuses=(code,), before=before, limit=_PAGE)


def with_header(engine: Engine, stored: Stored) -> Known:
    """Decode the header of a run, and find its plan.

    Raises:
        StoreCorrupt: it cannot be decoded.
    """
    try:
        header = engine.codec.decode_header(stored.header)
    except UnknownType as error:
        # Its input has a type that is not registered now.
        return Known(stored, engine.reader.codec.decode_header(stored.header), None, str(error))
    return Known(stored, header, *_plan_for(engine, header))


def _plan_for(engine: Engine, header: Header) -> tuple[Plan | None, str]:
    plan = engine.plans.get((header.workflow, header.version))
    if plan is not None:
        return plan, ""
    versions = sorted(version for name, version in engine.plans if name == header.workflow)
    have = f"only its versions {', '.join(map(repr, versions))}" if versions else "no workflow of that name"
    return None, (
        f"it was started by workflow {header.workflow!r} version {header.version!r}, and this engine has "
        f"{have}; give it in open_engine(..., workflows=[...])"
    )


def block(run: RunState, reason: str) -> None:
    """Set a run aside that cannot go on now. It is looked at again on every opening."""
    is_moving = run.status in ("running", "compensating")  # which may not be in the index yet
    run.status = "blocked"
    run.reason = reason
    if is_moving or run.indexed != STATUS_CODES["blocked"]:
        # Without its journal being read: the index moves, and nothing is added to the run.
        run.engine.committer.put(run, (), STATUS_CODES["blocked"], post=run.dropped_timer())
        run.engine.committer.soon()
    run.wake()
    _logger.warning("run %r is blocked: %s", run.id, reason)


def load_seq(engine: Engine, run: RunState) -> None:
    """Find out where the journal of a run ends that was taken over without it."""
    if run.seq < 0:
        run.kept = None
        stored = engine.store.load(run.key)
        assert stored is not None
        run.seq = len(stored.rows)
        journal = Journal(engine.codec.decode_rows(stored.rows))
        run.children = frozenset(journal.children.values())
        if run.status == "waiting":
            run.restart_deadline(journal.retried)
            run.timer = _timer_ahead(run, journal)
        if journal.paused and run.pause is None:
            run.pause = trio.Event()


def _timer_ahead(run: RunState, journal: Journal) -> int | None:
    """The timer that is in the index if the run was parked, was woken by something else, and nothing here
    knew of its timer; None if that is over, or there was none.
    """
    at = run.header.at
    if at is None and run.deadline is None and not journal.waiting:
        return None  # as most of the runs that are taken up
    now = run.engine.now()
    if at is not None and at > now:
        return milliseconds(at)
    dues = [wait.due for wait in journal.open_waits() if wait.due is not None]
    if run.deadline is not None:
        dues.append(run.deadline)
    due = min(dues, default=now)
    return milliseconds(due) if due > now else None


def kept(stored: Stored, waiting: int) -> Kept | None:
    """What was read of a run ahead of its turn, if it was all, and not too many others wait for theirs."""
    if stored.messages is None or waiting >= _MOST_KEPT:
        return None
    # Of a tuple that holds only bytes, the garbage collector takes no notice; of lists, thousands would cost
    # more at each of its passes than all that is read here.
    return tuple(stored.rows), tuple(stored.messages)


def go_on_from(
    engine: Engine, run: RunState, journal: Journal, messages: Sequence[tuple[int, bytes]] | None = None
) -> None:
    """Give a run its journal, and its mailbox, which is read if it is not given."""
    for number, data in engine.store.messages(run.key) if messages is None else messages:
        message = engine.codec.decode_message(data)
        run.mailbox.add(message.kind, message.name, Letter(number, message.payload))
    run.journal = journal
    run.restart_deadline(journal.retried)
    run.children = frozenset(journal.children.values()) if journal.children else _NO_CHILDREN
    run.superseded = journal.superseded
    if journal.unheard:
        run.mailbox.unheard |= journal.unheard
    if journal.answered:
        run.mailbox.answered.update(journal.answered)
    if journal.waiting:
        # The walk asks the journal for those that are nodes; a mailbox has only those in a step's body.
        inside = {key: wait for key, wait in journal.waiting.items() if "/__" in key[0]}
        if inside:
            run.mailbox.waiting.update(inside)


def _load(engine: Engine, run: RunState) -> tuple[Sequence[bytes], None]:
    """The journal of a run that was not read ahead of its turn; the mailbox is read by itself."""
    stored = engine.store.load(run.key)
    assert stored is not None
    return stored.rows, None


def _has_plain_head(run: RunState, records: list[Record]) -> bool:
    """Whether nothing was recorded of a run but plain outcomes at its head; it goes on behind them then."""
    plan = run.plan
    run.head = None
    if run.header.fingerprint == plan.fingerprint:
        run.head = plain_head(plan, run.input, records)
    if run.head is None:
        return False
    run.at = plan.nodes[run.head[0]].path
    return True


def load_journal(engine: Engine, run: RunState) -> bool:
    """Read what is recorded of a run that gets its place; False if it cannot go on."""
    try:
        rows, messages = run.kept or _load(engine, run)
        run.kept = None
        run.seq = len(rows)
        records = engine.codec.decode_rows(rows)
        if messages == () and _has_plain_head(run, records):
            journal = _EMPTY
        else:
            journal = Journal(records)
            go_on_from(engine, run, journal, messages)
        if run.timer is None:
            run.timer = _timer_ahead(run, journal)
        if ARMED:
            failpoint("recover.load")
    except StoreError as error:
        if engine.failure is not None:
            raise
        block(run, str(error))
        return False
    cancel, failing = journal.cancel, journal.failing
    if failing is not None:
        status: RunStatus = "failed" if cancel is None else "cancelled"
        run.compensating = Ending(status, failing.reason, failing.errors or {})
    elif cancel is not None and journal.ended is None:
        # Somebody was told that it is cancelled; the run's task has no step left to start.
        run.stopped = True
        run.undoes = cancel.compensate
        run.reason = cancel.reason
    elif (
        run.header.parent is not None
        and journal.retried is None  # else it was there to be cancelled, or was retried in spite of that
        and (above := _cancel_of(engine, run.header.parent)) is not None
    ):
        # A crash came between the parent's cancellation and this run's.
        run.stopped = True
        run.undoes = above.compensate
        run.reason = f"run {run.header.parent!r}, which started it, was cancelled"
    if run.undoes or not run.stopped:
        difference = difference_to(engine, run.header, run.plan, journal)
        if difference is not None:
            block(run, difference)
            return False
    if journal.paused and not run.stopped:
        if run.pause is None:  # an Event has no truth
            run.pause = trio.Event()
        engine.post.set_aside(run)
        return False
    return True


def _cancel_of(engine: Engine, run_id: str) -> CancelRequested | None:
    """The cancellation of a run that it has brought to its end, or to undo what its steps did."""
    key = engine.reader.find(run_id)
    stored = None if key is None else engine.store.load(key, with_rows=False)
    if stored is None or stored.status not in _MAY_BE_CANCELLED:
        return None
    stored = engine.store.load(stored.run)
    assert stored is not None
    return Journal(engine.reader.codec.decode_rows(stored.rows)).cancel


def difference_to(engine: Engine, header: Header, plan: Plan, journal: Journal) -> str | None:
    """Why what is recorded under one definition does not fit another, as a sentence; None if it fits."""
    if header.fingerprint == plan.fingerprint:
        return None
    old = engine.store.outline(header.fingerprint)
    if old is None:
        return "the definition that it was started by is not in the database, so it cannot be compared"
    details = (*journal.waiting, *journal.answered, *journal.spread)
    # A step that was under way has no record, unless it has done something that outlives it.
    parents = [(path, visit) for path, visit, _ in journal.children]
    paths = {path for path, _ in (*journal.done, *journal.attempts, *details, *parents)}
    targets = {done.next for done in journal.done.values() if done.next}
    choices = {(path, chosen.label) for (path, _), chosen in journal.chosen.items()}
    difference = explain_difference(json.loads(old), plan.outline, paths, targets, choices)
    if difference is None:
        return None
    return f"its workflow was changed: {difference}; register the old definition too, under its own version"
