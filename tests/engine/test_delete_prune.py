"""``engine.delete`` and ``engine.prune``: forgetting runs that have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
import trio.testing
from engine_helpers import Hold

from durable_trio import DurableError, Err, InputError, RunNotFound, Workflow, open_engine

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


@pytest.fixture
def flow():
    wf = Workflow("w")

    @wf.step
    async def step(ctx):
        return Err("bad") if ctx.get("bad") else ctx

    return wf


async def test_a_deleted_run_is_gone(db, flow):
    async with open_engine(db, workflows=[flow]) as engine:
        await engine.run(flow, {"n": 1}, id="r")
        await engine.run(flow, {"n": 2}, id="s")
        await engine.delete("r")
        with pytest.raises(RunNotFound):
            await engine.get("r")
        assert [info.id for info in await engine.list()] == ["s"]
        assert [info.id for info in await engine.list(workflow=flow, status="completed")] == ["s"]
        with pytest.raises(RunNotFound):
            await engine.delete("r")


async def test_a_deleted_run_stays_gone_after_a_restart(disk, flow):
    async with open_engine(disk, workflows=[flow]) as engine:
        await engine.run(flow, {"n": 1}, id="r")
        await engine.delete("r")
    async with open_engine(disk, workflows=[flow]) as engine:
        with pytest.raises(RunNotFound):
            await engine.get("r")
        assert await engine.list() == []


async def test_the_id_of_a_deleted_run_is_free_again(db, flow):
    async with open_engine(db, workflows=[flow]) as engine:
        await engine.run(flow, {"n": 1}, id="r")
        await engine.delete("r")
        run = await engine.start(flow, {"n": 2}, id="r")
        assert run.created is True
        assert await run.result() == {"n": 2}
        assert (await engine.get("r")).input == {"n": 2}


async def test_a_run_with_an_id_that_the_engine_chose_is_deleted_too(db, flow):
    async with open_engine(db, workflows=[flow]) as engine:
        run = await engine.start(flow)
        await run.result()
        await engine.delete(run.id)
        with pytest.raises(RunNotFound):
            await engine.get(run.id)


async def test_a_run_that_has_not_ended_is_not_deleted(db, wf):
    hold = Hold()

    @wf.step
    async def step(ctx):
        await hold()
        return {"done": True}

    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        run = await engine.start(wf, id="running")
        pending = await engine.start(wf, id="pending")
        await hold.reached.wait()
        for run_id in ("running", "pending"):
            with pytest.raises(DurableError, match=run_id):
                await engine.delete(run_id)
        hold.let_go()
        assert await run.result() == {"done": True}
        assert await pending.result() == {"done": True}


async def test_an_unknown_run_cannot_be_deleted(db, flow):
    async with open_engine(db, workflows=[flow]) as engine:
        with pytest.raises(RunNotFound):
            await engine.delete("nobody")


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


async def aged(engine, flow, clock, *, bad=()):
    """Runs r0 … r4, which end at noon and every hour after; it is then 17 o'clock."""
    for n in range(5):
        run = await engine.start(flow, {"bad": n in bad}, id=f"r{n}")
        await run.wait()
        clock.now += timedelta(hours=1)


async def left(engine):
    return sorted(info.id for info in await engine.list())


@pytest.mark.parametrize(
    "older_than",
    [timedelta(hours=3, minutes=30), 3.5 * 3600, NOON + timedelta(hours=1, minutes=30)],
    ids=["timedelta", "seconds", "instant"],
)
async def test_prune_deletes_what_ended_longer_ago(db, flow, older_than):
    clock = Clock()
    async with open_engine(db, workflows=[flow], clock=clock) as engine:
        await aged(engine, flow, clock)
        assert await engine.prune(older_than) == 2
        assert await left(engine) == ["r2", "r3", "r4"]
        with pytest.raises(RunNotFound):
            await engine.get("r1")
        assert await engine.prune(older_than) == 0


async def test_prune_takes_every_ended_status_by_default_and_only_the_given_ones_else(db, flow):
    clock = Clock()
    async with open_engine(db, workflows=[flow], clock=clock) as engine:
        await aged(engine, flow, clock, bad=(0, 3))
        assert await engine.prune(timedelta(0), statuses="failed") == 2
        assert await left(engine) == ["r1", "r2", "r4"]
        await engine.start(flow, {"bad": True}, id="again")
        await (await engine.start(flow, {"bad": True}, id="again")).wait()
        clock.now += timedelta(hours=1)
        assert await engine.prune(timedelta(0), statuses=["completed"]) == 3
        assert await left(engine) == ["again"]
        assert await engine.prune(timedelta(0)) == 1
        assert await left(engine) == []


async def test_prune_never_takes_a_run_that_has_not_ended(db, wf):
    hold, clock = Hold(), Clock()

    @wf.step
    async def step(ctx):
        await hold()
        return {"done": True}

    async with open_engine(db, workflows=[wf], clock=clock, max_running=1) as engine:
        run = await engine.start(wf, id="running")
        await engine.start(wf, id="pending")
        await hold.reached.wait()
        clock.now += timedelta(days=1000)
        assert await engine.prune(timedelta(0)) == 0
        hold.let_go()
        assert await run.result() == {"done": True}


async def test_prune_counts_from_the_end_not_from_the_start(db, wf):
    clock = Clock()

    @wf.step
    async def slow(ctx):
        clock.now += timedelta(days=10)

    async with open_engine(db, workflows=[wf], clock=clock) as engine:
        await engine.run(wf, id="r")
        clock.now += timedelta(hours=1)
        assert await engine.prune(timedelta(days=1)) == 0
        assert await engine.prune(timedelta(minutes=30)) == 1


async def test_prune_takes_more_than_a_page(db, flow):
    clock = Clock()
    async with open_engine(db, workflows=[flow], clock=clock, durability="exit") as engine:
        runs = [await engine.start(flow, {"n": n}) for n in range(450)]
        for run in runs:
            await run.wait()
        clock.now += timedelta(hours=1)
        await engine.run(flow, id="young")
        assert await engine.prune(timedelta(minutes=30)) == 450
        assert await left(engine) == ["young"]


@pytest.mark.parametrize("older_than", [-1, "a day", None, NOON.replace(tzinfo=None)], ids=repr)
async def test_ages_that_make_no_sense_are_refused(db, flow, older_than):
    async with open_engine(db, workflows=[flow]) as engine:
        await engine.run(flow, id="r")
        with pytest.raises(InputError):
            await engine.prune(older_than)
        assert await left(engine) == ["r"]


@pytest.mark.parametrize("statuses", ["running", ["completed", "pending"], "nope"], ids=repr)
async def test_statuses_of_runs_that_have_not_ended_are_refused(db, flow, statuses):
    async with open_engine(db, workflows=[flow]) as engine:
        await engine.run(flow, id="r")
        with pytest.raises(InputError):
            await engine.prune(timedelta(0), statuses=statuses)
        assert await left(engine) == ["r"]


async def test_a_run_that_waits_is_not_deleted(db, mock_clock):
    wf = Workflow("w")
    wf.sleep(60, name="rest")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 1}, id="r")
        while (await engine.get("r")).status != "waiting":
            await trio.testing.wait_all_tasks_blocked()
        await engine.start(wf, id="later", at=datetime.now(UTC) + timedelta(days=1))
        for run_id in ("r", "later"):
            with pytest.raises(InputError, match="is waiting; cancel it before you delete it"):
                await engine.delete(run_id)
            assert (await engine.get(run_id)).status == "waiting"
        assert await engine.cancel("r") is True
        await run.wait()
        await engine.delete("r")
