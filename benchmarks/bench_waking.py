"""waking: runs that are due at the same moment, beside starting as many.

    python -m benchmarks.bench_waking [--sizes 10000] [--repeat 7]

Both sides end the same step of as many runs, with the same input, on an engine that is open already. Those of
``woken`` are parked in a sleep before that step (see ``filling.py``), all due at one instant; runs per second
from that instant to the last end. For ``started``, from the first call of ``start`` to the last end.

``cpu_us`` and ``started_cpu_us`` are what the process computes per run, in all of its threads: on a machine
that others use too, they say more than the times do.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import time
from pathlib import Path

import trio

from benchmarks.bench_recovery import start_all, unfinished, until_idle
from benchmarks.command import main
from benchmarks.filling import fill, record
from benchmarks.measuring import Bench, Session, in_turns
from benchmarks.parked_probe import parked
from benchmarks.workloads import sleeping_workflow, waking_workflow
from durable_trio import open_engine

HOUR = 3600.0
NAP = {"seconds": HOUR}
AHEAD = 0.5  # seconds from opening to the instant at which all are due

SLEEPER = sleeping_workflow()
WAKER = waking_workflow()


def measure(session: Session) -> None:
    for size in session.sizes:
        asleep = session.folder / f"asleep-{size}.lmdb"
        template = trio.run(record, asleep, SLEEPER, NAP, "waiting")
        fill(asleep, template, size - 1)
        [due] = [write.timer for write in template if write.timer is not None]
        trio.run(_measure, session, asleep, size, due / 1000)


async def _measure(session: Session, asleep: Path, size: int, due: float) -> None:
    computed: dict[str, list[float]] = {"cpu_us": [], "started_cpu_us": []}

    async def woken() -> float:
        path = asleep.with_name("copy.lmdb")
        shutil.copytree(asleep, path)
        gc.collect()
        offset = due - AHEAD - time.time()
        async with open_engine(path, workflows=[SLEEPER], clock=lambda: time.time() + offset) as engine:
            await trio.sleep(due - engine.now())
            began, cpu = time.perf_counter(), time.process_time()
            await until_idle(lambda: unfinished(engine) or parked(engine))
            took = time.perf_counter() - began
            computed["cpu_us"].append((time.process_time() - cpu) / size * 1e6)
        shutil.rmtree(path)
        return size / took

    async def started() -> float:
        path = asleep.with_name("fresh.lmdb")
        gc.collect()
        async with open_engine(path, workflows=[WAKER]) as engine:
            began, cpu = time.perf_counter(), time.process_time()
            await start_all(engine, WAKER, NAP, size)
            await until_idle(lambda: unfinished(engine))
            took = time.perf_counter() - began
            computed["started_cpu_us"].append((time.process_time() - cpu) / size * 1e6)
        shutil.rmtree(path)
        return size / took

    pairs = await in_turns(woken, started, session.repeat)
    more = {name: statistics.median(samples) for name, samples in computed.items()}
    session.add("woken together", size, "runs/s", "started together", pairs, **more)


BENCH = Bench(
    "waking",
    "waking: runs that are due at the same moment",
    measure,
    {"full": (1000, 10_000), "quick": (10_000,), "tiny": (20,)},
    "due runs",
)

if __name__ == "__main__":
    main(BENCH)
