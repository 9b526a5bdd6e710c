"""onboard (create → 3 branches → complete): workflows/s, in each durability mode.

    python -m benchmarks.bench_onboard

Beside bare Trio doing the same bodies and storing nothing; on all sides every workflow has a task of its own
that asks for it. ``sync`` also beside bare Trio with a group commit by hand (``byhand.py``). One at a time,
also beside LMDB alone: the same bytes with the same commits, with nothing else done. ``first step to last``
leaves out the start and the end of a run, for which every mode waits until they are on disk: it is what
``async`` makes faster.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import trio

from benchmarks.byhand import OF_RAW, GroupCommit, add_beside, onboard_by_hand
from benchmarks.command import main
from benchmarks.measuring import (
    Bench,
    Make,
    Session,
    all_rates_in_turns,
    in_turns,
    latencies_of,
    rates_in_turns,
)
from benchmarks.rawlmdb import HandedOver, RawLmdb, recorded_commits
from benchmarks.workloads import INPUT, Body, complete, create, onboard_bare, onboard_workflow
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

    rounds = None
    if mode == "sync":
        with GroupCommit(session.folder / f"by-hand-{level}.lmdb") as store:
            rounds = await all_rates_in_turns(session, (durable, BARE, onboard_by_hand(store)), level)
        pairs = [(ours, bare) for ours, bare, _ in rounds]
    else:
        pairs = await rates_in_turns(session, durable, BARE, level)
    more = await latencies_of(durable, session.seconds, level)
    if level == 1:
        before = engine.committer.commits
        await durable()
        more["commits"] = engine.committer.commits - before
    session.add(f"onboard, {mode}", level, "workflows/s", "bare Trio", pairs, **more)
    if rounds is not None:
        add_beside(session, f"onboard, {mode}", level, rounds)
    if level == 1 and mode == "sync":
        await _beside_lmdb(session, engine, durable)
    if level == 1 and mode == "async":
        await _steps_alone(session)


async def _beside_lmdb(session: Session, engine: Engine, durable: Make) -> None:
    """The time of one workflow, beside that of its commits; what the same takes by hand; and what the commits
    take if another thread makes them, with nothing else done.
    """
    commits = await recorded_commits(engine, lambda: engine.run(WORKFLOW, INPUT))
    with (
        RawLmdb(session.folder / "raw.lmdb", commits) as raw,
        HandedOver(session.folder / "raw-elsewhere.lmdb", commits) as elsewhere,
        GroupCommit(session.folder / "by-hand-alone.lmdb") as store,
    ):

        async def bare() -> None:
            raw.write()
            await trio.lowlevel.checkpoint()

        rates = await all_rates_in_turns(session, (durable, bare, onboard_by_hand(store)), 1)
        handed_over = await rates_in_turns(session, elsewhere.write_elsewhere, bare, 1)
    times = [(1e3 / ours, 1e3 / theirs) for ours, theirs, _ in rates]
    more = {OF_RAW: statistics.median([theirs / by_hand for _, theirs, by_hand in rates])}
    baseline = f"{len(commits)} commits of py-lmdb"
    session.add("one workflow, sync", 1, "ms", baseline, times, **more)
    times = [(1e3 / there, 1e3 / here) for there, here in handed_over]
    session.add("the same commits, by another thread", 1, "ms", baseline, times)


class Stopwatch:
    """Adds up the time from the entry of the first body to the entry of the last."""

    def __init__(self) -> None:
        self.total = 0.0
        self._began = 0.0

    def around(self, body: Body) -> Body:
        async def timed(ctx: Any) -> dict[str, Any]:
            if body is create:
                self._began = time.perf_counter()
            elif body is complete:
                self.total += time.perf_counter() - self._began
            return await body(ctx)

        return timed


async def _steps_alone(session: Session) -> None:
    """Without the start and the end, for which every mode waits until they are on disk."""
    ours, theirs = Stopwatch(), Stopwatch()
    workflow, bare = onboard_workflow(ours.around), onboard_bare(theirs.around)
    runs = max(1, int(session.seconds * 200))
    async with open_engine(session.folder / "steps.lmdb", workflows=[workflow], durability="async") as engine:

        async def durable() -> float:
            ours.total = 0.0
            for _ in range(runs):
                await engine.run(workflow, INPUT)
            return ours.total / runs * 1e6

        async def other() -> float:
            theirs.total = 0.0
            for _ in range(runs):
                await bare()
            return theirs.total / runs * 1e6

        pairs = await in_turns(durable, other, session.repeat)
    session.add("first step to last, async", 1, "µs", "bare Trio", pairs)


BENCH = Bench(
    "onboard",
    "onboard: create, 3 branches, complete",
    measure,
    {"full": (1, 10, 100, 1000, 10_000), "quick": (1, 100, 1000), "tiny": (1, 3)},
    "in flight",
)

if __name__ == "__main__":
    main(BENCH)
