"""chain: 10 steps one after another, each body passing one checkpoint; workflows/s beside bare Trio.

    python -m benchmarks.bench_chain

On both sides every workflow has a task of its own that asks for it.
"""

from __future__ import annotations

import trio

from benchmarks.command import main
from benchmarks.measuring import Bench, Session, latencies_of, rates_in_turns
from benchmarks.workloads import CHAIN, INPUT, chain_bare, chain_workflow
from durable_trio import open_engine

WORKFLOW = chain_workflow()
BARE = chain_bare()


def measure(session: Session) -> None:
    trio.run(_measure, session)


async def _measure(session: Session) -> None:
    for level in session.sizes:
        path = session.folder / f"{level}.lmdb"
        async with open_engine(path, workflows=[WORKFLOW], max_running=level + 1) as engine:

            async def durable() -> None:
                await engine.run(WORKFLOW, INPUT)

            pairs = await rates_in_turns(session, durable, BARE, level)
            more = await latencies_of(durable, session.seconds, level)
        steps = max(ours for ours, _ in pairs) * CHAIN
        session.add("chain, sync", level, "workflows/s", "bare Trio", pairs, **more, best_steps_per_s=steps)


BENCH = Bench(
    "chain",
    "chain: 10 steps, one after another",
    measure,
    {"full": (1, 100, 1000), "quick": (1, 100, 1000), "tiny": (1, 3)},
    "in flight",
)

if __name__ == "__main__":
    main(BENCH)
