"""Runs that a step starts: children.

A child's id follows from its parent's id, the step's path and visit, and the ``ref``: however often the
step's body runs, it starts one child and gets the same answer. Children do not queue for a place among
``max_running``: their parents hold places while they wait for them.

A child that is called belongs to the step: if the step is cancelled, so is the child. Cancelling a run
cancels the children that it has called or started, and that are under way.
"""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import trio

from durable_trio._context import StepScope, scope_of
from durable_trio._definition.workflow import Workflow
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.cancelling import cancel_now
from durable_trio._engine.handle import Run
from durable_trio._engine.inputs import check_name
from durable_trio._engine.run import RunState
from durable_trio._engine.starting import check_startable, ended_run, start_child
from durable_trio._engine.steering import retry_now
from durable_trio._errors import RunBlocked, RunCancelled, RunFailed, RunNotFound, StoreCorrupt
from durable_trio._retry import seconds
from durable_trio._snapshot.records import CHILD, Answered, ChildStarted, Waiting
from durable_trio._speedups.context import thaw
from durable_trio._values import Err, Failure, Ok

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

_NAMESPACE = uuid.UUID("6f2f3a0e-6f0b-5c0d-9a35-0d3a5b8d7c11")  # of the ids of children; never changed
_LEFT = "the step that called it was cancelled"
_CHILD = -1  # tells children from waits where a body's questions are counted


async def start_workflow(workflow: Workflow | str, input: Any = None, ref: str | None = None) -> str:  # noqa: A002
    """Start another run, in a step, and give its id; it is on disk when this returns.

    Args:
        workflow: a workflow that is registered with the engine, or its name.
        input: as of ``Engine.start``.
        ref: tells apart the children that one step starts; by default the workflow's name and a number that
            counts its children in the order in which the body starts them.

    Raises:
        RuntimeError: outside a step.
        DefinitionError, InputError, SnapshotError: as ``Engine.start``.
    """
    scope = scope_of("start_workflow")
    child, _ = await _started(scope, workflow, input, ref)
    return child.id


async def call_workflow(
    workflow: Workflow | str,
    input: Any = None,  # noqa: A002
    ref: str | None = None,
    timeout: float | timedelta | None = None,
) -> Ok[dict[str, Any]] | Err[Any]:
    """Start another run, in a step, and wait for its end.

    Args:
        workflow: as of ``start_workflow``.
        input: as of ``start_workflow``.
        ref: as of ``start_workflow``.
        timeout: seconds (or a timedelta) to wait for the child, from when it was first called; then it is
            cancelled. A restart does not extend it.

    Returns:
        ``Ok(result)``, or ``Err``: the reason of a child that failed, a ``Failure`` of type ``"Cancelled"``
        for one that was cancelled, ``"TimeoutError"`` for one that took too long.

    Raises:
        RuntimeError: outside a step.
        DefinitionError, InputError, SnapshotError: as ``Engine.start``.

    A child that cannot go on, because its definition is not registered or was changed, is waited for until
    it can. If the calling run failed and is let go on (``Engine.retry``), so is a child of it that failed.

    A cancellation of the step cancels the child.
    """
    scope = scope_of("call_workflow")
    run: RunState = scope.run
    bound = None if timeout is None else seconds(timeout, "call_workflow(timeout=...)")
    child, key = await _started(scope, workflow, input, ref, called=True)
    answered = run.mailbox.answered.get(key)
    if answered is None:
        child = await _let_go_on(run, child, key)
        outcome = await _outcome(run, child, bound, key)
        if ARMED:
            failpoint("child.ended")
        answered = _answer(run, key, outcome)
    tag, value = answered.payload
    return Ok(thaw(value)) if tag == "ok" else Err(thaw(value))


def abandon(run: RunState, path: str = "") -> None:
    """Cancel what the steps at ``path`` and below have called in an earlier life of the run: they are over,
    and have not been entered in this one, where they would have seen to that themselves.
    """
    journal = run.journal
    if journal is None or not journal.called:
        return
    for (step, visit, ref), child_id in journal.children.items():
        is_here = not path or step == path or step.startswith(f"{path}/")
        if (
            is_here
            and child_id in journal.called
            and (f"{step}/__child:{ref}", visit) not in journal.answered
        ):
            with suppress(RunNotFound, StoreCorrupt):  # its start was lost with the crash, or it is damaged
                child = run.engine.post.find(child_id)
                if child is not None:
                    cancel_now(child, _LEFT)


async def _started(
    scope: StepScope, workflow: Workflow | str, given: Any, ref: str | None, *, called: bool = False
) -> tuple[RunState, tuple[str, int]]:
    run: RunState = scope.run
    engine = run.engine
    if ref is None:
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        waited = scope.waited
        if waited is None:
            waited = scope.waited = {}
        count = waited[_CHILD, name] = waited.get((_CHILD, name), 0) + 1
        ref = f"{name}#{count}"
    check_name(ref, "ref")
    assert scope.path is not None
    child_id = str(uuid.uuid5(_NAMESPACE, json.dumps([run.id, scope.path, scope.visit, ref])))
    if child_id not in run.children:
        # Before the child's own record: a child that is there is one that its parent knows of.
        started = ChildStarted(scope.path, scope.visit, ref, child_id, engine.now(), called)
        check_startable(engine, workflow, given)
        run.put(engine.codec.encode(started))
        run.children |= {child_id}
    child = start_child(engine, run, workflow, given, child_id)
    if run.stopped:  # the body is on its way out, and shields itself
        cancel_now(child, f"run {run.id!r}, which started it, was cancelled")
    if ARMED:
        failpoint("child.put")
    await engine.committer.durable()
    if ARMED:
        failpoint("child.durable")
    return child, (f"{scope.path}/__child:{ref}", scope.visit)


async def _let_go_on(run: RunState, child: RunState, key: tuple[str, int]) -> RunState:
    """If the calling run was let go on after the child had failed, so is the child."""
    engine = run.engine
    if key not in run.mailbox.unheard:
        return child
    async with engine.steering:
        child = engine.live.get(child.id) or ended_run(engine, child.id)
        if child.status == "failed" and not child.ending:
            child = retry_now(engine, child.id)
            await engine.committer.durable()
    run.mailbox.unheard.discard(key)
    return child


def _due(run: RunState, child: RunState, bound: float, key: tuple[str, int]) -> float:
    """When the time of a call is over: fixed when it begins, in whatever life of the run that was."""
    begun = run.mailbox.waiting.get(key)
    if begun is None:
        engine = run.engine
        begun = Waiting(*key, CHILD, child.id, engine.now(), engine.now() + bound)
        run.mailbox.waiting[key] = begun
        run.put(engine.codec.encode(begun))
        engine.committer.soon()
    assert begun.due is not None
    return begun.due


async def _outcome(
    run: RunState, child: RunState, bound: float | None, key: tuple[str, int]
) -> tuple[str, Any]:
    engine = run.engine
    try:
        with trio.CancelScope() as limit:
            if bound is not None:
                due = _due(run, child, bound, key)
                limit.deadline = trio.current_time() + max(due - engine.now(), 0.0)
            return "ok", await _result(engine, child)
    except trio.Cancelled:
        if not engine.closing and not run.blocking:  # else the step is entered again, and calls it again
            cancel_now(child, _LEFT)
        raise
    except RunFailed as error:
        return "error", error.error
    except RunCancelled as error:
        reason = "the child was cancelled" + ("" if error.reason is None else f": {error.reason}")
        return "error", Failure(type="Cancelled", message=reason)
    message = f"child {child.id!r} took longer than {bound:g} s"
    cancel_now(child, message)
    return "error", Failure(type="TimeoutError", message=message)


async def _result(engine: Engine, child: RunState) -> dict[str, Any]:
    while True:
        try:
            return await Run(engine, child, created=False).result()
        except RunBlocked:
            # Until it is cancelled, or the engine is left: it is looked at again on the next opening.
            await (engine.live.get(child.id) or child).settled()


def _answer(run: RunState, key: tuple[str, int], outcome: tuple[str, Any]) -> Answered:
    engine = run.engine
    payload = list(outcome)
    record = Answered(*key, engine.now(), False, engine.codec.wire(payload))
    run.put(engine.codec.encode(record))
    engine.committer.soon()
    record.payload = payload
    run.mailbox.answered[key] = record
    run.mailbox.waiting.pop(key, None)
    return record
