"""Undoes what a run's steps did, when the run has failed or was cancelled: a saga.

The idea is that of Garcia-Molina and Salem, "Sagas" (1987): each step that succeeded has a handler that makes
up for it, and the handlers run in the reverse order. What is to be undone is never kept in memory: it is read
from the journal when it comes to that, which costs one pass over the run's records, and nothing before.

The record ``Failing`` divides a run's life: behind it no step starts any more, and nothing is decided again.
Each handler that has come to its end leaves a record, which is on disk before the next one starts, in every
mode; so a crash costs one handler under way, and none is called again that has succeeded or given up.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import trio

from durable_trio._context import StepScope
from durable_trio._definition.nodes import Handler, StepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Verdict
from durable_trio._engine.dispatch import KINDS
from durable_trio._engine.ending import end
from durable_trio._engine.run import Ending, RunState
from durable_trio._engine.step import call_body, may_enter
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import OK, STEP, Compensated
from durable_trio._snapshot.view import Fold


class _Success(NamedTuple):
    """A step to undo, as it was recorded."""

    path: str
    visit: int
    handler: Handler
    given: dict[str, Any]
    result: Any


async def compensate(run: RunState, scope: StepScope) -> None:
    """Run the handlers that have no record yet, last success first; then the run's end is handed over.

    A cancellation (the engine is left) leaves the rest for the next life of the run.

    Raises:
        StoreError: what is recorded of the run cannot be read.
    """
    engine = run.engine
    ending = run.compensating
    assert ending is not None
    run.at = run.journal = None
    await engine.committer.durable()
    if ARMED:
        failpoint("failing.durable")
    successes, outcomes = await engine.reader.call(_recorded, run)
    while successes:
        outcomes.append(await _undo(run, scope, successes.pop()))
    if not outcomes:
        end(run, ending, [])  # nothing was there to be undone
    elif all(status == OK for status in outcomes):
        end(run, Ending("compensated", ending.value, ending.errors), [])
    else:
        end(run, Ending("compensation_failed", ending.value, ending.errors), [])


def _recorded(run: RunState) -> tuple[list[_Success], list[int]]:
    """What is to be undone, in order of completion; and how the handlers ended that have run."""
    engine, plan = run.engine, run.plan
    stored = engine.store.load(run.key)
    assert stored is not None
    journal = Journal(engine.codec.decode_rows(stored.rows))
    fold = Fold(journal, run.input, {path: KINDS[node.kind] for path, node in plan.by_path.items()})
    successes = []
    for key, done in journal.done.items():
        given, result = fold.add(done)
        node = plan.by_path.get(done.path)
        if done.status != OK or not isinstance(node, StepNode) or node.compensate is None:
            continue
        if key in journal.taken_over:
            continue  # that was done by the run that this one was forked from, and is its own affair
        if key not in journal.compensated:
            assert given is not None  # the plan knows the kind of every block around
            successes.append(_Success(*key, plan.handlers[node.compensate], given, result))
    return successes, [done.status for done in journal.compensated.values()]


async def _undo(run: RunState, scope: StepScope, success: _Success) -> int:
    """Call a handler until it succeeds or gives up; its record is on disk then. Gives the status."""
    engine, handler = run.engine, success.handler
    retry = handler.retry
    scope.path = f"{success.path}/!{handler.name}"  # no node is called so: a step has no parts
    scope.kind = STEP
    scope.visit = success.visit
    scope.attempt = attempt = 1
    while True:
        if handler.mode == "thread":
            async with engine.limiter:
                verdict = await _attempt(run, scope, success, attempt)
        else:
            verdict = await _attempt(run, scope, success, attempt)
        duration = engine.monotonic() - scope.begun
        if verdict.status == OK or retry is None or not body.worth_retrying(retry, verdict, attempt):
            break
        delay = retry.delay(attempt)
        scope.due = engine.now() + delay
        await trio.sleep(delay)
        scope.due = None
        attempt += 1
    scope.path = None
    done = Compensated(
        success.path,
        success.visit,
        handler.name,
        verdict.status,
        attempt,
        scope.started,
        duration,
        verdict.data,
    )
    run.put(engine.codec.encode(done))
    if ARMED:
        failpoint("undo.put")
    await engine.committer.durable()
    if ARMED:
        failpoint("undo.durable")
    return verdict.status


async def _attempt(run: RunState, scope: StepScope, success: _Success, attempt: int) -> Verdict:
    engine, handler = run.engine, success.handler
    await may_enter(run)
    scope.attempt = attempt
    if ARMED:
        failpoint("undo.before")
    what = f"compensation {handler.name!r} of step {success.path!r}"
    call = partial(body.call_handler, engine, handler, success.result)
    came = await call_body(run, scope, success.given, what, call)
    if isinstance(came, Verdict):
        return came
    _, value = came
    return body.compensated(engine.codec, what, value, attempt)
