"""What can be done to a run from outside, besides cancelling it: retry, fork, pause, resume.

Each act is a record in the run's journal. They come one at a time (``Engine.steering``), so that each finds
on disk what the one before has left. A run that is read from the disk must not miss an act that is still on
its way there: until then its key is ``touched``, and whoever is about to read it waits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from durable_trio._definition.plan import Plan
from durable_trio._engine.committer import Ledger
from durable_trio._engine.forgetting import stored_now
from durable_trio._engine.handle import Run
from durable_trio._engine.ids import check_id, id_of_key
from durable_trio._engine.recovery import difference_to, go_on_from, load_seq
from durable_trio._engine.run import RunState
from durable_trio._engine.starting import existing
from durable_trio._errors import DefinitionError, InputError, RunBlocked
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES, STATUS_NAMES
from durable_trio._snapshot.journal import Journal, visit_from
from durable_trio._snapshot.records import (
    FINISH,
    OK,
    Chosen,
    Done,
    Forked,
    ForkMade,
    Header,
    Paused,
    Record,
    Resumed,
    Retried,
    Rewound,
    Spread,
)

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine
    from durable_trio._store.base import Stored

_UNDONE = ("compensating", "compensated", "compensation_failed")


class _Known(NamedTuple):
    """A run that is to go on, here or as another one, as it is recorded."""

    stored: Stored
    header: Header
    plan: Plan
    records: list[Record]


# -- retry -------------------------------------------------------------------------------------------


async def retry(engine: Engine, run_id: str, from_step: str | None, visit: int | None) -> Run:
    """See ``Engine.retry``."""
    async with engine.steering:
        engine.check_open()
        run = retry_now(engine, run_id, from_step, visit)
        await engine.committer.durable()
        return Run(engine, run, created=False)


def retry_now(
    engine: Engine, run_id: str, from_step: str | None = None, visit: int | None = None
) -> RunState:
    """Hand over that a failed run goes on."""
    known = engine.live.get(run_id)
    stored = None if known is not None else stored_now(engine, run_id)
    status = known.status if known is not None else STATUS_NAMES[stored.status] if stored else "running"
    if status != "failed" or stored is None:
        undone = ", and what its steps did is undone: start another" if status in _UNDONE else ""
        raise InputError(f"run {run_id!r} is {status}; only a failed run can be retried{undone}")
    _, header, plan, records = _known(engine, stored)
    act: Retried | Rewound
    if from_step is None and visit is None:
        act = Retried(engine.now())
    else:
        act = Rewound(*_point(Journal(records).points(), run_id, from_step, visit), engine.now())
    journal = Journal([*records, act])
    _check_fit(engine, header, plan, journal)
    run = RunState(
        engine, plan, header, stored.run, stored.workflow, seq=len(stored.rows), indexed=stored.status
    )
    engine.retried.add(stored.run)
    go_on_from(engine, run, journal)
    run.begun = True
    admitted = engine.admission.enter(run)
    run.status = "running" if admitted else "pending"
    engine.live[run_id] = run
    engine.committer.put(run, (engine.codec.encode(act),), STATUS_CODES[run.status])
    if admitted:
        # No body may run for what a crash would take back: on the disk, the run has ended until then.
        engine.committer.when_durable(run.begin)
    else:
        engine.await_start(run)
    return run


def _known(engine: Engine, stored: Stored) -> _Known:
    header = engine.codec.decode_header(stored.header)
    plan = engine.plans.get((header.workflow, header.version))
    if plan is None:
        raise DefinitionError(
            f"run {header.id!r} belongs to workflow {header.workflow!r} version {header.version!r}, which "
            "is not registered with this engine; give it in open_engine(..., workflows=[...])"
        )
    return _Known(stored, header, plan, engine.codec.decode_rows(stored.rows))


def _check_fit(engine: Engine, header: Header, plan: Plan, journal: Journal) -> None:
    difference = difference_to(engine, header, plan, journal)
    if difference is not None:
        raise RunBlocked(f"run {header.id!r} cannot go on: {difference}")


def _point(
    points: list[tuple[str, int]], run_id: str, from_step: str | None, visit: int | None
) -> tuple[str, int]:
    """The visit of a node at the top level that was asked for.

    Raises:
        InputError: the run has not come there; names where it has been.
    """
    visits = [number for path, number in points if path == from_step]
    if visits and (visit is None or visit in visits):
        assert from_step is not None
        return from_step, visits[-1] if visit is None else visit
    where = ", ".join(dict.fromkeys(repr(path) for path, _ in points)) or "none"
    if from_step is None:
        raise InputError("visit= says which visit of a step; give from_step= too")
    if visits:
        raise InputError(
            f"run {run_id!r} has no visit {visit!r} of {from_step!r} that counts; it has: "
            f"{', '.join(map(str, visits))}"
        )
    raise InputError(
        f"run {run_id!r} has not come to a step or block {from_step!r:.80} at the top level; it has come to: "
        f"{where}"
    )


# -- fork --------------------------------------------------------------------------------------------


async def fork(engine: Engine, run_id: str, from_step: str, id: str | None, visit: int | None) -> Run:  # noqa: A002
    """See ``Engine.fork``."""
    async with engine.steering:
        run, created = (await fork_for(engine, run_id, from_step, id, visit))()
        await engine.committer.durable()
        return Run(engine, run, created=created)


async def fork_for(
    engine: Engine,
    run_id: str,
    from_step: str,
    id: str | None,  # noqa: A002
    visit: int | None,
) -> Callable[[], tuple[RunState, bool]]:
    """What hands over the start of a fork and gives it, or the one that exists; True if it is a new one.

    To be called with no await in between, and while ``engine.steering`` is held.
    """
    engine.check_open()
    alias = None if id is None else check_id(id)
    known = None if id is None else existing(engine, id)
    await engine.committer.durable()  # what has happened so far
    if id is not None and known is not None:
        _check_origin(engine, id, run_id)
        found = known, False
        return lambda: found
    return lambda: (_fork_now(engine, run_id, from_step, visit, alias), True)


def _check_origin(engine: Engine, fork_id: str, run_id: str) -> None:
    """Raise InputError if the run is no fork of the other one."""
    rows = engine.reader.load(fork_id).rows
    origin = Journal(engine.reader.codec.decode_rows(rows)).forked_from
    if origin != run_id:
        raise _taken(fork_id, "no fork" if origin is None else f"a fork of run {origin!r}")


def _taken(fork_id: str, by: str) -> InputError:
    return InputError(f"the id {fork_id[:80]!r} belongs to a run that is {by}; choose another id")


def _fork_now(
    engine: Engine, run_id: str, from_step: str, visit: int | None, alias: bytes | None
) -> RunState:
    engine.check_open()
    if alias is not None and existing(engine, alias.decode()) is not None:
        raise _taken(alias.decode(), "no fork")  # it was started just now; forks come one at a time
    stored, old, plan, records = _known(engine, stored_now(engine, run_id))
    journal = Journal(records)
    points = _points(journal, plan)
    path, number = _point(points, run_id, from_step, visit)
    now = engine.now()
    key = engine.keys()
    new_id = id_of_key(key) if alias is None else alias.decode()
    taken_over = [
        *_before(journal, points[: points.index((path, number))]),
        Forked(run_id, path, number, now, sorted(journal.superseded) or None),
    ]
    going_on = Journal(taken_over)
    _check_fit(engine, old, plan, going_on)
    header = Header(
        new_id, old.workflow, old.version, plan.fingerprint, now, old.input, old.queue, old.priority
    )
    run = RunState(engine, plan, header, key, engine.numbers[plan.workflow])
    go_on_from(engine, run, going_on)
    wire = engine.codec.wire
    encoded_header = engine.codec.encode(msgspec.structs.replace(header, input=wire(old.input)))
    encoded = [engine.codec.encode(_wired(engine, record)) for record in taken_over]
    admitted = engine.admission.enter(run)
    run.status = "running" if admitted else "pending"
    engine.live[new_id] = run
    engine.committer.put(run, encoded, STATUS_CODES[run.status], encoded_header, alias)
    _note(engine, stored, engine.codec.encode(ForkMade(new_id, path, number, now)))
    if admitted:
        engine.committer.when_durable(run.begin)
    else:
        engine.await_start(run)
    return run


def _points(journal: Journal, plan: Plan) -> list[tuple[str, int]]:
    """The nodes at the top level that a run has come to, also the one that has no record yet."""
    points = journal.points()
    last = journal.done.get(points[-1]) if points else None
    if last is None and points:
        return points
    if last is None:
        following: str | None = plan.nodes[0].path
    elif last.status != OK or last.next == FINISH:
        following = None
    else:
        following = last.next or _after(plan, last.path)
    if following is not None:
        last_visit = max((visit for path, visit in points if path == following), default=0)
        points.append((following, visit_from(journal.superseded, following, last_visit + 1)))
    return points


def _after(plan: Plan, path: str) -> str | None:
    """The node behind another one at the top level; None if there is none."""
    index = plan.index.get(path)
    return None if index is None or index + 1 == len(plan.nodes) else plan.nodes[index + 1].path


def _before(journal: Journal, points: list[tuple[str, int]]) -> list[Record]:
    """What is recorded of some nodes at the top level, as far as their results depend on it."""
    kept = set(points)
    tables = (journal.chosen, journal.spread, journal.done)
    return [
        record
        for table in tables
        for (path, visit), record in table.items()
        if (path.partition("/")[0], visit) in kept
    ]


def _wired(engine: Engine, record: Record) -> Record:
    """A decoded record as it can be encoded again."""
    if isinstance(record, Done):
        return msgspec.structs.replace(record, data=engine.codec.wire(record.data))
    if isinstance(record, Spread):
        return msgspec.structs.replace(record, items=engine.codec.wire(record.items))
    assert isinstance(record, Chosen | Forked)
    return record


def _note(engine: Engine, stored: Stored, note: bytes) -> None:
    """Add a record to the journal of a run, whatever its state; nothing else of it changes."""
    header = engine.reader.codec.decode_header(stored.header)
    run = engine.live.get(header.id)
    if run is None and stored.status < FIRST_ENDED_CODE:
        run = engine.post.find(header.id)
    if run is not None:
        load_seq(engine, run)
        run.put(note)
    else:
        ledger = Ledger(stored.run, stored.workflow, seq=len(stored.rows), indexed=stored.status)
        engine.committer.put(ledger, (note,))
    engine.touched.add(stored.run)
    engine.committer.when_durable(partial(engine.touched.discard, stored.run))


# -- pause and resume --------------------------------------------------------------------------------


async def pause(engine: Engine, run_id: str) -> bool:
    """See ``Engine.pause``."""
    async with engine.steering:
        done = pause_now(engine, await under_way(engine, run_id, "paused"))
        await engine.committer.durable()
        return done


def pause_now(engine: Engine, run: RunState) -> bool:
    """Hand over that a run is paused that ``under_way`` has just given; False if it was."""
    if run.pause is not None:
        return False
    run.pause = trio.Event()
    record = engine.codec.encode(Paused(engine.now()))
    if _has_task(run):
        run.put(record)  # it is set aside when all of its tasks have come to where a step would start
    else:
        engine.admission.discard(run)
        engine.post.set_aside(run, record)
    return True


async def resume(engine: Engine, run_id: str) -> bool:
    """See ``Engine.resume``."""
    async with engine.steering:
        done = resume_now(engine, await under_way(engine, run_id, "resumed"))
        await engine.committer.durable()
        return done


def resume_now(engine: Engine, run: RunState) -> bool:
    """Hand over that a run goes on that ``under_way`` has just given; False if it was not paused."""
    paused = run.pause
    if paused is None:
        return False
    run.pause = None
    record = engine.codec.encode(Resumed(engine.now()))
    at = run.header.at
    if _has_task(run):
        run.put(record)
        paused.set()
    elif at is not None and engine.post.is_too_early(run):
        engine.post.schedule(run, at, None, None, record)
    else:
        engine.admission.discard(run)
        engine.post.wake(run, record)
    return True


async def under_way(engine: Engine, run_id: str, done: str) -> RunState:
    """A run that has not ended and can go on, as it is while nothing is awaited."""
    engine.check_open()
    run = await engine.post.unended(run_id)
    engine.check_open()
    if run is None or run.ending or run.stopped or run.status not in ("pending", "running", "waiting"):
        if run is not None and run.status == "blocked":
            raise RunBlocked(f"run {run_id!r} is blocked, and so it cannot be {done}: {run.reason}")
        if run is None or run.ending:
            how = "has ended"
        else:
            how = "is being cancelled" if run.stopped else f"is {run.status}"
        raise InputError(f"run {run_id!r} {how}; only a run whose steps are still to come can be {done}")
    load_seq(engine, run)
    return run


def _has_task(run: RunState) -> bool:
    return run.scope is not None or run.status == "running"
