"""Lets the writer have the GIL while the loop is never idle.

A thread that waits for the GIL asks for it when it has waited for 5 ms in one go; and each time that the
holder lets go for a moment, it begins to wait anew (CPython's ``ceval_gil.h``). A Trio loop that always has
something to do lets go once a tick, to look for I/O, and is back before another core has woken up. So while
its ticks are shorter than 5 ms, no other thread ever runs, unless the loop stays away for as long as that
takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from durable_trio._engine.committer import Committer

_EVERY = 0.001  # seconds
_FOR = 0.00005  # seconds; with what a system adds, twice of it, which is enough for another core to wake up


class Handover(trio.abc.Instrument):
    """Sleeps at the end of a tick, if the loop goes on at once, a commit is under way, and it is time to.

    Args:
        committer: whose commit.
    """

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._last = 0.0

    def before_io_wait(self, timeout: float) -> None:
        """Called by Trio; ``timeout`` is 0 if a task can go on."""
        if timeout > 0 or self._committer.is_at_rest:
            return
        now = time.perf_counter()
        if now - self._last > _EVERY:
            time.sleep(_FOR)
            self._last = time.perf_counter()


@contextmanager
def handing_over(committer: Committer) -> Iterator[None]:
    """In here, the loop lets the committer's writer run."""
    handover = Handover(committer)
    trio.lowlevel.add_instrument(handover)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(handover)
