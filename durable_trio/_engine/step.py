"""One step with its attempts, from its context to the record of its outcome.

Between the return of a body and the hand-over of its record there is no await: a cancellation that
arrives in that moment cannot lose the result.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from durable_trio._context import StepScope
from durable_trio._definition.nodes import StepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.dispatch import handles
from durable_trio._engine.run import Outcome, RunState
from durable_trio._snapshot.records import OK, STEP, Attempt, Done
from durable_trio._speedups.context import Context, share


@handles(StepNode)
async def run_step(
    run: RunState, scope: StepScope, node: StepNode, base: dict[str, Any], visit: int, place: Place
) -> Outcome:
    """Run a step until it has an outcome. Attempts that failed are recorded on the way.

    A cancellation leaves no outcome: the caller knows who cancelled, and what that means.
    """
    engine = run.engine
    path = node.path
    retry = node.retry
    what = f"step {node.name!r}"
    scope.path = path
    scope.kind = STEP
    scope.visit = visit
    scope.attempt = 0
    scope.reason = None
    attempt = 1
    if run.journal is not None:
        failed = run.journal.attempts.pop((path, visit), None)
        if failed is not None and retry is not None:
            scope.attempt, scope.started = failed.attempt, failed.started
            scope.begun = engine.monotonic() - failed.duration
            scope.reason = failed.reason
            attempt = failed.attempt + 1
            # The wall clock may have jumped while nobody ran; no wait is longer than the policy's.
            await _back_off(run, scope, min(failed.due - engine.now(), retry.max_backoff))
    while True:
        taken = await _take_places(run, node) if node.limited else ()
        try:
            await may_enter(run)
            scope.attempt = attempt
            came = await call_body(run, scope, base, what, node.timeout, body.way_to_call(engine, node))
        finally:
            for limiter in taken:
                limiter.release()
        verdict = judged(run, scope, base, what, place, came)
        duration = engine.monotonic() - scope.begun
        if verdict.status == OK or retry is None or not body.worth_retrying(retry, verdict, attempt):
            break
        delay = retry.delay(attempt)
        scope.reason = verdict.value
        failed = Attempt(path, visit, attempt, scope.started, duration, verdict.data, engine.now() + delay)
        run.put(engine.codec.encode(failed))
        if ARMED:
            failpoint("attempt.put")
        await run.recorded()
        await _back_off(run, scope, delay)
        attempt += 1
    status, value, next_ = verdict.status, verdict.value, verdict.next
    done = Done(
        path,
        visit,
        STEP,
        status,
        attempt,
        scope.started,
        duration,
        verdict.form,
        verdict.data,
        verdict.removed,
        next_,
    )
    scope.path = None
    errors = None if status == OK else {path: value}
    return Outcome(status, value, engine.codec.encode(done), next_, verdict.is_context, errors)


async def _take_places(run: RunState, node: StepNode) -> list[trio.CapacityLimiter]:
    """Wait for the places that the step's body needs. Who waits has not been entered, and may be stopped."""
    engine = run.engine
    while run.pause is not None:
        await run.held()  # not with a place in the hand that others wait for
    limiters = [engine.queues[node.queue]] if node.queue in engine.queues else []
    if node.mode == "thread":
        limiters.append(engine.limiter)
    taken: list[trio.CapacityLimiter] = []
    try:
        for limiter in limiters:
            await limiter.acquire()
            taken.append(limiter)
    except BaseException:
        for limiter in taken:
            limiter.release()
        raise
    return taken


async def may_enter(run: RunState) -> None:
    """Pass if a body may be entered now; else wait for the cancellation that is on its way.

    What a step waits for before (its predecessor's commit) cannot be cancelled, so a cancellation of the
    block around may be due: a body entered then would run up to its first checkpoint, with all its effects.
    """
    while run.pause is not None:
        await run.held()
    if run.halted or run.engine.draining:
        await trio.sleep_forever()
    await trio.lowlevel.checkpoint_if_cancelled()


async def run_body(
    run: RunState,
    scope: StepScope,
    base: dict[str, Any],
    what: str,
    place: Place,
    timeout: float | None,
    call: Callable[[Context], Awaitable[Any]],
) -> Verdict:
    """Enter a user's function once, and judge what comes of it.

    Only a cancellation (and what is no ``Exception``) leaves this as an exception.
    """
    came = await call_body(run, scope, base, what, timeout, call)
    return judged(run, scope, base, what, place, came)


def judged(
    run: RunState,
    scope: StepScope,
    base: dict[str, Any],
    what: str,
    place: Place,
    came: Verdict | tuple[Context, Any],
) -> Verdict:
    """The verdict on what came of a body."""
    if isinstance(came, Verdict):
        return came
    ctx, value = came
    return body.returned(run.engine.codec, what, base, ctx, value, scope.attempt, place, run.plan.index)


async def call_body(
    run: RunState,
    scope: StepScope,
    base: dict[str, Any],
    what: str,
    timeout: float | None,
    call: Callable[[Context], Awaitable[Any]],
) -> Verdict | tuple[Context, Any]:
    """Enter a user's function once; its context and what it returned, or the verdict on its failure."""
    engine = run.engine
    scope.started = engine.now()
    scope.begun = engine.monotonic()
    ctx = scope.context = share(base)
    scope.waited = None  # an attempt asks from the beginning
    if ARMED:
        failpoint("body.before")
    engine.bodies += 1
    try:
        if timeout is None:
            value = await call(ctx)
        else:
            with trio.CancelScope(relative_deadline=timeout) as limit:
                value = await call(ctx)
            if limit.cancelled_caught:
                return body.timed_out(engine.codec, what, timeout, scope.attempt)
        if ARMED:
            failpoint("body.after")
    except BaseException as error:
        if body.is_cancellation(error):
            if trio.current_effective_deadline() == -math.inf:
                raise
            error = body.stray(what, error)
        verdict = body.raised(engine.codec, error, scope.attempt)
        if engine.closing:
            # The engine is leaving and the body was being cancelled; what it raised meanwhile says
            # nothing about the step, which runs again when the run goes on.
            await trio.sleep_forever()
        return verdict
    finally:
        engine.bodies -= 1
        if engine.draining and not engine.bodies:
            engine.drained.set()
        if scope.clean is not None:
            body.restore_contextvars(scope)
    return ctx, value


async def _back_off(run: RunState, scope: StepScope, delay: float) -> None:
    """Wait before the next attempt. The wait is measured by Trio's clock, which does not jump."""
    scope.due = run.engine.now() + delay
    await trio.sleep(max(delay, 0.0))
    scope.due = None
    if ARMED:
        failpoint("attempt.due")
