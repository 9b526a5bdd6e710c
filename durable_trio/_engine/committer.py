"""Group commit: one writer thread takes everything that is waiting, writes one transaction, wakes everybody.

Records are handed over by appending to a deque, which both threads may do without a lock. A task that
must know its records to be on disk appends *itself* behind them: whatever transaction the writer finds
the task in, its records are in that one or in an earlier one. While a commit's fsync is under way, the
next batch gathers by itself; under load this makes each fsync carry hundreds of steps, and alone it
adds no delay (DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984, call
it group commit; a timer, as described there, is not needed: the running commit is the timer).

A handed-over record that nobody waits for (a branch whose siblings still run) does not start a commit
by itself: the flusher does, a few scheduler ticks later, so that the branches of one block, and the
block's end, usually share one.

A commit that many wait for is landed by the flusher, too, slice by slice, and the writer takes nothing more
until that is done, or has taken too long:

- Most of those who are woken have their next record within a few ticks. If the writer did not wait for it,
  thousands of runs would fall apart into groups that commit by turns, each at the cost of a whole commit, and
  nothing would bring these together again.
- A slice's tasks allocate, and free that again, before the next slice's do. If thousands of tasks first all
  entered a body, and then all left it, the garbage collector would go over what they hold again and again (it
  counts allocations less frees), and the cache would have lost a body before it is left.

A batch is plain data until the store has it. If the store fails, nothing in the batch is acknowledged,
nothing further is accepted, and what really reached the disk is decided by opening it again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import outcome
import trio

from durable_trio._engine._failpoints import failpoint
from durable_trio._engine.sleeping import AWAKE, SHIELDED, asleep, sleep_request
from durable_trio._errors import StoreError
from durable_trio._speedups.batching import Entry, Intake, Ledger, gather, wake
from durable_trio._store.base import Answer, Store, Write

__all__ = ["Committer", "Ledger", "Post"]

# Ticks that the flusher lets pass: the branches of a block end in one tick, their block's task runs in
# the next, and only after that is it known that nobody is about to wait.
_TICKS = 3

_SLOW = 0.004  # seconds of a tick: others use the loop, or bodies compute, so that slices gain nothing
_LONGEST = 0.02  # seconds that the writer holds off at most: a crash loses what is not committed


class Post(NamedTuple):
    """What happens to a run's mailbox and timer together with its records; see ``Write``."""

    messages: tuple[tuple[int, bytes], ...] = ()
    taken: tuple[int, ...] = ()
    timer: int | None = None
    old_timer: int | None = None


_Waiter = trio.lowlevel.Task | Callable[[], None]  # to be woken, or called, on the Trio thread
_Item = Entry | Write | Answer | _Waiter


class Committer(Intake):
    """Takes records from the Trio thread and makes them durable, in order.

    Args:
        store: where to. One that has no disk to wait for (``store.threaded`` is False) is written to on
            the Trio thread: there is nothing to gain from another one, and a mock clock does not jump
            ahead of it.
        on_failure: called on the Trio thread with the error of a commit that failed, or of a callback.
    """

    # From so many waiters on, a commit is landed in slices: with 1,000 runs in flight, that leaves half of
    # the commits and two thirds of the garbage collector's time; with 100, it makes no difference.
    many = 256
    slice = 48  # a step allocates five objects, and the collector's first threshold is 700
    clock = staticmethod(time.perf_counter)

    def __init__(self, store: Store, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._store = store
        self._on_failure = on_failure
        # A list is what belongs into one transaction.
        self._queue: deque[_Item | list[_Item]] = deque()
        self.append = self._queue.append
        self._held = False  # what is put is collected, for one transaction
        self._token = trio.lowlevel.current_trio_token()
        self.flusher: trio.lowlevel.Task | None = None
        self._flushes = False  # there is one
        self._writes = False  # the writer, now
        self._request = sleep_request(self._not_asked)
        self._landing: deque[_Waiter] = deque()  # on disk, and not all of them are woken yet
        self._closing = False
        self._failed = False  # the writer's own note that it has ended
        self.commits = 0
        self._thread: threading.Thread | None = None
        self.closed = not store.threaded
        self.bell = threading.Lock()
        self.bell.acquire()
        if store.threaded:
            self._thread = threading.Thread(
                target=self._write_batches, name="durable-trio writer", daemon=True
            )
            self._thread.start()

    # -- the Trio thread -----------------------------------------------------------------------------

    def put_write(self, write: Write) -> None:
        """Hand over a write to a run that no task holds (such as its deletion)."""
        if self.failure is not None:
            raise self.failure
        self.append(write)

    def put_answer(self, answer: Answer) -> None:
        """Hand over the answer to a request of another process."""
        if self.failure is not None:
            raise self.failure
        self.append(answer)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is put in this block goes into one transaction. There must be no await in it.

        In a block inside another one, it goes into that one's.
        """
        if self._held:
            yield
            return
        held: list[_Item] = []
        self.append = held.append
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.append = self._queue.append
            self._queue.append(held)
            self.kick()

    def durable(self) -> Awaitable[None]:
        """Awaited at once, waits until everything that was put so far is on disk.

        A cancellation does not end the wait: what has been handed over is not lost, and whoever waits
        learns how it went. It is delivered at the caller's next checkpoint.

        Raises:
            StoreError: the commit failed.
        """
        if self.failure is not None:
            raise self.failure
        if self._thread is None:
            self._commit_here()
            return trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC105 - the caller awaits it
        self._queue.append(trio.lowlevel.current_task())
        self.kick()
        return asleep(SHIELDED)

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Have this called, on the Trio thread, when everything that was put so far is on disk.

        It is not called if the commit fails. What it raises ends the engine, and nobody else's wait.
        """
        self.append(callback)
        self.kick()

    def kick(self) -> None:
        """Start a commit now, or as soon as the one under way is through."""
        if self._held:
            return  # what there is to commit is not complete
        if self._thread is None:
            self._commit_here()
        else:
            self.ring()

    def soon(self) -> None:
        """See to it that what was put is committed shortly, although nobody waits for it now."""
        flusher = self.flusher
        if flusher is not None:
            self.flusher = None
            trio.lowlevel.reschedule(flusher, AWAKE)

    @trio.lowlevel.enable_ki_protection  # whom it leaves asleep, nobody else wakes
    async def flush_soon(self) -> None:
        """The flusher's task: starts a commit a few ticks after ``soon()``. Runs until cancelled."""
        self._flushes = True
        try:
            while True:
                if not self._landing:
                    await self._asked()
                begun = self.clock()
                await self._wake_in_slices(begun)
                for _ in range(_TICKS):
                    if self.holds_off and self.clock() - begun > _LONGEST:
                        break
                    await trio.lowlevel.checkpoint()
                if not self._landing:  # nothing has landed since
                    self._go_on()
        finally:
            self._flushes = False
            self._wake(self._landing, len(self._landing))
            self._go_on()

    async def _wake_in_slices(self, begun: float) -> None:
        landing, count = self._landing, self.slice
        before = self.clock()
        while landing:
            self._wake(landing, count)
            await trio.lowlevel.checkpoint()
            now = self.clock()
            if now - before > _SLOW:
                count = len(landing)
            if self.holds_off and now - begun > _LONGEST:
                self._go_on()
            before = now

    def _asked(self) -> Awaitable[None]:
        """Awaited at once, waits for ``soon()``."""
        self.flusher = trio.lowlevel.current_task()
        return asleep(self._request)

    def _not_asked(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        self.flusher = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _go_on(self) -> None:
        self.holds_off = False
        if self._queue and self.failure is None:
            self.kick()

    @trio.lowlevel.enable_ki_protection
    async def flush_every(self, interval: float) -> None:
        """The background commits of the ``async`` mode. Runs until cancelled."""
        while True:
            await trio.sleep(interval)
            if self._queue and self.failure is None:
                self.kick()

    async def aclose(self) -> None:
        """Commit what is left and end the writer. Not cancellable; the last commit's error is reported
        through ``on_failure``.
        """
        self._closing = True
        if self.failure is None:
            self.kick()
        if self._thread is not None:
            if self.bell.locked():
                self.bell.release()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._thread.join)
                await trio.lowlevel.checkpoint()  # the last batch's callback comes before this returns
                # Who came behind the writer's last look at the queue, nobody else would wake.
                while self._queue and self.failure is None:
                    await trio.to_thread.run_sync(self._write_and_report)
                    await trio.lowlevel.checkpoint()

    # -- the writer ----------------------------------------------------------------------------------

    def _write_batches(self) -> None:
        while True:
            self.bell.acquire()
            # Read before the queue: what is put before closing is seen, and is written.
            closing = self._closing
            if self.holds_off and not closing:
                continue  # it was rung for during the last commit, and will be again
            while self._queue and self._write_and_report():
                if not closing:
                    break
            if closing or self._failed:
                return

    @property
    def is_at_rest(self) -> bool:
        """The writer has nothing to do, or is not to do it now."""
        return not self._writes and (self.holds_off or self.bell.locked())

    def _write_and_report(self) -> bool:
        """Write a batch and have its waiters woken; False if nothing can be written any more.

        A function of its own, so that an idle writer does not keep the last batch's runs alive.
        """
        waiters: list[_Waiter] = []
        failure: BaseException | None = None
        self._writes = True
        try:
            self._write_batch(waiters)
        except BaseException as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            failure = error
            self._failed = True
        self._hold_off_after(waiters)
        try:
            self._token.run_sync_soon(self._landed, waiters, failure)
        except trio.RunFinishedError:
            self._failed = True  # nobody is left to tell
        self._writes = False
        return not self._failed

    def _hold_off_after(self, waiters: list[_Waiter]) -> None:
        """The writer's last act before it reports a batch."""
        if self._flushes and len(waiters) >= self.many:
            self.holds_off = True  # until the flusher has let a few ticks pass

    def _write_batch(self, waiters: list[_Waiter]) -> None:
        """One transaction with everything that is in the queue now, one write per run."""
        # A run that waits, and that nobody else holds, would be read from the store again, where it is not
        # yet as it is now; so it is held here until it is.
        writes, answers, _held = gather(self._queue, waiters, Ledger, _merged)
        if not writes and not answers:
            return
        failpoint("commit.begin")
        self._store.commit(writes, answers)
        self.commits += 1
        failpoint("commit.end")

    def _commit_here(self) -> None:
        waiters: list[_Waiter] = []
        try:
            self._write_batch(waiters)
        except StoreError as error:
            self._landed(waiters, error)
            raise
        self._landed(waiters, None)

    def _landed(self, waiters: list[_Waiter], failure: BaseException | None) -> None:
        """On the Trio thread: wake a whole batch. Must not raise, or it would take the Trio run down."""
        if failure is None:
            if self._landing or (self.holds_off and self._flushes):
                self._landing.extend(waiters)
                self.soon()
            else:
                # One of its own: without a thread, what is called may commit, and land, in between.
                self._wake(deque(waiters), len(waiters))
                if self.holds_off:
                    self._go_on()  # the flusher was cancelled just before the writer held off
            waiters.clear()  # the writer may still have the list, and would keep runs alive that have ended
            return
        # No commit follows this one, so those who came behind it would wait for ever.
        self.failure = failure
        self.closed = True
        for item in (*waiters, *self._queue):
            if isinstance(item, trio.lowlevel.Task):
                trio.lowlevel.reschedule(item, outcome.Error(failure))
        self._queue.clear()
        self._on_failure(failure)

    @trio.lowlevel.enable_ki_protection  # who is taken out, and not rescheduled, would sleep for ever
    def _wake(self, waiters: deque[_Waiter], count: int) -> None:
        """Wake or call so many of those whose commit is on disk, or all that there are."""
        wake(waiters, count, trio.lowlevel.Task, trio.lowlevel.reschedule, AWAKE, self._on_failure)


def _merged(first: Post, second: Post) -> Post:
    """Two posts of one run in one batch: the mailbox sees both, the timer only what it comes to."""
    old_timer = first.old_timer if first.old_timer is not None else second.old_timer
    timer = second.timer if second.timer is not None else first.timer
    if timer is not None and timer == second.old_timer:
        timer = None  # it was set and dropped again
    return Post(first.messages + second.messages, first.taken + second.taken, timer, old_timer)
