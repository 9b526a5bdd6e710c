"""Context variables: what a step sets is gone after the step, as it would be after a restart."""

from __future__ import annotations

import contextvars

import trio
from engine_helpers import Hold, Meeting, interrupt, result_of, resume
from trio.testing import wait_all_tasks_blocked

from durable_trio import Ok, Retry, open_engine

user = contextvars.ContextVar("user", default="nobody")


def set_user(name):
    user.set(name)


async def test_what_a_step_sets_does_not_reach_the_next_step(db, wf):
    seen = []

    @wf.step
    async def first(ctx):
        user.set("ada")
        await trio.lowlevel.checkpoint()
        seen.append(user.get())

    @wf.step
    async def second(ctx):
        seen.append(user.get())
        user.set("bob")

    wf.step(lambda ctx: seen.append(user.get()) or set_user("eve"), name="inline", inline=True)
    wf.step(lambda ctx: seen.append(user.get()) or set_user("joe"), name="thread")

    @wf.step
    async def last(ctx):
        seen.append(user.get())

    await result_of(db, wf)
    assert seen == ["ada", "nobody", "nobody", "nobody", "nobody"]


async def test_what_an_attempt_sets_does_not_reach_the_next_attempt(db, wf):
    seen = []

    @wf.step(retry=Retry(max_attempts=3, base=0))
    async def step(ctx):
        seen.append(user.get())
        user.set("ada")
        if len(seen) < 3:
            raise OSError

    await result_of(db, wf)
    assert seen == ["nobody"] * 3


async def test_what_an_attempt_sets_does_not_reach_the_next_attempt_of_a_branch(db, wf):
    seen = []
    with wf.parallel():

        @wf.step(retry=Retry(max_attempts=3, base=0))
        async def step(ctx):
            seen.append(user.get())
            user.set("ada")
            if len(seen) < 3:
                raise OSError

    await result_of(db, wf)
    assert seen == ["nobody"] * 3


async def test_what_a_branch_sets_reaches_neither_another_branch_nor_the_next_step(db, wf):
    seen = []
    meeting = Meeting(2)

    def branch(name):
        async def step(ctx):
            seen.append(user.get())
            await meeting()
            user.set(name)
            await meeting()
            return Ok(user.get())

        wf.step(step, name=name)

    with wf.parallel():
        branch("a")
        branch("b")

    @wf.step
    async def after(ctx):
        seen.append(user.get())

    results = (await result_of(db, wf))["__results__"]
    assert results == {"a": Ok("a"), "b": Ok("b")}
    assert seen == ["nobody"] * 3


async def test_what_a_branch_sets_does_not_reach_one_that_starts_after_it_under_a_limit(db, wf):
    seen = []

    async def step(ctx):
        seen.append(user.get())
        user.set("ada")
        await trio.lowlevel.checkpoint()

    with wf.parallel(limit=1):
        for name in "abc":
            wf.step(step, name=name)
    await result_of(db, wf)
    assert seen == ["nobody"] * 3


async def test_what_a_step_of_a_sequence_sets_does_not_reach_the_next_one(db, wf):
    seen = []

    async def step(ctx):
        seen.append(user.get())
        user.set("ada")

    with wf.parallel(), wf.sequence("chain"):
        wf.step(step, name="one")
        wf.step(step, name="two")
    await result_of(db, wf)
    assert seen == ["nobody"] * 2


async def test_what_a_step_sets_reaches_neither_into_nor_what_follows_it(db, wf):
    seen = []

    def decide(ctx, results):
        seen.append(user.get())
        user.set("ada")
        return ctx

    @wf.step
    async def before(ctx):
        user.set("bob")

    with wf.parallel(into=decide):
        wf.step(lambda ctx: set_user("eve"), name="a", inline=True)

    @wf.step
    async def after(ctx):
        seen.append(user.get())

    await result_of(db, wf)
    assert seen == ["nobody"] * 2


async def test_what_a_step_sets_does_not_reach_other_runs(db, wf):
    seen = []
    hold = Hold()

    @wf.step
    async def step(ctx):
        seen.append(user.get())
        user.set(ctx["name"])
        await hold()
        seen.append(user.get())

    async with open_engine(db, workflows=[wf]) as engine:
        runs = [await engine.start(wf, {"name": name}) for name in "ab"]
        while hold.entered < 2:
            await wait_all_tasks_blocked(0.001)
        hold.let_go()
        for run in runs:
            await run.result()
        await engine.run(wf, {"name": "c"})
    assert seen[:2] == ["nobody", "nobody"]
    assert sorted(seen[2:4]) == ["a", "b"]
    assert seen[4:] == ["nobody", "c"]


async def test_what_a_caller_has_set_does_not_reach_its_run(db, wf):
    seen = []

    @wf.step
    async def step(ctx):
        seen.append(user.get())

    wf.step(lambda ctx: seen.append(user.get()), name="thread")
    async with open_engine(db, workflows=[wf]) as engine:
        token = user.set("caller")
        try:
            await engine.run(wf)
            await (await engine.start(wf)).result()
        finally:
            user.reset(token)
    assert seen == ["nobody"] * 4


async def test_a_run_leaves_its_callers_variables_alone(db, wf):
    @wf.step
    async def step(ctx):
        user.set("step")

    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf)
        assert user.get() == "nobody"


async def test_a_step_sees_the_same_before_and_after_a_restart(disk, wf):
    seen = []
    hold = Hold()

    @wf.step
    async def first(ctx):
        user.set("ada")

    @wf.step
    async def second(ctx):
        seen.append(user.get())
        await hold()

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    await resume(disk, wf)
    assert seen == ["nobody", "nobody"]
