"""Waits that are nodes: sleeps, events and inputs.

A wait's due time is recorded when the wait begins, so that no restart extends it. As long as anything else
of the run goes on, the wait is a waiting task. When nothing does, the run is parked: its tasks end, and the
index and the mailbox hold what will wake it. Woken, it walks from the top through its journal to the wait,
and looks again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import trio

from durable_trio._context import StepScope
from durable_trio._definition.checks import LONGEST_WAIT
from durable_trio._definition.nodes import EventNode, InputNode, Node, SleepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.choice import failed_question
from durable_trio._engine.committer import Post
from durable_trio._engine.dispatch import KINDS, handles
from durable_trio._engine.mailbox import Letter
from durable_trio._engine.run import Outcome, RunState
from durable_trio._engine.step import call_body, may_enter
from durable_trio._snapshot.records import (
    DELTA,
    EVENT_MESSAGE,
    INPUT_MESSAGE,
    OK,
    REASON,
    REPLACED,
    SAME,
    TIMED_OUT,
    Done,
    Waiting,
)
from durable_trio._speedups.context import settle, share
from durable_trio._values import Failure

_SLEEP = KINDS["sleep"]
_LONGEST_SLEEP = 60.0  # seconds without a look at the wall clock


@handles(SleepNode)
async def run_sleep(
    run: RunState, scope: StepScope, node: SleepNode, base: dict[str, Any], visit: int, _place: Place
) -> Outcome:
    """Wait for an instant; the context stays as it is."""
    await may_enter(run)
    waiting = _recorded_wait(run, scope, node, visit)
    if waiting is None:
        due = await _due_of_sleep(run, scope, node, base)
        if isinstance(due, Verdict):
            return failed_question(run, scope, node, visit, due)
        waiting = _begin(run, scope, node, visit, None, due, None)
    await wait_until(run, scope, waiting.due)
    return _over(run, scope, node, waiting, (OK, SAME, None, None, base), None)


def past_sleep(run: RunState) -> bytes | None:
    """The record that a run's sleep is over, if that is what it comes to next; the journal has it then.

    So a run that was woken from a sleep needs no task before that is on disk.
    """
    journal = run.journal
    # What must be asked in the order of time, its task asks: has the run been cancelled, has it expired?
    if journal is None or len(journal.waiting) != 1 or run.stopped or run.deadline is not None:
        return None
    ((path, _), waiting) = next(iter(journal.waiting.items()))
    if waiting.kind != _SLEEP or "/" in path or waiting.due is None or waiting.due > run.engine.now():
        return None
    done = _done(run, waiting, OK, SAME, None, None)
    journal.add(done)
    if ARMED:
        failpoint("wait.over")
    return run.engine.codec.encode(done)


@handles(EventNode)
@handles(InputNode)
async def run_message_wait(
    run: RunState,
    scope: StepScope,
    node: EventNode | InputNode,
    base: dict[str, Any],
    visit: int,
    _place: Place,
) -> Outcome:
    """Wait for an event, or for a person's answer; it is added to the context under the node's key."""
    await may_enter(run)
    if isinstance(node, EventNode):
        kind, name, spec = EVENT_MESSAGE, node.event, None
    else:
        kind, name, spec = INPUT_MESSAGE, node.input, msgspec.to_builtins(node.spec)
    waiting = _recorded_wait(run, scope, node, visit)
    if waiting is None:
        due = None if node.timeout is None else run.engine.now() + node.timeout
        waiting = _begin(run, scope, node, visit, name, due, spec)
    letter = await receive(run, scope, kind, name, waiting.due)
    if letter is not None:
        payload = letter.payload
    elif node.has_default:
        payload = node.default
    else:
        failure = Failure(
            type="durable_trio.WaitTimeout",
            message=f"{node.kind} {name!r} did not come within {node.timeout:g} s",
        )
        ending = (TIMED_OUT, REASON, run.engine.codec.wire(failure), None, failure)
        return _over(run, scope, node, waiting, ending, None)
    codec = run.engine.codec
    answered = share(base) | {node.key: payload}
    value, changed, removed, replaced, _ = settle(base, answered, codec.user_types, codec.resolve)
    form = SAME if value is base else REPLACED if replaced else DELTA
    return _over(run, scope, node, waiting, (OK, form, codec.wire(changed), removed, value), letter)


def _recorded_wait(run: RunState, scope: StepScope, node: Node, visit: int) -> Waiting | None:
    """Enter the wait; its record, if it began in an earlier life of the run."""
    scope.path = node.path
    scope.kind = KINDS[node.kind]
    scope.visit = visit
    scope.attempt = 1
    scope.started, scope.begun = run.engine.now(), run.engine.monotonic()
    waiting = run.journal.waiting.get((node.path, visit)) if run.journal is not None else None
    if waiting is not None:
        scope.started = waiting.started
    return waiting


def _begin(
    run: RunState, scope: StepScope, node: Node, visit: int, name: str | None, due: float | None, spec: Any
) -> Waiting:
    waiting = Waiting(node.path, visit, KINDS[node.kind], name, scope.started, due, spec)
    run.put(run.engine.codec.encode(waiting))
    if ARMED:
        failpoint("wait.put")
    run.engine.committer.soon()
    return waiting


async def _due_of_sleep(
    run: RunState, scope: StepScope, node: SleepNode, base: dict[str, Any]
) -> float | Verdict:
    if node.seconds is not None:
        return run.engine.now() + node.seconds
    if node.until is not None:
        return node.until.timestamp()
    what = f"the function of sleep {node.name!r}"
    assert node.fn is not None
    call = partial(body.call_plain, node.fn, node.fn_is_async)
    came = await call_body(run, scope, base, what, call)
    if isinstance(came, Verdict):
        return came
    _, value = came
    if node.absolute:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.timestamp()
        wanted = "an aware datetime"
    else:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if (
            isinstance(seconds, (int, float))
            and not isinstance(seconds, bool)
            and 0 <= seconds <= LONGEST_WAIT
        ):
            return run.engine.now() + seconds
        wanted = "seconds or a timedelta, not negative and at most 1000 years"
    message = f"{what} returned {body.shown(value)}; it returns {wanted}"
    return body.refused(run.engine.codec, "TypeError", message)


def _over(
    run: RunState,
    scope: StepScope,
    node: Node,
    waiting: Waiting,
    ending: tuple[int, int, Any, list[Any] | None, Any],
    letter: Letter | None,
) -> Outcome:
    """The outcome of a wait. Its record is handed over here, together with the letter that it took."""
    status, form, data, removed, value = ending
    done = _done(run, waiting, status, form, data, removed)
    post = None if letter is None else Post(taken=(letter.number,))
    run.engine.committer.put(run, (run.engine.codec.encode(done),), post=post)
    if ARMED:
        failpoint("wait.over")
    scope.path = None
    errors = None if status == OK else {node.path: value}
    return Outcome(status, value, b"", errors=errors)


def _done(
    run: RunState, waiting: Waiting, status: int, form: int, data: Any, removed: list[Any] | None
) -> Done:
    duration = max(run.engine.now() - waiting.started, 0.0)
    return Done(
        waiting.path, waiting.visit, waiting.kind, status, 1, waiting.started, duration, form, data, removed
    )


# -- waiting -----------------------------------------------------------------------------------------


async def wait_until(run: RunState, scope: StepScope, due: float | None, *, stay: bool = False) -> None:
    """Wait until the wall clock says so. Unless it is to ``stay``, the run may be parked meanwhile."""
    assert due is not None
    while (left := due - run.engine.now()) > 0:
        with run.idling(scope, due, stay=stay):
            await trio.sleep(min(left, _LONGEST_SLEEP))
    while run.pause is not None and not stay:
        await run.held()


async def receive(
    run: RunState, scope: StepScope, kind: int, name: str, due: float | None, *, stay: bool = False
) -> Letter | None:
    """Wait for a message; None if the time is over.

    Unless it is to ``stay``, the run may be parked meanwhile. A message that is there wins over a time that
    is over.
    """
    while True:
        while run.pause is not None and not stay:
            await run.held()
        letter = run.mailbox.take(kind, name)
        if letter is not None:
            return letter
        left = _LONGEST_SLEEP if due is None else due - run.engine.now()
        if left <= 0:
            return None
        arrival = run.mailbox.arrival
        with run.idling(scope, due, stay=stay), trio.move_on_after(min(left, _LONGEST_SLEEP)):
            await arrival.wait()
