"""Wakes runs that are due. They are found through an index, earliest first; only the nearest is in memory.

Due times are wall-clock time and Trio's deadlines are not, and the wall clock may be set while a timer is
pending: so nobody sleeps longer than a minute without looking at it again. A timer never fires early by the
wall clock, and it fires once: it leaves the index in the commit that makes its run ``pending``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.recovery import SMALL
from durable_trio._engine.run import milliseconds
from durable_trio._errors import StoreError
from durable_trio._info import STATUS_CODES

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine
    from durable_trio._store.base import Store, Stored

_LONGEST_SLEEP = 60.0  # seconds
_PAGE = 250  # a few milliseconds of the loop's time; more of them at once do not fit into a core's cache


class Timers:
    """Fires the timers of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._next = math.inf  # seconds since the epoch, at or before the nearest due time
        self._sooner = trio.Event()
        self._may_fire = trio.Event()

    def begin(self) -> None:
        """The runs that had not ended are all found.

        Not before: a run that was woken while they are being looked for would be found once more.
        """
        self._may_fire.set()

    def set(self, due: float) -> None:
        """A timer has been put into the index."""
        if due < self._next:
            self._next = due
            self._sooner.set()

    @trio.lowlevel.enable_ki_protection  # an interrupt is for the main task
    async def run(self) -> None:
        """Runs until cancelled, or until the engine has failed."""
        await self._may_fire.wait()
        try:
            await self._watch()
        except StoreError as error:
            # Not out of this task, where it would take along the committer, and be in a group.
            self._engine.fail(error)

    async def _watch(self) -> None:
        engine = self._engine
        while True:
            self._sooner = trio.Event()
            nearest = await engine.reader.call(lambda: engine.store.timers(limit=1))
            self._next = min(self._next, nearest[0][0] / 1000) if nearest else self._next
            delay = self._next - engine.now()
            if delay <= 0:
                self._next = math.inf
                await self._fire()
                continue
            with trio.move_on_after(min(delay, _LONGEST_SLEEP)):
                await self._sooner.wait()

    async def _fire(self) -> None:
        """Wake all that is due, page by page: there may be very many.

        A page is read while the one before is being committed. What it says of a run holds if nothing was
        handed over for the run since some moment before which everything was on disk by then.
        """
        engine, post = self._engine, self._engine.post
        changed, post.changed = set[bytes](), set()
        await engine.committer.durable()  # a timer may be due before the commit that puts it into the index
        landed = trio.Event()
        landed.set()
        last: tuple[int, bytes] | None = None
        while page := await engine.reader.call(_due, engine.store, milliseconds(engine.now()), last):
            if ARMED:
                failpoint("timer.page")
            await landed.wait()
            with engine.committer.together():  # one commit for all of them, and not one for the first of them
                for instant, key, stored in page:
                    holds = key not in changed and key not in post.changed
                    engine.ring(key, instant, stored if holds else None)
                    last = instant, key
            changed, post.changed = post.changed, set()
            landed = trio.Event()
            engine.committer.when_durable(landed.set)
            if len(page) < _PAGE:
                break
        post.changed = None
        await engine.committer.durable()  # what has been woken is not found as the nearest


def _due(store: Store, until: int, after: tuple[int, bytes] | None) -> list[tuple[int, bytes, Stored | None]]:
    """The next timers up to an instant, each with what is stored of its run."""
    timers = [timer for timer in store.timers(after=after, limit=_PAGE) if timer[0] <= until]
    runs = store.load_small([key for _, key in timers], likely=STATUS_CODES["waiting"], size=SMALL)
    return [(instant, key, stored) for (instant, key), stored in zip(timers, runs, strict=True)]
