"""Point 7 of parallel blocks: after a restart only the branches without a recorded result run again."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, interrupt, resume, states, step_of

from durable_trio import Err, Ok, Retry, open_engine, step_info


class Entries:
    """Counts how often each step was entered, and says so with an event for each."""

    def __init__(self):
        self.count = {}
        self.done = trio.Event()

    def step(self, name, value):
        async def body(ctx):
            self.count[name] = self.count.get(name, 0) + 1
            self.done.set()
            return value

        return body

    def holding(self, name, hold, value):
        async def body(ctx):
            self.count[name] = self.count.get(name, 0) + 1
            await hold()
            return value

        return body


@pytest.fixture
def entries():
    return Entries()


@pytest.fixture
def hold():
    return Hold()


async def test_only_the_branch_without_a_result_runs_again(disk, wf, entries, hold):
    with wf.parallel(name="block"):
        wf.step(entries.step("a", Ok({"a": (1, {2})})), name="a")
        wf.step(entries.holding("b", hold, Ok("b")), name="b")
        wf.step(entries.step("c", Ok(None)), name="c")
    await interrupt(disk, wf, [hold.reached, entries.done], {"x": 1})
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"x": 1, "__results__": {"a": Ok({"a": (1, {2})}), "b": Ok("b"), "c": Ok(None)}}
    assert list(info.result["__results__"]) == ["a", "b", "c"]
    assert entries.count == {"a": 1, "b": 2, "c": 1}


async def test_a_recorded_error_is_kept_and_not_tried_again(disk, wf, entries, hold):
    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(entries.step("bad", Err({"code": 7})), name="bad")
        wf.step(entries.holding("slow", hold, Ok(1)), name="slow")
    await interrupt(disk, wf, [hold.reached, entries.done])
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result["__results__"] == {"bad": Err({"code": 7}), "slow": Ok(1)}
    assert entries.count == {"bad": 1, "slow": 2}


async def test_a_recorded_failure_is_the_same_value_as_in_an_uninterrupted_run(disk, wf, hold):
    raised = trio.Event()
    seen = []
    with wf.parallel(on_error="complete_all", name="block"):

        @wf.step
        async def bad(ctx):
            raised.set()
            raise ValueError("once")

        @wf.step
        async def slow(ctx):
            await hold()

    wf.step(lambda ctx: seen.append(ctx["__results__"]["bad"].reason), name="look", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await raised.wait()
        await hold.reached.wait()
        await trio.testing.wait_all_tasks_blocked()
    async with open_engine(disk, workflows=[wf]) as engine:
        before = step_of(await engine.get("r"), "block/bad").error
        hold.let_go()
        await (await engine.start(wf, id="r")).result()
    assert seen == [before]
    assert (before.type, before.message, before.attempts) == ("ValueError", "once", 1)
    assert "once" in before.traceback


async def test_the_branches_of_an_inner_block_and_a_sequence_are_kept_one_by_one(disk, wf, entries, hold):
    with wf.parallel(name="outer"):
        with wf.parallel(name="inner"):
            wf.step(entries.step("i1", Ok(1)), name="i1")
            wf.step(entries.holding("i2", hold, Ok(2)), name="i2")
        with wf.sequence("chain"):
            wf.step(entries.step("s1", {"s": [1]}), name="s1")
            wf.step(entries.holding("s2", hold, None), name="s2")
            wf.step(entries.step("s3", None), name="s3")
        wf.step(entries.step("plain", Ok("p")), name="plain")

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, {"x": 1}, id="r")
        while hold.entered < 2:
            await trio.testing.wait_all_tasks_blocked(0.001)
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result["__results__"] == {
        "inner": Ok({"x": 1, "__results__": {"i1": Ok(1), "i2": Ok(2)}}),
        "chain": Ok({"s": [1]}),
        "plain": Ok("p"),
    }
    assert entries.count == {"i1": 1, "i2": 2, "s1": 1, "s2": 2, "s3": 1, "plain": 1}


async def test_steps_before_the_block_do_not_run_again(disk, wf, entries, hold):
    wf.step(entries.step("before", {"n": 5}), name="before")
    with wf.parallel():

        @wf.step
        async def branch(ctx):
            await hold()
            return Ok(ctx["n"])

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    assert (await resume(disk, wf)).result == {"n": 5, "__results__": {"branch": Ok(5)}}
    assert entries.count == {"before": 1}


async def test_a_finished_block_is_not_entered_again(disk, wf, entries, hold):
    with wf.parallel(name="block"):
        wf.step(entries.step("a", Ok([1])), name="a")
        wf.step(entries.step("b", Ok((2,))), name="b")

    @wf.step
    async def after(ctx):
        await hold()
        return {"results": ctx.results, "types": [type(found).__name__ for found in ctx.results.values()]}

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"results": {"a": Ok([1]), "b": Ok((2,))}, "types": ["Ok", "Ok"]}
    assert entries.count == {"a": 1, "b": 1}


async def test_a_branch_goes_on_with_its_attempts_after_a_restart(disk, wf, hold):
    attempts = []
    with wf.parallel():

        @wf.step(retry=Retry(max_attempts=3, base=0))
        async def branch(ctx):
            attempts.append(step_info().attempt)
            if len(attempts) == 1:
                raise OSError
            if len(attempts) == 2:
                await hold()
            return Ok(len(attempts))

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    info = await resume(disk, wf)
    assert attempts == [1, 2, 2]
    assert info.result["__results__"] == {"branch": Ok(3)}


async def test_a_limit_holds_after_a_restart_too(disk, wf, entries, hold):
    with wf.parallel(limit=1):
        wf.step(entries.step("a", Ok(1)), name="a")
        wf.step(entries.holding("b", hold, Ok(2)), name="b")
        wf.step(entries.step("c", Ok(3)), name="c")
    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result["__results__"] == {"a": Ok(1), "b": Ok(2), "c": Ok(3)}
    assert entries.count == {"a": 1, "b": 2, "c": 1}


async def test_a_restart_between_the_failure_and_the_end_of_a_block_starts_nothing_new(disk, wf):
    """The block's fate is sealed, but a sibling's cleanup holds it up while the engine is left."""
    entered = []
    began, cleaning = trio.Event(), trio.Event()
    may_finish = trio.Event()
    with wf.parallel(name="block", limit=2):

        @wf.step
        async def tidy(ctx):
            entered.append("tidy")
            began.set()
            try:
                await trio.sleep_forever()
            finally:
                cleaning.set()
                with trio.CancelScope(shield=True):
                    await may_finish.wait()

        @wf.step
        async def failing(ctx):
            entered.append("failing")
            await began.wait()
            return Err("first")

        @wf.step
        async def late(ctx):
            entered.append("late")

    async def let_it_finish():
        await trio.testing.wait_all_tasks_blocked()
        may_finish.set()

    async with trio.open_nursery() as nursery, open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await cleaning.wait()
        nursery.start_soon(let_it_finish)
    info = await resume(disk, wf)
    assert info.status == "failed"
    assert info.error == "first"
    assert "late" not in entered
    assert entered.count("failing") == 1
    assert states(info)["block/late"] == "never_started"


async def ended(engine, *paths):
    """Wait until these steps of the run ``"r"`` are recorded."""
    while not {step.path for step in (await engine.get("r")).steps if step.status in ("ok", "error")} >= set(
        paths
    ):
        await trio.testing.wait_all_tasks_blocked(0.001)


def deep_errors(wf, slow):
    lost = trio.Event()
    with wf.parallel(name="block", into=lambda ctx, results: Err("all wrong")):
        with wf.sequence("chain"):
            wf.step(lambda ctx: None, name="one", inline=True)
            with wf.parallel(name="fast"):
                wf.step(lambda ctx: Err("deep"), name="two", inline=True)
        with wf.parallel(name="decided", into=lambda ctx, results: results["three"]):
            wf.step(lambda ctx: Err("passed on"), name="three", inline=True)
        with wf.parallel(name="quorum", need=1, into=lambda ctx, results: Err("too few")):
            wf.step(lambda ctx: lost.set() or Err("lost"), name="four", inline=True)

            @wf.step
            async def five(ctx):
                await lost.wait()
                return Ok("won")

        wf.step(lambda ctx: Err("flat"), name="flat", inline=True)
        wf.step(slow, name="slow")


async def test_the_errors_of_a_block_are_the_same_with_and_without_a_restart(tmp_path, wf, hold):
    async def slow(ctx):
        await hold()

    deep_errors(wf, slow)
    async with open_engine(tmp_path / "restarted", workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await ended(engine, "block/chain", "block/decided", "block/quorum", "block/flat")
    hold.let_go()
    restarted = await resume(tmp_path / "restarted", wf)
    async with open_engine(tmp_path / "straight", workflows=[wf]) as engine:
        straight = await (await engine.start(wf, id="r")).wait()
    assert restarted.error == straight.error == "all wrong"
    assert restarted.errors == straight.errors
    assert restarted.errors["block/chain/fast/two"] == "deep"


async def test_the_first_error_in_time_stays_the_first_although_the_clock_went_back(disk, wf, hold):
    clock = [1_700_000_000.0]
    with wf.parallel(name="block", need=1, limit=2):

        @wf.step
        async def first(ctx):
            await hold.reached.wait()
            clock[0] -= 3600
            return Err("first")

        @wf.step
        async def slow(ctx):
            await hold()
            return Err("third")

        wf.step(lambda ctx: Err("second"), name="second", inline=True)

    async with open_engine(disk, workflows=[wf], clock=lambda: clock[0]) as engine:
        await engine.start(wf, id="r")
        await ended(engine, "block/first", "block/second")
    hold.let_go()
    info = await resume(disk, wf, clock=lambda: clock[0])
    assert info.status == "failed"
    assert info.error == "first"
    assert list(info.errors.values()) == ["first", "second", "third"]
