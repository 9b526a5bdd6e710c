"""``engine.get`` and ``engine.list``: what they show, filters and pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from engine_helpers import Hold, step_of

from durable_trio import DurableError, Err, InputError, Ok, RunNotFound, Workflow, open_client, open_engine


def simple(name):
    wf = Workflow(name)

    @wf.step
    async def step(ctx):
        return Err("bad") if ctx.get("bad") else ctx

    return wf


async def test_get_shows_everything_about_a_run(db, wf):
    clock = [datetime(2024, 5, 17, 12, tzinfo=UTC)]

    def later(ctx):
        clock[0] += timedelta(seconds=10)
        return {"n": ctx["n"] + 1}

    wf.step(later, name="one", inline=True)
    wf.step(later, name="two", inline=True)
    began = clock[0]
    async with open_engine(db, workflows=[wf], clock=lambda: clock[0]) as engine:
        await engine.run(wf, {"n": 1}, id="r")
        info = await engine.get("r")
    assert (info.id, info.workflow, info.version, info.status) == ("r", "orders", "1", "completed")
    assert (info.input, info.context, info.result) == ({"n": 1}, {"n": 3}, {"n": 3})
    assert (info.error, info.errors, info.current_step) == (None, {}, None)
    assert info.created_at == began
    assert info.finished_at == info.updated_at == began + timedelta(seconds=20)
    assert [(step.path, step.status, step.attempt) for step in info.steps] == [
        ("one", "ok", 1),
        ("two", "ok", 1),
    ]
    assert [step.started_at for step in info.steps] == [began, began + timedelta(seconds=10)]
    assert step_of(info, "one").result == {"n": 2}
    assert all(step.duration >= 0 for step in info.steps)
    for instant in (info.created_at, info.updated_at, info.finished_at):
        assert instant.utcoffset() == timedelta(0)


async def test_get_shows_the_same_after_a_restart(disk, wf):
    with wf.parallel(name="block", on_error="complete_all"):
        wf.step(lambda ctx: Ok((1, {2})), name="a", inline=True)
        wf.step(lambda ctx: Err(b"why"), name="b", inline=True)
    wf.step(lambda ctx: Err({"final": 1.5}), name="end", inline=True)
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 10**30}, id="r")
        live = await run.wait()
    async with open_engine(disk, workflows=[wf]) as engine:
        assert await engine.get("r") == live
    assert live.status == "failed"


async def test_get_of_a_run_under_way_shows_its_context_and_current_step(db, wf):
    hold = Hold()
    wf.step(lambda ctx: {"n": ctx["n"] + 1}, name="one", inline=True)

    @wf.step
    async def two(ctx):
        await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 1})
        await hold.reached.wait()
        info = await engine.get(run.id)
        assert (info.status, info.current_step, info.context) == ("running", "two", {"n": 2})
        assert (info.result, info.finished_at) == (None, None)
        assert [(step.path, step.status) for step in info.steps] == [("one", "ok"), ("two", "running")]


async def test_get_of_an_unknown_run_raises_run_not_found(db, wf):
    wf.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        for unknown in ("nobody", "", "x" * 500, "018f0000-0000-7000-8000-000000000000"):
            with pytest.raises(RunNotFound):
                await engine.get(unknown)


async def test_what_get_shows_belongs_to_the_caller(db, wf):
    wf.step(lambda ctx: {"list": [1]}, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf, {"in": [1]}, id="r")
        info = await engine.get("r")
        info.result["list"].append(2)
        info.input["in"].append(2)
        info.steps[0].result["list"].append(3)
        again = await engine.get("r")
        assert (again.result, again.input, again.steps[0].result) == (
            {"list": [1]},
            {"in": [1]},
            {"list": [1]},
        )


async def filled(engine, one, two):
    """Ten runs: even ones of workflow one, odd ones of two; those that 3 divides fail."""
    for n in range(10):
        run = await engine.start([one, two][n % 2], {"bad": n % 3 == 0, "n": n}, id=f"r{n}")
        await run.wait()


async def ids(engine, **options):
    return [info.id for info in await engine.list(**options)]


@pytest.fixture
def one():
    return simple("one")


@pytest.fixture
def two():
    return simple("two")


async def test_list_gives_the_newest_first_and_no_steps(db, one, two):
    async with open_engine(db, workflows=[one, two]) as engine:
        assert await engine.list() == []
        await filled(engine, one, two)
        infos = await engine.list()
    assert [info.id for info in infos] == [f"r{n}" for n in reversed(range(10))]
    assert all(info.steps == [] for info in infos)
    assert infos[0].error == "bad"
    assert infos[1].result == {"bad": False, "n": 8}


async def test_list_filters_by_status(db, one, two):
    async with open_engine(db, workflows=[one, two]) as engine:
        await filled(engine, one, two)
        assert await ids(engine, status="failed") == ["r9", "r6", "r3", "r0"]
        assert await ids(engine, status="completed") == ["r8", "r7", "r5", "r4", "r2", "r1"]
        assert await ids(engine, status=["failed", "completed"]) == [f"r{n}" for n in reversed(range(10))]
        assert await ids(engine, status="running") == []


async def test_list_filters_by_workflow_given_as_object_or_name(db, one, two):
    async with open_engine(db, workflows=[one, two]) as engine:
        await filled(engine, one, two)
        assert await ids(engine, workflow=one) == ["r8", "r6", "r4", "r2", "r0"]
        assert await ids(engine, workflow="two") == ["r9", "r7", "r5", "r3", "r1"]
        assert await ids(engine, workflow="nothing") == []
        assert await ids(engine, workflow=one, status="failed") == ["r6", "r0"]


async def test_list_pages_by_the_last_id_of_the_page_before(db, one, two):
    async with open_engine(db, workflows=[one, two]) as engine:
        await filled(engine, one, two)
        assert await ids(engine, limit=4) == ["r9", "r8", "r7", "r6"]
        assert await ids(engine, limit=4, after="r6") == ["r5", "r4", "r3", "r2"]
        assert await ids(engine, limit=4, after="r2") == ["r1", "r0"]
        assert await ids(engine, limit=4, after="r0") == []
        assert await ids(engine, limit=2, workflow=one) == ["r8", "r6"]
        assert await ids(engine, limit=2, workflow=one, after="r6") == ["r4", "r2"]
        assert await ids(engine, status="failed", limit=1, after="r6") == ["r3"]
        assert await ids(engine, workflow="two", status="completed", limit=2, after="r8") == ["r7", "r5"]


async def test_a_page_has_a_hundred_runs_by_default(db, one):
    async with open_engine(db, workflows=[one], durability="exit") as engine:
        for n in range(103):
            await engine.start(one, {"n": n}, id=f"r{n}")
        first = await ids(engine)
        assert len(first) == 100
        assert await ids(engine, after=first[-1]) == ["r2", "r1", "r0"]


@pytest.mark.parametrize(
    "options", [{"status": "done"}, {"status": ["failed", "nope"]}, {"limit": 0}, {"limit": -1}], ids=repr
)
async def test_questions_that_make_no_sense_are_refused(db, one, options):
    async with open_engine(db, workflows=[one]) as engine:
        with pytest.raises(InputError):
            await engine.list(**options)


async def test_a_page_after_an_unknown_run_is_an_error(db, one):
    async with open_engine(db, workflows=[one]) as engine:
        with pytest.raises(DurableError):
            await engine.list(after="nobody")


async def test_list_shows_runs_in_every_state(db):
    hold = Hold()
    wf = Workflow("w")

    @wf.step
    async def step(ctx):
        await hold()

    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        await engine.start(wf, id="running")
        await engine.start(wf, id="pending")
        await engine.start(wf, id="cancelled")
        await engine.cancel("cancelled")
        await hold.reached.wait()
        assert {info.id: info.status for info in await engine.list()} == {
            "running": "running",
            "pending": "pending",
            "cancelled": "cancelled",
        }
        assert await ids(engine, status="pending") == ["pending"]
        assert await ids(engine, status="running") == ["running"]


async def test_list_is_the_same_after_a_restart(disk, one, two):
    async with open_engine(disk, workflows=[one, two]) as engine:
        await filled(engine, one, two)
        before = await engine.list()
    async with open_engine(disk, workflows=[one, two]) as engine:
        assert await engine.list() == before
        assert await ids(engine, workflow=one, status="failed", limit=1, after="r6") == ["r0"]


@pytest.mark.parametrize(
    "filters",
    [
        {"workflow": 5},
        pytest.param({"workflow": simple}, id="a function"),
        {"workflow": b"orders"},
        {"status": 5},
        {"status": [["failed"]]},
        {"parent": 5},
        {"after": 5},
        {"limit": "5"},
    ],
    ids=str,
)
async def test_a_filter_of_a_wrong_type_is_refused(disk, wf, filters):
    wf.step(lambda ctx: ctx, name="step", inline=True)
    (name, value), *_ = filters.items()
    said = repr(value[0] if name == "status" and isinstance(value, list) else value)
    async with open_engine(disk, workflows=[wf]) as engine, open_client(disk) as client:
        await engine.run(wf)
        for on in (engine, client):
            with pytest.raises(InputError, match=re.escape(said[:80])):
                await on.list(**filters)
            if name in ("workflow", "limit"):
                with pytest.raises(InputError, match=re.escape(said[:80])):
                    await on.pending_inputs(**filters)


async def test_a_name_that_no_run_has_finds_nothing(db, wf):
    wf.step(lambda ctx: ctx, name="step", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await engine.run(wf)
        assert await engine.list(workflow="nobody") == await engine.pending_inputs(workflow="nobody") == []
