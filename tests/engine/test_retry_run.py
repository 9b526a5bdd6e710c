"""``engine.retry``: a failed run goes on from the step that failed."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, states, step_of

from durable_trio import DurableError, Err, Goto, Ok, Retry, RunFailed, RunNotFound, Workflow, open_engine
from durable_trio._info import STATUS_NAMES


class Switch:
    """A step that fails until it is repaired."""

    def __init__(self):
        self.entered = 0
        self.works = False

    async def __call__(self, ctx):
        self.entered += 1
        await trio.lowlevel.checkpoint()
        return {**ctx, "repaired": True} if self.works else Err("broken")


async def fail(engine, wf, data=None):
    run = await engine.start(wf, data, id="r")
    with pytest.raises(RunFailed):
        await run.result()
    return run


async def test_a_failed_run_goes_on_from_its_failed_step(db, wf):
    before, switch, after = [], Switch(), []
    wf.step(lambda ctx: before.append(1) or {"n": [1]}, name="before", inline=True)
    wf.step(switch, name="switch")
    wf.step(lambda ctx: after.append(dict(ctx)), name="after", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        switch.works = True
        run = await engine.retry("r")
        assert run.id == "r"
        assert await run.result() == {"n": [1], "repaired": True}
        info = await engine.get("r")
    assert (before, switch.entered, after) == ([1], 2, [{"n": [1], "repaired": True}])
    assert (info.status, info.error, info.errors) == ("completed", None, {})
    assert states(info) == {"before": "ok", "switch": "ok", "after": "ok"}


async def test_it_may_fail_again_and_be_retried_again(db, wf):
    switch = Switch()
    wf.step(switch, name="switch")
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        for _ in range(3):
            with pytest.raises(RunFailed):
                await (await engine.retry("r")).result()
        switch.works = True
        assert await (await engine.retry("r")).result() == {"repaired": True}
    assert switch.entered == 5


async def test_a_retry_after_a_restart_goes_on_from_the_failed_step_too(disk, wf):
    before, switch = [], Switch()
    wf.step(lambda ctx: before.append(1) or {"n": (1,)}, name="before", inline=True)
    wf.step(switch, name="switch")
    async with open_engine(disk, workflows=[wf]) as engine:
        await fail(engine, wf)
    switch.works = True
    async with open_engine(disk, workflows=[wf]) as engine:
        assert (await engine.get("r")).status == "failed"
        assert await (await engine.retry("r")).result() == {"n": (1,), "repaired": True}
    assert before == [1]


async def test_the_attempts_begin_anew(db, wf):
    entered = []

    @wf.step(retry=Retry(max_attempts=2, base=0))
    async def step(ctx):
        entered.append(1)
        if len(entered) < 4:
            raise OSError
        return {"done": True}

    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        assert len(entered) == 2
        assert await (await engine.retry("r")).result() == {"done": True}
    assert len(entered) == 4


async def test_branches_that_succeeded_are_not_run_again(db, wf):
    fine, switch = [], Switch()
    with wf.parallel(name="block"):
        wf.step(lambda ctx: fine.append(1) or Ok([1]), name="fine", inline=True)

        @wf.step
        async def bad(ctx):
            await trio.testing.wait_all_tasks_blocked()
            return await switch(ctx)

        @wf.step
        async def cancelled(ctx):
            if not switch.works:
                await trio.sleep_forever()
            return Ok("at last")

    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        assert states(await engine.get("r"))["block/cancelled"] == "cancelled"
        switch.works = True
        result = await (await engine.retry("r")).result()
        assert result["__results__"] == {
            "fine": Ok([1]),
            "bad": Ok({"repaired": True}),
            "cancelled": Ok("at last"),
        }
        assert set(states(await engine.get("r")).values()) == {"ok"}
    assert fine == [1]


async def test_steps_of_a_sequence_that_succeeded_are_not_run_again(db, wf):
    first, switch = [], Switch()
    with wf.parallel(), wf.sequence("chain"):
        wf.step(lambda ctx: first.append(1) or {"first": True}, name="first", inline=True)
        wf.step(switch, name="switch")
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        switch.works = True
        result = await (await engine.retry("r")).result()
    assert result["__results__"] == {"chain": Ok({"first": True, "repaired": True})}
    assert first == [1]


async def test_a_block_whose_into_failed_asks_it_again_and_runs_no_branch_again(db, wf):
    entered, decisions = [], []

    def decide(ctx, results):
        decisions.append(results["a"].value)
        return Err("undecided") if len(decisions) == 1 else {"decided": True}

    with wf.parallel(into=decide):
        wf.step(lambda ctx: entered.append(1) or Ok([1]), name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        assert await (await engine.retry("r")).result() == {"decided": True}
    assert entered == [1]
    assert decisions == [[1], [1]]


async def test_a_retry_is_interrupted_by_a_restart_like_any_run(disk, wf):
    hold = Hold()
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        if len(entered) == 1:
            return Err("broken")
        await hold()
        return {"done": True}

    async with open_engine(disk, workflows=[wf]) as engine:
        await fail(engine, wf)
        await engine.retry("r")
        await hold.reached.wait()
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert run.created is False
        assert await run.result() == {"done": True}
    assert len(entered) == 3


async def test_a_later_visit_that_failed_is_what_is_retried(db, wf):
    entered = []
    switch = Switch()

    @wf.step
    async def count(ctx):
        entered.append(ctx["n"])
        if ctx["n"] == 2 and not switch.works:
            return Err("stuck")
        return {"n": ctx["n"] + 1}

    wf.step(lambda ctx: Goto("count", ctx) if ctx["n"] < 4 else None, name="again", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf, {"n": 0})
        switch.works = True
        assert await (await engine.retry("r")).result() == {"n": 4}
        assert step_of(await engine.get("r"), "count", 3).status == "ok"
    assert entered == [0, 1, 2, 2, 3]


async def test_a_retried_run_can_be_cancelled(db, wf):
    hold = Hold()
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        if len(entered) > 1:
            await hold()
        return Err("broken")

    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        run = await engine.retry("r")
        await hold.reached.wait()
        assert await engine.cancel("r") is True
        assert (await run.wait()).status == "cancelled"


@pytest.mark.parametrize("status", ["completed", "cancelled", "running"])
async def test_only_a_failed_run_can_be_retried(db, wf, status):
    hold = Hold()

    @wf.step
    async def step(ctx):
        await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        if status == "cancelled":
            await engine.cancel("r")
            await run.wait()
        elif status == "completed":
            hold.let_go()
            await run.wait()
        with pytest.raises(DurableError, match=status):
            await engine.retry("r")
        assert (await engine.get("r")).status == status
    assert hold.entered == 1


async def test_an_unknown_run_cannot_be_retried(db, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunNotFound):
            await engine.retry("nobody")


async def test_two_retries_at_the_same_time_run_the_step_once(db, wf):
    switch = Switch()
    wf.step(switch, name="switch")
    refused = []

    async def one(engine):
        try:
            await (await engine.retry("r")).result()
        except RunFailed:
            raise
        except DurableError as error:
            refused.append(error)

    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        switch.works = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, engine)
            nursery.start_soon(one, engine)
    assert switch.entered == 2
    assert len(refused) <= 1


async def test_a_run_that_needs_an_unregistered_workflow_is_not_retried(disk, wf):
    switch, other = Switch(), Workflow("other")
    wf.step(switch, name="switch")
    other.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        await fail(engine, wf)
    async with open_engine(disk, workflows=[other]) as engine:
        with pytest.raises(DurableError, match="orders"):
            await engine.retry("r")
        assert (await engine.get("r")).status == "failed"


@pytest.mark.parametrize("from_step", [None, "switch"])
async def test_no_body_is_entered_before_the_retry_is_on_disk(disk, wf, from_step):
    """A crash would take the retry back, and leave the effects of a run that has ended."""
    on_disk = []

    @wf.step
    async def switch(ctx):
        on_disk.append(STATUS_NAMES[engine.store.load(engine.live["r"].key, with_rows=False).status])
        return {} if len(on_disk) > 1 else Err("broken")

    async with open_engine(disk, workflows=[wf]) as engine:
        await fail(engine, wf)
        await (await engine.retry("r", from_step)).result()
    assert on_disk == ["running", "running"]
