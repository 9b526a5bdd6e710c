"""Parks runs that only wait, and wakes them: for a message, when they are due, or to be cancelled.

A parked run has no task and, unless somebody holds a handle on it, no object: the index has its status
(``waiting``) and its timer, the mailbox its messages. What wakes it makes it ``pending`` in the same commit,
so that no crash can lose the call; then it is admitted like any other run, and walks through its journal to
where it waits.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import trio

from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.committer import Ledger, Post
from durable_trio._engine.mailbox import Letter
from durable_trio._engine.recovery import taken_over
from durable_trio._engine.run import RunState
from durable_trio._engine.timers import milliseconds
from durable_trio._errors import InputError, RunBlocked, StoreCorrupt
from durable_trio._info import FIRST_ENDED_CODE, PAUSED_CODE, STATUS_CODES
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import Message

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine
    from durable_trio._store.base import Stored

_logger = logging.getLogger("durable_trio")
_WAITING = STATUS_CODES["waiting"]
_PENDING = STATUS_CODES["pending"]


class PostOffice:
    """Where an engine's waiting runs and what comes for them meet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._parked: WeakValueDictionary[bytes, RunState] = WeakValueDictionary()
        # Numbers ascend also across restarts: each opening has seen more commits than the one before.
        self._number = engine.store.batch_number() << 32

    # -- parking -------------------------------------------------------------------------------------

    def park(self, run: RunState) -> None:
        """Put aside a run whose tasks have ended because all of them waited."""
        if run.pause is not None:
            self.set_aside(run)
            return
        engine = self._engine
        if ARMED:
            failpoint("park.begin")
        run.status = "waiting"
        run.parking = False
        run.journal = None
        timer = None if run.wake_at is None else milliseconds(run.wake_at)
        old_timer = run.timer if run.timer != timer else None
        run.timer = timer
        engine.committer.put(run, (), _WAITING, post=Post(timer=timer, old_timer=old_timer))
        if ARMED:
            failpoint("park.put")
        if run.roused:
            self.wake(run)
            return
        engine.committer.soon()
        engine.live.pop(run.id, None)
        self._parked[run.key] = run
        if run.wake_at is not None:
            engine.timers.set(run.wake_at)

    def set_aside(self, run: RunState, *records: bytes) -> None:
        """Park a run that is paused. Nothing wakes it but its being resumed: what is due is found then."""
        engine = self._engine
        run.status = "waiting"
        run.parking = run.roused = False
        run.journal = None
        engine.committer.put(run, records, PAUSED_CODE, post=run.dropped_timer())
        engine.committer.soon()
        engine.live.pop(run.id, None)
        self._parked[run.key] = run

    def schedule(
        self, run: RunState, at: float, header: bytes | None, alias: bytes | None, *records: bytes
    ) -> None:
        """Hand over the start of a run that is not to begin before an instant (or its being resumed)."""
        run.status = "waiting"
        run.timer = milliseconds(at)
        self._engine.committer.put(run, records, _WAITING, header, alias, Post(timer=run.timer))
        if ARMED:
            failpoint("start.put")
        self._engine.timers.set(at)

    def settle_down(self, run: RunState) -> None:
        """The start of a scheduled run is on disk: until it is due, it needs no memory."""
        if run.status == "waiting":
            self._engine.live.pop(run.id, None)
            self._parked[run.key] = run

    def parked(self, key: bytes) -> RunState | None:
        """The object of a parked run, if anybody holds it."""
        return self._parked.get(key)

    def held(self) -> list[RunState]:
        """The parked runs that somebody holds."""
        return list(self._parked.values())

    def recall(self, stored: Stored) -> RunState:
        """An object for a parked run that has none; it stands for the run as long as anybody holds it."""
        run = taken_over(self._engine, stored)
        assert run is not None  # its header was read to find it
        if run.status != "blocked":
            run.status = "waiting"
            if stored.status == PAUSED_CODE:
                run.pause = trio.Event()
            del self._engine.live[run.id]
            self._parked[run.key] = run
        return run

    # -- waking --------------------------------------------------------------------------------------

    def wake(self, run: RunState, *records: bytes) -> None:
        """Let a parked run look again; it goes on when that is on disk."""
        engine = self._engine
        self.unpark(run)
        run.status = "pending"
        run.roused = False
        engine.committer.put(run, records, _PENDING, post=run.dropped_timer())
        if ARMED:
            failpoint("wake.put")
        engine.committer.when_durable(partial(self._admit, run))

    def unpark(self, run: RunState) -> None:
        """A parked run is live again."""
        self._parked.pop(run.key, None)
        self._engine.live[run.id] = run

    def _admit(self, run: RunState) -> None:
        if ARMED:
            failpoint("wake.durable")
        if run.stopped or run.pause is not None:
            return  # cancelled meanwhile, and its end is on its way; or it is to be resumed first
        if run.key in self._engine.touched:
            self._engine.committer.when_durable(partial(self._admit, run))
            return
        if run.status != "compensating":
            run.seq = -1  # its journal is read again
        run.begun = True
        if self._engine.draining:
            return
        if self._engine.admission.enter(run):
            self._engine.take_up(run)

    def ring(self, key: bytes, instant: int) -> None:
        """A timer fires."""
        engine = self._engine
        if ARMED:
            failpoint("timer.fire")
        try:
            stored = engine.store.load(key, with_rows=False)
            header = None if stored is None else engine.reader.codec.decode_header(stored.header)
        except StoreCorrupt as error:
            _logger.error("a run that is due cannot be woken: %s", error)  # noqa: TRY400 - says all
            stored = header = None
        run = self._parked.get(key)
        live = None if header is None else engine.live.get(header.id)
        over = run is not None and (run.ending is not None or run.pause is not None)
        # Of a run that is being parked the store does not know yet that it waits.
        waits = stored is not None and (stored.status == _WAITING if run is None else run.status == "waiting")
        if live is None and not over and waits:
            assert stored is not None
            run = run or taken_over(engine, stored)
            if run is not None and run.status != "blocked":
                run.timer = instant
                self.wake(run)
                return
        # It was woken by something else, has ended, is paused, or cannot go on: the timer is a leftover.
        engine.committer.put(live or Ledger(key, 0), (), post=Post(old_timer=instant))

    async def addressee(self, run_id: str) -> RunState:
        """The run that something is sent to.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has ended.
            RunBlocked: it cannot take anything now.
        """
        run = await self.unended(run_id)
        if run is None:
            raise InputError(f"run {run_id!r} has ended: it takes nothing any more")
        if run.status == "blocked":
            raise RunBlocked(f"run {run_id!r} is blocked: {run.reason}")
        if run.ending or run.status not in ("pending", "running", "waiting", "compensating"):
            raise InputError(f"run {run_id!r} is {run.status}: it takes nothing any more")
        return run

    async def unended(self, run_id: str) -> RunState | None:
        """A run that has not ended, live or parked; None if it has ended.

        Raises:
            RunNotFound: there is no such run.
        """
        await trio.lowlevel.checkpoint()
        return self.find(run_id)

    def find(self, run_id: str) -> RunState | None:
        """The same, without a checkpoint.

        The store is not read in a thread: by the time of its answer, the run might have been woken, and have
        ended.
        """
        engine = self._engine
        run = engine.live.get(run_id)
        if run is not None:
            return run
        stored = engine.reader.load(run_id, with_rows=False)
        run = engine.live.get(run_id) or self._parked.get(stored.run)
        if run is None and stored.status < FIRST_ENDED_CODE:
            run = self.recall(stored)
        return None if run is None or run.ended is not None else run

    # -- messages ------------------------------------------------------------------------------------

    def deliver(self, run: RunState, kind: int, name: str, payload: Any) -> None:
        """Hand a message over for a run; it is on disk with the next commit.

        Args:
            run: as ``addressee`` gives it.
            kind: EVENT_MESSAGE or INPUT_MESSAGE.
            name: of the event or the input.
            payload: frozen.
        """
        engine = self._engine
        self._number += 1
        number = self._number
        encoded = engine.codec.encode(Message(kind, name, engine.codec.wire(payload), engine.now()))
        engine.committer.put(run, (), post=Post(messages=((number, encoded),)))
        if ARMED:
            failpoint("message.put")
        run.mailbox.add(kind, name, Letter(number, payload))
        if run.parking:
            run.roused = True
        elif run.status == "waiting" and run.pause is None and not self.is_too_early(run):
            self.wake(run)

    def is_too_early(self, run: RunState) -> bool:
        """Whether it is a run for later that has not begun: a message does not make it begin."""
        at = run.header.at
        if at is None or at <= self._engine.now():
            return False
        stored = self._engine.store.load(run.key)
        # What somebody did to it is no beginning.
        return stored is None or not Journal(self._engine.codec.decode_rows(stored.rows)).points()
