"""Attempts and back-off over a restart, with a wall clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import trio
from engine_helpers import Hold, crash_image, interrupt, resume, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Ok, Retry, open_engine, step_info

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


async def test_attempts_that_failed_are_kept(disk, wf):
    attempts, hold = [], Hold()

    @wf.step(retry=Retry(max_attempts=4, base=0))
    async def step(ctx):
        attempts.append(step_info().attempt)
        if len(attempts) == 3:
            await hold()
        raise OSError

    await interrupt(disk, wf, hold.reached)
    assert attempts == [1, 2, 3]
    hold.let_go()
    info = await resume(disk, wf)
    assert info.status == "failed"
    assert info.error.attempts == 4
    assert attempts == [1, 2, 3, 3, 4]


async def wait_for_retrying(engine, run_id="r"):
    while (await engine.get(run_id)).steps == [] or (await engine.get(run_id)).steps[-1].status != "retrying":
        await wait_all_tasks_blocked(0.001)
    return (await engine.get(run_id)).steps[-1]


def failing_once(wf, entered, **options):
    @wf.step(**options)
    async def step(ctx):
        entered.append(step_info().attempt)
        if len(entered) == 1:
            raise OSError
        return {"done": True}


HOURS = Retry(max_attempts=3, base=timedelta(hours=2), max_backoff=timedelta(days=1), jitter=False)


async def test_a_back_off_goes_on_where_it_was_and_its_due_time_stays(disk, wf):
    entered, clock = [], Clock()
    failing_once(wf, entered, retry=HOURS)
    async with open_engine(disk, workflows=[wf], clock=clock) as engine:
        await engine.start(wf, id="r")
        shown = await wait_for_retrying(engine)
        assert shown.due_at == NOON + timedelta(hours=2)
        assert shown.attempt == 1
    clock.now += timedelta(hours=1)
    async with open_engine(disk, workflows=[wf], clock=clock) as engine:
        shown = await wait_for_retrying(engine)
        assert shown.due_at == NOON + timedelta(hours=2)
    assert entered == [1]


async def test_a_back_off_that_ended_while_nobody_ran_is_over_at_once(disk, wf):
    entered, clock = [], Clock()
    failing_once(wf, entered, retry=HOURS)
    async with open_engine(disk, workflows=[wf], clock=clock) as engine:
        await engine.start(wf, id="r")
        await wait_for_retrying(engine)
    clock.now += timedelta(hours=3)
    info = await resume(disk, wf, clock=clock)
    assert info.result == {"done": True}
    assert entered == [1, 2]


async def test_a_back_off_of_a_branch_survives_too(disk, wf):
    entered, clock = [], Clock()
    with wf.parallel(name="block"):
        failing_once(wf, entered, retry=HOURS)
        wf.step(lambda ctx: Ok(1), name="fine", inline=True)
    async with open_engine(disk, workflows=[wf], clock=clock) as engine:
        await engine.start(wf, id="r")
        shown = await wait_for_retrying(engine)
        assert (shown.path, shown.due_at) == ("block/step", NOON + timedelta(hours=2))
    clock.now += timedelta(hours=3)
    info = await resume(disk, wf, clock=clock)
    assert info.result["__results__"] == {"step": Ok({"done": True}), "fine": Ok(1)}
    assert entered == [1, 2]


async def test_attempts_are_on_disk_before_the_next_one_begins(tmp_path, wf):
    """A crash in the third attempt: two attempts are known, whatever became of the process."""
    images = []
    entered = []

    @wf.step(retry=Retry(max_attempts=3, base=0))
    async def step(ctx):
        entered.append(step_info().attempt)
        if step_info().attempt == 3:
            if not images:
                images.append(crash_image(tmp_path / "live", tmp_path / "crashed"))
            return {"attempts": len(entered)}
        raise OSError

    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        await engine.run(wf, id="r")
    entered.clear()
    assert (await resume(tmp_path / "crashed", wf)).status == "completed"
    assert entered == [3]


async def test_a_body_is_entered_only_when_what_came_before_is_on_disk(tmp_path, wf):
    order, images = [], {}

    def step(name):
        def body(ctx):
            order.append(name)
            if name not in images:
                images[name] = crash_image(tmp_path / "live", tmp_path / name)
            return ctx | {name: True}

        wf.step(body, name=name, inline=True)

    for name in "abc":
        step(name)
    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        await engine.run(wf, {"x": 1}, id="r")
    for name, again in [("a", "abc"), ("b", "bc"), ("c", "c")]:
        order.clear()
        info = await resume(images[name], wf)
        assert info.result == {"x": 1, "a": True, "b": True, "c": True}
        assert order == list(again)


async def test_into_is_asked_only_when_the_branches_are_on_disk(tmp_path, wf):
    order, images = [], []

    def decide(ctx, results):
        if not images:
            images.append(crash_image(tmp_path / "live", tmp_path / "crashed"))
        return {"a": results["a"].value, "b": results["b"].value}

    with wf.parallel(into=decide):
        wf.step(lambda ctx: order.append("a") or Ok((1,)), name="a", inline=True)
        wf.step(lambda ctx: order.append("b") or Ok({2}), name="b", inline=True)
    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        await engine.run(wf, id="r")
    order.clear()
    assert (await resume(images[0], wf)).result == {"a": (1,), "b": {2}}
    assert order == []


async def test_a_branch_that_ended_long_before_its_block_is_on_disk_before_the_block_ends(tmp_path, wf):
    order = []
    ended, hold = trio.Event(), Hold()

    with wf.parallel(name="block"):

        @wf.step
        async def quick(ctx):
            order.append("quick")
            ended.set()
            return Ok("quick")

        @wf.step
        async def slow(ctx):
            order.append("slow")
            await hold()
            return Ok("slow")

    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await ended.wait()
        await hold.reached.wait()
        while states(await engine.get("r")).get("block/quick") != "ok":
            await wait_all_tasks_blocked(0.001)
        image = crash_image(tmp_path / "live", tmp_path / "crashed")
        hold.let_go()
        await run.result()
    order.clear()
    info = await resume(image, wf)
    assert info.result["__results__"] == {"quick": Ok("quick"), "slow": Ok("slow")}
    assert order == ["slow"]


async def test_start_returns_when_the_run_is_on_disk_and_result_when_its_end_is(tmp_path, wf):
    hold = Hold()
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        await hold()
        return {"done": True}

    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 1}, id="r")
        started = crash_image(tmp_path / "live", tmp_path / "started")
        hold.let_go()
        await run.result()
        ended = crash_image(tmp_path / "live", tmp_path / "ended")
    entered.clear()
    assert (await resume(started, wf)).input == {"n": 1}
    assert entered == [1]
    info = await resume(ended, wf)
    assert (info.status, info.result) == ("completed", {"done": True})
    assert entered == [1]


async def test_cancel_answers_when_it_is_on_disk(tmp_path, wf):
    hold = Hold()
    began = trio.Event()
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        began.set()
        with trio.CancelScope(shield=True):
            await hold()

    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await began.wait()
        assert await engine.cancel("r", "stop") is True
        image = crash_image(tmp_path / "live", tmp_path / "cancelled")
        hold.let_go()
    info = await resume(image, wf)
    assert (info.status, info.error) == ("cancelled", "stop")
    assert entered == [1]


async def test_retry_of_a_run_is_on_disk_when_it_returns(tmp_path, wf):
    hold = Hold()
    entered = []

    @wf.step
    async def step(ctx):
        entered.append(1)
        if len(entered) == 1:
            raise OSError
        await hold()
        return {"done": True}

    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await run.wait()
        await engine.retry("r")
        image = crash_image(tmp_path / "live", tmp_path / "retried")
        hold.let_go()
    info = await resume(image, wf)
    assert info.result == {"done": True}
    assert step_of(info, "step").attempt == 1


async def test_deleting_is_on_disk_when_it_returns(tmp_path, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(tmp_path / "live", workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        await engine.delete("r")
        image = crash_image(tmp_path / "live", tmp_path / "deleted")
    async with open_engine(image, workflows=[wf]) as engine:
        assert await engine.list() == []
