"""What goes on while an engine is opened, and looks for the runs that have not ended, or is left."""

from __future__ import annotations

import threading

import trio
from waiting_helpers import Wall, noted, reaches

from durable_trio import Workflow, open_engine
from durable_trio._engine import recovery
from durable_trio._info import STATUS_CODES


async def test_a_timer_that_is_due_while_runs_are_recovered_does_not_take_up_its_run_twice(
    tmp_path, monkeypatch
):
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    async with open_engine(tmp_path / "db", workflows=[wf], clock=wall) as engine:
        await engine.start(wf, {}, id="r")
        await reaches(engine, "r")
    original = recovery._headers

    def slow_headers(engine, after):
        """Give a timer every chance to wake the run before the runs are looked for."""
        key = engine.reader.find("r")
        for _ in range(200):
            if engine.store.load(key, with_rows=False).status != STATUS_CODES["waiting"]:
                break
            trio.from_thread.run(trio.lowlevel.checkpoint)
        return original(engine, after)

    monkeypatch.setattr(recovery, "_headers", slow_headers)
    wall.pass_(61)
    async with open_engine(tmp_path / "db", workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, {}, id="r")
        assert await run.result() == {}
    assert seen == ["after"]


async def test_a_timer_that_is_due_while_the_engine_is_left_does_not_hold_it_up(tmp_path, monkeypatch):
    """Its run is woken in the next life."""
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    leaving, looking = threading.Event(), trio.Event()
    async with open_engine(tmp_path / "db", workflows=[wf], clock=wall) as engine:
        await engine.start(wf, {}, id="r")
        await reaches(engine, "r")
        timers, suspend = engine.store.timers, engine.suspend

        def timers_when_leaving(*, limit):
            trio.from_thread.run_sync(looking.set)
            leaving.wait()
            return timers(limit=limit)

        def suspend_and_tell():
            suspend()
            leaving.set()

        monkeypatch.setattr(engine.store, "timers", timers_when_leaving)
        monkeypatch.setattr(engine, "suspend", suspend_and_tell)
        wall.pass_(61)
        engine.timers.set(0.0)
        await looking.wait()
    assert seen == []
    async with open_engine(tmp_path / "db", workflows=[wf], clock=wall) as engine:
        assert await (await engine.start(wf, {}, id="r")).result() == {}
    assert seen == ["after"]
