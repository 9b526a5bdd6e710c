"""big context: what a step costs when the context is large and the change is small.

    python -m benchmarks.bench_context

100 steps that change one small key each, and 1,000 branches that read two keys each, beside bare Trio, where
a step is given the same dict and a branch ``dict(ctx)``, a copy of its outermost level only.
``bytes_per_step`` is what the engine gives to the store for one step; ``written_per_step`` what the kernel
says went to the disk, in whole pages.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import trio

from benchmarks.bench_wide import seconds_of
from benchmarks.command import main
from benchmarks.measuring import Bench, Session, in_turns
from benchmarks.rawlmdb import recorded_writes
from benchmarks.workloads import (
    CHANGES,
    READERS,
    big_context,
    changing_bare,
    changing_workflow,
    reading_bare,
    reading_workflow,
)
from durable_trio import open_engine

CHANGING = changing_workflow()
READING = reading_workflow()


def measure(session: Session) -> None:
    trio.run(_measure, session)


async def _measure(session: Session) -> None:
    for size in session.sizes:
        context = big_context(size)
        stored = len(msgspec.msgpack.encode(context))
        path = session.folder / f"{size}.lmdb"
        async with open_engine(path, workflows=[CHANGING, READING]) as engine:
            for case, workflow, bare, steps in (
                (f"{CHANGES} steps change one key", CHANGING, changing_bare, CHANGES),
                (f"{READERS:,} branches read two keys", READING, reading_bare, READERS),
            ):

                async def ours() -> float:
                    run = await engine.start(workflow, context)  # noqa: B023 - used in this turn only
                    return await seconds_of(run.wait) / steps * 1e6  # noqa: B023 - in this turn

                async def theirs() -> float:
                    return await seconds_of(lambda: bare(context)) / steps * 1e6  # noqa: B023 - in this turn

                pairs = await in_turns(ours, theirs, session.repeat)
                before = written()
                writes = await recorded_writes(engine, lambda: engine.run(workflow, context))  # noqa: B023 - in this turn
                rows = sum(len(write.row or b"") for batch in writes for write in batch)
                more = {"bytes_per_step": rows / steps, "context_bytes": float(stored)}
                if before is not None:
                    more["written_per_step"] = ((written() or 0) - before) / steps
                session.add(case, size, "µs/step", "bare Trio", pairs, **more)


def written() -> int | None:
    """Bytes that this process has sent to disks; None where the kernel does not say."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


BENCH = Bench(
    "context",
    "big context: small changes to large data",
    measure,
    {"full": (1000, 10_000, 100_000, 1_000_000), "quick": (1000, 1_000_000), "tiny": (2000,)},
    "bytes",
)

if __name__ == "__main__":
    main(BENCH)
