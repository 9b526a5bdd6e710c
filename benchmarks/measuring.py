"""What all benchmarks share: pairs of measurements, and what becomes of them.

Every figure is a ratio against a baseline that runs in the same process and in the same minute: the sides
take turns, the one that goes first changes each time, and the ratio is taken pair by pair. On a machine that
others use too, absolute numbers drift by half; the median of such ratios stays where it is. Its spread says
how far to trust it.
"""

from __future__ import annotations

import gc
import statistics
import time
import timeit
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

Make = Callable[[], Awaitable[object]]


class Spread(msgspec.Struct):
    """Repeated measurements of one thing."""

    median: float
    low: float
    high: float


class Row(msgspec.Struct):
    """One line of a table.

    Attributes:
        case: what was measured.
        size: of what: the benchmark says what its sizes count. None if there is nothing to count.
        unit: of ``ours`` and ``theirs``. What ends in ``/s`` is better when it is more, all else when it is
            less.
        baseline: what was measured beside it.
        ours, theirs: the library, and the baseline.
        ratio: ours by theirs, pair by pair.
        more: what else was found out, by name; the names say the unit.
    """

    case: str
    size: int | None
    unit: str
    baseline: str
    ours: Spread
    theirs: Spread
    ratio: Spread
    more: dict[str, float] = msgspec.field(default_factory=dict[str, float])


SCALES = ("full", "quick", "tiny")  # tiny shows that it runs, and nothing else
SECONDS = {"full": 1.0, "quick": 0.1, "tiny": 0.001}


class Bench(NamedTuple):
    """One benchmark.

    Attributes:
        name: its module is ``bench_<name>``.
        title: the headline of its table.
        measure: does it; adds rows to the session.
        sizes: what to go through at each scale (``SCALES``).
        counts: what a size counts.
        seconds: how long one side of one pair takes, at each scale.
    """

    name: str
    title: str
    measure: Callable[[Session], None]
    sizes: dict[str, tuple[int, ...]]
    counts: str
    seconds: dict[str, float] = SECONDS


class Session:
    """How one benchmark is to be run, and what it has found.

    Args:
        sizes: what to go through.
        seconds: about so long for one side of one pair.
        repeat: so many pairs.
        folder: an empty one, on the disk to measure.
        on_row: called with each row as soon as it is there.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        seconds: float,
        repeat: int,
        folder: Path,
        on_row: Callable[[Row], None] = lambda _row: None,
    ) -> None:
        self.sizes = tuple(sizes)
        self.seconds = seconds
        self.repeat = repeat
        self.folder = folder
        self.rows: list[Row] = []
        self._on_row = on_row

    def add(self, case: str, size: int | None, unit: str, baseline: str, pairs: Pairs, **more: float) -> None:
        """One more line."""
        ratios = [ours / theirs for ours, theirs in pairs]
        row = Row(
            case,
            size,
            unit,
            baseline,
            spread([ours for ours, _ in pairs]),
            spread([theirs for _, theirs in pairs]),
            spread(ratios),
            more,
        )
        self.rows.append(row)
        self._on_row(row)


Pairs = list[tuple[float, float]]
Round = tuple[float, ...]  # one measurement of each side, in the same minute


def spread(samples: Sequence[float]) -> Spread:
    return Spread(statistics.median(samples), min(samples), max(samples))


async def in_turns(
    ours: Callable[[], Awaitable[float]], theirs: Callable[[], Awaitable[float]], repeat: int
) -> Pairs:
    """Measure both sides, so many times each."""
    return [(own, other) for own, other in await all_in_turns((ours, theirs), repeat)]


async def all_in_turns(sides: Sequence[Callable[[], Awaitable[float]]], repeat: int) -> list[Round]:
    """Measure each side so many times; who goes first goes last the next time."""
    rounds = []
    for number in range(repeat):
        found = [0.0] * len(sides)
        for turn in range(len(sides)):
            side = (number + turn) % len(sides)
            found[side] = await sides[side]()
        rounds.append(tuple(found))
    return rounds


def nanoseconds_in_turns(
    session: Session, ours: str | Callable[[], object], theirs: str | Callable[[], object], **scope: object
) -> Pairs:
    """Nanoseconds of one call (or one execution of a statement), of both sides; the collector is off."""
    sides = []
    for what in (ours, theirs):
        timer, calls = timeit.Timer(what, globals=scope), 1
        while (took := timer.timeit(calls)) < session.seconds / 4:
            calls *= 4
        sides.append((timer, max(1, int(calls * session.seconds / took))))
    pairs = []
    for number in range(session.repeat):
        order = (1, 0) if number % 2 else (0, 1)
        times = {side: sides[side][0].timeit(sides[side][1]) / sides[side][1] * 1e9 for side in order}
        pairs.append((times[0], times[1]))
    return pairs


async def closed_loop(make: Make, total: int, in_flight: int, latencies: list[float] | None = None) -> float:
    """Seconds for ``total`` calls, one task per call, ``in_flight`` at a time.

    The end of one call is the start of the next, so that as many as are in flight are under way all the time.
    """
    gc.collect()
    left = total - in_flight

    async def one() -> None:
        nonlocal left
        if latencies is None:
            await make()
        else:
            began = time.perf_counter()
            await make()
            latencies.append(time.perf_counter() - began)
        if left > 0:
            left -= 1
            nursery.start_soon(one)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(one)
    return time.perf_counter() - started


async def calls_for(make: Make, seconds: float, in_flight: int) -> int:
    """How many calls take about so long; at least two per place. Warms up, too."""
    trial = max(in_flight, min(20, int(seconds * 1000) + 1))
    await closed_loop(make, trial, in_flight)
    took = await closed_loop(make, trial, in_flight)
    return max(2 * in_flight, int(trial * seconds / took) // in_flight * in_flight)


async def rates_in_turns(session: Session, ours: Make, theirs: Make, in_flight: int) -> Pairs:
    """Calls per second of both sides."""
    return [(own, other) for own, other in await all_rates_in_turns(session, (ours, theirs), in_flight)]


async def all_rates_in_turns(session: Session, sides: Sequence[Make], in_flight: int) -> list[Round]:
    """Calls per second of each side."""

    async def rate(make: Make, calls: int) -> float:
        return calls / await closed_loop(make, calls, in_flight)

    measures = [partial(rate, make, await calls_for(make, session.seconds, in_flight)) for make in sides]
    return await all_in_turns(measures, session.repeat)


PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9)


async def latencies_of(make: Make, seconds: float, in_flight: int) -> dict[str, float]:
    """Percentiles of what one call takes with so many in flight: ``p50_ms`` and the like.

    In a closed loop, so a call waits for those ahead of it only as long as these are themselves in flight: it
    says nothing of what happens when more comes in than can be done.
    """
    samples: list[float] = []
    calls = await calls_for(make, seconds, in_flight)
    await closed_loop(make, calls, in_flight, samples)
    samples.sort()
    return {
        f"p{percent:g}_ms": samples[min(len(samples) - 1, int(len(samples) * percent / 100))] * 1e3
        for percent in PERCENTILES
    }
