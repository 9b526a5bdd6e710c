"""How a run comes to be: checked, given its key, and handed over; or found, if its id is known."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from durable_trio._engine import inputs
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.ids import check_id, id_of_key
from durable_trio._engine.run import RunState
from durable_trio._errors import InputError, RunNotFound
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES, STATUS_NAMES
from durable_trio._snapshot.records import Header

if TYPE_CHECKING:
    from durable_trio._definition.workflow import Workflow
    from durable_trio._engine.engine import Engine


def enter(
    engine: Engine,
    workflow: Workflow | str,
    input: Any,  # noqa: A002 - the contract's name
    id: str | None,  # noqa: A002 - the contract's name
    queue: str,
    priority: int,
    at: datetime | None = None,
    parent: str | None = None,
) -> tuple[RunState, bool]:
    """Hand over the start of a run, or find the one that has this id; True if it is a new one."""
    if parent is None or engine.failure is not None:
        # A step that is under way while the engine is left goes on to its end; its children begin later.
        engine.check_open()
    plan = engine.plan_of(workflow)
    alias = None
    if id is not None:
        alias = check_id(id)
        known = existing(engine, id)
        if known is not None:
            if known.header.workflow != plan.workflow:
                raise InputError(
                    f"the id {id[:80]!r} belongs to a run of workflow {known.header.workflow!r}, so it "
                    f"cannot start one of {plan.workflow!r}; choose another id"
                )
            return known, False
    if queue != "default" or priority != 0:
        inputs.check_queue(queue, priority)
    base, special = inputs.frozen_input(engine.codec, plan, input)
    key = engine.keys()
    run_id = id_of_key(key) if id is None else id
    due = None if at is None else inputs.instant(at)
    header = Header(
        run_id,
        plan.workflow,
        plan.version,
        plan.fingerprint,
        engine.now(),
        base,
        queue,
        priority,
        parent,
        due,
    )
    run = RunState(engine, plan, header, key, engine.numbers[plan.workflow])
    if special:
        header.input = engine.codec.wire(base)
    encoded = engine.codec.encode(header)
    header.input = base
    if due is not None and due > engine.now():
        engine.live[run_id] = run
        engine.post.schedule(run, due, encoded, alias)
        return run, True
    admitted = engine.admission.enter(run)
    run.status = "running" if admitted else "pending"
    engine.live[run_id] = run
    engine.committer.put(run, (), STATUS_CODES[run.status], encoded, alias)
    if ARMED:
        failpoint("start.put")
    if not admitted:
        engine.await_start(run)
    else:
        # In every mode: a body must not be entered for a run that a crash would take back, because
        # whoever asks for it again gets another run, with other idempotency keys.
        engine.committer.when_durable(run.begin)
    return run, True


def check_startable(engine: Engine, workflow: Workflow | str, input: Any) -> None:  # noqa: A002
    """Raise what starting this would raise; record nothing."""
    inputs.frozen_input(engine.codec, engine.plan_of(workflow), input)


def start_child(
    engine: Engine,
    parent: RunState,
    workflow: Workflow | str,
    input: Any,  # noqa: A002
    child_id: str,
) -> RunState:
    """Hand over the start of a run for a step of another one, or find it, whether it can go on or not."""
    known = existing(engine, child_id)
    if known is not None:
        return known
    header = parent.header
    child, _ = enter(engine, workflow, input, child_id, header.queue, header.priority, parent=parent.id)
    return child


def existing(engine: Engine, run_id: str) -> RunState | None:
    """The run with this id, in whatever state it is."""
    run = engine.live.get(run_id)
    if run is None and engine.reader.find(run_id) is not None:
        try:
            run = ended_run(engine, run_id)
        except RunNotFound:
            return None  # an id of the user's own that looks like one of ours
    return run


def ended_run(engine: Engine, run_id: str) -> RunState:
    """A run that has ended or is parked, as far as its handle needs it; the rest stays in the store."""
    held, stored = engine.post.held_and_stored(run_id)
    if held is not None:
        return held
    if stored.status < FIRST_ENDED_CODE:
        return engine.post.recall(stored)
    header = engine.codec.decode_header(stored.header)
    run = RunState(engine, None, header, stored.run, stored.workflow, indexed=stored.status)
    run.status = STATUS_NAMES[stored.status]
    return run
