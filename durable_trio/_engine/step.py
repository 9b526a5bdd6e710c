"""One step with its attempts, from its context to the record of its outcome.

Between the return of a body and the hand-over of its record there is no await: a cancellation that
arrives in that moment cannot lose the result.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import trio

from durable_trio._context import StepScope
from durable_trio._definition.nodes import StepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.dispatch import handles
from durable_trio._engine.run import Outcome, RunState
from durable_trio._retry import Retry
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, REPLACED, SAME, STEP, VALUE, Attempt, Done
from durable_trio._speedups.context import Concluder, Context, share


def concluder(codec: Codec) -> Callable[..., Outcome | None]:
    """What makes an outcome, with its record, of a step's plain success; see ``Concluder.conclude``."""
    return Concluder(codec, Done, Outcome, (OK, STEP, SAME, DELTA, REPLACED, VALUE)).conclude


@handles(StepNode)
async def run_step(
    run: RunState, scope: StepScope, node: StepNode, base: dict[str, Any], visit: int, place: Place
) -> Outcome:
    """Run a step until it has an outcome. Attempts that failed are recorded on the way.

    A cancellation leaves no outcome: the caller knows who cancelled, and what that means.
    """
    engine = run.engine
    scope.path = node.path
    scope.kind = STEP
    scope.visit = visit
    scope.attempt = 0
    scope.reason = None
    attempt = 1
    if run.journal is not None and node.retry is not None:
        attempt = await _go_on_trying(run, scope, node.retry)
    while True:
        places = await _take_places(run, node) if node.limited else ()
        outcome = verdict = None
        try:
            await may_enter(run)
            ctx = _enter(run, scope, base, attempt)
            try:
                # Most steps are plain: a coroutine around each would be one more to make and to go through.
                value = await (node.fn(ctx) if node.plain else body.call_step(engine, node, ctx))
                if ARMED:
                    failpoint("body.after")
            except BaseException as error:  # noqa: BLE001 - raised again if it is no failure
                verdict = await _failed(run, scope, f"step {node.name!r}", error)
            finally:
                _leave(run, scope)
        finally:
            if places:
                _give_back(places)
        duration = engine.monotonic() - scope.begun
        if verdict is None:
            outcome = engine.conclude(
                base, ctx, value, place is Place.BRANCH, node.path, visit, attempt, scope.started, duration
            )
            if outcome is not None:
                scope.path = None
                return outcome
            what = f"step {node.name!r}"
            verdict = body.returned(engine.codec, what, base, ctx, value, attempt, place, run.plan.index)
        retry = node.retry
        if verdict.status == OK or retry is None or not body.worth_retrying(retry, verdict, attempt):
            return _outcome(run, scope, verdict, duration)
        await _back_off_from(run, scope, retry, verdict, duration)
        attempt += 1


async def _go_on_trying(run: RunState, scope: StepScope, retry: Retry) -> int:
    """The number of the next attempt, after those that were recorded before this process."""
    assert run.journal is not None
    assert scope.path is not None
    failed = run.journal.attempts.pop((scope.path, scope.visit), None)
    if failed is None:
        return 1
    engine = run.engine
    scope.attempt, scope.started = failed.attempt, failed.started
    scope.begun = engine.monotonic() - failed.duration
    scope.reason = failed.reason
    # The wall clock may have jumped while nobody ran; no wait is longer than the policy's.
    await _back_off(run, scope, min(failed.due - engine.now(), retry.max_backoff))
    return failed.attempt + 1


async def _back_off_from(
    run: RunState, scope: StepScope, retry: Retry, verdict: Verdict, duration: float
) -> None:
    """Record an attempt that failed, and wait for the next."""
    engine = run.engine
    assert scope.path is not None
    delay = retry.delay(scope.attempt)
    scope.reason = verdict.value
    failed = Attempt(
        scope.path, scope.visit, scope.attempt, scope.started, duration, verdict.data, engine.now() + delay
    )
    run.put(engine.codec.encode(failed))
    if ARMED:
        failpoint("attempt.put")
    await run.recorded()
    await _back_off(run, scope, delay)


def _outcome(run: RunState, scope: StepScope, verdict: Verdict, duration: float) -> Outcome:
    """The outcome that a verdict is, with its record."""
    path, status = scope.path, verdict.status
    assert path is not None
    done = Done(
        path,
        scope.visit,
        STEP,
        status,
        scope.attempt,
        scope.started,
        duration,
        verdict.form,
        verdict.data,
        verdict.removed,
        verdict.next,
    )
    scope.path = None
    errors = None if status == OK else {path: verdict.value}
    encoded = run.engine.codec.encode(done)
    return Outcome(status, verdict.value, encoded, verdict.next, verdict.is_context, errors)


async def _take_places(run: RunState, node: StepNode) -> list[trio.CapacityLimiter]:
    """Wait for the places that the step's body needs. Who waits has not been entered, and may be stopped."""
    engine = run.engine
    limiters = [engine.queues[node.queue]] if node.queue in engine.queues else []
    if node.mode == "thread":
        limiters.append(engine.limiter)
    while True:
        while run.pause is not None:
            await run.held()  # not with a place in the hand that others wait for
        taken: list[trio.CapacityLimiter] = []
        try:
            for limiter in limiters:
                await limiter.acquire()
                taken.append(limiter)
        except BaseException:
            _give_back(taken)
            raise
        if run.pause is None:
            return taken
        _give_back(taken)  # it was paused while it waited for them


def _give_back(places: Iterable[trio.CapacityLimiter]) -> None:
    for limiter in places:
        limiter.release()


def may_enter(run: RunState) -> Awaitable[None]:
    """Awaited, passes if a body may be entered now; else waits for the cancellation that is on its way.

    What a step waits for before (its predecessor's commit) cannot be cancelled, so a cancellation of the
    block around may be due: a body entered then would run up to its first checkpoint, with all its effects.
    """
    if run.pause is not None or run.halted or run.engine.draining:
        return _wait_to_enter(run)
    return trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC105 - the caller awaits it


async def _wait_to_enter(run: RunState) -> None:
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
    call: Callable[[Context], Awaitable[Any]],
) -> Verdict:
    """Enter a user's function once, and judge what comes of it.

    Only a cancellation (and what is no ``Exception``) leaves this as an exception.
    """
    came = await call_body(run, scope, base, what, call)
    if isinstance(came, Verdict):
        return came
    ctx, value = came
    return body.returned(run.engine.codec, what, base, ctx, value, scope.attempt, place, run.plan.index)


async def call_body(
    run: RunState,
    scope: StepScope,
    base: dict[str, Any],
    what: str,
    call: Callable[[Context], Awaitable[Any]],
) -> Verdict | tuple[Context, Any]:
    """Enter a user's function once; its context and what it returned, or the verdict on its failure."""
    ctx = _enter(run, scope, base, scope.attempt)
    try:
        value = await call(ctx)
        if ARMED:
            failpoint("body.after")
    except BaseException as error:  # noqa: BLE001 - raised again if it is no failure
        return await _failed(run, scope, what, error)
    finally:
        _leave(run, scope)
    return ctx, value


def _enter(run: RunState, scope: StepScope, base: dict[str, Any], attempt: int) -> Context:
    """The context for a body that is entered now."""
    engine = run.engine
    scope.attempt = attempt
    scope.started = engine.now()
    scope.begun = engine.monotonic()
    scope.waited = None  # an attempt asks from the beginning
    ctx = scope.context = share(base)
    if ARMED:
        failpoint("body.before")
    engine.bodies += 1
    return ctx


def _leave(run: RunState, scope: StepScope) -> None:
    """A body is over, however it ended."""
    engine = run.engine
    engine.bodies -= 1
    if engine.draining and not engine.bodies:
        engine.drained.set()
    if scope.clean is not None:
        body.restore_contextvars(scope)


async def _failed(run: RunState, scope: StepScope, what: str, error: BaseException) -> Verdict:
    """The verdict on what a body raised.

    Raises:
        BaseException: the same error again, if it is a cancellation that somebody asked for, or no failure.
    """
    engine = run.engine
    if body.is_cancellation(error):
        if trio.current_effective_deadline() == -math.inf:
            raise error
        error = body.stray(what, error)
    verdict = body.raised(engine.codec, what, error, scope.attempt)
    if engine.closing or run.blocking:
        # The engine is leaving (or the run, being blocked) and the body was being cancelled; what it raised
        # meanwhile says nothing about the step, which runs again when the run goes on.
        await trio.sleep_forever()
    return verdict


async def _back_off(run: RunState, scope: StepScope, delay: float) -> None:
    """Wait before the next attempt. The wait is measured by Trio's clock, which does not jump."""
    scope.due = run.engine.now() + delay
    try:
        await trio.sleep(max(delay, 0.0))
    finally:
        scope.due = None
    if ARMED:
        failpoint("attempt.due")
