"""wide: one run with one block, or one map, of many branches; seconds beside a bare nursery of as many tasks.

    python -m benchmarks.bench_wide

The engine is open and the workflow compiled beforehand. Both sides keep every branch's result.
A block, whose branches somebody has written down, is measured up to 10,000 of them; a map goes on.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable

import trio

from benchmarks.command import main
from benchmarks.measuring import Bench, Session, in_turns
from benchmarks.workloads import INPUT, wide_bare, wide_block, wide_map
from durable_trio import open_engine


def measure(session: Session) -> None:
    trio.run(_measure, session)


# Declaring the steps of a block takes time in the square of their number: a minute and a half for 100,000.
WIDEST_BLOCK = 10_000


async def _measure(session: Session) -> None:
    for width in session.sizes:
        workflows = [("map", wide_map(width))]
        if width <= WIDEST_BLOCK:
            workflows.insert(0, ("block", wide_block(width)))
        for kind, workflow in workflows:
            path = session.folder / f"{kind}-{width}.lmdb"
            async with open_engine(path, workflows=[workflow]) as engine:

                async def durable() -> float:
                    return await seconds_of(lambda: engine.run(workflow, INPUT))  # noqa: B023 - used here

                async def bare() -> float:
                    return await seconds_of(lambda: wide_bare(width))  # noqa: B023 - used here

                await durable()
                pairs = await in_turns(durable, bare, session.repeat)
                used = engine.store.statistics().used
            session.add(
                f"one {kind}, sync",
                width,
                "s",
                "a bare nursery",
                pairs,
                bytes_per_branch=used / width / (session.repeat + 1),
            )


async def seconds_of(make: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    began = time.perf_counter()
    await make()
    return time.perf_counter() - began


BENCH = Bench(
    "wide",
    "wide: one block or map of many branches",
    measure,
    {"full": (1000, 10_000, 100_000), "quick": (1000, 10_000), "tiny": (5,)},
    "branches",
)

if __name__ == "__main__":
    main(BENCH)
