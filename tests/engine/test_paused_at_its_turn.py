"""A run that is paused when it has its place already, and waits for its start to be on disk."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from engine_helpers import Hold, at
from waiting_helpers import Gate, noted, reaches

from durable_trio import Workflow, open_engine


@pytest.mark.parametrize("batches", ["one", "two", "two, and the second is being written"])
async def test_it_is_set_aside_once_and_goes_on_once(tmp_path, monkeypatch, batches):
    hold, seen, handles = Hold(), [], []
    first, second = Workflow("first"), Workflow("second")
    first.step(at(hold), name="hold")
    noted(second, "step", seen)
    async with open_engine(tmp_path / "db", workflows=[first, second], max_running=1) as engine:
        await engine.start(first, id="f")
        await hold.reached.wait()
        gate = Gate(engine, monkeypatch)
        await gate.close()

        async def start():
            handles.append(await engine.start(second, id="r"))  # its object stays the same

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await gate.arrived.wait()
            hold.let_go()  # its place is the other one's, whose start is still on its way
            await trio.testing.wait_all_tasks_blocked()
            if batches != "one":  # what lets it go on is in a batch before the pause
                await gate.next()
            nursery.start_soon(engine.pause, "r")
            await trio.testing.wait_all_tasks_blocked()
            if batches.endswith("written"):
                await gate.next()
                await trio.testing.wait_all_tasks_blocked()
            gate.open()
        info = await reaches(engine, "r")
        assert info.paused
        assert seen == []
        await trio.testing.wait_all_tasks_blocked()
        assert "r" not in engine.live  # it is parked
        assert await engine.run(first, id="another") == {}  # the place was given back
        assert await engine.resume("r")
        await reaches(engine, "r", "completed")
        assert seen == ["step"]
        assert await engine.run(first, id="one more") == {}
