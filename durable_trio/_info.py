"""What a user is told about a run and its steps."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from durable_trio._forms import Choice, FormField, InputKind

RunStatus = Literal[
    "pending",
    "running",
    "waiting",
    "completed",
    "failed",
    "cancelled",
    "compensating",
    "compensated",
    "compensation_failed",
    "blocked",
]
StepStatus = Literal[
    "running", "waiting", "retrying", "ok", "error", "cancelled", "timed_out", "never_started"
]

# One byte of the status index; a number is never given to another status.
STATUS_CODES: dict[RunStatus, int] = {
    "pending": 1,
    "running": 2,
    "waiting": 3,
    "compensating": 4,
    "blocked": 5,
    "completed": 16,
    "failed": 17,
    "cancelled": 18,
    "compensated": 19,
    "compensation_failed": 20,
}
# In the index only: a paused run that nothing is in a body of. It shows as ``waiting``, and is paused.
PAUSED_CODE = 6
STATUS_NAMES: dict[int, RunStatus] = {code: name for name, code in STATUS_CODES.items()} | {
    PAUSED_CODE: "waiting"
}
FIRST_ENDED_CODE = 16


class StepInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One step, branch or block of a run.

    Attributes:
        path: its stable name in the run, such as ``"checks/payment"``.
        kind: ``"step"``, ``"parallel"``, ``"sequence"``, …
        visit: 1 the first time the run comes here; more after a backward ``Goto``, and when it was let go on
            from an earlier step.
        status: how it stands or how it ended.
        attempt: the number of the last attempt; 0 if it never started.
        started_at: when the last attempt started (aware, UTC), or None.
        duration: seconds the last attempt took; for a running one, until now; None if it never started.
        result: the data it returned, where it ended well.
        error: the reason, where it did not: as given to ``Err``, or a ``Failure``.
        due_at: when the next attempt is due (``"retrying"``) or a wait ends (``"waiting"``).
        superseded: the run was let go on from here, or from before; what counts is a later visit.
    """

    path: str
    kind: str = "step"
    visit: int = 1
    status: StepStatus
    attempt: int = 0
    started_at: datetime | None = None
    duration: float | None = None
    result: Any = None
    error: Any = None
    due_at: datetime | None = None
    superseded: bool = False


class PendingInput(msgspec.Struct, frozen=True, kw_only=True):
    """A question to a person that a run waits for.

    Attributes:
        run_id, workflow: whose question it is.
        name: what ``provide_input`` calls it.
        path: of the step that asks.
        kind, prompt, choices, fields: what is asked; see ``InputSpec``.
        since: when it was asked (aware, UTC).
        due_at: when the wait times out, or None.
    """

    run_id: str
    workflow: str
    name: str
    path: str
    kind: InputKind
    prompt: str | None
    choices: tuple[Choice, ...]
    fields: tuple[FormField, ...]
    since: datetime
    due_at: datetime | None


class CompensationInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A handler that has run to undo a step.

    Attributes:
        path: of the step.
        visit: which visit of the step it was for.
        handler: the handler's name.
        status: ``"ok"``, or ``"error"`` if its last attempt failed.
        attempt: the number of its last attempt.
        started_at: when that started (aware, UTC).
        duration: seconds that it took.
        error: the reason, if it failed: as given to ``Err``, or a ``Failure``.
    """

    path: str
    visit: int
    handler: str
    status: Literal["ok", "error"]
    attempt: int
    started_at: datetime
    duration: float
    error: Any = None


class HistoryInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody did to a run.

    Attributes:
        at: when (aware, UTC).
        act: ``"cancelled"``, ``"retried"``, ``"paused"`` or ``"resumed"``; ``"forked"`` if another run was
            started from a point of this one, ``"forked_from"`` if this one was started so.
        step: the path of the step from which this run was retried, or the fork goes on; None if it was
            retried from the failed one.
        visit: which visit of it.
        run: the id of the other run of a fork.
        reason: of a cancellation.
    """

    at: datetime
    act: Literal["cancelled", "retried", "paused", "resumed", "forked", "forked_from"]
    step: str | None = None
    visit: int | None = None
    run: str | None = None
    reason: Any = None


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as it stood when it was asked for.

    Attributes:
        id: the run's id.
        workflow: the workflow's name.
        version: the workflow's version, under which the run was started.
        status: see ``RunStatus``.
        input: what the run was started with.
        context: the data as of the last step that is recorded.
        result: the final context of a completed run, else None.
        error: the reason of the first error in time of a failed run; the reason of a cancelled one. A run
            keeps it while its steps are being compensated, and after that.
        errors: step path to reason, every error of a failed run.
        created_at, updated_at, finished_at: aware instants (UTC); ``finished_at`` is None until the end.
        current_step: the path of the step the run is at, or None.
        queue, priority: as given to ``start``.
        parent: the id of the run that started it as a child, or None.
        paused: no step of it starts until it is resumed. It is ``running`` while something is still in a
            body, and then ``waiting``.
        forked_from: the id of the run from a point of which it was started, or None.
        steps: in the order in which they ended, those under way last; empty in a list of runs.
        compensations: the handlers that have undone steps, in the order in which they ran; empty in a list
            of runs.
        history: what was done to the run from outside, in order; empty in a list of runs.
    """

    id: str
    workflow: str
    version: str
    status: RunStatus
    input: dict[Any, Any]
    context: dict[Any, Any]
    result: dict[Any, Any] | None = None
    error: Any = None
    errors: dict[str, Any] = {}
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    current_step: str | None = None
    queue: str = "default"
    priority: int = 0
    parent: str | None = None
    paused: bool = False
    forked_from: str | None = None
    steps: list[StepInfo] = []
    compensations: list[CompensationInfo] = []
    history: list[HistoryInfo] = []


class DatabaseInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a database. Sizes are in bytes.

    Attributes:
        path: its directory.
        engine: whether an engine has it open, in any process.
        runs: how many there are.
        by_status: the same by status; those that no run has are left out.
        requests: what clients have asked for and no engine has taken up; at most 1,000 are counted.
        size: of the data file.
        used: of the part of it that holds data; the rest is used again before the file grows.
        disk_free: of the file system that it is on.
        readers: read transactions under way, or kept by processes that were killed.
    """

    path: str
    engine: bool
    runs: int
    by_status: dict[RunStatus, int]
    requests: int
    size: int
    used: int
    disk_free: int
    readers: int


class DatabaseReport(msgspec.Struct, frozen=True, kw_only=True):
    """What ``check_database`` has found.

    Attributes:
        info: the figures; None if the database cannot be opened.
        problems: what is wrong, a sentence each; empty if everything is as it was written.
    """

    info: DatabaseInfo | None
    problems: list[str]
