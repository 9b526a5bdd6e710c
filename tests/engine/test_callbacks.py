"""What is to be called when a batch is on disk concerns nobody else who waits for that batch."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from waiting_helpers import Gate

from durable_trio import open_engine


class Broken(Exception):
    pass


def broken():
    raise Broken


async def test_one_that_raises_ends_the_engine_and_leaves_nobody_waiting(tmp_path, monkeypatch, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    told = []
    with pytest.raises(Broken):
        async with open_engine(tmp_path / "db", workflows=[wf]) as engine:
            gate = Gate(engine, monkeypatch)
            await gate.close()

            async def wait():
                await engine.committer.durable()
                told.append("durable")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: engine.start(wf, id="r"))
                await trio.testing.wait_all_tasks_blocked()
                engine.committer.when_durable(broken)
                engine.committer.when_durable(lambda: told.append("called"))
                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                gate.open()
    assert told == ["called", "durable"]
    async with open_engine(tmp_path / "db", workflows=[wf]) as engine:
        assert (await (await engine.start(wf, id="r")).wait()).status == "completed"
