"""chain: 10 steps one after another, each body passing one checkpoint; workflows/s.

    python -m benchmarks.bench_chain

Beside bare Trio, and beside bare Trio with a group commit by hand (``byhand.py``). On all sides every
workflow has a task of its own that asks for it.
"""

from __future__ import annotations

import trio

from benchmarks.byhand import GroupCommit, add_beside, chain_by_hand
from benchmarks.command import main
from benchmarks.measuring import Bench, Session, all_rates_in_turns, latencies_of
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

            with GroupCommit(session.folder / f"by-hand-{level}.lmdb") as store:
                sides = (durable, BARE, chain_by_hand(store))
                rounds = await all_rates_in_turns(session, sides, level)
            more = await latencies_of(durable, session.seconds, level)
        pairs = [(ours, bare) for ours, bare, _ in rounds]
        steps = max(ours for ours, _ in pairs) * CHAIN
        session.add("chain, sync", level, "workflows/s", "bare Trio", pairs, **more, best_steps_per_s=steps)
        add_beside(session, "chain, sync", level, rounds)


BENCH = Bench(
    "chain",
    "chain: 10 steps, one after another",
    measure,
    {"full": (1, 100, 1000), "quick": (1, 100, 1000), "tiny": (1, 3)},
    "in flight",
)

if __name__ == "__main__":
    main(BENCH)
