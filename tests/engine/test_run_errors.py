"""Section 8: what ``RunFailed`` and its relatives carry, and what they say."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Meeting, failed

from durable_trio import DurableError, Err, Failure, RunCancelled, RunFailed, RunNotFound, open_engine


async def test_run_failed_carries_the_run_the_error_and_all_errors(db, wf):
    wf.step(lambda ctx: Err({"code": 7}), name="charge", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunFailed) as caught:
            await engine.run(wf, id="run-7")
    error = caught.value
    assert isinstance(error, DurableError)
    assert (error.run_id, error.error, error.errors) == ("run-7", {"code": 7}, {"charge": {"code": 7}})
    for part in ("run-7", "charge", "7"):
        assert part in str(error)


async def test_run_failed_says_what_was_raised(db, wf):
    @wf.step
    async def charge(ctx):
        raise ValueError("card declined")

    error = await failed(db, wf)
    assert isinstance(error.error, Failure)
    assert "ValueError: card declined" in str(error)


async def test_run_failed_says_how_many_more_errors_there_are(db, wf):
    meeting = Meeting(3)
    with wf.parallel(name="block"):
        for n in range(3):

            @wf.step(name=f"b{n}")
            async def branch(ctx, n=n):
                with trio.CancelScope(shield=True):
                    await meeting()
                return Err(f"reason {n}")

    error = await failed(db, wf)
    assert len(error.errors) == 3
    assert str(error.error) in str(error)
    assert "2 more" in str(error)


async def test_each_caller_gets_an_error_with_data_of_its_own(db, wf):
    wf.step(lambda ctx: Err({"list": [1]}), name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        for _ in range(2):
            with pytest.raises(RunFailed) as caught:
                await run.result()
            assert caught.value.error == {"list": [1]}
            assert caught.value.errors == {"a": {"list": [1]}}
            caught.value.error["list"].append("spoiled")
            caught.value.errors["a"]["list"].append("spoiled")
        assert (await run.wait()).error == {"list": [1]}


async def test_run_failed_is_the_same_live_and_after_a_restart(disk, wf):
    with wf.parallel(name="block"):

        @wf.step
        async def charge(ctx):
            raise ValueError("card declined")

    async with open_engine(disk, workflows=[wf]) as engine:
        with pytest.raises(RunFailed) as live:
            await engine.run(wf, id="r")
    async with open_engine(disk, workflows=[wf]) as engine:
        with pytest.raises(RunFailed) as stored:
            await engine.run(wf, id="r")
    assert stored.value.error == live.value.error
    assert stored.value.errors == live.value.errors
    assert str(stored.value) == str(live.value)
    assert "card declined" in live.value.error.traceback


async def test_run_cancelled_says_which_run_and_why(db, wf):
    @wf.step
    async def step(ctx):
        await trio.sleep_forever()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="run-7")
        await engine.cancel("run-7", "changed my mind")
        with pytest.raises(RunCancelled) as caught:
            await run.result()
    assert isinstance(caught.value, DurableError)
    assert (caught.value.run_id, caught.value.reason) == ("run-7", "changed my mind")
    assert "run-7" in str(caught.value)
    assert "changed my mind" in str(caught.value)


async def test_run_not_found_says_which(db, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunNotFound, match="run-8"):
            await engine.get("run-8")
