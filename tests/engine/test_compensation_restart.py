"""Restarts while a run is compensating: what has a record is not done again, and nothing else is begun."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from engine_helpers import Hold, crash_image, interrupt, resume
from waiting_helpers import reaches

from durable_trio import (
    Err,
    Ok,
    RunFailed,
    Workflow,
    open_engine,
    sleep,
    step_info,
    wait_for_event,
    wait_for_text,
)

MODES = ["sync", "async", "exit"]


class Saga:
    """Steps a, b and c, then a failure; the handler of the step ``holds`` stays until it is let go."""

    def __init__(self, holds=None):
        self.hold = Hold()
        self.entered = []
        self.keys = []
        self.holds = holds
        self.steps = 0
        self.broken = set()

    def workflow(self, **options):
        wf = Workflow("saga", **options)
        for name in "abc":
            wf.compensation(f"undo_{name}", self._handler(name))
            wf.step(self._step(name), name=name, compensate=f"undo_{name}", inline=True)
        wf.step(self._fail, name="fail", inline=True)
        wf.step(self._step("never"), name="never", inline=True)
        return wf

    def _handler(self, name):
        async def undo(ctx, result):
            self.entered.append((name, dict(ctx), result))
            self.keys.append((name, step_info().idempotency_key))
            if name == self.holds:
                await self.hold()
            if name in self.broken:
                raise OSError(name)

        return undo

    def _step(self, name):
        def step(ctx):
            self.steps += 1
            return {**ctx, name: (name,)}

        return step

    def _fail(self, ctx):
        self.steps += 1
        return Err(("no", "luck"))

    @property
    def names(self):
        return [name for name, _, _ in self.entered]


@pytest.mark.parametrize("mode", MODES)
async def test_only_the_handlers_without_a_record_run_again(disk, mode):
    saga = Saga(holds="b")
    wf = saga.workflow(durability=mode)
    await interrupt(disk, wf, saga.hold.reached)
    assert saga.names == ["c", "b"]
    saga.hold.let_go()
    info = await resume(disk, wf)
    assert saga.names == ["c", "b", "b", "a"]
    assert saga.entered[1] == saga.entered[2] == ("b", {"a": ("a",)}, {"a": ("a",), "b": ("b",)})
    assert saga.steps == 4
    assert info.status == "compensated"
    assert info.error == ("no", "luck")
    assert info.errors == {"fail": ("no", "luck")}
    assert [done.path for done in info.compensations] == ["c", "b", "a"]


async def test_the_idempotency_key_of_a_handler_outlives_a_restart(disk):
    saga = Saga(holds="b")
    await interrupt(disk, saga.workflow(), saga.hold.reached)
    saga.hold.let_go()
    await resume(disk, saga.workflow())
    keys = dict(saga.keys)
    assert [key for name, key in saga.keys if name == "b"] == [keys["b"]] * 2
    assert len(set(keys.values())) == 3


async def test_a_handler_that_has_failed_is_not_called_again(disk):
    saga = Saga(holds="a")
    saga.broken = {"c"}
    wf = saga.workflow()
    await interrupt(disk, wf, saga.hold.reached)
    saga.hold.let_go()
    info = await resume(disk, wf)
    assert saga.names == ["c", "b", "a", "a"]
    assert info.status == "compensation_failed"
    assert [done.status for done in info.compensations] == ["error", "ok", "ok"]


@pytest.mark.parametrize("mode", MODES)
async def test_each_outcome_is_on_disk_before_the_next_handler_starts(disk, tmp_path, mode):
    """Also before the first one: a crash there must not find a run that would take its steps up again."""
    saga, copies = Saga(), []
    plain = saga._handler

    def photographed(name):
        handler = plain(name)

        async def undo(ctx, result):
            copies.append(crash_image(disk, tmp_path / f"copy-{len(copies)}"))
            await handler(ctx, result)

        return undo

    saga._handler = photographed
    wf = saga.workflow(durability=mode)
    await first_life(disk, wf)
    assert len(copies) == 3
    for number, copy in enumerate(copies):
        again = Saga()
        info = await resume(copy, again.workflow(durability=mode))
        assert again.steps == 0
        assert again.names == ["c", "b", "a"][number:]
        assert info.status == "compensated"
        assert info.error == ("no", "luck")


async def first_life(disk, wf):
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        return await run.wait()


async def test_it_may_be_interrupted_again_and_again(disk):
    for name, so_far in [("c", ["c"]), ("b", ["c", "b"]), ("a", ["b", "a"])]:
        saga = Saga(holds=name)
        await interrupt(disk, saga.workflow(), saga.hold.reached)
        assert saga.names == so_far
        assert bool(saga.steps) == (name == "c")
    saga = Saga()
    info = await resume(disk, saga.workflow())
    assert saga.names == ["a"]
    assert info.status == "compensated"


async def test_a_run_that_is_taken_up_shows_as_compensating(disk):
    saga = Saga(holds="b")
    wf = saga.workflow()
    await interrupt(disk, wf, saga.hold.reached)
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert (run.created, run.status) == (False, "compensating")
        assert await engine.cancel("r") is False
        saga.hold.let_go()
        with pytest.raises(RunFailed) as caught:
            await run.result()
    assert caught.value.error == ("no", "luck")
    assert caught.value.errors == {"fail": ("no", "luck")}


async def test_after_another_restart_the_result_is_the_same(disk):
    saga = Saga()
    wf = saga.workflow()
    before = await first_life(disk, wf)
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        with pytest.raises(RunFailed) as caught:
            await run.result()
        after = await run.wait()
    assert caught.value.error == ("no", "luck")
    assert after == before
    assert len(saga.entered) == 3


async def test_branches_are_known_again_after_a_restart(disk):
    hold = Hold()
    undone = []
    wf = Workflow("blocks")

    @wf.compensation
    async def undo(ctx, result):
        if not undone:
            await hold()
        undone.append((dict(ctx), result))

    with wf.parallel(name="block", on_error="complete_all"):
        with wf.sequence("chain"):
            wf.step(lambda ctx: ctx | {"x": 1}, name="x", compensate="undo", inline=True)
            wf.step(lambda ctx: ctx | {"y": 2}, name="y", compensate="undo", inline=True)
        wf.step(lambda _: Ok("z"), name="z", compensate="undo", inline=True)
    wf.step(lambda _: Err("no"), name="fail", inline=True)
    await interrupt(disk, wf, hold.reached, {"i": 0})
    hold.let_go()
    await resume(disk, wf)
    assert sorted(undone, key=repr) == sorted(
        [({"i": 0}, "z"), ({"i": 0, "x": 1}, {"i": 0, "x": 1, "y": 2}), ({"i": 0}, {"i": 0, "x": 1})],
        key=repr,
    )


async def test_a_changed_definition_blocks_a_compensating_run_and_a_fitting_one_frees_it(disk):
    saga = Saga(holds="b")
    await interrupt(disk, saga.workflow(), saga.hold.reached)
    other = Workflow("saga")
    other.step(lambda _: None, name="something_else", inline=True)
    async with open_engine(disk, workflows=[other]) as engine:
        info = await engine.get("r")
        assert info.status == "blocked"
    saga.hold.let_go()
    info = await resume(disk, saga.workflow())
    assert info.status == "compensated"
    assert saga.names == ["c", "b", "b", "a"]


async def test_a_sleep_in_a_handler_is_not_begun_anew(disk):
    """By the wall clock, its time is over when the database is opened again."""
    now = 1_700_000_000.0
    wf = Workflow("slow")
    reached = trio.Event()
    entered = []

    @wf.compensation
    async def undo(ctx, result):
        entered.append("entered")
        reached.set()
        await sleep(1000)
        entered.append("awake")

    wf.step(lambda _: None, name="a", compensate="undo", inline=True)
    wf.step(lambda _: Err("no"), name="fail", inline=True)
    async with open_engine(disk, workflows=[wf], clock=lambda: now) as engine:
        await engine.start(wf, id="r")
        await reached.wait()
        await trio.testing.wait_all_tasks_blocked()
    now += 1000
    info = await resume(disk, wf, clock=lambda: now)
    assert info.status == "compensated"
    assert entered == ["entered", "entered", "awake"]


async def test_a_retried_run_goes_on_after_a_restart_and_is_undone_when_it_fails_again(disk):
    """That its first failure had nothing to undo must not make the next life compensate at once."""
    wf = Workflow("retried")
    hold, undone, works = Hold(), [], []
    wf.compensation("undo", lambda ctx, result: undone.append(result))
    wf.step(lambda _: {"x": 1} if works else Err("no"), name="a", compensate="undo", inline=True)

    @wf.step
    async def b(ctx):
        await hold()
        return Err("again")

    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert (await run.wait()).status == "failed"
        works.append(1)
        await engine.retry("r")
        await hold.reached.wait()
    hold.let_go()
    info = await resume(disk, wf)
    assert hold.entered == 2
    assert (info.status, info.error, undone) == ("compensated", "again", [{"x": 1}])


@pytest.mark.parametrize("kind", ["event", "input"])
async def test_a_handler_may_wait_for_what_is_sent_to_the_run(disk, kind):
    heard = []
    wf = Workflow("trip")

    @wf.compensation
    async def undo(ctx, result):
        heard.append(await wait_for_event("go") if kind == "event" else await wait_for_text("go"))
        if len(heard) == 1:
            await trio.sleep_forever()

    wf.step(lambda ctx: ctx, name="a", inline=True, compensate="undo")
    wf.step(lambda ctx: Err("broken"), name="b", inline=True)
    for life in range(2):
        async with open_engine(disk, workflows=[wf]) as engine:
            run = await engine.start(wf, id="r")
            if not life:
                await reaches(engine, "r", "compensating")
                if kind == "event":
                    await engine.send_event("r", "go", "yes")
                else:
                    while not await engine.pending_inputs():
                        await trio.lowlevel.checkpoint()
                    await engine.provide_input("r", "go", "yes")
                while not heard:
                    await trio.lowlevel.checkpoint()
                assert await engine.pending_inputs() == []
            else:
                assert (await run.wait()).status == "compensated"
    assert heard == ["yes", "yes"]  # the answer is recorded: the second life does not wait again
