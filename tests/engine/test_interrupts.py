"""``KeyboardInterrupt`` and ``SystemExit`` in a body: no failure of it, but the end of the engine."""

from __future__ import annotations

import signal

import pytest
import trio
from engine_helpers import resume
from trio.testing import wait_all_tasks_blocked

from durable_trio import EngineClosed, Ok, open_engine


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("mode", ["async", "thread", "inline"])
async def test_an_interrupt_in_a_step_is_no_failure_it_ends_the_engine_and_the_run_goes_on(
    disk, wf, error, mode
):
    lives = []

    def strike(ctx):
        lives.append(1)
        if len(lives) == 1:
            raise error("stop")
        return {"lives": len(lives)}

    async def strike_async(ctx):
        return strike(ctx)

    wf.step(strike_async if mode == "async" else strike, name="strike", inline=mode == "inline")
    with pytest.raises(error) as caught:
        async with open_engine(disk, workflows=[wf]) as engine:
            await engine.start(wf, id="r")
            await trio.sleep_forever()
    assert caught.value.args == ("stop",)
    info = await resume(disk, wf)
    assert info.result == {"lives": 2}


async def test_an_interrupt_in_a_branch_ends_the_engine_too_and_finished_branches_are_kept(disk, wf):
    lives = []
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: lives.append("fine") or Ok(1), name="fine", inline=True)

        @wf.step
        async def strike(ctx):
            lives.append("strike")
            if lives.count("strike") == 1:
                await wait_all_tasks_blocked()
                raise KeyboardInterrupt
            return Ok(2)

    with pytest.raises(KeyboardInterrupt):
        async with open_engine(disk, workflows=[wf]) as engine:
            await engine.start(wf, id="r")
            await trio.sleep_forever()
    info = await resume(disk, wf)
    assert info.result == {"__results__": {"fine": Ok(1), "strike": Ok(2)}}
    assert lives.count("fine") == 1


async def test_a_system_exit_in_into_ends_the_engine_too(disk, wf):
    lives = []

    def decide(ctx, results):
        lives.append(1)
        if len(lives) == 1:
            raise SystemExit(3)
        return {"decided": True}

    with wf.parallel(into=decide):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    with pytest.raises(SystemExit) as caught:
        async with open_engine(disk, workflows=[wf]) as engine:
            await engine.run(wf, id="r")
    assert caught.value.code == 3
    assert (await resume(disk, wf)).result == {"decided": True}


async def test_who_waits_when_a_step_interrupts_the_engine_is_told(db, wf):
    began = trio.Event()

    @wf.step
    async def strike(ctx):
        await began.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_engine(db, workflows=[wf]) as engine:
            run = await engine.start(wf)
            began.set()
            await run.result()


@pytest.mark.parametrize("how", ["result", "wait"])
async def test_who_waits_elsewhere_when_a_step_interrupts_the_engine_learns_that_it_closed(db, wf, how):
    """The interrupt itself comes out once, where the engine was opened."""
    waiting = trio.Event()
    caught = []

    @wf.step
    async def strike(ctx):
        await waiting.wait()
        await wait_all_tasks_blocked()
        raise KeyboardInterrupt

    async def waiter(run):
        waiting.set()
        with pytest.raises(EngineClosed) as error:
            await getattr(run, how)()
        caught.append(error.value)

    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyboardInterrupt):
            async with open_engine(db, workflows=[wf]) as engine:
                nursery.start_soon(waiter, await engine.start(wf))
                await trio.sleep_forever()
    assert len(caught) == 1


async def test_an_engine_that_was_interrupted_takes_nothing_any_more(db, wf):
    wf.step(lambda ctx: (_ for _ in ()).throw(KeyboardInterrupt), name="strike", inline=True)
    with pytest.raises(KeyboardInterrupt):
        async with open_engine(db, workflows=[wf]) as engine:
            await engine.run(wf)
    with pytest.raises(EngineClosed):
        await engine.start(wf)


@pytest.mark.parametrize("mode", ["async", "inline"])
async def test_a_real_interrupt_signal_in_a_step_ends_the_engine_and_the_run_goes_on(disk, wf, mode):
    lives = []

    def strike(ctx):
        lives.append(1)
        if len(lives) == 1:
            signal.raise_signal(signal.SIGINT)
        return {"lives": len(lives)}

    async def strike_async(ctx):
        outcome = strike(ctx)
        await trio.lowlevel.checkpoint()
        return outcome

    wf.step(strike_async if mode == "async" else strike, name="strike", inline=mode == "inline")
    with pytest.raises(KeyboardInterrupt):
        async with open_engine(disk, workflows=[wf]) as engine:
            await engine.start(wf, id="r")
            await trio.sleep_forever()
    assert (await resume(disk, wf)).status == "completed"


async def test_an_interrupt_and_the_bodys_own_error_do_not_hide_each_other(db, wf):
    @wf.step
    async def strike(ctx):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        async with open_engine(db, workflows=[wf]) as engine:
            await engine.start(wf)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("in the body's cleanup")
    assert isinstance(caught.value.__cause__, ValueError)
