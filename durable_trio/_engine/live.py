"""Adds to what is recorded of a run the steps that are under way."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from durable_trio._context import StepScope
from durable_trio._engine.run import RunState
from durable_trio._info import RunInfo, StepInfo
from durable_trio._snapshot.records import KIND_NAMES
from durable_trio._speedups.context import thaw


def with_live_steps(info: RunInfo, run: RunState) -> RunInfo:
    """The run as its engine knows it, which is ahead of what is on disk."""
    if info.finished_at is not None:
        return info
    scopes = [scope for scope in run.scopes if scope.path is not None]
    under_way = sorted(scopes, key=lambda scope: (scope.started, scope.path))
    current = under_way[0].path if under_way else None
    if run.compensating is not None:
        under_way = []  # a handler is at work, which is no step
    live = {(scope.path, scope.visit) for scope in under_way}
    ended = [step for step in info.steps if step.status != "retrying" and (step.path, step.visit) not in live]
    steps = ended + [_step_info(run, scope) for scope in under_way]
    return msgspec.structs.replace(
        info,
        status=run.status,
        steps=steps,
        current_step=current or run.at or info.current_step,
        error=run.reason if run.status == "blocked" else info.error,
    )


def _step_info(run: RunState, scope: StepScope) -> StepInfo:
    assert scope.path is not None
    backing_off = scope.due is not None and not scope.waits
    return StepInfo(
        path=scope.path,
        kind=KIND_NAMES[scope.kind],
        visit=scope.visit,
        status="waiting" if scope.waits else "retrying" if backing_off else "running",
        attempt=scope.attempt,
        started_at=_instant(scope.started) if scope.attempt and scope.started else None,
        duration=None if backing_off else run.engine.monotonic() - scope.begun,
        error=thaw(scope.reason) if backing_off else None,
        due_at=_instant(scope.due) if scope.due is not None else None,
    )


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
