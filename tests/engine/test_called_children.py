"""A run that a step has called does not outlive the step, even if the step's end is found after a restart."""

from __future__ import annotations

import shutil

import trio
from waiting_helpers import Wall, reaches

from durable_trio import Err, Workflow, call_workflow, open_client, open_engine


def _child():
    child = Workflow("child")
    child.wait_for_event("never")
    return child


async def test_a_branch_that_is_not_entered_again_cancels_what_it_had_called(tmp_path):
    """Its block fails in the next life, before its turn comes."""
    called = []

    async def caller(ctx):
        called.append(True)
        return await call_workflow("child", {})

    def parent(*branches):
        wf = Workflow("parent")
        with wf.parallel(name="block", limit=1):
            for name, body in branches:
                wf.step(body, name=name)
        return wf

    failing = ("failing", lambda ctx: Err("no"))
    first = parent(("caller", caller), failing)
    async with open_engine(tmp_path / "db", workflows=[first, _child()]) as engine:
        await engine.start(first, {}, id="r")
        while not (children := await engine.list(parent="r", status="waiting")):
            await reaches(engine, "r", "running")
    second = parent(failing, ("caller", caller))
    async with open_engine(tmp_path / "db", workflows=[second, _child()]) as engine:
        info = await (await engine.start(second, {}, id="r")).wait()
        assert (info.status, info.error) == ("failed", "no")
        assert called == [True]
        child = await (await engine.start("child", id=children[0].id)).wait()
        assert child.status == "cancelled"


async def test_a_run_whose_time_is_over_after_a_restart_cancels_what_it_had_called(tmp_path):
    wall = Wall()
    wf = Workflow("parent", timeout=60)

    @wf.step
    async def caller(ctx):
        return await call_workflow("child", {})

    async with open_engine(tmp_path / "db", workflows=[wf, _child()], clock=wall) as engine:
        await engine.start(wf, {}, id="r")
        while not (children := await engine.list(parent="r", status="waiting")):
            await reaches(engine, "r", "running")
    wall.pass_(61)
    async with open_engine(tmp_path / "db", workflows=[wf, _child()], clock=wall) as engine:
        info = await (await engine.start(wf, {}, id="r")).wait()
        assert info.status == "failed"
        child = await (await engine.start("child", id=children[0].id)).wait()
        assert child.status == "cancelled"


async def test_runs_cancelled_together_stay_cancelled_when_a_crash_lies_between(tmp_path):
    """Each is found with its cancellation recorded and without an end; the first one cancels the others."""
    entered, release = trio.Event(), trio.Event()
    kid, mid, top = (Workflow(name) for name in ("kid", "mid", "top"))

    @kid.step
    async def hang(ctx):
        entered.set()
        with trio.CancelScope(shield=True):
            await release.wait()

    @mid.step(name="call")
    async def call_kid(ctx):
        return await call_workflow(kid, {})

    @top.step(name="call")
    async def call_mid(ctx):
        return await call_workflow(mid, {})

    workflows = [kid, mid, top]
    async with open_engine(tmp_path / "db", workflows=workflows) as engine:
        await engine.start(top, {}, id="r")
        await entered.wait()
        assert await engine.cancel("r")
        shutil.copytree(tmp_path / "db", tmp_path / "crashed")
        release.set()
    for _life in range(2):
        async with open_engine(tmp_path / "crashed", workflows=workflows) as engine:
            await (await engine.start(top, {}, id="r")).wait()
        async with open_client(tmp_path / "crashed") as client:
            ended = {info.workflow: info.status for info in await client.list()}
        assert ended == dict.fromkeys(("kid", "mid", "top"), "cancelled")
