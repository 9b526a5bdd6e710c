"""Forks of runs that have been retried and forked before: its records are taken over, with their numbers."""

from __future__ import annotations

import random

import pytest
from engine_helpers import Hold

from durable_trio import Err, Goto, InputError, Ok, Workflow, call_workflow, open_engine, step_info


class Orders:
    """A workflow of everything that can lie before a point, whose bodies fail when they are told to."""

    def __init__(self, fails):
        self.fails = fails  # path to whether it fails now
        self.entered = []  # (run, path, visit, the context that it was given)
        self.keys = {}  # idempotency key to (run, path, visit)
        self.recorded = set()  # (run, path, visit) of what has returned Ok
        self.child = Workflow("child")
        self.child.step(lambda ctx: {"answer": 42}, name="answer", inline=True)
        wf = self.workflow = Workflow("orders")
        wf.step(self.body, name="begin")
        with wf.parallel(name="both"):
            wf.step(self.body, name="x")
            with wf.sequence("chain"):
                wf.step(self.body, name="y")
                wf.step(self.body, name="z")
        wf.map(self.item, over=lambda ctx: [1, 2], name="each")
        wf.step(self.ask, name="ask")
        wf.step(self.body, name="count")
        wf.step(self.check, name="check")
        wf.step(self.body, name="end")

    def enter(self, ctx):
        info = step_info()
        visit = (info.run_id, info.path, info.visit)
        assert visit not in self.recorded
        assert self.keys.setdefault(info.idempotency_key, visit) == visit
        self.entered.append((*visit, dict(ctx)))
        if self.fails(info.path):
            return Err(f"{info.path} is broken")
        self.recorded.add(visit)
        return Ok({**ctx, "trail": [*ctx.get("trail", []), (info.path, info.visit)]})

    async def body(self, ctx):
        return self.enter(ctx)

    async def item(self, ctx, item):
        return self.enter(ctx)

    async def ask(self, ctx):
        answer = await call_workflow(self.child)
        assert answer == Ok({"answer": 42})
        return self.enter(ctx)

    async def check(self, ctx):
        done = self.enter(ctx)
        if done.is_ok and sum(path == "count" for path, _ in ctx["trail"]) % 3:
            return Goto("count", done.value)
        return done

    def open(self, path):
        return open_engine(path, workflows=[self.workflow, self.child])


def points_of(info):
    """The visits of nodes at the top level that count, in order."""
    counted = [(step.path.partition("/")[0], step.visit) for step in info.steps if not step.superseded]
    return list(dict.fromkeys(counted))


def given_to(orders, forks, run_id, point):
    """The context that a node at the top level was given, by whichever run entered it."""
    for run, path, visit, ctx in orders.entered:
        if (run, path.partition("/")[0], visit) == (run_id, *point):
            return ctx
    return given_to(orders, forks, forks[run_id], point)


@pytest.mark.parametrize("seed", range(25))
async def test_a_fork_enters_its_point_and_what_follows_and_nothing_before(disk, seed):
    rng = random.Random(seed)
    orders = Orders(lambda path: rng.random() < 0.15)
    forks = {}  # the id of a fork to that of the run that it was made of
    for _ in range(2):  # lives of the process
        async with orders.open(disk) as engine:
            await (await engine.start(orders.workflow, id="r")).wait()
            for _ in range(15):
                old = await engine.get(rng.choice(["r", *forks]))
                points = points_of(old)
                point = rng.choice(points)
                if old.status == "failed" and rng.random() < 0.3:
                    await (await engine.retry(old.id)).wait()
                elif old.status == "failed" and rng.random() < 0.7:
                    await (await engine.retry(old.id, point[0], visit=point[1])).wait()
                else:
                    before = len(orders.entered)
                    fork = await engine.fork(old.id, point[0], visit=point[1])
                    forks[fork.id] = old.id
                    new = await fork.wait()
                    _, path, visit, ctx = orders.entered[before]
                    assert (path.partition("/")[0], visit) == point
                    assert ctx == given_to(orders, forks, old.id, point)
                    kept = points[: points.index(point)]
                    assert points_of(new)[: len(kept) + 1] == [*kept, point]
                    kept_steps = [
                        [step for step in info.steps if (step.path.partition("/")[0], step.visit) in kept]
                        for info in (old, new)
                    ]
                    assert kept_steps[0] == kept_steps[1]
    assert len(forks) > 5


def failing_once(*paths):
    """Fails each of these steps the first time."""
    left = list(paths)

    def fails(path):
        if path in left:
            left.remove(path)
            return True
        return False

    return fails


def entries(orders, run_id):
    return [(path, visit) for run, path, visit, _ in orders.entered if run == run_id]


LOOP = [("count", 1), ("check", 1), ("count", 2), ("check", 2), ("count", 3), ("check", 3)]


async def test_what_was_done_again_is_taken_over(disk):
    orders = Orders(failing_once("ask"))
    async with orders.open(disk) as engine:
        await (await engine.start(orders.workflow, id="r")).wait()
        old = await (await engine.retry("r", "begin")).result()
        fork = await engine.fork("r", "end", id="f")
        assert await fork.result() == old
    assert entries(orders, "f") == [("end", 1)]


async def test_the_step_that_is_under_way_keeps_its_number(db):
    """It has no record, and visits of it were superseded before."""
    broken, hold = [True], Hold()
    wf = Workflow("orders")
    entered = []
    wf.step(lambda ctx: {"a": step_info().visit}, name="a", inline=True)

    @wf.step
    async def b(ctx):
        entered.append((step_info().run_id, step_info().visit))
        if broken:
            return Err(broken.pop())
        await hold()
        return ctx

    async with open_engine(db, workflows=[wf]) as engine:
        await (await engine.start(wf, id="r")).wait()
        await engine.retry("r", "b")
        await hold.reached.wait()
        with pytest.raises(InputError, match="it has: 2"):
            await engine.fork("r", "b", visit=1)
        fork = await engine.fork("r", "b", id="f", visit=2)
        hold.let_go()
        assert await fork.result() == {"a": 1}
    assert entered == [("r", 1), ("r", 2), ("f", 2)]


async def test_a_fork_of_a_retried_fork_of_a_retried_run(disk):
    orders = Orders(failing_once("each/0", "count", "end"))
    async with orders.open(disk) as engine:
        await (await engine.start(orders.workflow, id="r")).wait()  # fails in the map
        await (await engine.retry("r", "both")).wait()  # fails at count
        await (await engine.fork("r", "count", id="f")).wait()  # fails at the end
    assert entries(orders, "f") == [*LOOP, ("end", 1)]
    async with orders.open(disk) as engine:
        await (await engine.retry("f", "check", visit=2)).result()
        await (await engine.fork("f", "end", id="g")).result()
        again = await engine.fork("g", "check", visit=5, id="h")
        assert await again.result() == await (await engine.start("orders", id="g")).result()
    assert entries(orders, "f")[7:] == [("check", 4), ("count", 4), ("check", 5), ("end", 2)]
    assert entries(orders, "g") == [("end", 2)]
    assert entries(orders, "h") == [("check", 5), ("end", 2)]


async def test_a_fork_in_the_middle_of_a_loop_that_was_entered_again(disk):
    orders = Orders(failing_once("end"))
    async with orders.open(disk) as engine:
        await (await engine.start(orders.workflow, id="r")).wait()
        await (await engine.retry("r", "count", visit=2)).result()
        fork = await engine.fork("r", "check", visit=4, id="f")
        await fork.result()
        info = await engine.get("f")
    assert entries(orders, "f") == [("check", 4), ("count", 5), ("check", 5), ("end", 2)]
    assert points_of(info)[4:7] == [("count", 1), ("check", 1), ("count", 4)]
    assert not any(step.superseded for step in info.steps)
