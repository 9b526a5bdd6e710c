"""Lets a run that has failed go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable_trio._engine.forgetting import stored_now
from durable_trio._engine.handle import Run
from durable_trio._engine.recovery import go_on_from
from durable_trio._engine.run import RunState
from durable_trio._errors import DefinitionError, InputError
from durable_trio._info import STATUS_CODES, STATUS_NAMES
from durable_trio._snapshot.records import Retried
from durable_trio._snapshot.view import Journal

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

_UNDONE = ("compensating", "compensated", "compensation_failed")


async def retry(engine: Engine, run_id: str) -> Run:
    """See ``Engine.retry``."""
    run = retry_now(engine, run_id)
    await engine.committer.durable()
    return Run(engine, run, created=False)


def retry_now(engine: Engine, run_id: str) -> RunState:
    """Hand over that a failed run goes on."""
    engine.check_open()
    known = engine.live.get(run_id)
    stored = None if known is not None else stored_now(engine, run_id)
    status = known.status if known is not None else STATUS_NAMES[stored.status] if stored else "running"
    if status != "failed" or stored is None:
        undone = ", and what its steps did is undone: start another" if status in _UNDONE else ""
        raise InputError(f"run {run_id!r} is {status}; only a failed run can be retried{undone}")
    header = engine.codec.decode_header(stored.header)
    plan = engine.plans.get((header.workflow, header.version))
    if plan is None:
        raise DefinitionError(
            f"run {run_id!r} belongs to workflow {header.workflow!r} version {header.version!r}, which "
            "is not registered with this engine; give it in open_engine(..., workflows=[...])"
        )
    run = RunState(
        engine, plan, header, stored.run, stored.workflow, seq=len(stored.rows), indexed=stored.status
    )
    engine.retried.add(stored.run)
    retried = Retried(engine.now())
    go_on_from(engine, run, Journal([*engine.codec.decode_rows(stored.rows), retried]))
    run.begun = True
    admitted = engine.admission.enter(run)
    run.status = "running" if admitted else "pending"
    engine.live[run_id] = run
    engine.committer.put(run, (engine.codec.encode(retried),), STATUS_CODES[run.status])
    if admitted:
        engine.workers.take(run)
    return run
