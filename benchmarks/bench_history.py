"""history: throughput on a database with very many finished runs, beside the same on an empty one.

    python -m benchmarks.bench_history [--sizes 1000000]

onboard, 1,000 in flight, sync. The finished runs are copies of one real run (see ``filling.py``).
``bytes_per_run`` is counted on the other side, where every run was really run under load: the pages in use,
by the number of runs.
"""

from __future__ import annotations

import trio

from benchmarks.command import main
from benchmarks.filling import fill, record
from benchmarks.measuring import Bench, Session, rates_in_turns
from benchmarks.workloads import INPUT, onboard_workflow
from durable_trio import open_engine

LEVEL = 1000
WORKFLOW = onboard_workflow()


def measure(session: Session) -> None:
    old = session.folder / "old.lmdb"
    template = trio.run(record, old, WORKFLOW, INPUT, "completed")
    there = 1
    for size in session.sizes:
        fill(old, template, size - there)
        there = trio.run(_level, session, size)


async def _level(session: Session, size: int) -> int:
    level = min(LEVEL, size)
    new, old = session.folder / f"new-{size}.lmdb", session.folder / "old.lmdb"
    async with (
        open_engine(old, workflows=[WORKFLOW]) as aged,
        open_engine(new, workflows=[WORKFLOW]) as fresh,
    ):
        before = aged.store.statistics()

        async def ours() -> None:
            await aged.run(WORKFLOW, INPUT)

        async def theirs() -> None:
            await fresh.run(WORKFLOW, INPUT)

        pairs = await rates_in_turns(session, ours, theirs, level)
        after = fresh.store.statistics()
        session.add(
            "onboard beside finished runs",
            size,
            "workflows/s",
            "an empty database",
            pairs,
            bytes_per_run=after.used / after.runs,
            bytes_per_run_of_history=before.used / before.runs,
        )
        return aged.store.statistics().runs


BENCH = Bench(
    "history",
    "history: finished runs in the same database",
    measure,
    {"full": (10_000, 100_000, 1_000_000), "quick": (1000, 20_000), "tiny": (20,)},
    "finished runs",
)

if __name__ == "__main__":
    main(BENCH)
