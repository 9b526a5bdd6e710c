"""``step_info()``: what a step can ask about itself, and its idempotency key."""

from __future__ import annotations

import uuid

import trio
from engine_helpers import Hold, interrupt, result_of, resume

from durable_trio import CurrentStep, Err, Goto, Ok, Retry, Workflow, open_engine, step_info


async def test_it_tells_run_workflow_path_visit_and_attempt(db):
    wf = Workflow("orders", version="7")
    seen = []

    @wf.step
    async def first(ctx):
        seen.append(step_info())

    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="run-7")
    (info,) = seen
    assert isinstance(info, CurrentStep)
    assert (info.run_id, info.workflow, info.version) == ("run-7", "orders", "7")
    assert (info.path, info.visit, info.attempt) == ("first", 1, 1)
    assert str(uuid.UUID(info.idempotency_key)) == info.idempotency_key


async def test_it_works_in_threads_inline_and_in_what_a_step_calls(db, wf):
    paths = []

    async def helper():
        paths.append(step_info().path)

    @wf.step
    async def deep(ctx):
        await helper()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper)
        await trio.to_thread.run_sync(lambda: paths.append(step_info().path))

    wf.step(lambda ctx: paths.append(step_info().path), name="thread")
    wf.step(lambda ctx: paths.append(step_info().path), name="inline", inline=True)
    await result_of(db, wf)
    assert paths == ["deep", "deep", "deep", "thread", "inline"]


async def test_the_path_of_a_branch_goes_through_its_blocks(db, wf):
    paths = []

    def note(ctx):
        paths.append(step_info().path)

    with wf.parallel(name="outer", limit=1):
        wf.step(note, name="a", inline=True)
        with wf.sequence("chain"):
            wf.step(note, name="b", inline=True)
            with wf.parallel(name="inner"):
                wf.step(note, name="c", inline=True)
            wf.step(note, name="d", inline=True)
    wf.step(note, name="e", inline=True)
    await result_of(db, wf)
    assert paths == ["outer/a", "outer/chain/b", "outer/chain/inner/c", "outer/chain/d", "e"]


async def test_branches_at_the_same_time_are_told_of_themselves(db, wf):
    def branch(name):
        async def step(ctx):
            before = step_info().path
            await trio.testing.wait_all_tasks_blocked()
            return Ok([before, step_info().path])

        wf.step(step, name=name)

    with wf.parallel(name="block"):
        for name in "abc":
            branch(name)
    results = (await result_of(db, wf))["__results__"]
    assert results == {name: Ok([f"block/{name}"] * 2) for name in "abc"}


class Keys:
    """Collects the idempotency keys that a step is told."""

    def __init__(self):
        self.seen = []

    def take(self):
        info = step_info()
        self.seen.append((info.attempt, info.idempotency_key))

    @property
    def distinct(self):
        return {key for _, key in self.seen}


async def test_the_key_is_the_same_for_every_attempt(db, wf):
    keys = Keys()

    @wf.step(retry=Retry(max_attempts=4, base=0))
    async def step(ctx):
        keys.take()
        if len(keys.seen) < 4:
            raise OSError

    await result_of(db, wf)
    assert [attempt for attempt, _ in keys.seen] == [1, 2, 3, 4]
    assert len(keys.distinct) == 1


async def test_the_key_is_the_same_after_a_restart(disk, wf):
    keys, hold = Keys(), Hold()
    with wf.parallel():

        @wf.step
        async def branch(ctx):
            keys.take()
            await hold()

    for _ in range(2):
        await interrupt(disk, wf, hold.reached)
    hold.let_go()
    await resume(disk, wf)
    assert len(keys.seen) == 3
    assert len(keys.distinct) == 1


async def test_the_key_is_the_same_after_a_retry_of_the_run(db, wf):
    keys = Keys()

    @wf.step
    async def step(ctx):
        keys.take()
        return Err("no") if len(keys.seen) == 1 else None

    async with open_engine(db, workflows=[wf]) as engine:
        await (await engine.start(wf, id="r")).wait()
        await (await engine.retry("r")).result()
    assert len(keys.seen) == 2
    assert len(keys.distinct) == 1


async def test_the_key_is_another_for_another_step_branch_visit_and_run(db, wf):
    keys = Keys()

    @wf.step
    async def first(ctx):
        keys.take()

    with wf.parallel():
        wf.step(lambda ctx: keys.take(), name="a", inline=True)
        wf.step(lambda ctx: keys.take(), name="b", inline=True)
        with wf.sequence("chain"):
            wf.step(lambda ctx: keys.take(), name="c", inline=True)

    @wf.step
    async def again(ctx):
        keys.take()
        return Goto("first", {"n": 1}) if "n" not in ctx else ctx

    async with open_engine(db, workflows=[wf]) as engine:
        for _ in range(3):
            await engine.run(wf)
    assert len(keys.seen) == 3 * 2 * 5
    assert len(keys.distinct) == len(keys.seen)


async def test_the_key_of_a_run_with_a_reused_id_is_another(db, wf):
    keys = Keys()
    wf.step(lambda ctx: keys.take(), name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        await engine.delete("r")
        await engine.run(wf, id="r")
    assert len(keys.distinct) == 2


async def test_visits_are_counted_and_have_keys_of_their_own(db, wf):
    seen = []

    @wf.step
    async def count(ctx):
        info = step_info()
        seen.append((info.visit, info.attempt, info.idempotency_key))
        return Goto("count", {"n": ctx["n"] + 1}) if ctx["n"] < 2 else ctx

    await result_of(db, wf, {"n": 0})
    assert [(visit, attempt) for visit, attempt, _ in seen] == [(1, 1), (2, 1), (3, 1)]
    assert len({key for _, _, key in seen}) == 3
