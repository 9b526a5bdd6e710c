"""recovery: chains killed with 5 of 10 steps done, and how fast they go on.

    python -m benchmarks.bench_recovery [--sizes 10000]

A process of its own starts the runs and is killed by SIGKILL when each of them stands in its sixth step. Each
repetition opens a copy of the database that it left. Steps per second from the call of ``open_engine`` to the
end of the last run, beside as many fresh chains, started at once on an empty database with the same
``max_running`` (the default). ``first_ms`` and ``last_ms``: from the call of ``open_engine`` to the entry of
the first and the last resumed body that had no result.

The last line does it with finished runs beside them, ten (at full scale a hundred) for each killed one.
"""

from __future__ import annotations

import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from benchmarks.command import main
from benchmarks.filling import fill, record
from benchmarks.measuring import Bench, Session, in_turns
from benchmarks.workloads import CHAIN, INPUT, Body, chain_workflow, link
from durable_trio import Engine, Workflow, open_engine

DONE = 5
FRESH = chain_workflow()
MANY = 10_000  # from this size on, the last line has a hundred finished runs for each killed one


class Clocked:
    """The chain, with the times at which its sixth steps were entered."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.workflow = chain_workflow(self._link)

    def _link(self, number: int) -> Body:
        body = link(number)
        if number != DONE:
            return body

        async def clocked(ctx: Any) -> dict[str, Any]:
            self.times.append(time.perf_counter())
            return await body(ctx)

        return clocked


def measure(session: Session) -> None:
    for size in session.sizes:
        killed = session.folder / f"killed-{size}.lmdb"
        kill(killed, size)
        trio.run(_measure, session, killed, size, "resumed")
    size = session.sizes[-1]
    beside = session.folder / "beside.lmdb"
    template = trio.run(record, beside, FRESH, INPUT, "completed")
    finished = size * (100 if size >= MANY else 10)
    fill(beside, template, finished)
    kill(beside, size)
    trio.run(_measure, session, beside, size, f"resumed beside {finished:,}")


async def _measure(session: Session, killed: Path, size: int, case: str) -> None:
    firsts: list[float] = []
    lasts: list[float] = []

    async def resumed() -> float:
        path = _copied(killed)
        chain = Clocked()
        began = time.perf_counter()
        async with open_engine(path, workflows=[chain.workflow]) as engine:
            await until_idle(lambda: unfinished(engine))
            took = time.perf_counter() - began
        assert len(chain.times) == size, f"{len(chain.times)} of {size} runs were resumed"
        firsts.append((min(chain.times) - began) * 1e3)
        lasts.append((max(chain.times) - began) * 1e3)
        shutil.rmtree(path)
        return size * (CHAIN - DONE) / took

    async def fresh() -> float:
        path = killed.with_name("fresh.lmdb")
        async with open_engine(path, workflows=[FRESH]) as engine:
            began = time.perf_counter()
            await start_all(engine, FRESH, INPUT, size)
            await until_idle(lambda: unfinished(engine))
            took = time.perf_counter() - began
        shutil.rmtree(path)
        return size * CHAIN / took

    pairs = await in_turns(resumed, fresh, session.repeat)
    session.add(
        case,
        size,
        "steps/s",
        "fresh chains",
        pairs,
        first_ms=statistics.median(firsts),
        last_ms=statistics.median(lasts),
        runs_ratio=statistics.median(ours / theirs for ours, theirs in pairs) * CHAIN / (CHAIN - DONE),
    )


async def start_all(engine: Engine, workflow: Workflow, input: dict[str, Any], runs: int) -> None:  # noqa: A002 - as the API has it
    """Start so many runs at once; returns when all are on disk."""
    async with trio.open_nursery() as nursery:
        for _ in range(runs):
            nursery.start_soon(engine.start, workflow, input)


def unfinished(engine: Engine) -> int:
    """Runs that have not ended: those in memory, as none of them waits."""
    return len(engine.live)


async def until_idle(unfinished: Callable[[], int]) -> None:
    while unfinished():  # noqa: ASYNC110 - the engine tells nobody that all its runs have ended
        await trio.sleep(0.002)


def _copied(path: Path) -> Path:
    copy = path.with_name("copy.lmdb")
    shutil.copytree(path, copy)
    return copy


def kill(path: Path, runs: int) -> None:
    """Have a process start so many chains, and kill it when all of them stand in the sixth step."""
    command = [sys.executable, "-m", "benchmarks.bench_recovery", "--worker", str(path), str(runs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as worker:
        assert worker.stdout is not None
        ready = worker.stdout.readline()
        worker.send_signal(signal.SIGKILL)
    if ready != b"ready\n":
        raise RuntimeError(f"the worker ended before it was killed; it said {ready!r}")


async def work(path: str, runs: int) -> None:
    """What the killed process does."""
    standing = 0
    all_there = trio.Event()

    def gated(number: int) -> Body:
        body = link(number)

        async def stand(_ctx: Any) -> dict[str, Any]:
            nonlocal standing
            standing += 1
            if standing == runs:
                all_there.set()
            await trio.sleep_forever()

        return stand if number == DONE else body

    chain = chain_workflow(gated)
    async with (
        open_engine(path, workflows=[chain], max_running=runs) as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(start_all, engine, chain, INPUT, runs)
        await all_there.wait()
        print("ready", flush=True)
        await trio.sleep_forever()


BENCH = Bench(
    "recovery",
    "recovery: chains killed with 5 of 10 steps done",
    measure,
    {"full": (1000, 10_000), "quick": (500,), "tiny": (5,)},
    "killed runs",
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        trio.run(work, sys.argv[2], int(sys.argv[3]))
    else:
        main(BENCH)
