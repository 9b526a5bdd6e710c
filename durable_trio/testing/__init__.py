"""Helpers for testing workflows.

``trio_clock`` makes durable time follow Trio's clock, so that under ``trio.testing.MockClock`` days of
back-off pass in no time::

    async with open_engine(workflows=[order], clock=trio_clock()) as engine: ...
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import trio

__all__ = ["EPOCH", "trio_clock"]

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""The instant at which a clock of ``trio_clock`` starts when Trio's clock is at 0."""


def trio_clock() -> Callable[[], float]:
    """A wall clock for ``open_engine(clock=...)`` that follows Trio's clock.

    Returns:
        A function that gives seconds since the epoch: ``EPOCH`` plus ``trio.current_time()``. Two engines
        opened one after the other in one Trio run see one time line, as across a restart.
    """
    start = EPOCH.timestamp()
    return lambda: start + trio.current_time()
