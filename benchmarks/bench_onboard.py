"""onboard (create → 3 branches → complete): workflows/s, in each durability mode.

    python -m benchmarks.bench_onboard

Beside bare Trio doing the same bodies and storing nothing; on both sides every workflow has a task of its own
that asks for it. One at a time, also beside LMDB alone: the same bytes with the same commits, with nothing
else done.
"""

from __future__ import annotations

import trio

from benchmarks.command import main
from benchmarks.measuring import Bench, Session, latencies_of, rates_in_turns
from benchmarks.rawlmdb import RawLmdb, recorded_commits
from benchmarks.workloads import INPUT, onboard_bare, onboard_workflow
from durable_trio import Engine, open_engine
from durable_trio._definition.workflow import Durability

MODES: tuple[Durability, ...] = ("sync", "async", "exit")


def measure(session: Session) -> None:
    trio.run(_measure, session)


async def _measure(session: Session) -> None:
    for mode in MODES:
        for level in session.sizes:
            async with open_engine(
                session.folder / f"{mode}-{level}.lmdb",
                workflows=[WORKFLOW],
                durability=mode,
                max_running=level + 1,
            ) as engine:
                await _level(session, engine, mode, level)


WORKFLOW = onboard_workflow()
BARE = onboard_bare()


async def _level(session: Session, engine: Engine, mode: Durability, level: int) -> None:
    async def durable() -> None:
        result = await engine.run(WORKFLOW, INPUT)
        assert result["status"] == "complete"

    pairs = await rates_in_turns(session, durable, BARE, level)
    more = await latencies_of(durable, session.seconds, level)
    if level == 1:
        before = engine.committer.commits
        await durable()
        more["commits"] = engine.committer.commits - before
    session.add(f"onboard, {mode}", level, "workflows/s", "bare Trio", pairs, **more)
    if level == 1 and mode == "sync":
        await _beside_lmdb(session, engine, durable)


async def _beside_lmdb(session: Session, engine: Engine, durable: object) -> None:
    """The time of one workflow, beside that of its commits."""
    commits = await recorded_commits(engine, lambda: engine.run(WORKFLOW, INPUT))
    with RawLmdb(session.folder / "raw.lmdb", commits) as raw:

        async def once() -> None:
            await engine.run(WORKFLOW, INPUT)

        async def bare() -> None:
            raw.write()
            await trio.lowlevel.checkpoint()

        rates = await rates_in_turns(session, once, bare, 1)
    times = [(1e3 / ours, 1e3 / theirs) for ours, theirs in rates]
    session.add("one workflow, sync", 1, "ms", f"{len(commits)} commits of py-lmdb", times)


BENCH = Bench(
    "onboard",
    "onboard: create, 3 branches, complete",
    measure,
    {"full": (1, 10, 100, 1000, 10_000), "quick": (1, 100, 1000), "tiny": (1, 3)},
    "in flight",
)

if __name__ == "__main__":
    main(BENCH)
