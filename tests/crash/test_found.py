"""What the kills have found in the engine, each in its smallest form."""

from __future__ import annotations

import threading

import pytest
import trio
import trio.testing

from durable_trio import Err, RunFailed, Workflow, open_engine


async def test_a_run_that_waits_for_its_turn_after_a_restart_can_be_cancelled(tmp_path):
    """Its journal has not been read then, so that the number of its next row is not known."""
    wf = Workflow("queued")
    held, go = trio.Event(), trio.Event()

    @wf.step
    async def first(ctx):
        return ctx | {"first": True}

    @wf.step
    async def second(ctx):
        held.set()
        await go.wait()

    async with open_engine(tmp_path / "db", workflows=[wf]) as engine:
        await engine.start(wf, {}, id="one")
        await held.wait()
        held = trio.Event()
        await engine.start(wf, {}, id="two")
        await held.wait()

    held = trio.Event()
    async with open_engine(tmp_path / "db", workflows=[wf], max_running=1) as engine:
        await held.wait()
        assert (await engine.start(wf, {}, id="two")).status == "pending"
        assert await engine.cancel("two", "not needed")
        go.set()
        assert await engine.run(wf, {}, id="one") == {"first": True}
        assert (await engine.get("two")).status == "cancelled"


async def test_draining_enters_no_plain_step_that_waits_for_a_thread():
    wf = Workflow("threads")
    go = threading.Event()
    entered = []

    def body(ctx):
        entered.append(True)
        go.wait()

    with wf.parallel(name="many", on_error="complete_all"):
        for number in range(100):
            wf.step(body, name=f"plain_{number}")

    async with open_engine(workflows=[wf]) as engine:
        await engine.start(wf, {})
        places = engine.limiter.total_tokens
        while len(entered) < places:
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert len(entered) == places


async def test_a_sequence_starts_no_further_step_in_a_block_that_has_failed():
    """The wait for the step's record cannot be cancelled; what comes after it must look."""
    wf = Workflow("sealed")
    failing = trio.Event()
    entered = []

    with wf.parallel(name="block"):
        with wf.sequence("seq"):

            @wf.step
            async def tied(ctx):
                await failing.wait()

            @wf.step
            async def following(ctx):
                entered.append("following")

            @wf.step
            async def last(ctx):
                entered.append("last")

        with wf.parallel(name="inner", into=lambda ctx, results: entered.append("into")):

            @wf.step
            async def tied_too(ctx):
                await failing.wait()

        @wf.step
        async def fails(ctx):
            await trio.testing.wait_all_tasks_blocked()
            failing.set()
            return Err("no")

    async with open_engine(workflows=[wf]) as engine:
        run = await engine.start(wf, {}, id="r")
        with pytest.raises(RunFailed) as failed:
            await run.result()
        assert failed.value.error == "no"
        steps = {step.path: (step.status, step.attempt) for step in (await engine.get("r")).steps}
    assert entered == []
    assert steps["block/seq/tied"] == ("ok", 1)
    assert steps["block/inner/tied_too"] == ("ok", 1)


async def test_a_run_that_was_cancelled_since_it_was_given_its_turn_stays_cancelled(tmp_path):
    """As a child that recovery is about to take up, when the cancelled parent before it is."""
    wf = Workflow("queued")
    held, go = trio.Event(), trio.Event()

    @wf.step
    async def first(ctx):
        held.set()
        await go.wait()

    async with open_engine(tmp_path / "db", workflows=[wf], max_running=1) as engine:
        await engine.start(wf, {}, id="one")
        await held.wait()
        await engine.start(wf, {}, id="two")
        two = engine.live["two"]
        engine.admission.discard(two)
        engine.admission.leave()
        assert await engine.cancel("two", "not needed")
        engine.admission.enter(two)
        engine.take_up(two)
        go.set()
        await engine.run(wf, {}, id="one")
        assert (await engine.get("two")).status == "cancelled"
        assert [run.id for run in await engine.list(status="running")] == []
