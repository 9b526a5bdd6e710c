"""One step with its attempts, from its context to the record of its outcome.

Between the return of a body and the hand-over of its record there is no await: a cancellation that
arrives in that moment cannot lose the result.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any

import trio

from durable_trio._context import StepScope
from durable_trio._definition.nodes import StepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.committer import Committer
from durable_trio._engine.dispatch import handles, run_node
from durable_trio._engine.run import Outcome, RunState
from durable_trio._engine.sleeping import AWAKE, SHIELDED, tells_of_cancellation
from durable_trio._errors import StoreCorrupt
from durable_trio._retry import Retry
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, REPLACED, SAME, STEP, VALUE, Attempt, Done
from durable_trio._speedups.context import Concluder, Context, Stepper

_MOST_ATTEMPTS = 2**32 - 1  # what a StepScope can count


def make_stepper(
    codec: Codec, now: Callable[[], float], monotonic: Callable[[], float], committer: Committer
) -> Stepper:
    """What enters the bodies of an engine, and takes the plain steps from one to the next."""
    return Stepper(
        Concluder(codec, Outcome, (OK, STEP, SAME, DELTA, REPLACED, VALUE)),
        now,
        monotonic,
        _wait_to_enter,
        trio.lowlevel.checkpoint_if_cancelled,
        trio.lowlevel.current_task,
        tells_of_cancellation(trio.lowlevel.current_task()),
        committer,
        SHIELDED,
        AWAKE,
        body.restore_contextvars,
        _outcome_otherwise,
        run_node,
        Place.BRANCH,
        failpoint if ARMED else None,
        trio.Event(),
    )


@handles(StepNode)
def run_step(
    run: RunState, scope: StepScope, node: StepNode, base: dict[str, Any], visit: int, place: Place
) -> Coroutine[Any, Any, Outcome]:
    """Run a step until it has an outcome, when awaited. Attempts that failed are recorded on the way.

    A cancellation leaves no outcome: the caller knows who cancelled, and what that means.
    """
    if node.simple and run.journal is None:
        return run.engine.stepper.step(run, scope, node, base, visit, place)
    return run_any_step(run, scope, node, base, visit, place)


async def run_any_step(
    run: RunState, scope: StepScope, node: StepNode, base: dict[str, Any], visit: int, place: Place
) -> Outcome:
    """As ``run_step``, of whatever kind the step is and wherever it stands."""
    scope.begin(node.path, STEP, visit)
    attempt = 1
    if run.journal is not None and node.retry is not None:
        attempt = await _go_on_trying(run, scope, node.retry)
    came = await _attempt(run, scope, node, base, attempt, place)
    return await _outcome_of(run, scope, node, base, place, came)


async def _outcome_otherwise(
    run: RunState,
    scope: StepScope,
    node: StepNode,
    base: dict[str, Any],
    place: Place,
    ctx: Context,
    value: Any,
    error: BaseException | None,
) -> Outcome:
    """The outcome of a plain step whose first attempt was no plain success: it returned this, or raised."""
    what = f"step {node.name!r}"
    if error is not None:
        verdict = await _failed(run, scope, what, error)
    else:
        verdict = body.returned(run.engine.codec, what, base, ctx, value, 1, place, run.plan.index)
    return await _outcome_of(run, scope, node, base, place, verdict)


async def _outcome_of(
    run: RunState,
    scope: StepScope,
    node: StepNode,
    base: dict[str, Any],
    place: Place,
    came: Outcome | Verdict,
) -> Outcome:
    """What a step comes to after this attempt, with further ones if the policy asks for them."""
    retry = node.retry
    while isinstance(came, Verdict):
        duration = run.engine.monotonic() - scope.begun
        if came.status == OK or retry is None or not body.worth_retrying(retry, came, scope.attempt):
            return _outcome(run, scope, came, duration)
        await _back_off_from(run, scope, retry, came, duration)
        came = await _attempt(run, scope, node, base, scope.attempt + 1, place)
    return came


async def _attempt(
    run: RunState, scope: StepScope, node: StepNode, base: dict[str, Any], attempt: int, place: Place
) -> Outcome | Verdict:
    """Enter the body once, when it has the places that it needs."""
    engine = run.engine
    what = f"step {node.name!r}"
    places = await _take_places(run, node) if node.limited else ()
    try:
        await may_enter(run)
        scope.attempt = attempt
        call = node.fn if node.plain else partial(body.call_step, engine, node)
        came = await call_body(run, scope, base, what, call)
    finally:
        if places:
            _give_back(places)
    if isinstance(came, Verdict):
        return came
    duration = engine.monotonic() - scope.begun
    ctx, value = came
    outcome: Outcome | None = engine.stepper.concluder.conclude(
        base, ctx, value, place is Place.BRANCH, node.path, scope.visit, attempt, scope.started, duration
    )
    if outcome is None:
        return body.returned(engine.codec, what, base, ctx, value, attempt, place, run.plan.index)
    scope.path = None
    return outcome


async def _go_on_trying(run: RunState, scope: StepScope, retry: Retry) -> int:
    """The number of the next attempt, after those that were recorded before this process."""
    assert run.journal is not None
    assert scope.path is not None
    failed = run.journal.attempts.pop((scope.path, scope.visit), None)
    if failed is None:
        return 1
    if not 0 < failed.attempt < _MOST_ATTEMPTS:
        raise StoreCorrupt(
            f"the last attempt of step {scope.path!r} is recorded as number {failed.attempt}, which no run "
            "comes to; restore the run from a backup, or delete it"
        )
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
    if run.pause is not None or run.engine.draining or run.halted:
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
    stepper = run.engine.stepper
    ctx = stepper.enter(scope, base, scope.attempt)
    try:
        value = await call(ctx)
        if ARMED:
            failpoint("body.after")
    except BaseException as error:  # noqa: BLE001 - raised again if it is no failure
        return await _failed(run, scope, what, error)
    finally:
        stepper.leave(scope)
    return ctx, value


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
