"""One run in memory: what its task, its blocks and the engine share."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from durable_trio._context import StepScope, current_scope
from durable_trio._definition.plan import Plan
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.committer import Post
from durable_trio._engine.mailbox import Mailbox
from durable_trio._engine.sleeping import AWAKE, CANCELLABLE, asleep
from durable_trio._info import RunStatus
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import Header
from durable_trio._speedups.context import RunBase

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine


Kept = tuple[tuple[bytes, ...], tuple[tuple[int, bytes], ...]]  # the rows and the messages of a run
_NO_CHILDREN: frozenset[str] = frozenset()
NO_SCOPES: set[StepScope] = set()  # of all runs without a task; nothing is ever added to it
_NO_VISITS: frozenset[tuple[str, int]] = frozenset()


class Outcome(msgspec.Struct, gc=False):  # frozen values make no circles
    """How a node ended, and the record that says so: encoded, and empty if it was handed over already.

    ``value`` is the frozen context that the node leaves (or, of a branch, any frozen value: then
    ``is_context`` is False), or the reason of an error. ``errors`` maps paths to reasons, the node's own
    first; ``next`` is where a Goto leads, or FINISH.
    """

    status: int
    value: Any
    record: bytes
    next: str | None = None
    is_context: bool = True
    errors: dict[str, Any] | None = None


class Ending(msgspec.Struct, gc=False):
    """The terminal state of a run: ``value`` is the frozen result, or the reason."""

    status: RunStatus
    value: Any
    errors: dict[str, Any]


def milliseconds(due: float) -> int:
    """The key of a due time in the index of timers: the first millisecond that is not before it."""
    return min(max(math.ceil(due * 1000), 0), 2**62)


class RunState(RunBase):
    """A run that has not ended, or whose end somebody is still looking at.

    Everything here is touched by the Trio thread alone; the committer's part is in ``Ledger``, and what each
    step asks for in ``RunBase``.
    """

    __slots__ = (
        "__weakref__",
        "_mailbox",
        "_plan",
        "begun",
        "blocking",
        "children",
        "compensating",
        "ended",
        "ending",
        "engine",
        "head",
        "header",
        "id",
        "input",
        "journal",
        "kept",
        "reason",
        "roused",
        "scope",
        "status",
        "superseded",
        "timer",
        "undoes",
        "waiters",
        "wake_at",
    )

    def __init__(
        self,
        engine: Engine,
        plan: Plan | None,
        header: Header,
        key: bytes,
        number: int,
        *,
        seq: int = 0,
        indexed: int | None = None,
    ) -> None:
        super().__init__(key, number, seq=seq, indexed=indexed)
        self.engine = engine
        self._plan = plan  # None while it is blocked
        self.header = header
        self.id = header.id
        self.input: dict[str, Any] = header.input
        self.journal: Journal | None = None  # what was recorded before this process took the run up
        # Instead of that, how many nodes at the head of the plan are over, and the context after them.
        self.head: tuple[int, dict[str, Any]] | None = None
        # What is stored of it, read ahead of its turn. Whoever adds to its journal asks ``load_seq``, which
        # drops this.
        self.kept: Kept | None = None
        self.status: RunStatus = "pending"
        self.begun = False  # it had begun when this process took it up
        self._mailbox: Mailbox | None = None
        self.children: frozenset[str] = _NO_CHILDREN  # the ids of the runs that it has started
        self.blocking = False  # what is recorded of it makes no sense: the tasks are being ended
        self.roused = False  # something came for it while it was being parked
        self.wake_at: float | None = None  # when it must be woken at the latest, seconds since the epoch
        self.timer: int | None = None  # its timer in the index, in ms, as far as that is known
        self.scope: trio.CancelScope | None = None  # around the run's task, while it has one
        # When its workflow's timeout is over, seconds since the epoch; the same in every life of the run.
        limit = plan.timeout if plan is not None else None
        self.deadline = None if limit is None else max(header.created, header.at or 0.0) + limit
        self.scopes = NO_SCOPES  # what is under way, for those who ask
        # (path, visit) at the top level: what the run was let go on from, or from before.
        self.superseded: Collection[tuple[str, int]] = _NO_VISITS
        self.reason: Any = None  # why it was cancelled, if it is ``stopped``
        self.undoes = False  # if it is cancelled: what its steps did is undone
        # What it has come to, while what its steps did is undone. It is not ``stopped`` any more then.
        self.compensating: Ending | None = None
        self.ending: Ending | None = None  # its end, when that is handed over
        self.ended: Ending | None = None  # its end is on disk
        # For the end, or for that it cannot go on here. A task that has been cancelled since does not count.
        self.waiters: list[trio.lowlevel.Task] | None = None
        # Whether a step's successor waits until the step is on disk.
        own = plan.durability if plan is not None else None
        self.waits = (own or engine.durability) == "sync"

    @property
    def mailbox(self) -> Mailbox:
        """Made when it is first asked for: most runs never wait."""
        if self._mailbox is None:
            self._mailbox = Mailbox()
        return self._mailbox

    @property
    def plan(self) -> Plan:
        """The definition it runs by."""
        assert self._plan is not None
        return self._plan

    def put(self, record: bytes) -> None:
        """Hand a record over to the committer, in the order in which things happened."""
        if self.parking:
            # A block has cancelled a wait in the moment in which the last other task began one or ended. The
            # block goes on, which is not what wakes the run, so the run looks again.
            self.roused = True
        self.engine.committer.put(self, record)

    @contextmanager
    def idling(self, scope: StepScope, due: float | None, *, stay: bool = False) -> Iterator[None]:
        """Around a wait of one task: when all tasks of the run are in here, the run is parked.

        Args:
            scope: the task's.
            due: when the wait is over at the latest, seconds since the epoch.
            stay: the task must not be ended for waiting, because it is in a step's body.
        """
        scope.due = due
        scope.waits = True
        if not stay:
            self.mailbox.dues[scope] = due
            self.busy -= 1
            self.check_idle()
        try:
            yield
            if self.parking:
                # What it waited for came in the same moment, and will not wake the run: so it looks again.
                self.roused = True
        finally:
            if not stay:
                self.busy += 1
                del self.mailbox.dues[scope]
            scope.waits = False
            scope.due = None

    async def held(self) -> None:
        """Wait while the run is paused; when all of its tasks wait, the run is parked."""
        pause = self.pause
        assert pause is not None
        scope = current_scope.get()
        scope.waits = True
        self.busy -= 1
        self.check_idle()
        try:
            await pause.wait()
        finally:
            self.busy += 1
            scope.waits = False

    def check_idle(self) -> None:
        """Park the run if all of its tasks wait; while they are being ended, fewer and fewer do."""
        if self.busy == 0 and not self.parking and not self.halted and not self.engine.draining:
            assert self.scope is not None
            self.parking = True
            dues = [due for due in self.mailbox.dues.values() if due is not None]
            if self.deadline is not None:
                dues.append(self.deadline)
            self.wake_at = min(dues, default=None)
            self.scope.cancel(reason="the run waits")

    @property
    def expired(self) -> bool:
        """It has taken longer than its workflow's timeout, and its task is being cancelled for that."""
        scope = self.scope
        return self.deadline is not None and not self.parking and scope is not None and scope.cancel_called

    @property
    def halt_cause(self) -> str:
        """What the record of a step says that was cancelled together with its run."""
        if not self.stopped:
            return f"workflow {self.plan.workflow!r} took longer than its timeout of {self.plan.timeout:g} s"
        return "the run was cancelled" if self.reason is None else f"the run was cancelled: {self.reason}"

    def settled(self) -> Awaitable[None]:
        """Awaited at once, waits until the run has ended, or cannot go on here. Cancellable."""
        task = trio.lowlevel.current_task()
        task.custom_sleep_data = self  # Trio resets it when the task goes on, for whatever reason
        if self.waiters:
            self.waiters = [waiter for waiter in self.waiters if waiter.custom_sleep_data is self]
            self.waiters.append(task)
        else:
            self.waiters = [task]
        return asleep(CANCELLABLE)

    def wake(self) -> None:
        """Tell those who wait to look again."""
        waiters, self.waiters = self.waiters, None
        for task in waiters or ():
            if task.custom_sleep_data is self:
                trio.lowlevel.reschedule(task, AWAKE)

    def recorded(self) -> Awaitable[None]:
        """Awaited, waits until what was put is on disk, if this run's durability asks for that.

        Not cancellable.
        """
        if self.waits:
            return self.engine.committer.durable()
        return trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC105 - the caller awaits it

    def record(self, record: bytes) -> Awaitable[None]:
        """``put`` and ``recorded`` in one, for a node at the top level."""
        self.put(record)
        if ARMED:
            failpoint("step.put")
        return self.recorded()

    def restart_deadline(self, at: float | None) -> None:
        """A run that is retried has all of its workflow's timeout again, from then on."""
        if at is not None and self.plan.timeout is not None:
            self.deadline = at + self.plan.timeout

    def dropped_timer(self) -> Post | None:
        """What takes its timer out of the index, if it has one: it would wake nobody."""
        timer = self.timer
        if timer is None:
            return None
        self.timer = None
        return Post(old_timer=timer)

    def begin(self) -> None:
        """Its start is on disk."""
        self.engine.workers.take(self)

    def has_ended(self) -> None:
        """Its end is on disk."""
        self.engine.ended(self)
