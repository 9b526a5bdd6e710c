"""A run's task: walks the plan from the top to the end.

A fresh run, one that a crash interrupted and one that is retried take the same way. Where the journal
has a node's outcome, the outcome is taken from there and the node is passed over; where it has none, the
node runs. That is all there is to recovery: no user code is replayed, and none needs to be deterministic.
"""

from __future__ import annotations

import contextvars
from typing import Any

import trio

from durable_trio._context import StepScope, current_scope
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.parallel import run_node
from durable_trio._engine.replay import replayed
from durable_trio._engine.run import Ending, RunState
from durable_trio._errors import StoreError
from durable_trio._info import STATUS_CODES
from durable_trio._snapshot.records import CANCELLED, FINISH, OK, REASON, Done, Ended
from durable_trio._values import Failure



async def run_to_end(run: RunState) -> None:
    """The task of a run. Never raises but for Trio's cancellation of the whole engine."""
    engine = run.engine
    scope = run.new_scope()
    current_scope.set(scope)
    scope.clean = contextvars.copy_context()
    run.scopes.add(scope)
    ending: Ending | None = None
    try:
        with trio.CancelScope() as run.scope:
            await run.recorded()  # its start
            ending = await _walk(run, scope)
        if ending is None:
            # Only a cancellation of this run brings us here; what it interrupted is recorded with it.
            ending = Ending("cancelled", run.reason, {})
            records = _interrupted(run, scope)
            await end(run, ending, records)
    except StoreError:
        pass  # the committer has told the engine, and nothing can be recorded any more
    except trio.Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - ends the engine, with this error
        if body.is_cancellation(error):
            raise
        engine.fail(error)
    finally:
        run.scopes.discard(scope)
        engine.stragglers.discard(scope)
        engine.left(run)


async def _walk(run: RunState, scope: StepScope) -> Ending | None:
    """The way through the plan; None if the run was cancelled."""
    plan = run.plan
    nodes = plan.nodes
    base = run.input
    visits: dict[int, int] = {}
    steps = 0
    index = 0
    while True:
        if run.stopped:
            return None
        node = nodes[index]
        steps += 1
        if steps > plan.max_visits:
            reason = Failure(
                type="durable_trio.RunFailed",
                message=f"the run has visited {plan.max_visits} steps without an end, which is the "
                f"workflow's max_visits; does {node.name!r} jump back for ever?",
            )
            return await _fail(run, reason, {node.path: reason}, [])
        visit = visits[index] = visits.get(index, 0) + 1
        outcome = replayed(run, node, base, visit) if run.journal is not None else None
        if outcome is None:
            outcome = await run_node(run, scope, node, base, visit, body.Place.TOP)
            run.journal = None  # what it may have held for this node is used; there is nothing later
            records = [outcome.record]
        else:
            records = []
        if outcome.status != OK:
            return await _fail(run, outcome.value, outcome.errors or {}, records)
        base = outcome.value
        if outcome.next is None:
            index += 1
        elif outcome.next != FINISH:
            index = plan.index[outcome.next]
        if outcome.next == FINISH or index == len(nodes):
            if run.stopped:
                run.put(*records)
                return None
            ending = Ending("completed", base, {})
            await end(run, ending, records)
            return ending
        if records:
            run.put(*records)
            if ARMED:
                failpoint("step.put")
            await run.recorded()
            if ARMED:
                failpoint("step.durable")


async def _fail(run: RunState, reason: Any, errors: dict[str, Any], records: list[bytes]) -> Ending | None:
    if run.stopped:
        run.put(*records)
        return None
    ending = Ending("failed", reason, errors)
    await end(run, ending, records)
    return ending


def _interrupted(run: RunState, scope: StepScope) -> list[bytes]:
    """The record of the top-level step that a cancellation of the run interrupted, if it was in one."""
    if scope.path is None or not scope.attempt:
        return []
    engine = run.engine
    failure = Failure(type="Cancelled", message=run.cancellation_cause, attempts=scope.attempt)
    duration = engine.monotonic() - scope.begun
    record = Done(
        scope.path,
        scope.visit,
        scope.kind,
        CANCELLED,
        scope.attempt,
        scope.started,
        duration,
        REASON,
        engine.codec.wire(failure),
    )
    return [engine.codec.encode(record)]


async def end(run: RunState, ending: Ending, records: list[bytes]) -> None:
    """Record the terminal state and wait until it is on disk, in every mode; then tell those who wait."""
    engine = run.engine
    run.ending = True
    codec = engine.codec
    reason = None if ending.status == "completed" else codec.wire(ending.value)
    errors = codec.wire(ending.errors) if ending.errors else None
    code = STATUS_CODES[ending.status]
    records.append(codec.encode(Ended(code, engine.now(), reason, errors)))
    engine.committer.put(run, records, code)
    if ARMED:
        failpoint("end.put")
    await engine.committer.durable()
    if ARMED:
        failpoint("end.durable")
    engine.ended(run, ending)


