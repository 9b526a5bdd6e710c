"""What an engine with very many parked runs looks like from inside, in a process of its own.

    python -m benchmarks.parked_probe open DATABASE AHEAD
    python -m benchmarks.parked_probe park DATABASE RUNS

``open`` opens a database by a clock that is so many seconds ahead, at which exactly one run is due, and waits
until that run's step is entered; then it lets further runs sleep for a moment. ``park`` starts so many runs
itself and waits until all of them are parked. Both print what they found as JSON.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import time
from pathlib import Path

import msgspec
import trio

from benchmarks.bench_recovery import start_all
from benchmarks.workloads import sleeping_workflow
from durable_trio import Engine, open_engine
from durable_trio._info import STATUS_CODES

NAPS = 20
NAP = 0.02  # seconds


class Found(msgspec.Struct):
    """Times in ms, memory in MB.

    Attributes:
        rss: resident memory, with the pages of the database that were read.
        anonymous: the part of it that is the process's own.
        open: from the call of ``open_engine`` to the first line of its block.
        first: from that call to the entry of the due run's step; 0 if there is no due run.
        late: from when a sleep is over to the entry of the next step, the median of some.
    """

    rss: float
    anonymous: float
    open: float = 0.0
    first: float = 0.0
    late: float = 0.0


async def open_and_wait(path: str, ahead: float) -> Found:
    entered = trio.Event()
    workflow = sleeping_workflow(lambda: entered.set())  # noqa: PLW0108 - there is a new event each time
    began = time.perf_counter()
    async with open_engine(path, workflows=[workflow], clock=lambda: time.time() + ahead) as engine:
        opened = time.perf_counter() - began
        first = 0.0
        if parked(engine):
            await entered.wait()
            first = time.perf_counter() - began
        rss, anonymous = memory()
        late = []
        for _ in range(NAPS):
            entered = trio.Event()
            run = await engine.start(workflow, {"seconds": NAP})
            await entered.wait()
            now = engine.now()
            [nap, _awake] = (await run.wait()).steps
            assert nap.started_at is not None
            late.append(now - nap.started_at.timestamp() - NAP)
    return Found(rss, anonymous, opened * 1e3, first * 1e3, statistics.median(late) * 1e3)


async def park(path: str, runs: int) -> Found:
    workflow = sleeping_workflow()
    async with open_engine(path, workflows=[workflow]) as engine:
        for _ in range(0, runs, 1000):
            await start_all(engine, workflow, {"seconds": 1e6}, min(1000, runs))
        while parked(engine) < runs:  # noqa: ASYNC110 - nothing says that all runs wait
            await trio.sleep(0.01)
        return Found(*memory())


def parked(engine: Engine) -> int:
    return engine.store.count(STATUS_CODES["waiting"])


def memory() -> tuple[float, float]:
    """Resident memory of this process, all of it and its own, in MB."""
    gc.collect()
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {words[0]: int(words[1]) / 1024 for words in lines if words[0] in ("VmRSS:", "RssAnon:")}
    return sizes["VmRSS:"], sizes["RssAnon:"]


if __name__ == "__main__":
    what, database, number = sys.argv[1:]
    found = (
        trio.run(open_and_wait, database, float(number))
        if what == "open"
        else trio.run(park, database, int(number))
    )
    os.write(1, msgspec.json.encode(found))
