"""What is stored of a run: one header, then a journal of records, in the order in which they happened.

A record is a msgspec array with an integer tag. A tag, and the order of its fields, is never changed;
a field may be added at the end, with a default. ``data`` fields hold *wire* values (see ``codec.py``).

Journal rows are read as a fold: nothing here needs the workflow's definition to be understood, so
another process can show a run whose code it does not have.
"""

from __future__ import annotations

from typing import Any

import msgspec

# How a node ended (Done.status). The names are what StepInfo.status shows.
OK, ERROR, CANCELLED, TIMED_OUT, NEVER_STARTED = range(5)
NODE_STATUS_NAMES = ("ok", "error", "cancelled", "timed_out", "never_started")

# What Done.data is (Done.form).
SAME = 0  # the context is unchanged; data is None
DELTA = 1  # data: the keys that changed; removed: the keys that went
REPLACED = 2  # data: the whole new context
VALUE = 3  # data: what a branch passed on that is no context
REASON = 4  # data: the reason of the error
RESULTS = 5  # a block without ``into``: list of [result key, branch path]; the context gains __results__

# Which node this is (Done.kind); the names are what StepInfo.kind shows.
STEP, PARALLEL, SEQUENCE, BRANCH, MAP, SLEEP, EVENT, INPUT = range(8)
KIND_NAMES = ("step", "parallel", "sequence", "branch", "map", "sleep", "event", "input")

FINISH = ""  # Done.next of a step that returned Finish


class Header(msgspec.Struct, array_like=True):
    """What is known of a run when it starts; never rewritten."""

    id: str
    workflow: str
    version: str
    fingerprint: bytes
    created: float  # seconds since the epoch, wall clock
    input: Any
    queue: str = "default"
    priority: int = 0
    parent: str | None = None


class Done(msgspec.Struct, array_like=True, tag=1):
    """A node reached its outcome. At most one per path and visit, unless a ``Retried`` lies between."""

    path: str
    visit: int
    kind: int
    status: int
    attempt: int
    started: float  # seconds since the epoch; 0.0 if it never started
    duration: float  # seconds, by the monotonic clock
    form: int
    data: Any
    removed: list[Any] | None = None
    next: str | None = None  # top level only: where a Goto leads, or FINISH


class Attempt(msgspec.Struct, array_like=True, tag=2):
    """An attempt failed, and another will follow."""

    path: str
    visit: int
    attempt: int
    started: float
    duration: float
    reason: Any
    due: float  # when the next attempt may start, seconds since the epoch


class Ended(msgspec.Struct, array_like=True, tag=3):
    """The run reached its terminal state; nothing follows but a ``Retried``."""

    status: int  # see STATUS_CODES
    at: float
    reason: Any = None  # the first error in time, or why it was cancelled
    errors: Any = None  # dict of step path to reason


class CancelRequested(msgspec.Struct, array_like=True, tag=4):
    """Somebody was told that the run is cancelled: whatever happens, it ends so."""

    at: float
    reason: Any = None


class Retried(msgspec.Struct, array_like=True, tag=5):
    """The ended run goes on: outcomes before this that are not OK no longer count."""

    at: float


Record = Done | Attempt | Ended | CancelRequested | Retried
