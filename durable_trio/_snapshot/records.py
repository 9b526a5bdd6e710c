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
MAPPED = 6  # a map without ``into``: data: [result key, number of items]; the context gains __results__
LISTED = 7  # a map as a branch: data: the number of items; it passes on the list of their results
RESULTS = 5  # a block without ``into``: list of [result key, branch path]; the context gains __results__

# Which node this is (Done.kind); the names are what StepInfo.kind shows.
STEP, PARALLEL, SEQUENCE, BRANCH, MAP, SLEEP, EVENT, INPUT, CHILD = range(9)
KIND_NAMES = ("step", "parallel", "sequence", "branch", "map", "sleep", "event", "input", "child")

FINISH = ""  # Done.next of a step that returned Finish


class Header(msgspec.Struct, array_like=True, gc=False):  # a frozen input makes no circles
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
    at: float | None = None  # it does not begin before this instant, seconds since the epoch


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
    """The run reached its terminal state; nothing follows but a ``Retried``, ``Rewound`` or ``ForkMade``."""

    status: int  # see STATUS_CODES
    at: float
    reason: Any = None  # the first error in time, or why it was cancelled
    errors: Any = None  # dict of step path to reason


class CancelRequested(msgspec.Struct, array_like=True, tag=4, repr_omit_defaults=True):
    """Somebody was told that the run is cancelled: whatever happens, it ends so."""

    at: float
    reason: Any = None
    compensate: bool = False  # what its steps did is undone first


class Retried(msgspec.Struct, array_like=True, tag=5):
    """The ended run goes on: outcomes before this that are not OK no longer count."""

    at: float


class Waiting(msgspec.Struct, array_like=True, tag=6):
    """A wait, or a block with a timeout, began. Its due time is fixed by this, for all lives of the run."""

    path: str  # of the node; of a wait inside a step, the step's path, a slash, and what tells it apart
    visit: int
    kind: int  # SLEEP, EVENT or INPUT; of a block, its own; CHILD of a call with a timeout
    name: str | None  # of the event or the input
    started: float
    due: float | None  # when it times out or, for a sleep, when it is over; seconds since the epoch
    spec: Any = None  # what an input asks for: an InputSpec


class Answered(msgspec.Struct, array_like=True, tag=7):
    """A wait inside a step is over. (Of a wait that is a node, its Done says so.)"""

    path: str
    visit: int
    at: float
    timed_out: bool
    payload: Any = None


class Chosen(msgspec.Struct, array_like=True, tag=8):
    """Which clause of a branch was taken; it is not asked for again."""

    path: str
    visit: int
    label: str
    at: float


class Spread(msgspec.Struct, array_like=True, tag=9, repr_omit_defaults=True):
    """What a map runs over, as it was found when the map began."""

    path: str
    visit: int
    items: Any  # None if they are a value of the context, which is recorded already
    count: int
    at: float
    over: str | None = None  # the context's key then


class Compensated(msgspec.Struct, array_like=True, tag=10):
    """A compensation has run for a step."""

    path: str  # of the step that was compensated
    visit: int
    handler: str
    status: int  # OK or ERROR
    attempt: int
    started: float
    duration: float
    reason: Any = None


class ChildStarted(msgspec.Struct, array_like=True, tag=11, repr_omit_defaults=True):
    """A step has started another run."""

    path: str  # of the step
    visit: int
    ref: str
    child: str  # its id
    at: float
    called: bool = False  # the step waits for its end, and it does not outlive the step


class Failing(msgspec.Struct, array_like=True, tag=12):
    """The run has failed or is cancelled. No step starts any more; what they did is undone before it ends."""

    reason: Any  # as of Ended
    errors: Any
    at: float


class Rewound(msgspec.Struct, array_like=True, tag=13):
    """The ended run goes on from a node at the top level: that visit, and all that came after, is superseded.

    What is superseded stays in the journal. What runs in its place has visits of its own, and so keys of its
    own: it is not another attempt.
    """

    path: str
    visit: int
    at: float


class Forked(msgspec.Struct, array_like=True, tag=14, repr_omit_defaults=True):
    """The records before this one were taken over from another run, which did what they tell of."""

    run: str  # its id
    path: str  # where this run goes on: a node at the top level
    visit: int
    at: float
    # (path, visit) of what was superseded in the other run: the numbers of its visits are taken over too.
    superseded: list[tuple[str, int]] | None = None


class ForkMade(msgspec.Struct, array_like=True, tag=15):
    """Another run has been started from a recorded point of this one."""

    run: str  # its id
    path: str
    visit: int
    at: float


class Paused(msgspec.Struct, array_like=True, tag=16):
    """No step starts any more, until a ``Resumed``."""

    at: float


class Resumed(msgspec.Struct, array_like=True, tag=17):
    """The paused run goes on."""

    at: float


Record = (
    Done
    | Attempt
    | Ended
    | CancelRequested
    | Retried
    | Waiting
    | Answered
    | Chosen
    | Spread
    | Compensated
    | ChildStarted
    | Failing
    | Rewound
    | Forked
    | ForkMade
    | Paused
    | Resumed
)

# What a Message is (Message.kind).
EVENT_MESSAGE, INPUT_MESSAGE = range(2)


class Message(msgspec.Struct, array_like=True):
    """Something sent to a run, kept in its mailbox until a wait takes it."""

    kind: int
    name: str
    payload: Any
    at: float
