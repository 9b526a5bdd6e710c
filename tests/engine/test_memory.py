"""Finished runs leave nothing behind; running ones cost little beyond their data."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
import trio
import trio.lowlevel
import trio.testing

from durable_trio import Workflow, open_engine
from durable_trio._engine.run import RunState


def _states() -> int:
    gc.collect()
    return sum(isinstance(item, RunState) for item in gc.get_objects())


@pytest.mark.slow
async def test_finished_runs_do_not_stay_in_memory(tmp_path):
    wf = Workflow("w")

    @wf.step
    async def only(ctx):
        return {"n": ctx["n"]}

    async def many(engine, numbers):
        async with trio.open_nursery() as nursery:
            for n in numbers:
                nursery.start_soon(engine.run, wf, {"n": n})

    async with open_engine(tmp_path / "db", workflows=[wf], max_running=50) as engine:
        before = _states()  # of other tests, if any
        await many(engine, range(500))
        assert _states() == before
        objects = len(gc.get_objects())
        await many(engine, range(2500))
        assert _states() == before
        # An object kept of each run would be 2,500; some caches may have grown.
        assert len(gc.get_objects()) - objects < 1250
        assert len(await engine.list(limit=5000)) == 3000


@pytest.mark.slow
async def test_a_running_run_costs_less_than_20_kb(tmp_path):
    wf = Workflow("w")
    gate = trio.Event()

    @wf.step
    async def first(ctx):
        return ctx | {"more": True}

    with wf.parallel(name="block"):

        @wf.step
        async def waits(ctx):
            await gate.wait()
            return {}

        @wf.step
        async def waits_too(ctx):
            await gate.wait()
            return {}

    async with open_engine(tmp_path / "db", workflows=[wf]) as engine:
        await engine.start(wf, {"n": -1})
        await trio.testing.wait_all_tasks_blocked(0.01)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for n in range(300):
            await engine.start(wf, {"n": n})
        while engine.bodies < 602:
            await trio.lowlevel.checkpoint()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gate.set()
        assert (after - before) / 300 < 20_000
