"""What is recorded of a run makes no sense to a branch of it: that run is blocked, and nothing else happens.

Its block gets every branch out and records nothing of those without an outcome. When the cause is mended, the
run goes on from there.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import lmdb
import msgspec
import pytest
import trio
from damage_helpers import chooses, damage, interrupt, is_blocked, mend, quick
from engine_helpers import Hold, at, resume, states
from waiting_helpers import Wall

from durable_trio import Ok, Retry, Workflow, call_workflow, open_engine, step_info
from durable_trio._speedups.batching import seal, unsealed

# -- where it is, and what else the block has ---------------------------------------------------------


@contextmanager
def in_the_block(wf):
    yield


@contextmanager
def in_a_sequence(wf):
    with wf.sequence("sequence"):
        quick(wf, [], "before")
        yield
        quick(wf, [], "behind")


@contextmanager
def in_a_nested_block(wf):
    with wf.sequence("sequence"), wf.parallel(name="inner", timeout=60):
        quick(wf, [], "inside")
        yield
        wf.wait_for_event("inner event", timeout=0.001, default=None)


@contextmanager
def alone_in_nested_blocks(wf):
    with wf.parallel(name="outer"), wf.parallel(name="inner"):
        yield


@pytest.mark.parametrize("around", [in_the_block, in_a_sequence, in_a_nested_block, alone_in_nested_blocks])
@pytest.mark.parametrize("comes_first", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"on_error": "complete_all"}, {"need": 3}, {"timeout": 60}, {"limit": 2}], ids=str
)
async def test_its_run_is_blocked_and_the_others_go_on(disk, wf, around, comes_first, options):
    """It comes before or after the branch that suspends: in the block's own task, or in one of its own."""
    held, chosen, seen = Hold(), Hold(), []
    with wf.parallel(name="block", **options):
        quick(wf, seen)
        if comes_first:
            with around(wf):
                chooses(wf, chosen)
        wf.step(at(held), name="held")
        if not comes_first:
            with around(wf):
                chooses(wf, chosen)
    other = Workflow("other")
    quick(other, [])
    await interrupt(disk, [wf, other], held, chosen)
    before = chosen.entered
    damage(disk)
    for _ in range(2):
        async with open_engine(disk, workflows=[wf, other], max_running=1) as engine:
            info = await is_blocked(engine, wf)
            assert await engine.run(other) == {}
        assert set(states(info).values()) <= {"ok", "waiting"}
    mend(disk)
    held.let_go()
    chosen.let_go()
    info = await resume(disk, wf)
    assert info.status == "completed"
    assert set(states(info).values()) == {"ok"}
    assert seen == ["quick"]
    assert chosen.entered == before + 1


async def test_a_wait_beside_it_goes_on_waiting(disk, wf):
    chosen = Hold()
    with wf.parallel(name="block"):
        wf.wait_for_event("go", timeout=60)
        chooses(wf, chosen)
    wall = Wall()
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await chosen.reached.wait()
    damage(disk)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        assert states(await is_blocked(engine, wf)) == {"block/wait_for_go": "waiting"}
    mend(disk)
    chosen.let_go()
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.send_event("r", "go", 1)
        result = await (await engine.start(wf, id="r")).result()
        assert result["__results__"]["go"] == Ok({"go": 1})


# -- what is in a body beside it ----------------------------------------------------------------------


async def test_what_a_body_beside_it_raises_on_its_way_out_is_not_recorded(disk, wf):
    beside, chosen = Hold(), Hold()
    with wf.parallel(name="block", on_error="complete_all"):

        @wf.step
        async def complains(ctx):
            try:
                await beside()
            except trio.Cancelled:
                raise ValueError("left") from None
            return Ok("stayed")

        chooses(wf, chosen)
    await interrupt(disk, [wf], beside, chosen)
    damage(disk)
    async with open_engine(disk, workflows=[wf]) as engine:
        assert states(await is_blocked(engine, wf)) == {}
    mend(disk)
    beside.let_go()
    chosen.let_go()
    assert (await resume(disk, wf)).result["__results__"] == {"complains": Ok("stayed"), "choice": Ok({})}


async def test_what_a_body_beside_it_has_returned_is_recorded(disk, wf):
    chosen, beside, entered = Hold(), Hold(), []
    with wf.parallel(name="block"):

        @wf.step
        async def finishes(ctx):
            entered.append(1)
            with trio.fail_after(5, shield=len(entered) > 1):
                await beside()

        chooses(wf, chosen)
    await interrupt(disk, [wf], beside, chosen)
    damage(disk)
    async with open_engine(disk, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(is_blocked, engine, wf)
        await trio.testing.wait_all_tasks_blocked()
        assert (await engine.get("r")).status == "running"  # until every branch is out
        beside.let_go()
    mend(disk)
    chosen.let_go()
    assert (await resume(disk, wf)).status == "completed"
    assert entered == [1, 1]


async def test_what_a_body_beside_it_has_called_is_not_cancelled(disk, wf):
    child, chosen = Workflow("child"), Hold()
    child.wait_for_event("go")
    with wf.parallel(name="block"):

        @wf.step
        async def caller(ctx):
            return Ok(await call_workflow(child))

        chooses(wf, chosen)
    async with open_engine(disk, workflows=[wf, child]) as engine:
        await engine.start(wf, id="r")
        await chosen.reached.wait()
        while not (called := await engine.list(parent="r", status="waiting")):
            await trio.lowlevel.checkpoint()
    damage(disk)
    async with open_engine(disk, workflows=[wf, child]) as engine:
        await is_blocked(engine, wf)
    mend(disk)
    chosen.let_go()
    async with open_engine(disk, workflows=[wf, child]) as engine:
        await engine.send_event(called[0].id, "go", 1)
        results = (await (await engine.start(wf, id="r")).result())["__results__"]
    assert results["caller"] == Ok(Ok({"go": 1}))


# -- what else happens meanwhile ----------------------------------------------------------------------


def shielded(wf, hold):
    """A run that is being blocked, for as long as a body beside the damage stays."""
    chosen, entered = Hold(), []
    with wf.parallel(name="block", timeout=60):

        @wf.step
        async def stays(ctx):
            entered.append(1)
            with trio.fail_after(5, shield=len(entered) == 2):
                await hold()

        chooses(wf, chosen)
    return chosen


@pytest.mark.parametrize("is_mended", [False, True])
async def test_a_run_that_is_cancelled_meanwhile_ends_cancelled_on_the_next_opening(disk, wf, is_mended):
    hold = Hold()
    chosen = shielded(wf, hold)
    await interrupt(disk, [wf], hold, chosen)
    damage(disk)
    async with open_engine(disk, workflows=[wf]) as engine:
        while hold.entered < 2:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert await engine.cancel("r", "enough") is True
        hold.let_go()
        await is_blocked(engine, wf)
    if is_mended:
        mend(disk)
    async with open_engine(disk, workflows=[wf]) as engine:
        info = await (await engine.start(wf, id="r")).wait()
    assert (info.status, info.error) == ("cancelled", "enough")


@pytest.mark.parametrize("fails", [False, True])
async def test_the_engine_is_left_meanwhile(disk, wf, fails):
    hold = Hold()
    chosen = shielded(wf, hold)
    interrupting = Workflow("interrupting")

    @interrupting.step
    async def interrupt_(ctx):
        raise KeyboardInterrupt

    workflows = [wf, interrupting]
    await interrupt(disk, workflows, hold, chosen)
    damage(disk)

    async def leave():
        async with open_engine(disk, workflows=workflows) as engine, trio.open_nursery() as nursery:
            while hold.entered < 2:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(let_go)
            if fails:
                await engine.run(interrupting)

    async def let_go():
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        hold.let_go()

    if fails:
        with pytest.raises(KeyboardInterrupt):
            await leave()
    else:
        await leave()
    mend(disk)
    chosen.let_go()
    info = await resume(disk, wf)
    assert (info.status, hold.entered) == ("completed", 2)


# -- what cannot be counted ---------------------------------------------------------------------------


def _number_the_attempt(disk, number):
    """Give the one failed attempt that is recorded this number; says which it had."""
    env = lmdb.open(str(disk), max_dbs=12)
    with env.begin(write=True, db=env.open_db(b"journal")) as txn:
        for key, value in list(txn.cursor()):
            row = msgspec.msgpack.decode(unsealed(key, value))
            for record in row:
                if record[0] == 2:
                    was, record[3] = record[3], number
            txn.put(key, seal(key, msgspec.msgpack.encode(row)))
    env.close()
    return was


@pytest.mark.parametrize("number", [-1, 0, 2**32 - 1, 2**63])
@pytest.mark.parametrize("in_block", [False, True])
async def test_an_attempt_with_an_impossible_number_blocks_its_run(tmp_path, in_block, number):
    wf, hold, entered = Workflow("w"), Hold(), []

    async def flaky(ctx):
        entered.append(step_info().attempt)
        if len(entered) == 1:
            raise OSError
        return await at(hold)(ctx)

    with wf.parallel(name="block") if in_block else nullcontext():
        wf.step(flaky, name="flaky", retry=Retry(base=0))
    disk = tmp_path / "db"
    await interrupt(disk, [wf], hold)
    hold.let_go()
    assert _number_the_attempt(disk, number) == 1
    async with open_engine(disk, workflows=[wf]) as engine:
        await is_blocked(engine, wf, reason=f"recorded as number {number}")
    _number_the_attempt(disk, 1)
    assert (await resume(disk, wf)).status == "completed"
    assert entered == [1, 2, 2]
