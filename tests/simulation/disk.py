"""A disk whose commits land when the world says, and a committer whose writer thread is a task.

What the committer does on the Trio thread is the engine's own code, on its way with a thread; what its thread
does, one batch after the other, is done here by a task, with time between the three moments that a crash can
tell apart: the batch is gathered; it is on the disk; those who wait for it are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import trio

from durable_trio import StoreError, StoreFull
from durable_trio._engine.committer import Committer
from durable_trio._store.base import Answer, Pair, Store, Write
from durable_trio._store.memory import MemoryStore

if TYPE_CHECKING:
    from .world import World


class Disk(MemoryStore):
    """A store in memory that takes a batch, and has it only after ``land``. Others can ask for things.

    Attributes:
        asked, replied: the tables of requests and replies.
    """

    shared = True

    def __init__(self) -> None:
        super().__init__()
        self._gathered: tuple[Sequence[Write], Sequence[Answer]] = ((), ())
        self.asked: dict[bytes, bytes] = {}
        self.replied: dict[bytes, bytes] = {}
        self.transactions = 0

    def frozen(self) -> Disk:
        """An image of what has landed."""
        image = Disk()
        image.__dict__.update(self.copy().__dict__)
        image.asked, image.replied = dict(self.asked), dict(self.replied)
        image.transactions = self.transactions
        return image

    def all_runs(self) -> list[bytes]:
        """The keys of all runs."""
        return list(self._order)

    def all_aliases(self) -> list[tuple[bytes, bytes]]:
        """Which ids lead to which keys."""
        return list(self._aliases.items())

    def commit(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> int:
        self._gathered = (list(writes), list(answers))
        return self.batch_number() + 1

    def last_transaction(self) -> int:
        return self.transactions

    def requests(self, *, limit: int) -> list[Pair]:
        return sorted(self.asked.items())[:limit]

    def replies(self, *, limit: int) -> list[Pair]:
        return sorted(self.replied.items())[:limit]

    def land(self) -> None:
        """All of the batch, or, if it contradicts itself, an error and none."""
        (writes, answers), self._gathered = self._gathered, ((), ())
        super().commit(writes)
        for answer in answers:
            was_there = self.asked.pop(answer.request, None) is not None
            if answer.reply is None:
                self.replied.pop(answer.request, None)
            elif was_there:
                self.replied[answer.request] = answer.reply
        self.transactions += 1


class Box:
    """What stands for ``RequestBox``: each call of a client is a transaction of its own, and on the disk."""

    path = "the simulated disk"

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def _disk(self) -> Disk:
        return self._world.disk

    def has_engine(self) -> bool:
        """The clients live as long as the engine."""
        return True

    def last_transaction(self) -> int:
        return self._disk.transactions

    def leave(self, payload: bytes) -> bytes:
        disk = self._disk
        disk.transactions += 1
        key = disk.transactions.to_bytes(8) + self._world.rng.randbytes(16)
        disk.asked[key] = payload
        self._world.bell.set()
        self._world.moment("asked, not done")
        return key

    def look(self, key: bytes) -> tuple[bytes | None, bool]:
        return self._disk.replied.get(key), key in self._disk.asked

    def take_reply(self, key: bytes) -> None:
        self._disk.transactions += 1
        self._disk.replied.pop(key, None)
        self._world.moment("reply taken, not heard")

    def withdraw(self, key: bytes, *, unless_engine: bool) -> bool:
        if unless_engine:
            return False
        self._disk.transactions += 1
        self._disk.replied.pop(key, None)
        return self._disk.asked.pop(key, None) is not None


class _Wake:
    """The lock by which the writer sleeps."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def locked(self) -> bool:
        return not self._event.is_set()

    def release(self) -> None:
        self._event.set()

    async def acquire(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class SimulatedCommitter(Committer):
    """See above. ``world`` is set on a subclass, one per life."""

    world: World
    many = 3
    slice = 2
    clock = staticmethod(lambda: 0.0)  # or two plays of an episode would differ

    def __init__(self, store: Store, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__(store, on_failure)
        assert isinstance(store, Disk)
        self._disk = store
        self._bell = _Wake()
        self.bell = self._bell
        self.world.unwritten = [self._queue]
        self.closed = False
        self._thread = cast("Any", self)  # not None: as with a disk
        self._over = trio.Event()
        trio.lowlevel.spawn_system_task(self._write_all)

    async def aclose(self) -> None:
        self._closing = True
        if self.failure is None:
            self.kick()
        if self._bell.locked():
            self._bell.release()
        with trio.CancelScope(shield=True):
            await self._over.wait()
            await trio.lowlevel.checkpoint()
            while self._queue and not self._failed:
                await self._write_one()
                await trio.lowlevel.checkpoint()

    async def _write_all(self) -> None:
        """``Committer._write_batches``, as a task."""
        while True:
            await self._bell.acquire()
            closing = self._closing
            if self.holds_off and not closing:
                continue
            while self._queue and await self._write_one():
                if not closing:
                    break
            if closing or self._failed:
                self._over.set()
                return

    async def _write_one(self) -> bool:
        world = self.world
        await world.pause(0.002)
        waiters: list[Any] = []
        failure: BaseException | None = None
        # The thread's frame keeps the runs of its batch alive until it is on the disk.
        batch = list(self._queue)
        world.unwritten[1:] = [batch]
        try:
            self._write_batch(waiters)
            world.moment("gathered, not committed")
            await world.pause(0.02)
            if world.rng.random() < world.faults and not world.dead:
                self._fail()
            self._disk.land()
            batch.clear()
            world.moment("committed, not acknowledged")
            await world.pause(0.005)
        except Exception as error:  # as in the thread: handed to those who wait, whatever it is
            failure = error
            self._failed = True
        self._hold_off_after(waiters)
        self._landed(waiters, failure)
        return not self._failed

    def _fail(self) -> None:
        """A full disk, or an error after which nobody knows what is on it."""
        world = self.world
        world.at_fault = self._disk.frozen()
        kind = world.rng.choice(("full", "lost", "unknown"))
        world.write("fault", value=f"commit {kind}")
        if kind == "full":
            raise StoreFull("simulated: no space is left")
        if kind == "unknown":
            self._disk.land()
        raise StoreError("simulated: the commit failed, and its outcome is unknown")
