"""``engine.start`` and ``engine.run``: one run per id, whatever happens, and handles on it."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold

from durable_trio import (
    DefinitionError,
    DurableError,
    Err,
    InputError,
    RunFailed,
    SnapshotError,
    Workflow,
    open_engine,
)


@pytest.fixture
def counted(wf):
    """A workflow whose one step doubles n, and how often it was entered."""
    entered = []

    @wf.step
    async def double(ctx):
        entered.append(ctx["n"])
        return {"n": ctx["n"] * 2}

    return wf, entered


async def test_start_gives_a_handle_and_the_run_goes_on_by_itself(db, counted):
    wf, _ = counted
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 4})
        assert run.created is True
        assert isinstance(run.id, str)
        assert await run.result() == {"n": 8}
        assert run.status == "completed"


async def test_run_is_start_and_result_in_one(db, counted):
    wf, _ = counted
    async with open_engine(db, workflows=[wf]) as engine:
        assert await engine.run(wf, {"n": 4}) == {"n": 8}


async def test_the_result_is_a_plain_dict_and_each_caller_has_its_own(db, wf):
    wf.step(lambda ctx: {"list": [1]}, name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        first = await run.result()
        assert type(first) is dict
        first["list"].append(2)
        assert await run.result() == {"list": [1]}
        assert (await run.wait()).result == {"list": [1]}
        assert (await engine.get(run.id)).result == {"list": [1]}


async def test_wait_gives_everything_about_the_run_and_raises_nothing_for_a_failed_one(db, wf):
    wf.step(lambda ctx: Err("why"), name="a", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"x": 1})
        info = await run.wait()
        assert (info.id, info.workflow, info.version) == (run.id, "orders", "1")
        assert (info.status, info.error, info.result, info.input) == ("failed", "why", None, {"x": 1})
        with pytest.raises(RunFailed) as caught:
            await run.result()
    assert caught.value.run_id == run.id


async def test_runs_without_an_id_of_their_own_have_different_ones(db, counted):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        runs = [await engine.start(wf, {"n": 1}) for _ in range(20)]
        for run in runs:
            await run.result()
    assert len({run.id for run in runs}) == 20
    assert len(entered) == 20


async def test_the_same_id_again_gives_the_run_that_exists(db, counted):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        first = await engine.start(wf, {"n": 4}, id="order-7")
        again = await engine.start(wf, {"n": 100}, id="order-7")
        assert (first.id, first.created, again.id, again.created) == ("order-7", True, "order-7", False)
        assert await first.result() == await again.result() == {"n": 8}
        assert await engine.run(wf, {"n": 100}, id="order-7") == {"n": 8}
    assert entered == [4]


async def test_the_same_id_at_the_same_time_makes_one_run(db, counted):
    wf, entered = counted
    handles = []

    async def starter(engine):
        handles.append(await engine.start(wf, {"n": 4}, id="order-7"))

    async with open_engine(db, workflows=[wf]) as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(starter, engine)
        assert [await handle.result() for handle in handles] == [{"n": 8}] * 20
    assert sum(handle.created for handle in handles) == 1
    assert entered == [4]


async def test_the_same_id_after_a_restart_gives_the_run_that_exists(disk, counted):
    wf, entered = counted
    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, {"n": 4}, id="order-7")
    for _ in range(2):
        async with open_engine(disk, workflows=[wf]) as engine:
            again = await engine.start(wf, {"n": 100}, id="order-7")
            assert again.created is False
            assert again.status == "completed"
            assert await again.result() == {"n": 8}
            assert (await again.wait()).result == {"n": 8}
    assert entered == [4]


async def test_a_failed_run_is_given_again_as_well_and_does_not_run_again(disk, wf):
    entered = []
    wf.step(lambda ctx: entered.append(1) or Err({"why": (1,)}), name="a", inline=True)
    for created in (True, False, False):
        async with open_engine(disk, workflows=[wf]) as engine:
            run = await engine.start(wf, {}, id="order-7")
            assert run.created is created
            with pytest.raises(RunFailed) as caught:
                await run.result()
            assert caught.value.error == {"why": (1,)}
            assert caught.value.errors == {"a": {"why": (1,)}}
    assert entered == [1]


async def test_a_run_given_by_its_own_uuid_is_found_too(db, counted):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        first = await engine.start(wf, {"n": 4})
        await first.result()
        again = await engine.start(wf, {"n": 5}, id=first.id)
        assert again.created is False
        assert await again.result() == {"n": 8}
    assert entered == [4]


@pytest.mark.parametrize(
    "run_id", ["a", "order/7", "päivä", "x" * 255, " ", "\x00", "../..", "🦀"], ids=ascii
)
async def test_any_short_text_is_an_id(disk, counted, run_id):
    wf, entered = counted
    for created in (True, False):
        async with open_engine(disk, workflows=[wf]) as engine:
            run = await engine.start(wf, {"n": 1}, id=run_id)
            assert (run.id, run.created) == (run_id, created)
            assert await run.result() == {"n": 2}
            assert (await engine.get(run_id)).id == run_id
    assert entered == [1]


@pytest.mark.parametrize("run_id", ["", "x" * 256, 7, b"bytes", "\udc80"], ids=ascii)
async def test_what_is_no_id_is_refused_before_anything_is_recorded(db, counted, run_id):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(InputError):
            await engine.start(wf, {"n": 1}, id=run_id)
        assert await engine.list() == []
    assert entered == []


async def test_an_id_that_belongs_to_another_workflow_is_an_error(db, counted):
    wf, _ = counted
    other = Workflow("other")
    other.step(lambda ctx: None, name="a", inline=True)
    async with open_engine(db, workflows=[wf, other]) as engine:
        await engine.start(wf, {"n": 1}, id="order-7")
        with pytest.raises(DurableError, match="order-7") as caught:
            await engine.start(other, {}, id="order-7")
        assert "orders" in str(caught.value)


async def test_a_workflow_may_be_given_by_name(db, counted):
    wf, _ = counted
    async with open_engine(db, workflows=[wf]) as engine:
        assert await engine.run("orders", {"n": 4}) == {"n": 8}


@pytest.mark.parametrize(
    "unknown", ["nothing", Workflow("orders", version="2"), Workflow("nothing")], ids=repr
)
async def test_a_workflow_that_is_not_registered_is_refused_and_the_known_ones_are_named(
    db, counted, unknown
):
    wf, _ = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(DefinitionError, match=r"which knows: orders \(version '1'\)"):
            await engine.start(unknown, {})
        assert await engine.list() == []


async def test_another_workflow_object_of_a_registered_name_and_version_is_refused_as_such(db, counted):
    wf, _ = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(DefinitionError, match="another Workflow object than the one named 'orders'"):
            await engine.start(Workflow("orders"), {})
        assert await engine.list() == []


@pytest.mark.parametrize("value", [5, "text", [1], pytest.param(object(), id="object()")], ids=repr)
async def test_an_input_that_is_no_mapping_is_refused(db, counted, value):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(InputError):
            await engine.start(wf, value)
        assert await engine.list() == []
    assert entered == []


async def test_an_input_that_cannot_be_stored_is_refused_with_its_path_and_type(db, counted):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(SnapshotError) as caught:
            await engine.start(wf, {"n": 1, "user": {"socket": [object()]}}, id="order-7")
        assert '["user"]["socket"][0]' in str(caught.value)
        assert '["user"]["socket"][0]' in caught.value.path
        assert "object" in caught.value.type_name
        assert await engine.list() == []
        run = await engine.start(wf, {"n": 1}, id="order-7")
        assert run.created is True
        await run.result()
    assert entered == [1]


async def test_the_callers_input_is_copied(db, wf):
    hold = Hold()

    @wf.step
    async def look(ctx):
        await hold()
        ctx["list"].append("step")

    given = {"list": [1]}
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, given)
        given["list"].append("caller")
        given["more"] = True
        hold.let_go()
        assert await run.result() == {"list": [1, "step"]}
        assert (await engine.get(run.id)).input == {"list": [1]}
    assert given == {"list": [1, "caller"], "more": True}


async def test_cancelling_a_caller_of_run_does_not_touch_the_run(db, wf):
    hold = Hold()

    @wf.step
    async def slow(ctx):
        await hold()
        return {"done": True}

    async with open_engine(db, workflows=[wf]) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, wf, {})
            await hold.reached.wait()
            nursery.cancel_scope.cancel()
        (info,) = await engine.list()
        assert info.status == "running"
        hold.let_go()
        run = await engine.start(wf, id=info.id)
        assert await run.result() == {"done": True}
    assert hold.entered == 1


async def test_cancelling_those_who_wait_for_a_run_does_not_touch_it(db, wf):
    hold = Hold()

    @wf.step
    async def slow(ctx):
        await hold()
        return {"done": True}

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.result)
            nursery.start_soon(run.wait)
            await hold.reached.wait()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert run.status == "running"
        hold.let_go()
        assert await run.result() == {"done": True}


async def test_a_start_whose_caller_is_cancelled_leaves_a_run_or_none_but_never_half_of_one(db, counted):
    wf, entered = counted
    async with open_engine(db, workflows=[wf]) as engine:
        with trio.CancelScope() as scope:
            scope.cancel()
            await engine.start(wf, {"n": 1}, id="order-7")
        run = await engine.start(wf, {"n": 1}, id="order-7")
        assert await run.result() == {"n": 2}
    assert entered == [1]


async def test_many_runs_at_the_same_time_do_not_mix_their_data(db, wf):
    with wf.parallel(name="block") as block:
        wf.step(lambda ctx: {"a": ctx["n"]}, name="a", inline=True)
        wf.step(lambda ctx: {"b": ctx["n"]}, name="b")
        block.into(lambda ctx, results: ctx | results["a"].value | results["b"].value)
    results = {}

    async def one(engine, n):
        results[n] = await engine.run(wf, {"n": n}, id=f"run-{n}")

    async with open_engine(db, workflows=[wf]) as engine, trio.open_nursery() as nursery:
        for n in range(60):
            nursery.start_soon(one, engine, n)
    assert results == {n: {"n": n, "a": n, "b": n} for n in range(60)}


async def test_an_id_may_look_like_one_that_the_engine_makes(db, wf):
    @wf.step
    async def only(ctx):
        return ctx | {"done": True}

    name = "01890a5d-ac96-774b-bcce-b302099a8057"
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, {"n": 1}, id=name)
        assert (run.id, run.created) == (name, True)
        again = await engine.start(wf, {"n": 2}, id=name)
        assert not again.created
        assert await again.result() == {"n": 1, "done": True}
