"""Names the steps that do not end although they were cancelled.

A body that catches ``trio.Cancelled`` and goes on, or that sits in a thread, holds up its block, and the
engine's end. It cannot be forced out; but whoever wonders why nothing moves shall find its name in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import trio

from durable_trio._context import StepScope

_logger = logging.getLogger("durable_trio")


class Stragglers:
    """Watches scopes that were cancelled, and warns of those that are still there after ``grace`` seconds."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._watched: dict[StepScope, float] = {}
        self._arrival = trio.Event()

    def watch(self, scopes: Iterable[StepScope]) -> None:
        """These have been cancelled just now."""
        deadline = trio.current_time() + self._grace
        for scope in scopes:
            self._watched.setdefault(scope, deadline)
            scope.watched = True
        self._arrival.set()

    def discard(self, scope: StepScope) -> None:
        """This one is out."""
        if scope.watched:
            scope.watched = False
            self._watched.pop(scope, None)

    @trio.lowlevel.enable_ki_protection  # an interrupt is for the main task
    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            if not self._watched:
                self._arrival = trio.Event()
                await self._arrival.wait()
                continue
            scope, deadline = next(iter(self._watched.items()))
            await trio.sleep_until(deadline)
            if self._watched.pop(scope, None) is not None and scope.path is not None:
                _logger.warning(
                    "step %r of run %r was cancelled %g s ago and has not ended; what waits for it goes on "
                    "only when it does. A step must let trio.Cancelled pass, and one that blocks a thread "
                    "cannot be interrupted.",
                    scope.path,
                    scope.run.id,
                    self._grace,
                )
