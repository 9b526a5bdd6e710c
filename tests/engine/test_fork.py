"""``engine.fork``: a new run from a recorded point of another one."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from engine_helpers import Hold, at, crash_image
from waiting_helpers import reaches

from durable_trio import (
    Err,
    Goto,
    InputError,
    Ok,
    RunBlocked,
    RunFailed,
    RunNotFound,
    Workflow,
    call_workflow,
    open_engine,
    step_info,
)


@pytest.fixture
def entered():
    return []


def define(entered, names="abc", **options):
    """Steps that note who was entered, in which run and under which key."""
    wf = Workflow("orders", **options)

    def declare(name):
        def step(ctx):
            info = step_info()
            entered.append((info.run_id, name, info.idempotency_key))
            return ctx | {name: len(entered)}

        wf.step(step, name=name, inline=True)

    for name in names:
        declare(name)
    return wf


async def test_it_takes_over_what_was_recorded_and_goes_on_from_there(db, entered):
    wf = define(entered)
    async with open_engine(db, workflows=[wf]) as engine:
        old = await engine.run(wf, {"n": (1,)}, id="r")
        before = await engine.get("r")
        fork = await engine.fork("r", "b", id="f")
        assert (fork.id, fork.created) == ("f", True)
        assert await fork.result() == {"n": (1,), "a": 1, "b": 4, "c": 5}
        after = await engine.get("r")
        info = await engine.get("f")
    assert [(run, name) for run, name, _ in entered[3:]] == [("f", "b"), ("f", "c")]
    assert len({key for _, _, key in entered}) == 5
    assert (after.result, after.status, after.steps) == (old, "completed", before.steps)
    assert (after.finished_at, after.context) == (before.finished_at, before.context)
    assert info.forked_from == "r"
    assert info.input == {"n": (1,)}
    assert [step.path for step in info.steps] == ["a", "b", "c"]
    assert [(act.act, act.step, act.run) for act in after.history] == [("forked", "b", "f")]
    assert [(act.act, act.step, act.run) for act in info.history] == [("forked_from", "b", "r")]


async def test_the_same_id_gives_the_same_fork_also_after_a_restart(disk, entered):
    wf = define(entered)
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        await (await engine.fork("r", "c", id="f")).result()
        again = await engine.fork("r", "c", id="f")
        assert again.created is False
    async with open_engine(disk, workflows=[wf]) as engine:
        again = await engine.fork("r", "c", id="f")
        assert (again.created, await again.result()) == (False, {"a": 1, "b": 2, "c": 4})
        assert len((await engine.get("r")).history) == 1


async def test_an_id_that_belongs_to_another_run_is_refused(db, entered):
    wf = define(entered)
    async with open_engine(db, workflows=[wf]) as engine:
        for run_id in ("r", "other"):
            await engine.run(wf, id=run_id)
        with pytest.raises(InputError, match="no fork"):
            await engine.fork("r", "c", id="other")
        await engine.fork("other", "c", id="f")
        with pytest.raises(InputError, match="a fork of run 'other'"):
            await engine.fork("r", "c", id="f")


async def test_an_id_that_is_given_to_another_run_at_the_same_time_is_refused(disk, entered):
    wf = define(entered)
    refused = []

    async def fork(engine, number):
        try:
            await engine.fork("r", "c", id=f"f{number}")
        except InputError as error:
            refused.append(str(error))

    async def start(engine, number):
        for _ in range(number % 4):  # the fork takes some ticks until it is handed over
            await trio.lowlevel.checkpoint()
        await engine.run(wf, id=f"f{number}")

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        for number in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fork, engine, number)
                nursery.start_soon(start, engine, number)
        ids = [info.id for info in await engine.list()]
        assert len(ids) == len(set(ids)) == 21
    assert refused  # in some of them the start was first
    assert all("no fork" in message for message in refused)


async def test_without_an_id_each_is_another_run(db, entered):
    wf = define(entered)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        forks = [await engine.fork("r", "a") for _ in range(3)]
        for fork in forks:
            await fork.result()
        assert len({fork.id for fork in forks}) == 3
        assert len((await engine.get("r")).history) == 3


async def test_it_is_on_disk_when_it_is_acknowledged(disk, tmp_path, entered):
    hold = Hold()
    wf = define(entered)
    wf.step(at(hold), name="hold")
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        await engine.fork("r", "b", id="f")
        image = crash_image(disk, tmp_path / "image")
    hold.let_go()
    async with open_engine(image, workflows=[wf]) as engine:
        assert [act.run for act in (await engine.get("r")).history] == ["f"]
        run = await engine.start(wf, id="f")
        assert not run.created
        result = await run.result()
        assert result["a"] == 1
        assert (await engine.get("f")).forked_from == "r"
        await (await engine.start(wf, id="r")).result()


@pytest.mark.parametrize("max_running", [1, 10])
async def test_a_run_under_way_goes_on_untouched(db, entered, max_running):
    hold = Hold()
    wf = define(entered)
    wf.step(at(hold), name="hold")
    async with open_engine(db, workflows=[wf], max_running=max_running) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        fork = await engine.fork("r", "c", id="f")
        hold.let_go()
        assert await run.result() == {"a": 1, "b": 2, "c": 3}
        assert (await fork.result())["b"] == 2
        assert (await engine.get("r")).history[0].run == "f"
    assert [name for run_id, name, _ in entered if run_id == "f"] == ["c"]


async def test_it_may_go_on_from_the_step_that_is_under_way(db, entered):
    """Nothing is recorded of that one yet."""
    hold = Hold()
    wf = define(entered, "a")
    wf.step(at(hold), name="hold")
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        fork = await engine.fork("r", "hold")
        with pytest.raises(InputError, match="it has come to: 'a', 'hold'"):
            await engine.fork("r", "nowhere")
        hold.let_go()
        assert await fork.result() == await run.result() == {"a": 1}
    assert hold.entered == 2


async def test_it_may_go_on_from_where_the_old_run_waits(db, entered):
    wf = define(entered, "a")
    wf.wait_for_event("go")
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
        fork = await engine.fork("r", "wait_for_go", id="f")
        await engine.send_event("f", "go", 1)
        assert await fork.result() == {"a": 1, "go": 1}
        assert (await engine.get("r")).status == "waiting"
        assert [act.run for act in (await engine.get("r")).history] == ["f"]
        await engine.send_event("r", "go", 2)
        assert await (await engine.start(wf, id="r")).result() == {"a": 1, "go": 2}


async def test_a_pending_run_that_was_forked_goes_on(disk, entered):
    """Its note is written while it waits for its place, and then its journal is read."""
    hold = Hold()
    wf = define(entered, "a")
    wf.step(at(hold), name="hold")
    wf.step(lambda ctx: ctx | {"end": True}, name="end", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        for run_id in ("r", "s"):
            await engine.start(wf, id=run_id)
        while hold.entered < 2:
            await trio.lowlevel.checkpoint()
    async with open_engine(disk, workflows=[wf], max_running=1) as engine:
        assert (await engine.get("s")).status == "pending"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.fork, "s", "a")
            hold.let_go()
        for run_id in ("r", "s"):
            assert (await (await engine.start(wf, id=run_id)).result())["end"] is True
        assert [act.act for act in (await engine.get("s")).history] == ["forked"]


async def test_results_of_blocks_branches_and_maps_come_along(db):
    entered = []
    wf = Workflow("orders")
    with wf.parallel(name="both"):
        wf.step(lambda ctx: entered.append("x") or Ok((1, {2})), name="x", inline=True)
        with wf.sequence("chain"):
            wf.step(lambda ctx: {**ctx, "y": b"y"}, name="y", inline=True)
    with wf.branch(on=lambda ctx: "one", name="kind") as kind, kind.case("one"):
        wf.step(lambda ctx: entered.append("one") or ctx | {"results": ctx.results}, name="one", inline=True)

    @wf.map(over=lambda ctx: [(1,), (2,)], name="each")
    async def each(ctx, item):
        return Ok(item)

    wf.step(lambda ctx: ctx | {"end": True}, name="end", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        old = await engine.run(wf, {"n": 1}, id="r")
        assert await (await engine.fork("r", "end", id="f")).result() == old
        old_steps, new_steps = [(await engine.get(run_id)).steps for run_id in ("r", "f")]
        assert old_steps[:-1] == new_steps[:-1]
    assert entered == ["x", "one"]


async def test_of_several_visits_one_is_chosen(db):
    wf = Workflow("loop")
    wf.step(lambda ctx: ctx | {"n": ctx.get("n", 0) + 1}, name="count", inline=True)
    wf.step(lambda ctx: Goto("count", ctx) if ctx["n"] < 3 else None, name="check", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        fork = await engine.fork("r", "check", visit=1)
        assert await fork.result() == {"n": 3}
        steps = (await engine.get(fork.id)).steps
        assert [(step.path, step.visit) for step in steps][:3] == [("count", 1), ("check", 1), ("count", 2)]


async def test_a_failed_fork_can_be_retried_and_forked(db):
    works = []
    wf = Workflow("orders")
    wf.step(lambda ctx: {"a": 1}, name="a", inline=True)
    wf.step(lambda ctx: None if works else Err("broken"), name="b", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunFailed):
            await engine.run(wf, id="r")
        with pytest.raises(RunFailed):
            await (await engine.fork("r", "b", id="f")).result()
        works.append(True)
        assert await (await engine.fork("f", "b", id="g")).result() == {"a": 1}
        assert await (await engine.retry("f", "a")).result() == {"a": 1}
        assert await (await engine.retry("r")).result() == {"a": 1}
        assert [act.act for act in (await engine.get("f")).history] == ["forked_from", "forked", "retried"]


async def test_what_it_took_over_it_does_not_undo(db):
    undone = []
    works = [True]
    wf = Workflow("trip")
    wf.compensation("undo", lambda ctx, result: undone.append((step_info().run_id, step_info().path)))
    for name in ("a", "b"):
        wf.step(lambda ctx: ctx, name=name, inline=True, compensate="undo")
    wf.step(lambda ctx: None if works else Err("broken"), name="end", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        works.clear()
        info = await (await engine.fork("r", "b", id="f")).wait()
        assert info.status == "compensated"
        assert [done.path for done in info.compensations] == ["b"]
    assert [run_id for run_id, _ in undone] == ["f"]


async def test_it_has_children_of_its_own(db):
    hold = Hold()
    child = Workflow("child")
    child.step(at(hold), name="hold")
    wf = Workflow("parent")

    @wf.step
    async def ask(ctx):
        await call_workflow(child)

    async with open_engine(db, workflows=[wf, child]) as engine:
        await engine.start(wf, id="r")
        await hold.reached.wait()
        fork = await engine.fork("r", "ask", id="f")
        while hold.entered < 2:
            await trio.lowlevel.checkpoint()
        assert await engine.cancel("f")
        await fork.wait()
        (kept,) = await engine.list(parent="r")
        (gone,) = await engine.list(parent="f")
        assert (kept.status, gone.status) == ("running", "cancelled")
        hold.let_go()
        assert await (await engine.start(wf, id="r")).result() == {}


async def test_points_and_runs_that_are_not_there_are_refused(db, entered):
    wf = define(entered)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, id="r")
        with pytest.raises(InputError, match="it has come to: 'a', 'b', 'c'"):
            await engine.fork("r", "x")
        with pytest.raises(RunNotFound):
            await engine.fork("nobody", "a")
        with pytest.raises(InputError):
            await engine.fork("r", "a", id="")
        assert len(await engine.list()) == 1
        assert (await engine.get("r")).history == []


async def test_a_definition_that_does_not_fit_is_refused(disk, entered):
    async with open_engine(disk, workflows=[define(entered)]) as engine:
        await engine.run("orders", id="r")
    async with open_engine(disk, workflows=[define(entered, "xbc")]) as engine:
        with pytest.raises(RunBlocked, match="'a'"):
            await engine.fork("r", "b")
        assert len(await engine.list()) == 1


async def test_a_fork_may_go_on_under_what_was_changed_behind_its_point(disk, entered):
    async with open_engine(disk, workflows=[define(entered)]) as engine:
        await engine.run("orders", id="r")
    hold = Hold()
    changed = define(entered, "ab")
    changed.step(at(hold), name="x")
    async with open_engine(disk, workflows=[changed]) as engine:
        await engine.fork("r", "b", id="f")
        await hold.reached.wait()
    hold.let_go()
    async with open_engine(disk, workflows=[changed]) as engine:
        assert (await (await engine.start(changed, id="f")).result())["a"] == 1


async def test_deleting_and_forking_at_the_same_time(disk, entered):
    wf = define(entered)
    forks = []

    async def fork(engine, run_id):
        with suppress(RunNotFound):
            forks.append(await engine.fork(run_id, "c"))

    async with open_engine(disk, workflows=[wf]) as engine:
        for number in range(5):
            await engine.run(wf, id=f"r{number}")
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(fork, engine, f"r{number}")
            nursery.start_soon(engine.prune, 0)
        for run in forks:
            assert (await run.result())["b"] > 0
        assert await engine.run(wf)
