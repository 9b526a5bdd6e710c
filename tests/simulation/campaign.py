"""Many episodes, one after the other, and what they come to."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator

from .episode import Result, play


class Totals:
    """The sum of episodes.

    Attributes:
        episodes, crashes, recoveries: how many; ``crashes`` by the moment at which they came.
        others: failed commits, and lives that were left in peace, by kind.
        looked: how often each invariant was looked at.
        records: how many records of each kind the runs left.
        violations: seed, invariant, and in words.
        seconds: how long all of it took.
    """

    def __init__(self) -> None:
        self.episodes = self.recoveries = 0
        self.crashes: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.looked: Counter[int] = Counter()
        self.records: Counter[str] = Counter()
        self.violations: list[tuple[int, int, str]] = []
        self.seconds = 0.0

    def add(self, result: Result) -> None:
        """One more."""
        self.episodes += 1
        self.recoveries += result.recoveries
        self.crashes.update(result.crashes)
        self.others.update(result.others)
        self.looked.update(result.looked)
        self.records.update(result.kinds)
        self.violations += [(result.seed, number, text) for number, text in result.violations]

    def table(self) -> str:
        """The counts, as text."""
        total = self.crashes.total()
        rate = total / self.seconds if self.seconds else 0.0
        lives = f"{self.episodes} episodes ({self.recoveries} recoveries)"
        rows = [f"{total} simulated crashes in {lives}, {rate:.0f} a second"]
        rows += [f"  {count:6} x {label}" for label, count in sorted(self.crashes.items())]
        rows += [f"  {count:6} x {label}" for label, count in sorted(self.others.items())]
        rows.append(
            "records: " + ", ".join(f"{name} {count}" for name, count in sorted(self.records.items()))
        )
        rows.append(
            "checks by invariant: " + ", ".join(f"{n}: {self.looked[n]}" for n in sorted(self.looked))
        )
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


def replay_command(seed: int) -> str:
    """The command that plays one episode again."""
    return f"python -m tests.simulation --seed {seed}"


def episodes(first: int) -> Iterator[Result]:
    """One episode after the other, from a seed on."""
    return map(play, itertools.count(first))


def run(
    first: int,
    *,
    crashes: int | None = None,
    minutes: float | None = None,
    told: Callable[[Result, Totals], None] = lambda _result, _totals: None,
) -> Totals:
    """Play until there were so many crashes, or the time is over."""
    totals = Totals()
    began = time.monotonic()
    for result in episodes(first):
        totals.add(result)
        totals.seconds = time.monotonic() - began
        told(result, totals)
        if crashes is not None and totals.crashes.total() >= crashes:
            return totals
        if minutes is not None and totals.seconds >= minutes * 60:
            return totals
        # Each episode has crashes, but for a few.
        if crashes is not None and totals.episodes > crashes + 100:
            came = f"{totals.crashes.total()} crashes in {totals.episodes} episodes"
            raise AssertionError(f"{came}: they are armed, and do not come")
    raise AssertionError("the seeds never end")
