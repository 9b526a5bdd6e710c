"""onboard (create → 3 branches → complete): workflows/s beside bare Trio with no durability, as a ratio.

    python -m benchmarks.bench_onboard [--seconds 1.0] [--repeat 5] [--durability sync] [--at 1 100 1000]

Both sides run in turn in one process, and the ratio is taken pair by pair: this is how a figure survives
a noisy machine. On both sides every workflow has a task of its own that asks for it, and the end of one is
the start of the next, so that as many as are "in flight" are under way all the time.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from benchmarks.workloads import INPUT, onboard_bare, onboard_workflow
from durable_trio import Engine, open_engine


async def closed_loop(make: Callable[[], Awaitable[object]], total: int, in_flight: int) -> float:
    """Seconds for ``total`` calls, one task per call, ``in_flight`` at a time."""
    gc.collect()
    left = total - in_flight

    async def one() -> None:
        nonlocal left
        await make()
        if left > 0:
            left -= 1
            nursery.start_soon(one)

    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(one)
    return time.perf_counter() - started


async def rate(make: Callable[[], Awaitable[object]], seconds: float, in_flight: int) -> float:
    """Calls per second, over about ``seconds``."""
    trial = max(in_flight * 3, 20)
    await closed_loop(make, trial, in_flight)
    took = await closed_loop(make, trial, in_flight)
    total = max(trial, int(trial * seconds / took)) // in_flight * in_flight
    return total / await closed_loop(make, total, in_flight)


async def measure(durability: str, levels: list[int], seconds: float, repeat: int) -> None:
    workflow = onboard_workflow()
    print(f"onboard, durability {durability!r}, {repeat} pairs of {seconds:g} s")
    print(f"{'in flight':>10} {'durable/s':>10} {'bare/s':>10} {'ratio':>7}  {'spread':<12}  commits alone")
    with tempfile.TemporaryDirectory(prefix="durable-trio-bench-") as folder:
        for level in levels:
            path = Path(folder) / f"{level}.lmdb"
            async with open_engine(
                path, workflows=[workflow], durability=durability, max_running=max(levels) + 1
            ) as engine:

                async def durable(engine: Engine = engine) -> None:
                    result = await engine.run(workflow, INPUT)
                    assert result["status"] == "complete"

                rates, bare_rates, ratios = [], [], []
                for _ in range(repeat):
                    rates.append(await rate(durable, seconds, level))
                    bare_rates.append(await rate(onboard_bare, seconds, level))
                    ratios.append(rates[-1] / bare_rates[-1])
                before = engine.committer.commits
                await durable()
                alone = engine.committer.commits - before
                print(
                    f"{level:>10} {statistics.median(rates):>10.0f} {statistics.median(bare_rates):>10.0f} "
                    f"{statistics.median(ratios):>7.2f}  {min(ratios):.2f} to {max(ratios):.2f}  "
                    f"{alone}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--durability", default="sync", choices=["sync", "async", "exit"])
    parser.add_argument("--at", type=int, nargs="+", default=[1, 100, 1000], help="workflows in flight")
    arguments = parser.parse_args()
    trio.run(measure, arguments.durability, arguments.at, arguments.seconds, arguments.repeat)


if __name__ == "__main__":
    main()
