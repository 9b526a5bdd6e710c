"""A run that is woken from a sleep: nothing of it is entered before it is on disk that the sleep is over."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from engine_helpers import crash_image, states
from waiting_helpers import Between, Gate, Wall, noted, reaches

from durable_trio import Workflow, open_engine


@pytest.fixture
def place(tmp_path):
    return tmp_path / "db"


def napper(seen, **options):
    wf = Workflow("napper", **options)
    noted(wf, "before", seen)
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    return wf


async def woken(engine, wall, monkeypatch):
    """Wake the run ``r``, and hold the commit that says so; gives the gate in front of it."""
    gate = Gate(engine, monkeypatch)
    Between(engine, monkeypatch).do(wall, gate.close)
    await gate.arrived.wait()
    await trio.testing.wait_all_tasks_blocked()
    return gate


async def asleep(engine, wf):
    await engine.start(wf, {}, id="r")
    await reaches(engine, "r")


async def test_its_successor_waits_for_the_commit(place, tmp_path, monkeypatch):
    wall, seen = Wall(), []
    wf = napper(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await asleep(engine, wf)
        gate = await woken(engine, wall, monkeypatch)
        assert seen == ["before"]
        image = crash_image(place, tmp_path / "image")
        gate.open()
        info = await reaches(engine, "r", "completed")
        assert engine.store.timers(limit=9) == []
    assert seen == ["before", "after"]
    assert states(info) == {"before": "ok", "nap": "ok", "after": "ok"}
    async with open_engine(image, workflows=[wf], clock=wall) as engine:  # it had been asleep there
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after", "after"]


async def test_it_is_cancelled_meanwhile(place, monkeypatch):
    wall, seen = Wall(), []
    wf = napper(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await asleep(engine, wf)
        gate = await woken(engine, wall, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.cancel, "r")
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
        info = await reaches(engine, "r", "cancelled")
    assert seen == ["before"]
    assert states(info)["nap"] == "ok"


async def test_it_is_paused_meanwhile(place, monkeypatch):
    wall, seen = Wall(), []
    wf = napper(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await asleep(engine, wf)
        gate = await woken(engine, wall, monkeypatch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.pause, "r")
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
        info = await reaches(engine, "r")
        assert info.paused
        assert seen == ["before"]
        assert await engine.resume("r")
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]


async def test_the_engine_is_left_meanwhile(place, monkeypatch):
    wall, seen = Wall(), []
    wf = napper(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await asleep(engine, wf)
        gate = await woken(engine, wall, monkeypatch)
        suspend = engine.suspend

        def suspend_and_go_on():
            suspend()
            gate.open()

        monkeypatch.setattr(engine, "suspend", suspend_and_go_on)
    assert seen == ["before"]
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]


@pytest.mark.parametrize("timeout", [59, 3600])
async def test_a_run_that_may_have_expired_is_asked_in_the_order_of_time(place, timeout):
    wall, seen = Wall(), []
    wf = napper(seen, timeout=timeout)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await asleep(engine, wf)
    wall.pass_(61)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, {}, id="r")
        info = await run.wait()
    assert info.status == ("failed" if timeout < 60 else "completed")
    assert states(info).get("nap") == (None if timeout < 60 else "ok")  # what came first is what counts
    assert seen == (["before"] if timeout < 60 else ["before", "after"])


async def test_a_run_whose_definition_was_changed_leaves_no_timer(place):
    wall, seen = Wall(), []
    async with open_engine(place, workflows=[wf := napper(seen)], clock=wall) as engine:
        await asleep(engine, wf)
    changed = Workflow("napper")
    noted(changed, "instead", seen)
    changed.sleep(60, name="nap")
    async with open_engine(place, workflows=[changed], clock=wall) as engine:
        wall.pass_(61)
        engine.timers.set(0.0)
        info = await reaches(engine, "r", "blocked")
        await engine.get("r")  # what was handed over by now is on disk then
        assert engine.store.timers(limit=9) == []
    assert "before" in info.error
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]
