"""What a step's body can ask about itself: its context, the results of the last block, its idempotency key.

A task that runs steps has one ``StepScope`` (``_speedups/stepping.pxi``), found through a context variable
that is set once per task; the engine moves the scope on from step to step and from attempt to attempt.
Setting a context variable per step would cost more, and tells no more: within one task, steps come one after
another.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from durable_trio._speedups.context import Context, StepScope
from durable_trio._values import Err, Ok

__all__ = [
    "Context",
    "CurrentStep",
    "StepScope",
    "current_scope",
    "parallel_ok",
    "parallel_result",
    "parallel_results",
    "step_info",
]


class CurrentStep(msgspec.Struct, frozen=True, kw_only=True):
    """The step that is asking.

    Attributes:
        run_id: the run's id.
        workflow: the workflow's name.
        version: the workflow's version, under which the run was started.
        path: the step's stable path in the run, such as ``"checks/payment"``.
        visit: 1 the first time the run comes here; more after a backward ``Goto``.
        attempt: 1 for the first attempt.
        idempotency_key: the same for every attempt of this visit of this step in this run, also after a
            restart, and never the same for another: hand it to outside services that accept one. A UUID
            (version 5) in text form.
    """

    run_id: str
    workflow: str
    version: str
    path: str
    visit: int
    attempt: int
    idempotency_key: str


current_scope: ContextVar[StepScope] = ContextVar("durable_trio_scope")


def scope_of(caller: str) -> StepScope:
    """The scope of the step that calls; RuntimeError outside a step."""
    scope = current_scope.get(None)
    if scope is None or scope.path is None:
        raise RuntimeError(
            f"{caller}() was called outside a step: it tells about the step that calls it. "
            "Call it in the body of a step (or in what that body calls)."
        )
    return scope


def step_info() -> CurrentStep:
    """Which run and step this is, and its idempotency key.

    Raises:
        RuntimeError: outside a step.
    """
    scope = scope_of("step_info")
    assert scope.path is not None
    run = scope.run
    return CurrentStep(
        run_id=run.id,
        workflow=run.header.workflow,
        version=run.header.version,
        path=scope.path,
        visit=scope.visit,
        attempt=scope.attempt,
        idempotency_key=str(uuid.uuid5(uuid.UUID(bytes=run.key), f"{scope.path}#{scope.visit}")),
    )


def parallel_results() -> Mapping[str, Ok[Any] | Err[Any]]:
    """The tagged results of the last parallel block, as ``ctx.results`` of the step that calls.

    They are in the context when the block has no ``into``. A block with ``into`` leaves none: ``into`` has
    seen them and decides what goes on. Empty if no block before has left any.

    Raises:
        RuntimeError: outside a step.
    """
    context = scope_of("parallel_results").context
    assert context is not None
    results: Mapping[str, Ok[Any] | Err[Any]] = context.results
    return results


def parallel_result(key: str) -> Ok[Any] | Err[Any]:
    """One branch's result, ``Ok(data)`` or ``Err(reason)``, by its ``returns=`` or its step name.

    Raises:
        RuntimeError: outside a step.
        KeyError: no branch of the last block has this key; the message lists those there are.
    """
    return _result("parallel_result", key)


def parallel_ok(key: str) -> bool:
    """Whether that branch of the last block succeeded.

    Raises:
        RuntimeError: outside a step.
        KeyError: no branch of the last block has this key; the message lists those there are.
    """
    return _result("parallel_ok", key).is_ok


def _result(caller: str, key: str) -> Ok[Any] | Err[Any]:
    context = scope_of(caller).context
    assert context is not None
    results = context.results
    if key not in results:
        known = ", ".join(results) or "none"
        raise KeyError(f"the last parallel block has no result {key!r}; it has: {known}")
    result: Ok[Any] | Err[Any] = results[key]
    return result
