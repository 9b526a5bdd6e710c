"""Which run goes next when not all may run at once.

Each queue is ordered by priority, higher first, then by the time of the start. The queues take turns, so
that a long one does not starve a short one. Runs that had begun before a restart come before all others:
they hold results, and perhaps things outside, half done.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque

from durable_trio._engine.run import RunState

_Rank = tuple[bool, int]  # (has not begun, -priority): the smallest goes first


class _Queue:
    """The runs of one queue, those of one rank in the order of their arrival.

    Very many may wait here: a run has no object of its own for that, which the garbage collector would visit.
    """

    def __init__(self) -> None:
        self._runs: dict[_Rank, deque[RunState]] = {}
        self._ranks: list[_Rank] = []  # a heap

    def __bool__(self) -> bool:
        return bool(self._ranks)

    def push(self, run: RunState) -> None:
        rank = (not run.begun, -run.header.priority)
        runs = self._runs.get(rank)
        if runs is None:
            runs = self._runs[rank] = deque()
            heapq.heappush(self._ranks, rank)
        runs.append(run)

    def pop(self) -> RunState:
        rank = self._ranks[0]
        runs = self._runs[rank]
        run = runs.popleft()
        if not runs:
            del self._runs[rank]
            heapq.heappop(self._ranks)
        return run

    def remove(self, run: RunState) -> bool:
        """Whether it was there."""
        for rank, runs in self._runs.items():
            if run in runs:
                runs.remove(run)
                if not runs:
                    del self._runs[rank]
                    self._ranks.remove(rank)
                    heapq.heapify(self._ranks)
                return True
        return False


class Admission:
    """The runs that wait for a place among ``max_running``.

    Args:
        max_running: how many runs may be under way at once.
    """

    def __init__(self, max_running: int) -> None:
        self._free = max_running
        self._queues: OrderedDict[str, _Queue] = OrderedDict()
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
            name, queue = self._queues.popitem(last=False)
            run = queue.pop()
            self.queued -= 1
            if queue:
                self._queues[name] = queue  # to the end: it is the other queues' turn
            if run.stopped:
                continue  # cancelled while it waited
            self._free -= 1
            return run
        return None

    def discard(self, run: RunState) -> None:
        """Let the run wait for its turn no more, if it does."""
        queue = self._queues.get(run.header.queue)
        if queue is not None and queue.remove(run):
            self.queued -= 1
            if not queue:
                del self._queues[run.header.queue]

    def queue(self, run: RunState) -> None:
        """Let the run wait for ``next``."""
        self.queued += 1
        queue = self._queues.get(run.header.queue)
        if queue is None:
            queue = self._queues[run.header.queue] = _Queue()
        queue.push(run)
