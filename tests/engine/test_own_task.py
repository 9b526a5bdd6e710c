"""Branches run in their block's own task until one suspends: nobody can tell but by the time it takes."""

from __future__ import annotations

import contextvars

import pytest
import trio
import trio.testing
from engine_helpers import Hold, finish, interrupt, result_of, resume, states, step_of

from durable_trio import Err, Ok, Retry, Workflow, open_engine
from durable_trio.testing import trio_clock

user = contextvars.ContextVar("user", default="nobody")


def block(*bodies, **options):
    wf = Workflow("block")
    with wf.parallel(name="all", **options):
        for number, fn in enumerate(bodies):
            wf.step(fn, name=f"b{number}")
    return wf


def answering(number):
    async def body(_ctx):
        return Ok(number)

    return body


@pytest.mark.parametrize("waiting", [0, 1, 2])
async def test_a_branch_may_wait_for_what_any_other_does(db, waiting):
    done = trio.Event()

    async def waits(_ctx):
        await done.wait()
        return Ok("was told")

    async def tells(_ctx):
        done.set()

    bodies = [answering(0), tells]
    bodies.insert(waiting, waits)
    with trio.fail_after(5):
        result = await result_of(db, block(*bodies))
    assert result["__results__"][f"b{waiting}"] == Ok("was told")


async def test_all_branches_that_suspend_are_under_way_at_once(db):
    entered = []
    all_in = trio.Event()

    async def body(_ctx):
        entered.append(1)
        if len(entered) == 3:
            all_in.set()
        await all_in.wait()

    with trio.fail_after(5):
        await result_of(db, block(answering(0), body, body, body))


@pytest.mark.parametrize("first", ["at once", "later"])
async def test_what_a_branch_sets_no_other_sees(db, first):
    seen = []

    async def body(_ctx):
        if first == "later":
            await trio.lowlevel.checkpoint()
        seen.append(user.get())
        user.set("ada")

    wf = block(body, body, body)
    wf.step(body, name="last")
    await result_of(db, wf)
    assert seen == ["nobody"] * 4


async def test_what_a_branch_has_set_before_it_suspends_the_others_do_not_see(db):
    seen = []

    async def body(_ctx):
        seen.append(user.get())
        user.set("ada")
        await trio.lowlevel.checkpoint()
        assert user.get() == "ada"

    await result_of(db, block(body, body, body))
    assert seen == ["nobody"] * 3


async def test_after_a_failure_no_branch_is_entered(db):
    entered = []

    def body(name, answer):
        async def enter(_ctx):
            entered.append(name)
            return answer

        return enter

    info = await finish(db, block(body("a", Ok(1)), body("b", Err("no")), body("c", Ok(3))))
    assert entered == ["a", "b"]
    assert states(info) == {"all": "error", "all/b0": "ok", "all/b1": "error", "all/b2": "never_started"}


async def test_a_failure_cancels_the_branch_that_suspended_in_the_own_task(db):
    left = []

    async def waits(_ctx):
        try:
            await trio.sleep_forever()
        finally:
            left.append(True)

    async def fails(_ctx):
        await trio.lowlevel.checkpoint()
        return Err("no")

    with trio.fail_after(5):
        info = await finish(db, block(answering(0), waits, fails))
    assert left == [True]
    assert states(info) == {"all": "error", "all/b0": "ok", "all/b1": "cancelled", "all/b2": "error"}


async def test_a_wide_block_lets_others_have_their_turn(db):
    turns = []
    over = False

    async def other():
        while not over:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    wf = block(*(answering(number) for number in range(1000)))
    async with open_engine(db, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        run = await engine.start(wf)
        entered = len(turns)
        nursery.start_soon(other)
        await run.wait()
        over = True
    assert len(turns) - entered > 10


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_no_more_items_than_the_limit_are_under_way(db, limit):
    under_way = most = 0
    wf = Workflow("limited")

    @wf.map(over="items", limit=limit)
    async def item(_ctx, number):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(number % 3):
            await trio.lowlevel.checkpoint()
        under_way -= 1
        return Ok(number)

    result = await result_of(db, wf, {"items": list(range(20))})
    assert result["__results__"]["item"] == [Ok(number) for number in range(20)]
    assert most == limit


async def test_a_run_is_not_parked_before_all_of_its_branches_have_begun(db, mock_clock):
    entered = []
    wf = Workflow("parked")
    with wf.parallel(name="all"):
        wf.sleep(60.0, name="minute")

        @wf.step
        async def at_once(_ctx):
            entered.append(trio.current_time())

        @wf.step
        async def soon(_ctx):
            await trio.sleep(1)
            entered.append(trio.current_time())

    async with open_engine(db, workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        began = trio.current_time()
        info = await run.wait()
    assert info.status == "completed"
    assert entered == [began, began + 1]


async def test_attempts_of_a_branch_back_off_while_the_others_run(db, mock_clock):
    tries = []
    wf = Workflow("tries")
    with wf.parallel(name="all"):

        @wf.step(retry=Retry(max_attempts=3, base=10.0, jitter=False))
        async def again(_ctx):
            tries.append("again")
            return Err("not yet") if tries.count("again") < 3 else Ok(None)

        @wf.step
        async def other(_ctx):
            tries.append("other")

    async with open_engine(db, workflows=[wf], clock=trio_clock()) as engine:
        await engine.run(wf)
    assert tries == ["again", "other", "again", "again"]


async def test_a_branch_that_ended_in_the_own_task_does_not_run_again(disk):
    entered = []
    hold = Hold()

    async def quick(_ctx):
        entered.append("quick")

    async def slow(_ctx):
        entered.append("slow")
        await hold()

    wf = block(quick, slow)
    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    info = await resume(disk, wf)
    assert info.status == "completed"
    assert entered == ["quick", "slow", "slow"]


@pytest.mark.parametrize("own", [True, False])
async def test_a_wait_that_was_held_before_it_began_has_never_started(disk, own):
    """Whether it had its turn in the block's own task, after another branch, or in one that is new."""
    failing, ending = Hold(), Hold()
    wf = Workflow("held")

    async def fails(_ctx):
        await failing()
        return Err("no")

    async def ends(_ctx):
        await ending()

    with wf.parallel(name="all", limit=2):
        for fn in (ends, fails) if own else (fails, ends):
            wf.step(fn)
        wf.sleep(60, name="nap")
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await failing.reached.wait()
        await ending.reached.wait()
        await engine.pause("r")
        ending.let_go()
        await trio.testing.wait_all_tasks_blocked()  # the nap has its turn now
        failing.let_go()
        info = await run.wait()
    nap = step_of(info, "all/nap")
    assert (nap.status, nap.attempt, nap.started_at) == ("never_started", 0, None)
