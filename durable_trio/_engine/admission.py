"""Which run goes next when not all may run at once.

Each queue is ordered by priority, higher first, then by the time of the start. The queues take turns, so
that a long one does not starve a short one. Runs that had begun before a restart come before all others:
they hold results, and perhaps things outside, half done.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

from durable_trio._engine.run import RunState

_Key = tuple[bool, int, int]  # (has not begun, -priority, arrival): the smallest goes first


class Admission:
    """The runs that wait for a place among ``max_running``.

    Args:
        max_running: how many runs may be under way at once.
    """

    def __init__(self, max_running: int) -> None:
        self._free = max_running
        self._queues: OrderedDict[str, list[tuple[_Key, RunState]]] = OrderedDict()
        self._arrivals = 0
        self.queued = 0  # how many wait

    def enter(self, run: RunState, *, anyway: bool = False) -> bool:
        """Give the run a place; if none is free, queue it and say False, unless it is to get one anyway."""
        if anyway or self._free > 0 or run.header.parent is not None:
            # A child gets a place in any case: its parent holds one while it waits for it.
            self._free -= 1
            return True
        self.queue(run)
        return False

    @property
    def has_place(self) -> bool:
        """Whether a run could begin now."""
        return self._free > 0

    def leave(self) -> None:
        """A run gives its place back."""
        self._free += 1

    def next(self) -> RunState | None:
        """Take the run whose turn it is, and give it a place; None if there is no place or no run."""
        while self._free > 0 and self._queues:
            name, heap = self._queues.popitem(last=False)
            _, run = heapq.heappop(heap)
            self.queued -= 1
            if heap:
                self._queues[name] = heap  # to the end: it is the other queues' turn
            if run.stopped:
                continue  # cancelled while it waited
            self._free -= 1
            return run
        return None

    def discard(self, run: RunState) -> None:
        """Let the run wait for its turn no more, if it does."""
        heap = self._queues.get(run.header.queue, [])
        self.queued -= len(heap)
        heap[:] = [entry for entry in heap if entry[1] is not run]
        self.queued += len(heap)
        heapq.heapify(heap)
        if not heap:
            self._queues.pop(run.header.queue, None)

    def queue(self, run: RunState) -> None:
        """Let the run wait for ``next``."""
        self._arrivals += 1
        self.queued += 1
        header = run.header
        key = (not run.begun, -header.priority, self._arrivals)
        heapq.heappush(self._queues.setdefault(header.queue, []), (key, run))
