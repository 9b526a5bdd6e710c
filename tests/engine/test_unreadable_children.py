"""A run has called another one, of which it cannot read what is recorded when that is to be cancelled.

Its types are not registered any more. The run is blocked until they are; the engine and the others go on.
"""

from __future__ import annotations

from http import HTTPStatus

import pytest
import trio
from damage_helpers import is_blocked, quick
from engine_helpers import Hold, states
from waiting_helpers import Wall, reaches

from durable_trio import Err, Retry, Workflow, call_workflow, open_engine

KNOWN = {"types": [HTTPStatus]}


def waiting_child():
    child = Workflow("child")
    child.step(lambda ctx: {"code": HTTPStatus.OK}, name="answers", inline=True)
    child.wait_for_event("go")
    return child


async def started(engine, wf):
    """Start the run ``"r"``; gives what it has called, when that waits."""
    await engine.start(wf, id="r")
    while not (called := await engine.list(parent="r", status="waiting")):
        await trio.lowlevel.checkpoint()
    return called[0].id


def family(caller, fails, *, caller_first):
    """A block that fails, in a branch of one that does not; a branch of it calls a run that waits."""
    wf, seen = Workflow("parent"), []
    with wf.parallel(name="outer", on_error="complete_all"):
        quick(wf, seen)
        with wf.parallel(name="inner", on_error="fail_fast", limit=None if caller_first else 1):
            if not caller_first:
                wf.step(fails, name="fails")
            wf.step(caller, name="caller", retry=Retry(base=60, max_backoff=60))
            if caller_first:
                wf.step(fails, name="fails")
    return wf, seen


@pytest.mark.parametrize("is_under_way", [False, True])
async def test_a_branch_that_had_called_it_is_over(disk, is_under_way):
    """It is between two attempts when its block fails; or the block fails before its turn comes."""
    hold, raises = Hold(), False

    async def caller(ctx):
        if raises:
            raise ValueError("again")
        return await call_workflow("child")

    async def fails(ctx):
        await hold()
        return Err("no")

    child, (wf, _) = waiting_child(), family(caller, fails, caller_first=True)
    async with open_engine(disk, workflows=[wf, child], **KNOWN) as engine:
        called = await started(engine, wf)
    raises = True
    if is_under_way:
        async with open_engine(disk, workflows=[wf, child], **KNOWN) as engine:
            while states(await engine.get("r")).get("outer/inner/caller") != "retrying":
                await trio.lowlevel.checkpoint()
    (wf, seen), other = family(caller, fails, caller_first=is_under_way), Workflow("other")
    quick(other, [])
    hold.let_go()
    async with open_engine(disk, workflows=[wf, child, other]) as engine:
        info = await is_blocked(engine, wf, "HTTPStatus")
        assert states(info) == {"outer/quick": "ok", "outer/inner/fails": "error"}
        assert await engine.run(other) == {}
    entered = hold.entered
    async with open_engine(disk, workflows=[wf, child], **KNOWN) as engine:
        info = await (await engine.start(wf, id="r")).wait()
        assert info.status == "completed"
        assert info.result["__results__"]["inner"] == Err("no")
        assert states(info)["outer/inner/caller"] == ("cancelled" if is_under_way else "never_started")
        await reaches(engine, called, "cancelled")
    assert (seen, hold.entered) == ([], entered)


async def test_the_time_of_the_run_that_had_called_it_is_over(disk):
    wall, child, wf, other = Wall(), waiting_child(), Workflow("parent", timeout=60), Workflow("other")
    quick(other, [])

    @wf.step
    async def caller(ctx):
        return await call_workflow("child")

    async with open_engine(disk, workflows=[wf, child], clock=wall, **KNOWN) as engine:
        called = await started(engine, wf)
    wall.pass_(61)
    async with open_engine(disk, workflows=[wf, child, other], clock=wall) as engine:
        await is_blocked(engine, wf, "HTTPStatus")
        assert await engine.run(other) == {}
    async with open_engine(disk, workflows=[wf, child], clock=wall, **KNOWN) as engine:
        info = await (await engine.start(wf, id="r")).wait()
        assert (info.status, info.error.type) == ("failed", "TimeoutError")
        await reaches(engine, called, "cancelled")
