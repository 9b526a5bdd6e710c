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

A batch is plain data until the store has it. If the store fails, nothing in the batch is acknowledged,
nothing further is accepted, and what really reached the disk is decided by opening it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import outcome
import trio

from durable_trio._engine._failpoints import failpoint
from durable_trio._engine.sleeping import AWAKE, SHIELDED, asleep
from durable_trio._errors import StoreError
from durable_trio._speedups.batching import Entry, Ledger, gather
from durable_trio._store.base import Answer, Store, Write

__all__ = ["Committer", "Ledger", "Post"]

# Ticks that the flusher lets pass: the branches of a block end in one tick, their block's task runs in
# the next, and only after that is it known that nobody is about to wait.
_TICKS = 3


class Post(NamedTuple):
    """What happens to a run's mailbox and timer together with its records; see ``Write``."""

    messages: tuple[tuple[int, bytes], ...] = ()
    taken: tuple[int, ...] = ()
    timer: int | None = None
    old_timer: int | None = None


_Waiter = trio.lowlevel.Task | Callable[[], None]  # to be woken, or called, on the Trio thread
_Item = Entry | Write | Answer | _Waiter


class Committer:
    """Takes records from the Trio thread and makes them durable, in order.

    Args:
        store: where to. One that has no disk to wait for (``store.threaded`` is False) is written to on
            the Trio thread: there is nothing to gain from another one, and a mock clock does not jump
            ahead of it.
        on_failure: called on the Trio thread with the error of a commit that failed, or of a callback.
    """

    def __init__(self, store: Store, on_failure: Callable[[BaseException], None]) -> None:
        self._store = store
        self._on_failure = on_failure
        # A list is what belongs into one transaction.
        self._queue: deque[_Item | list[_Item]] = deque()
        self._append: Callable[[_Item], None] = self._queue.append
        self._held = False  # what is put is collected, for one transaction
        self._token = trio.lowlevel.current_trio_token()
        self._flusher: trio.lowlevel.Task | None = None
        self._failure: BaseException | None = None
        self._closing = False
        self._failed = False  # the writer's own note that it has ended
        self.commits = 0
        self._thread: threading.Thread | None = None
        if store.threaded:
            self._wake = threading.Lock()
            self._wake.acquire()
            self._thread = threading.Thread(
                target=self._write_batches, name="durable-trio writer", daemon=True
            )
            self._thread.start()

    # -- the Trio thread -----------------------------------------------------------------------------

    def put(
        self,
        run: Ledger,
        records: bytes | Sequence[bytes],
        status: int | None = None,
        header: bytes | None = None,
        alias: bytes | None = None,
        post: Post | None = None,
    ) -> None:
        """Hand over what happened to a run. It reaches the disk after all that was put before it.

        Raises:
            StoreError: a commit has failed; nothing is accepted any more.
        """
        if self._failure is not None:
            raise self._failure
        self._append(Entry(run, records, status, header, alias, post))

    def put_write(self, write: Write) -> None:
        """Hand over a write to a run that no task holds (such as its deletion)."""
        if self._failure is not None:
            raise self._failure
        self._append(write)

    def put_answer(self, answer: Answer) -> None:
        """Hand over the answer to a request of another process."""
        if self._failure is not None:
            raise self._failure
        self._append(answer)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is put in this block goes into one transaction. There must be no await in it.

        In a block inside another one, it goes into that one's.
        """
        if self._held:
            yield
            return
        held: list[_Item] = []
        self._append = held.append
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self._append = self._queue.append
            self._queue.append(held)
            self.kick()

    def durable(self) -> Awaitable[None]:
        """Awaited at once, waits until everything that was put so far is on disk.

        A cancellation does not end the wait: what has been handed over is not lost, and whoever waits
        learns how it went. It is delivered at the caller's next checkpoint.

        Raises:
            StoreError: the commit failed.
        """
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            self._commit_here()
            return trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC105 - the caller awaits it
        self._queue.append(trio.lowlevel.current_task())
        self.kick()
        return asleep(SHIELDED)

    def record(self, run: Ledger, record: bytes) -> Awaitable[None] | None:
        """``put`` and ``durable`` in one, for the steps. None: the task is queued, and is to sleep now
        (by yielding ``SHIELDED``) until it is rescheduled with ``AWAKE``, or with the error.
        """
        if self._thread is None or self._failure is not None:
            self.put(run, record)
            return self.durable()
        append = self._append
        append(Entry(run, record))
        append(trio.lowlevel.current_task())
        if self._wake.locked():
            self._wake.release()
        return None

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Have this called, on the Trio thread, when everything that was put so far is on disk.

        It is not called if the commit fails. What it raises ends the engine, and nobody else's wait.
        """
        self._append(callback)
        self.kick()

    def kick(self) -> None:
        """Start a commit now, or as soon as the one under way is through."""
        if self._held:
            return  # what there is to commit is not complete
        if self._thread is None:
            self._commit_here()
        # Only this thread unlocks and only the writer locks, so the check cannot be overtaken; if it is
        # unlocked already, the writer has yet to look at the queue.
        elif self._wake.locked():
            self._wake.release()

    def soon(self) -> None:
        """See to it that what was put is committed shortly, although nobody waits for it now."""
        flusher = self._flusher
        if flusher is not None:
            self._flusher = None
            trio.lowlevel.reschedule(flusher)

    async def flush_soon(self) -> None:
        """The flusher's task: starts a commit a few ticks after ``soon()``. Runs until cancelled."""

        def abort(_raise_cancel: Any) -> trio.lowlevel.Abort:
            self._flusher = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            self._flusher = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(abort)
            for _ in range(_TICKS):
                await trio.lowlevel.checkpoint()
            if self._queue and self._failure is None:
                self.kick()

    async def flush_every(self, interval: float) -> None:
        """The background commits of the ``async`` mode. Runs until cancelled."""
        while True:
            await trio.sleep(interval)
            if self._queue and self._failure is None:
                self.kick()

    async def aclose(self) -> None:
        """Commit what is left and end the writer. Not cancellable; the last commit's error is reported
        through ``on_failure``.
        """
        self._closing = True
        if self._failure is None:
            self.kick()
        if self._thread is not None:
            if self._wake.locked():
                self._wake.release()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._thread.join)
                await trio.lowlevel.checkpoint()  # the last batch's callback comes before this returns
                # Who came behind the writer's last look at the queue, nobody else would wake.
                while self._queue and self._failure is None:
                    await trio.to_thread.run_sync(self._write_and_report)
                    await trio.lowlevel.checkpoint()

    # -- the writer ----------------------------------------------------------------------------------

    def _write_batches(self) -> None:
        while True:
            self._wake.acquire()
            # Read before the queue: what is put before closing is seen, and is written.
            closing = self._closing
            while self._queue and self._write_and_report():
                if not closing:
                    break
            if closing or self._failed:
                return

    def _write_and_report(self) -> bool:
        """Write a batch and have its waiters woken; False if nothing can be written any more.

        A function of its own, so that an idle writer does not keep the last batch's runs alive.
        """
        waiters: list[_Waiter] = []
        failure: BaseException | None = None
        try:
            self._write_batch(waiters)
        except BaseException as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            failure = error
            self._failed = True
        try:
            self._token.run_sync_soon(self._landed, waiters, failure)
        except trio.RunFinishedError:
            self._failed = True  # nobody is left to tell
        return not self._failed

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
            task, reschedule = trio.lowlevel.Task, trio.lowlevel.reschedule
            for waiter in waiters:
                if isinstance(waiter, task):
                    reschedule(waiter, AWAKE)
                    continue
                try:
                    waiter()
                except BaseException as error:  # noqa: BLE001 - what is behind it in the batch waits, too
                    self._on_failure(error)
            waiters.clear()  # the writer may still have the list, which holds runs that have ended
            return
        # No commit follows this one, so those who came behind it would wait for ever.
        self._failure = failure
        for item in (*waiters, *self._queue):
            if isinstance(item, trio.lowlevel.Task):
                trio.lowlevel.reschedule(item, outcome.Error(failure))
        self._queue.clear()
        self._on_failure(failure)


def _merged(first: Post, second: Post) -> Post:
    """Two posts of one run in one batch: the mailbox sees both, the timer only what it comes to."""
    old_timer = first.old_timer if first.old_timer is not None else second.old_timer
    timer = second.timer if second.timer is not None else first.timer
    if timer is not None and timer == second.old_timer:
        timer = None  # it was set and dropped again
    return Post(first.messages + second.messages, first.taken + second.taken, timer, old_timer)
