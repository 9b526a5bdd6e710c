"""The three durability modes, told apart by what a crash at a given moment would leave on the disk."""

from __future__ import annotations

import pytest
from engine_helpers import Hold, crash_image, interrupt, resume

from durable_trio import DefinitionError, Err, Ok, RunFailed, Workflow, open_engine

modes = pytest.mark.parametrize("durability", ["sync", "async", "exit"])
NEVER = {"flush_interval": 3600}


def two_steps(tmp_path, **options):
    """The second step takes an image of the disk; ``order`` are the steps that were entered."""
    wf = Workflow("w", **options)
    order = []

    def second(ctx):
        order.append("second")
        if not (tmp_path / "image").exists():
            crash_image(tmp_path / "live", tmp_path / "image")
        return ctx | {"second": True}

    wf.step(lambda ctx: order.append("first") or {"first": (1,)}, name="first", inline=True)
    wf.step(second, name="second", inline=True)
    return wf, order


@modes
async def test_when_a_steps_record_must_be_on_disk(tmp_path, durability):
    wf, order = two_steps(tmp_path)
    async with open_engine(tmp_path / "live", workflows=[wf], durability=durability, **NEVER) as engine:
        assert await engine.run(wf, id="r") == {"first": (1,), "second": True}
    order.clear()
    async with open_engine(tmp_path / "image", workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        if durability == "sync":
            assert run.created is False
        assert await run.result() == {"first": (1,), "second": True}
    assert order == (["second"] if durability == "sync" else ["first", "second"])


@modes
async def test_a_workflows_own_mode_goes_before_the_engines(tmp_path, durability):
    wf, order = two_steps(tmp_path, durability=durability)
    other = "exit" if durability == "sync" else "sync"
    async with open_engine(tmp_path / "live", workflows=[wf], durability=other, **NEVER) as engine:
        await engine.run(wf, id="r")
    order.clear()
    async with open_engine(tmp_path / "image", workflows=[wf]) as engine:
        await engine.run(wf, id="r")
    assert order == (["second"] if durability == "sync" else ["first", "second"])


@modes
async def test_every_mode_gives_the_same_results(disk, durability):
    wf = Workflow("w")
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda ctx: Ok((1, {2})), name="a", inline=True)
        wf.step(lambda ctx: Err(b"why"), name="b")
    wf.step(lambda ctx: {"n": ctx["n"] + 1, "results": ctx.results}, name="last", inline=True)
    async with open_engine(disk, workflows=[wf], durability=durability) as engine:
        result = await engine.run(wf, {"n": 1}, id="r")
        before = await engine.get("r")
    assert result == {"n": 2, "results": {"a": Ok((1, {2})), "b": Err(b"why")}}
    async with open_engine(disk, workflows=[wf], durability=durability) as engine:
        assert await engine.get("r") == before


@modes
async def test_start_answers_when_the_run_is_on_disk_in_every_mode(tmp_path, durability):
    wf, hold = Workflow("w"), Hold()

    @wf.step
    async def step(ctx):
        await hold()
        return {"n": ctx["n"] + 1}

    async with open_engine(tmp_path / "live", workflows=[wf], durability=durability, **NEVER) as engine:
        await engine.start(wf, {"n": 1}, id="r")
        image = crash_image(tmp_path / "live", tmp_path / "image")
    hold.let_go()
    assert (await resume(image, wf)).result == {"n": 2}


@modes
@pytest.mark.parametrize("how", ["completed", "failed"])
async def test_result_answers_when_the_end_is_on_disk_in_every_mode(tmp_path, durability, how):
    wf = Workflow("w")
    entered = []
    wf.step(lambda ctx: entered.append(1) or ctx | {"a": 1}, name="a", inline=True)
    wf.step(lambda ctx: Err("no") if how == "failed" else None, name="b", inline=True)
    async with open_engine(tmp_path / "live", workflows=[wf], durability=durability, **NEVER) as engine:
        run = await engine.start(wf, id="r")
        if how == "failed":
            with pytest.raises(RunFailed):
                await run.result()
        else:
            await run.result()
        image = crash_image(tmp_path / "live", tmp_path / "image")
    info = await resume(image, wf)
    assert info.status == how
    assert info.context == {"a": 1}
    assert entered == [1]


@modes
async def test_cancel_answers_when_it_is_on_disk_in_every_mode(tmp_path, durability):
    wf, hold = Workflow("w"), Hold()

    @wf.step
    async def step(ctx):
        await hold()

    async with open_engine(tmp_path / "live", workflows=[wf], durability=durability, **NEVER) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.cancel("r", "stop") is True
        image = crash_image(tmp_path / "live", tmp_path / "image")
    assert (await resume(image, wf)).status == "cancelled"
    assert hold.entered == 1


@modes
async def test_leaving_the_engine_commits_what_was_done(disk, durability):
    wf, hold = Workflow("w"), Hold()
    order = []
    wf.step(lambda ctx: order.append("first") or {"a": 1}, name="first", inline=True)
    with wf.parallel():
        wf.step(lambda ctx: order.append("branch") or Ok(1), name="branch", inline=True)

        @wf.step
        async def slow(ctx):
            await hold()

    await interrupt(disk, wf, hold.reached, durability=durability, **NEVER)
    hold.let_go()
    assert (await resume(disk, wf, durability=durability)).status == "completed"
    assert order == ["first", "branch"]


async def test_in_the_async_mode_records_are_committed_in_the_background(tmp_path):
    wf, hold = Workflow("w"), Hold()
    order = []
    wf.step(lambda ctx: order.append("first") or {"a": 1}, name="first", inline=True)

    @wf.step
    async def second(ctx):
        await hold()

    async with open_engine(tmp_path / "live", workflows=[wf], durability="async") as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        while [step.path for step in (await engine.get("r")).steps if step.status == "ok"] != ["first"]:
            pass
        image = crash_image(tmp_path / "live", tmp_path / "image")
        hold.let_go()
    order.clear()
    assert (await resume(image, wf)).status == "completed"
    assert order == []


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(DefinitionError, match="durability"):
        Workflow("w", durability="fast")
