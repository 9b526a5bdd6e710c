"""A piece of each part, as a process of its own can do it: its seed and how much in, what came of it out.

What is done follows from the seed, whichever process does it and whatever runs beside it. The processes that
are recorded (``power``, ``calls``) and those of ``soak`` run as they like: there the faults follow from it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.faults import calls as failing_calls
from tests.faults import power as power_loss
from tests.fuzz import campaign as fuzz_campaign
from tests.simulation import campaign as simulation_campaign
from tests.soak import campaign as soak_campaign


@dataclass
class Outcome:
    """What came of a piece.

    Attributes:
        faults: those that count, by kind; ``others`` by kind.
        checks: invariants that were looked at, by number.
        violations: in words.
    """

    faults: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    checks: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def simulation(seed: int, number: int) -> Outcome:
    """So many simulated crashes."""
    totals = simulation_campaign.run(seed, crashes=number)
    violations = [
        f"{text}\n{simulation_campaign.replay_command(episode)}" for episode, _, text in totals.violations
    ]
    return Outcome(totals.crashes, totals.others, totals.looked, violations)


def power(seed: int, number: int) -> Outcome:
    """So many power-loss states."""
    totals = power_loss.run(seed, number)
    return Outcome(totals.states, violations=totals.violations)


def calls(seed: int, number: int) -> Outcome:
    """So many failing system calls."""
    totals = failing_calls.run(seed, number)
    return Outcome(totals.fired, totals.endings, violations=totals.violations)


def hostile(seed: int, number: int) -> Outcome:
    """So many hostile files, and four times as many records."""
    totals = fuzz_campaign.run(seed, number, 4 * number)
    files = Counter[str]()
    for (name, came), count in totals.files.items():
        files[f"{name.replace('_', ' ')}: {came}"] += count
    records = Counter({f"record: {came}": count for came, count in totals.records.items()})
    return Outcome(files, records, violations=totals.violations)


def soak(seed: int, seconds: int) -> Outcome:
    """So many seconds with 10,000 runs in flight."""
    totals = soak_campaign.run(seed, seconds)
    return Outcome(totals.disturbances, totals.figures, violations=totals.violations)


PIECES: dict[str, tuple[Callable[[int, int], Outcome], int]] = {
    "simulation": (simulation, 500),
    "power": (power, 2500),
    "calls": (calls, 30),
    "hostile": (hostile, 650),
    "soak": (soak, 3600),
}
"""By part: what does a piece, and how much of it is one."""


_LEAST = 2  # pieces of a part, so that two cores have something to do


class Workers:
    """Processes that do pieces side by side."""

    def __init__(self, size: int) -> None:
        # Not forked: the parent has threads, and what a piece does depends on nothing that the parent did.
        self._pool = ProcessPoolExecutor(size, mp_context=get_context("spawn"))

    def do(self, part: str, seeds: Iterator[int], number: int) -> Iterator[Outcome]:
        """So much of a part; gives what came of its pieces, in order."""
        function, size = PIECES[part]
        if part != "soak":  # it is about what comes with time
            size = min(size, math.ceil(number / _LEAST))
        pieces = [min(size, number - done) for done in range(0, number, size)]
        futures: list[Future[Outcome]] = [
            self._pool.submit(function, seed, piece) for piece, seed in zip(pieces, seeds, strict=False)
        ]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)
