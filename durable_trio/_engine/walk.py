"""A run's way through its plan, from the top to the end.

A fresh run, one that a crash interrupted and one that is retried take the same way. Where the journal
has a node's outcome, the outcome is taken from there and the node is passed over; where it has none, the
node runs. That is all there is to recovery: no user code is replayed, and none needs to be deterministic.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from durable_trio._context import StepScope
from durable_trio._definition.plan import Plan
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place
from durable_trio._engine.children import abandon
from durable_trio._engine.dispatch import run_node
from durable_trio._engine.ending import end, give_up
from durable_trio._engine.replay import passed_over, replayed
from durable_trio._engine.run import Ending, Outcome, RunState
from durable_trio._snapshot.journal import visit_from
from durable_trio._snapshot.records import CANCELLED, FINISH, OK, REASON, Done
from durable_trio._values import Failure


def walk(run: RunState, scope: StepScope) -> Awaitable[None]:
    """Awaited, walks the plan until the run ends, which is handed over, or until it is found to be cancelled.

    A cancellation of Trio's leaves the run where it is: the caller knows what it means.
    """
    nodes = run.plan.nodes
    index, base = run.head or (0, run.input)
    run.head = None
    if run.journal is not None and not run.halted:
        index, base = passed_over(run, run.journal)
    visits = dict.fromkeys(range(index), 1)
    if run.journal is None and _may_be_rowed(run, index):
        # Most of what runs do is this: nothing of it is recorded, and one node follows the other.
        return run.engine.stepper.walk(run, scope, nodes, index, base, visits, Place.TOP, _go_on)
    return _walk_on(run, scope, visits, index, base, index, None)


def _may_be_rowed(run: RunState, steps: int) -> bool:
    """Whether nodes can follow one another without a look at each visit; ``steps`` were visited so far."""
    return not run.superseded and steps + len(run.plan.nodes) < run.plan.max_visits


def _go_on(
    run: RunState,
    scope: StepScope,
    visits: dict[int, int],
    index: int,
    base: dict[str, Any],
    outcome: Outcome | None,
) -> Awaitable[None] | None:
    """What is to be awaited when a row, before which each node was visited once, has come so far; None if
    that is all.
    """
    steps = index
    if outcome is not None:
        steps += 1
        ending, _ = _next(run.plan, index, outcome)
        if ending is not None and not run.stopped:
            _finish(run, ending, outcome)
            return None
    return _walk_on(run, scope, visits, index, base, steps, outcome)


async def _walk_on(
    run: RunState,
    scope: StepScope,
    visits: dict[int, int],
    index: int,
    base: dict[str, Any],
    steps: int,
    outcome: Outcome | None,
) -> None:
    """Walk the plan from the node at ``index`` on, or from this outcome of it, which is not recorded yet."""
    plan = run.plan
    nodes = plan.nodes
    fresh = True
    while True:
        if outcome is None:
            if run.halted:
                return
            node = nodes[index]
            fresh = True
            if run.journal is None and _may_be_rowed(run, steps):
                at = index
                index, base, outcome = await run.engine.stepper.walk(
                    run, scope, nodes, at, base, visits, Place.TOP
                )
                steps += index - at
                if outcome is None:
                    continue
                steps += 1
            else:
                run.at = node.path
                steps += 1
                if steps > plan.max_visits:
                    reason = _endless(plan.max_visits, node.name)
                    give_up(run, Ending("failed", reason, {node.path: reason}), [])
                    return
                visit = visits[index] = visit_from(run.superseded, node.path, visits.get(index, 0) + 1)
                if run.journal is not None:
                    outcome = replayed(run, node, base, visit)
                    fresh = outcome is None
                if outcome is None:
                    outcome = await run_node(run, scope, node, base, visit, Place.TOP)
                    run.journal = None  # what it may have held for this node is used; there is nothing later
        ending, index = _next(plan, index, outcome)
        if run.stopped:
            if outcome.record:
                run.put(outcome.record)
        elif ending is not None:
            _finish(run, ending, outcome)
            return
        elif fresh:
            await (run.record(outcome.record) if outcome.record else run.recorded())
            if ARMED:
                failpoint("step.durable")
        base, outcome = outcome.value, None


def _finish(run: RunState, ending: Ending, outcome: Outcome) -> None:
    finish = end if ending.status == "completed" else give_up
    finish(run, ending, [outcome.record] if outcome.record else [])


def _next(plan: Plan, index: int, outcome: Outcome) -> tuple[Ending | None, int]:
    """How the run ends after this outcome of the node at ``index``, or which node follows."""
    if outcome.status != OK:
        return Ending("failed", outcome.value, outcome.errors or {}), index
    if outcome.next is None:
        index += 1
    elif outcome.next != FINISH:
        return None, plan.index[outcome.next]
    if outcome.next == FINISH or index == len(plan.nodes):
        return Ending("completed", outcome.value, {}), index
    return None, index


def _endless(max_visits: int, name: str) -> Failure:
    return Failure(
        type="durable_trio.RunFailed",
        message=f"the run has visited {max_visits} steps without an end, which is the workflow's "
        f"max_visits; does {name!r} jump back for ever?",
    )


def walk_off(run: RunState, scope: StepScope) -> None:
    """End a run that was cancelled or has expired; the step that this interrupted is recorded with it."""
    finish = give_up
    if run.stopped:
        ending = Ending("cancelled", run.reason, {})
        if not run.undoes:
            finish = end
    else:
        abandon(run)
        reason = Failure(type="TimeoutError", message=run.halt_cause)
        ending = Ending("failed", reason, {run.at or _reached(run): reason})
    finish(run, ending, _interrupted(run, scope))


def _reached(run: RunState) -> str:
    """Where a run is that was taken up again when its time was over: at the first node without an outcome."""
    base = run.input
    visits: dict[int, int] = {}
    index = 0
    while True:
        node = run.plan.nodes[index]
        visit = visits[index] = visit_from(run.superseded, node.path, visits.get(index, 0) + 1)
        outcome = replayed(run, node, base, visit)
        if outcome is None:
            return node.path
        ending, index = _next(run.plan, index, outcome)
        if ending is not None:
            return node.path
        base = outcome.value


def _interrupted(run: RunState, scope: StepScope) -> list[bytes]:
    """The record of the top-level step that a cancellation of the run interrupted, if it was in one."""
    if scope.path is None or not scope.attempt:
        return []
    engine = run.engine
    failure = Failure(type="Cancelled", message=run.halt_cause, attempts=scope.attempt)
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
