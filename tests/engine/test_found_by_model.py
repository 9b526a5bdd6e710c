"""What the state machine of ``tests/model`` has found, each as a test of its own, on a clock that stands."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from durable_trio import Workflow, open_engine
from durable_trio.testing import trio_clock


@pytest.fixture
def mock_clock():
    """It moves when a test moves it: a thread of the store never is too slow for it."""
    return trio.testing.MockClock()


async def until(engine, run_id, *statuses):
    while (info := await engine.get(run_id)).status not in statuses:
        await trio.testing.wait_all_tasks_blocked()
    return info


async def forever(ctx):
    await trio.sleep_forever()


async def test_a_workflows_timeout_names_the_same_step_when_it_comes_in_another_life(disk, mock_clock):
    wf = Workflow("bounded", timeout=100)
    wf.step(lambda ctx: {"n": 1}, name="a", inline=True)
    wf.step(forever, name="b")
    async with open_engine(disk, workflows=[wf], clock=trio_clock()) as engine:
        await engine.start(wf, id="r")
        while (await engine.get("r")).current_step != "b":
            await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(100)
    async with open_engine(disk, workflows=[wf], clock=trio_clock()) as engine:
        info = await until(engine, "r", "failed")
    assert {path: reason.type for path, reason in info.errors.items()} == {"b": "TimeoutError"}


async def test_a_blocks_timeout_that_passes_between_two_lives_fails_the_run_too(disk, mock_clock):
    wf = Workflow("bounded")
    with wf.parallel(name="block", timeout=100):
        wf.step(forever, name="x")
        wf.step(forever, name="y")
    wf.step(lambda ctx: {"went": "on"}, name="after", inline=True)
    async with open_engine(disk, workflows=[wf], clock=trio_clock()) as engine:
        await engine.start(wf, id="r")
        while (await engine.get("r")).current_step != "block/x":
            await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(100)
    async with open_engine(disk, workflows=[wf], clock=trio_clock()) as engine:
        info = await until(engine, "r", "failed", "completed")
    assert info.status == "failed"
    assert info.error.type == "TimeoutError"
    assert {step.path: step.status for step in info.steps if step.kind == "step"} == {
        "block/x": "timed_out",
        "block/y": "timed_out",
    }
