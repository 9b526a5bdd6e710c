"""Parks runs that only wait, and wakes them: for a message, when they are due, or to be cancelled.

A parked run has no task and, unless somebody holds a handle on it, no object: the index has its status
(``waiting``) and its timer, the mailbox its messages. What wakes it makes it ``pending`` in the same commit,
so that no crash can lose the call; then it is admitted like any other run, and walks through its journal to
where it waits.

Runs that are due come by the thousand (``timers.py``), read in a thread ahead of that. For how long what was
read holds is told by ``PostOffice.changed``.
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
from durable_trio._engine.recovery import Known, kept, take_over, taken_over, with_header
from durable_trio._engine.run import RunState, milliseconds
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
        # While timers fire: the keys of runs that are, or were, not parked or in somebody's hands since this
        # was set. What is read of the others in a thread meanwhile still holds.
        self.changed: set[bytes] | None = None

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
        self._hold(run)
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
        self._hold(run)

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
            self._hold(run)

    def _hold(self, run: RunState) -> None:
        """As long as anybody holds the object of a parked run, it stands for the run."""
        self._parked[run.key] = run
        self.note(run.key)

    def note(self, key: bytes) -> None:
        """Something happens to a run, or may: what a page of timers says of it does not hold any more."""
        if self.changed is not None:
            self.changed.add(key)

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
            self._hold(run)
        return run

    # -- waking --------------------------------------------------------------------------------------

    def wake(self, run: RunState, *records: bytes) -> None:
        """Let a parked run look again; it goes on when that is on disk."""
        self._rouse(run, *records)
        self._engine.committer.when_durable(partial(self._admit_later, run))

    def _rouse(self, run: RunState, *records: bytes) -> None:
        """Hand over that a parked run is pending again."""
        self.unpark(run)
        run.status = "pending"
        self._engine.committer.put(run, records, _PENDING, post=run.dropped_timer())
        if ARMED:
            failpoint("wake.put")

    def unpark(self, run: RunState) -> None:
        """A parked run is live again."""
        run.roused = False
        if self._parked:  # most parked runs are in nobody's hands
            self._parked.pop(run.key, None)
        self.note(run.key)
        self._engine.live[run.id] = run

    def _admit_later(self, run: RunState) -> None:
        if ARMED:
            failpoint("wake.durable")
        if run.stopped or run.pause is not None:
            return  # cancelled meanwhile, and its end is on its way; or it is to be resumed first
        if run.key in self._engine.touched:
            self._engine.committer.when_durable(partial(self._admit_later, run))
            return
        self._admit(run)

    def _admit(self, run: RunState) -> None:
        """Give a run that was woken a place, or queue it. Nothing is on its way to its journal."""
        if run.status != "compensating":
            run.seq = -1  # its journal is read again
        run.begun = True
        if self._engine.draining:
            return
        if self._engine.admission.enter(run):
            self._engine.take_up(run)

    def ring(self, key: bytes, instant: int, stored: Stored | None) -> None:
        """A timer fires.

        Args:
            key: of its run.
            instant: in ms since the epoch: the timer's own key.
            stored: what is stored of the run, with nothing on its way there; None if that has to be read.
        """
        engine = self._engine
        if ARMED:
            failpoint("timer.fire")
        if stored is not None and (stored.error is not None or key in engine.touched):
            stored = None
        run = self._parked.get(key) if self._parked else None  # first: see ``held_and_stored``
        known = self._known(key, stored)
        live = None if known is None else engine.live.get(known.header.id)
        if live is not None and live.status == "waiting":
            # Its start is on disk, and who waits for that is not told yet.
            run, live, stored = live, None, None
        over = run is not None and (run.ending is not None or run.pause is not None or run.stopped)
        if live is None and not over and known is not None and _waits(run, known):
            run = run or take_over(engine, known)
            if run.status != "blocked":
                run.timer = instant
                self._wake_due(run, stored)
                return
        # It was woken by something else, has ended, is paused, or cannot go on: the timer is a leftover.
        engine.committer.put(live or Ledger(key, 0), (), post=Post(old_timer=instant))

    def _known(self, key: bytes, stored: Stored | None) -> Known | None:
        engine = self._engine
        try:
            stored = stored or engine.store.load(key, with_rows=False)
            return None if stored is None else with_header(engine, stored)
        except StoreCorrupt as error:
            _logger.error("a run that is due cannot be woken: %s", error)  # noqa: TRY400 - says all
            return None

    def _wake_due(self, run: RunState, stored: Stored | None) -> None:
        if stored is None:
            self.wake(run)
            return
        engine = self._engine
        run.kept = kept(stored, engine.admission.queued)
        run.seq = -1
        if not stored.rows:
            # It may be a run for later, which begins now: with a body.
            self.wake(run)
            return
        if engine.draining or not engine.admission.has_place:
            self._rouse(run)
        else:  # it is ``running`` in the next moment, and in that put
            self.unpark(run)
            run.status = "pending"
        # Without waiting for the commit: until its wait is over, which is a record, it does nothing that a
        # crash would have it do again.
        self._admit(run)

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
        run, stored = self.held_and_stored(run_id)
        if run is None and stored.status < FIRST_ENDED_CODE:
            run = self.recall(stored)
        return None if run is None or run.ended is not None else run

    def held_and_stored(self, run_id: str) -> tuple[RunState | None, Stored]:
        """The object of a run that is not live, if it is parked and has one; and how it is stored.

        In this order: as long as something of a run is on its way to the disk, it has an object. Who reads
        first may find it as it was before the writer wrote that, and then no object, since that was written:
        and would go on from a status that it does not have any more.

        Raises:
            RunNotFound: there is no such run.
        """
        reader = self._engine.reader
        key = reader.find(run_id)
        held = None
        if key is not None:
            self.note(key)  # it may be about to be changed
            held = self._parked.get(key)
        return held, reader.load(run_id, with_rows=False)

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
        self.note(run.key)  # it was found a while ago, perhaps
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


def _waits(run: RunState | None, known: Known) -> bool:
    """Whether a run is waiting. Of one that is being parked, the store does not know yet that it is."""
    return known.stored.status == _WAITING if run is None else run.status == "waiting"
