"""``max_running``, queues and priorities: how many runs are under way, and which goes next."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, interrupt
from trio.testing import wait_all_tasks_blocked

from durable_trio import InputError, Workflow, open_engine


class Gate:
    """A workflow whose runs say that they began, and stay until each is let go by its name."""

    def __init__(self):
        self.order = []
        self.running = self.most = 0
        self._ends = {}
        self.wf = Workflow("gate")
        self.wf.step(self.step)

    async def step(self, ctx):
        self.order.append(ctx["name"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self._ends.setdefault(ctx["name"], trio.Event()).wait()
        finally:
            self.running -= 1

    def end(self, *names):
        for name in names:
            self._ends.setdefault(name, trio.Event()).set()

    async def began(self, count):
        while len(self.order) < count:
            await wait_all_tasks_blocked(0.001)


async def start(engine, gate, name, **options):
    return await engine.start(gate.wf, {"name": name}, id=name, **options)


async def test_no_more_than_max_running_are_under_way_and_the_others_are_pending(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=2) as engine:
        runs = [await start(engine, gate, name) for name in "abcde"]
        await gate.began(2)
        await wait_all_tasks_blocked()
        assert sorted(gate.order) == ["a", "b"]
        assert [run.status for run in runs] == ["running", "running", "pending", "pending", "pending"]
        assert (await engine.get("e")).status == "pending"
        gate.end(*"abcde")
        for run in runs:
            await run.result()
    assert sorted(gate.order) == list("abcde")
    assert gate.most == 2


async def test_a_start_that_must_wait_its_turn_returns_at_once(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "a")
        await gate.began(1)
        run = await start(engine, gate, "b")
        assert run.created is True
        assert run.status == "pending"


async def test_a_place_is_given_on_as_soon_as_a_run_ends(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=2) as engine:
        for name in "abc":
            await start(engine, gate, name)
        await gate.began(2)
        gate.end("b")
        await gate.began(3)
        assert gate.order[2] == "c"
        assert gate.running == 2


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_run_that_ends_badly_gives_its_place_on_too(db, how):
    hold = Hold()
    wf = Workflow("w")

    @wf.step
    async def step(ctx):
        if ctx["bad"]:
            await hold()
            raise ValueError

    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        bad = await engine.start(wf, {"bad": True})
        good = await engine.start(wf, {"bad": False})
        await hold.reached.wait()
        if how == "failed":
            hold.let_go()
        else:
            await engine.cancel(bad.id)
        assert await good.result() == {"bad": False}
        assert (await bad.wait()).status == how


async def test_in_a_queue_the_higher_priority_goes_first_then_the_earlier_start(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "first")
        await gate.began(1)
        runs = [
            await start(engine, gate, name, priority=priority)
            for name, priority in [("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0), ("f", 10)]
        ]
        gate.end("first", *"abcdef")
        for run in runs:
            await run.result()
    assert gate.order == ["first", "f", "b", "d", "a", "e", "c"]


async def test_a_long_queue_does_not_starve_another(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "first")
        await gate.began(1)
        runs = [await start(engine, gate, f"bulk{n}", queue="bulk") for n in range(10)]
        runs.append(await start(engine, gate, "mail", queue="mail"))
        gate.end("first", "mail", *(f"bulk{n}" for n in range(10)))
        for run in runs:
            await run.result()
    assert gate.order.index("mail") <= 3
    assert [name for name in gate.order if name.startswith("bulk")] == [f"bulk{n}" for n in range(10)]


async def test_queue_and_priority_are_shown(db):
    gate = Gate()
    gate.end("a")
    async with open_engine(db, workflows=[gate.wf]) as engine:
        run = await start(engine, gate, "a", queue="mail", priority=7)
        info = await run.wait()
        assert (info.queue, info.priority) == ("mail", 7)
        (listed,) = await engine.list()
        assert (listed.queue, listed.priority) == ("mail", 7)


@pytest.mark.parametrize(
    "options", [{"queue": ""}, {"queue": 5}, {"priority": "high"}, {"priority": 1.5}], ids=repr
)
async def test_queues_and_priorities_that_make_no_sense_are_refused(db, options):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf]) as engine:
        with pytest.raises(InputError):
            await start(engine, gate, "a", **options)
        assert await engine.list() == []


async def test_pending_runs_go_on_after_a_restart_in_the_same_order(disk):
    gate = Gate()
    async with open_engine(disk, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "first")
        for name, priority in [("a", 0), ("b", 5), ("c", 0)]:
            await start(engine, gate, name, priority=priority)
        await gate.began(1)
    gate.order.clear()
    gate.end("first", *"abc")
    async with open_engine(disk, workflows=[gate.wf], max_running=1) as engine:
        for name in ("first", *"abc"):
            run = await start(engine, gate, name)
            assert run.created is False
            await run.result()
    assert gate.order == ["first", "b", "a", "c"]


async def test_a_run_that_had_begun_comes_before_those_that_had_not_after_a_restart(disk):
    gate = Gate()
    async with open_engine(disk, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "begun", priority=-9)
        await gate.began(1)
        await start(engine, gate, "urgent", priority=9)
    gate.order.clear()
    gate.end("begun", "urgent")
    async with open_engine(disk, workflows=[gate.wf], max_running=1) as engine:
        await (await start(engine, gate, "urgent")).result()
        await (await start(engine, gate, "begun")).result()
    assert gate.order == ["begun", "urgent"]


async def test_max_running_holds_for_runs_that_are_recovered(disk):
    gate = Gate()
    async with open_engine(disk, workflows=[gate.wf]) as engine:
        for n in range(6):
            await start(engine, gate, f"r{n}")
        await gate.began(6)
    gate.order.clear()
    gate.most = 0
    async with open_engine(disk, workflows=[gate.wf], max_running=2) as engine:
        await gate.began(2)
        await wait_all_tasks_blocked()
        assert len(gate.order) == 2
        statuses = [(await engine.get(f"r{n}")).status for n in range(6)]
        assert sorted(statuses) == ["pending"] * 4 + ["running"] * 2
        gate.end(*(f"r{n}" for n in range(6)))
        for n in range(6):
            await (await start(engine, gate, f"r{n}")).result()
    assert gate.most == 2


async def test_a_new_run_does_not_overtake_those_that_are_pending(db):
    gate = Gate()
    async with open_engine(db, workflows=[gate.wf], max_running=1) as engine:
        await start(engine, gate, "a")
        await start(engine, gate, "b")
        await gate.began(1)
        gate.end("a")
        c = await start(engine, gate, "c")
        gate.end("b", "c")
        await c.result()
    assert gate.order == ["a", "b", "c"]


async def test_a_run_in_the_queue_can_be_interrupted_by_a_restart_before_it_ever_began(disk, wf):
    hold = Hold()

    @wf.step
    async def slow(ctx):
        await hold()
        return {"n": ctx.get("n")}

    await interrupt(disk, wf, hold.reached, {"n": 1}, max_running=1)
    async with open_engine(disk, workflows=[wf], max_running=1) as engine:
        second = await engine.start(wf, {"n": 2}, id="second")
        assert second.status == "pending"
        hold.let_go()
        assert await second.result() == {"n": 2}
        assert await (await engine.start(wf, id="r")).result() == {"n": 1}


async def test_a_run_that_waits_for_its_place_after_a_restart_can_be_cancelled(disk):
    gate = Gate()
    async with open_engine(disk, workflows=[gate.wf]) as engine:
        for name in "ab":
            await start(engine, gate, name)
        await gate.began(2)
    gate.order.clear()
    async with open_engine(disk, workflows=[gate.wf], max_running=1) as engine:
        await gate.began(1)
        waiting = "b" if gate.order == ["a"] else "a"
        assert (await engine.get(waiting)).status == "pending"
        assert await engine.cancel(waiting, "not needed") is True
        assert (await engine.get(waiting)).status == "cancelled"
        gate.end(*gate.order)
        await (await start(engine, gate, gate.order[0])).result()
    async with open_engine(disk, workflows=[gate.wf]) as engine:
        info = await engine.get(waiting)
    assert (info.status, info.error) == ("cancelled", "not needed")
    assert len(gate.order) == 1
