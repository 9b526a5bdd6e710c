"""Durability by hand: the bare workloads with a group commit before each successor, and no engine at all.

The same bodies in the same tasks as on the bare side. What a body returns is encoded by msgspec and becomes
one row of a plain LMDB table; a writer thread puts all rows that wait into one transaction, and the caller's
task waits for that one's fsync before it goes on: after the start, each top-level step, the block, and the
end. The last step and the end share a wait, as they do in the library, so that both sides wait equally often.

It leaves out all else that an engine is for: recovery, ids, an index, history, retries, timeouts,
cancellation, isolation of contexts (the dicts are handed on as they are), lossless values, checksums, limits
of queues, a file that grows. Nobody could use it: nothing reads its rows.

It is there because it is the ceiling for any engine that makes each step wait for a group commit, on this
machine and on Trio: what lies between it and bare Trio is the price of the waits, the encoding and LMDB, and
what lies between the library and it is the price of the library. A ceiling in practice; it is no bound that
could be proved. Its writer is plain Python, and it has one row for each branch where an engine may have one
for all of a block.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import lmdb
import msgspec
import outcome
import trio

from benchmarks.measuring import Round, Session
from benchmarks.workloads import BRANCHES, CHAIN, INPUT, Body, Context, complete, create
from benchmarks.workloads import link as chain_link
from durable_trio._engine.sleeping import AWAKE, SHIELDED, asleep

Row = tuple[bytes, bytes]

_MAP_SIZE = 1 << 32


class GroupCommit:
    """A table, and the thread that writes to it; all else is called on the Trio thread.

    In a ``with`` block, within a Trio run. At its end the rows that nobody has waited for are written, too,
    and the thread is gone.

    Args:
        path: of a new directory.
        map_size: bytes; the table does not grow beyond.

    Attributes:
        put: hands a row over. It does not reach the disk after any that is put later.
        commits: how many there were.
    """

    def __init__(self, path: Path, map_size: int = _MAP_SIZE) -> None:
        # LMDB's own defaults, as the store has them: each commit is synced.
        self._env = lmdb.open(str(path), map_size=map_size, max_dbs=1)
        self._table = self._env.open_db(b"rows")
        # Lists that one thread appends to and the other takes from at the front. Each of these is one
        # operation for the interpreter, so that there is nothing to lock.
        self._rows: list[Row] = []
        self._waiters: list[trio.lowlevel.Task] = []
        self.put: Callable[[Row], None] = self._rows.append
        self._token = trio.lowlevel.current_trio_token()
        self._failure: BaseException | None = None
        self._closing = False
        self.commits = 0
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._write_batches, name="by hand")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._kick()
        self._thread.join()
        self._env.close()

    def durable(self) -> Awaitable[None]:
        """Awaited at once, waits until all that was put so far is on disk. Not cancellable.

        In the library's own way of waiting, which makes fewer objects than Trio's: nothing here may cost more
        than it must.

        Raises:
            BaseException: what a commit has failed with, this one or an earlier one.
        """
        if self._failure is not None:
            raise self._failure
        self._waiters.append(trio.lowlevel.current_task())
        self._kick()
        return asleep(SHIELDED)

    def _kick(self) -> None:
        # Only this thread unlocks and only the writer locks; if it is unlocked, the writer has yet to look.
        if self._wake.locked():
            self._wake.release()

    def _landed(self, waiters: list[trio.lowlevel.Task], failure: BaseException | None) -> None:
        """On the Trio thread: wake a whole batch."""
        reschedule = trio.lowlevel.reschedule
        if failure is None:
            for task in waiters:
                reschedule(task, AWAKE)
            return
        # No commit follows this one, so those who came behind it would wait for ever.
        self._failure = failure
        for task in (*waiters, *self._waiters):
            reschedule(task, outcome.Error(failure))
        self._waiters.clear()

    # -- the writer ------------------------------------------------------------------------------------

    def _write_batches(self) -> None:
        while True:
            self._wake.acquire()
            closing = self._closing  # read before the lists: what is put before closing is written
            while self._rows or self._waiters:
                if not self._write_batch():
                    return
            if closing:
                return

    def _write_batch(self) -> bool:
        """One transaction with all that waits; False if it failed, and nothing is written any more."""
        waiters = self._waiters[:]  # these first: the rows of whoever is in here are in the other list by now
        del self._waiters[: len(waiters)]
        rows = self._rows[:]
        del self._rows[: len(rows)]
        failure: BaseException | None = None
        try:
            rows.sort()
            with self._env.begin(write=True, db=self._table) as txn, txn.cursor() as cursor:
                cursor.putmulti(rows)
            self.commits += 1
        except BaseException as error:  # noqa: BLE001 - handed to those who wait, whatever it is
            failure = error
        self._token.run_sync_soon(self._landed, waiters, failure)
        return failure is None


# -- the workloads -------------------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder().encode
# A record of the library says, besides the result, of which kind it is, where in the workflow it belongs,
# when that began, and how long it took. An engine cannot do without, so as many bytes are written here; what
# it costs to make them is left out.
_REST = bytes(20)
_STEPS = [number.to_bytes(4) for number in range(CHAIN)]  # behind the workflow's key, as in the library


def _keys() -> Callable[[], bytes]:
    """A key for each workflow, as long as the library's, in the order of time: inserts are appends."""
    numbers = itertools.count(1)
    return lambda: next(numbers).to_bytes(16)


def chain_by_hand(
    store: GroupCommit, link: Callable[[int], Body] = chain_link
) -> Callable[[], Awaitable[Context]]:
    """``chain_bare``, each of whose steps is on disk before the next one is entered."""
    put, durable, new_key = store.put, store.durable, _keys()
    links = [(step, link(number)) for number, step in enumerate(_STEPS)]

    async def chain() -> Context:
        key = new_key()
        ctx: Context = dict(INPUT)
        put((key, _REST + _encode(ctx)))
        await durable()
        for step, body in links:
            ctx = await body(ctx)
            put((key + step, _REST + _encode(ctx)))
            await durable()
        return ctx

    return chain


def onboard_by_hand(
    store: GroupCommit, around: Callable[[Body], Body] = lambda body: body
) -> Callable[[], Awaitable[Context]]:
    """``onboard_bare``, each of whose steps is on disk before what follows is entered.

    A branch puts its row as soon as it has ended, and the block's end waits for all three: no further row is
    needed to say that the block is over.
    """
    put, durable, new_key = store.put, store.durable, _keys()
    first, last = around(create), around(complete)
    first_step, last_step, *steps = _STEPS
    branches = [(body.__name__, step, around(body)) for body, step in zip(BRANCHES, steps, strict=False)]

    async def onboard() -> Context:
        key = new_key()
        ctx: Context = dict(INPUT)
        put((key, _REST + _encode(ctx)))
        await durable()
        ctx = await first(ctx)
        put((key + first_step, _REST + _encode(ctx)))
        await durable()
        results: Context = {}

        async def branch(name: str, step: bytes, body: Body, ctx: Context) -> None:
            results[name] = result = await body(ctx)
            put((key + step, _REST + _encode(result)))

        async with trio.open_nursery() as nursery:
            for name, step, body in branches:
                nursery.start_soon(branch, name, step, body, dict(ctx))
        await durable()
        ctx = await last({**ctx, "__results__": results})
        put((key + last_step, _REST + _encode(ctx)))
        await durable()
        return ctx

    return onboard


# -- its rows in the tables ----------------------------------------------------------------------------

BESIDE = ", beside by hand"  # follows a case's name
OF_BARE, OF_RAW = "by_hand_of_bare", "by_hand_of_raw"


def add_beside(session: Session, case: str, size: int, rounds: list[Round]) -> None:
    """The line of a case beside by hand.

    Args:
        session: where to.
        case: as it is called beside bare Trio.
        size: how many were in flight.
        rounds: workflows/s of the library, on bare Trio, and by hand.
    """
    pairs = [(ours, by_hand) for ours, _, by_hand in rounds]
    of_bare = statistics.median([by_hand / bare for _, bare, by_hand in rounds])
    session.add(case + BESIDE, size, "workflows/s", "group commit by hand", pairs, **{OF_BARE: of_bare})
