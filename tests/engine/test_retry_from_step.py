"""``engine.retry(run_id, from_step)``: a failed run goes on from an earlier step."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, crash_image, step_of

from durable_trio import (
    Err,
    Finish,
    Goto,
    InputError,
    Ok,
    RunBlocked,
    RunFailed,
    Workflow,
    call_workflow,
    open_engine,
    step_info,
)


class Bench:
    """Steps a, b and c; c fails until it is repaired. Notes who was entered, with what, under which key."""

    def __init__(self, names="abc", version="1"):
        self.entered = []
        self.works = False
        self.wf = Workflow("orders", version=version)
        for name in names:
            self.wf.step(self.body(name), name=name)

    def body(self, name):
        async def step(ctx):
            info = step_info()
            self.entered.append((name, info.visit, info.idempotency_key, dict(ctx)))
            await trio.lowlevel.checkpoint()
            if name == "c" and not self.works:
                return Err("broken")
            return ctx | {name: info.visit}

        return step

    @property
    def visits(self):
        return [(name, visit) for name, visit, _, _ in self.entered]


async def fail(engine, wf, data=None):
    run = await engine.start(wf, data, id="r")
    with pytest.raises(RunFailed):
        await run.result()
    return run


async def test_the_step_gets_the_context_that_it_was_given_and_what_follows_runs_again(db):
    bench = Bench()
    async with open_engine(db, workflows=[bench.wf]) as engine:
        await fail(engine, bench.wf, {"n": [1]})
        bench.works = True
        run = await engine.retry("r", "b")
        assert await run.result() == {"n": [1], "a": 1, "b": 2, "c": 2}
    assert bench.visits == [("a", 1), ("b", 1), ("c", 1), ("b", 2), ("c", 2)]
    assert bench.entered[1][3] == bench.entered[3][3] == {"n": [1], "a": 1}


async def test_what_is_superseded_has_other_keys_and_stays_in_the_record(db):
    bench = Bench()
    async with open_engine(db, workflows=[bench.wf]) as engine:
        await fail(engine, bench.wf)
        bench.works = True
        await (await engine.retry("r", "a")).result()
        info = await engine.get("r")
    assert len({key for _, _, key, _ in bench.entered}) == 6
    shown = [(step.path, step.visit, step.superseded, step.status) for step in info.steps]
    assert shown == [
        ("a", 1, True, "ok"),
        ("b", 1, True, "ok"),
        ("c", 1, True, "error"),
        ("a", 2, False, "ok"),
        ("b", 2, False, "ok"),
        ("c", 2, False, "ok"),
    ]
    assert step_of(info, "b").result == {"a": 1, "b": 1}
    assert step_of(info, "c").error == "broken"
    assert (info.status, info.error, info.result) == ("completed", None, {"a": 2, "b": 2, "c": 2})
    (act,) = info.history
    assert (act.act, act.step, act.visit) == ("retried", "a", 1)


async def test_a_plain_retry_is_in_the_history_too_and_keeps_the_keys(db):
    bench = Bench()
    async with open_engine(db, workflows=[bench.wf]) as engine:
        await fail(engine, bench.wf)
        bench.works = True
        await (await engine.retry("r")).result()
        info = await engine.get("r")
    assert [(act.act, act.step) for act in info.history] == [("retried", None)]
    assert bench.entered[2][2] == bench.entered[3][2]
    assert not any(step.superseded for step in info.steps)


async def test_it_can_be_done_again_and_again_and_after_a_restart(disk):
    bench = Bench()
    for point in ("b", "a", "c", "b"):
        async with open_engine(disk, workflows=[bench.wf]) as engine:
            run = await engine.start(bench.wf, id="r")
            with pytest.raises(RunFailed):
                await run.result()
            with pytest.raises(RunFailed):
                await (await engine.retry("r", point)).result()
    bench.works = True
    async with open_engine(disk, workflows=[bench.wf]) as engine:
        assert await (await engine.retry("r")).result() == {"a": 2, "b": 4, "c": 5}
    # c's visits: 1, then after b, a, c, b: 2, 3, 4, 5.
    assert bench.visits[-2:] == [("c", 5), ("c", 5)]
    assert len({(name, visit, key) for name, visit, key, _ in bench.entered}) == 11


async def test_a_restart_in_the_middle_goes_on_under_the_new_visits(disk):
    hold, entered = Hold(), []
    wf = Workflow("orders")

    @wf.step
    async def a(ctx):
        entered.append(("a", step_info().visit))
        return ctx | {"a": step_info().visit}

    @wf.step
    async def b(ctx):
        entered.append(("b", step_info().visit))
        if len(entered) == 2:
            return Err("broken")
        await hold()
        return ctx | {"b": step_info().visit}

    async with open_engine(disk, workflows=[wf]) as engine:
        await fail(engine, wf)
        await engine.retry("r", "a")
        await hold.reached.wait()
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert await run.result() == {"a": 2, "b": 2}
    assert entered == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("b", 2)]


async def test_the_retry_is_on_disk_when_it_is_acknowledged(disk, tmp_path):
    bench = Bench()
    async with open_engine(disk, workflows=[bench.wf]) as engine:
        await fail(engine, bench.wf)
        bench.works = True
        await engine.retry("r", "b")
        image = crash_image(disk, tmp_path / "image")
    async with open_engine(image, workflows=[bench.wf]) as engine:
        run = await engine.start(bench.wf, id="r")
        assert await run.result() == {"a": 1, "b": 2, "c": 2}


class Loop:
    """Counts to three by jumping back, and fails in ``check`` until it is repaired."""

    def __init__(self):
        self.works = False
        self.wf = Workflow("loop")
        self.wf.step(lambda ctx: ctx | {"n": ctx.get("n", 0) + 1}, name="count", inline=True)
        self.wf.step(self.check, name="check", inline=True)

    def check(self, ctx):
        if ctx["n"] < 3:
            return Goto("count", ctx)
        return Finish(ctx) if self.works else Err("broken")


@pytest.mark.parametrize(("visit", "n"), [(None, 3), (3, 3), (1, 3)])
async def test_of_several_visits_it_is_the_last_one_unless_said_otherwise(db, visit, n):
    loop = Loop()
    async with open_engine(db, workflows=[loop.wf]) as engine:
        await fail(engine, loop.wf)
        loop.works = True
        assert await (await engine.retry("r", "count", visit=visit)).result() == {"n": n}
        info = await engine.get("r")
    kept = [(step.path, step.visit) for step in info.steps if not step.superseded]
    again = 3 if visit is None else visit
    before = [(path, number) for number in range(1, again) for path in ("count", "check")]
    after = [(path, 4 + number) for number in range(4 - again) for path in ("count", "check")]
    assert kept == before + after


async def test_a_block_is_one_step_and_all_of_it_runs_again(db, wf):
    entered, works = [], []
    with wf.parallel(name="both"):
        wf.step(lambda ctx: entered.append("x") or Ok(1), name="x", inline=True)
        wf.step(lambda ctx: entered.append("y") or Ok(2), name="y", inline=True)
    wf.step(lambda ctx: Ok(ctx | {"end": True}) if works else Err("broken"), name="end", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        await fail(engine, wf)
        works.append(True)
        result = await (await engine.retry("r", "both")).result()
        info = await engine.get("r")
    assert (result["__results__"], result["end"]) == ({"x": Ok(1), "y": Ok(2)}, True)
    assert sorted(entered) == ["x", "x", "y", "y"]
    assert sorted((step.path, step.visit) for step in info.steps if step.superseded) == [
        ("both", 1),
        ("both/x", 1),
        ("both/y", 1),
        ("end", 1),
    ]


async def test_a_step_that_runs_again_starts_children_of_its_own(db, wf):
    calls, works = [], []
    child = Workflow("child")
    child.step(lambda ctx: calls.append(1) or {"n": len(calls)}, name="only", inline=True)

    @wf.step
    async def ask(ctx):
        return {"n": (await call_workflow(child)).value["n"]}

    wf.step(lambda ctx: None if works else Err("broken"), name="end", inline=True)
    async with open_engine(db, workflows=[wf, child]) as engine:
        await fail(engine, wf)
        works.append(True)
        assert await (await engine.retry("r", "ask")).result() == {"n": 2}
        assert len(await engine.list(parent="r")) == 2


async def test_a_wait_that_is_superseded_waits_for_another_event(db, wf):
    works = []
    wf.wait_for_event("go")
    wf.step(lambda ctx: None if works else Err("broken"), name="end", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await engine.send_event("r", "go", 1)
        await run.wait()
        works.append(True)
        run = await engine.retry("r", "wait_for_go")
        await engine.send_event("r", "go", 2)
        assert await run.result() == {"go": 2}


@pytest.mark.parametrize(
    ("from_step", "visit", "says"),
    [
        ("x", None, "it has come to: 'a', 'b', 'c'"),
        ("a/b", None, "at the top level"),
        (7, None, "at the top level"),
        ("b", 2, "has no visit 2 of 'b' that counts; it has: 1"),
        (None, 1, "from_step"),
    ],
)
async def test_a_point_that_is_not_there_is_refused_and_nothing_is_recorded(db, from_step, visit, says):
    bench = Bench()
    async with open_engine(db, workflows=[bench.wf]) as engine:
        await fail(engine, bench.wf)
        with pytest.raises(InputError) as caught:
            await engine.retry("r", from_step, visit=visit)
        assert says in str(caught.value)
        info = await engine.get("r")
        assert (info.status, info.history) == ("failed", [])


async def test_a_run_that_has_not_failed_is_refused(db):
    bench = Bench("ab")
    async with open_engine(db, workflows=[bench.wf]) as engine:
        await engine.run(bench.wf, id="r")
        with pytest.raises(InputError, match="completed; only a failed run"):
            await engine.retry("r", "a")


@pytest.mark.parametrize("from_step", [None, "c"])
async def test_a_definition_that_does_not_fit_is_refused(disk, from_step):
    old, new = Bench("abc"), Bench("xabc")
    async with open_engine(disk, workflows=[old.wf]) as engine:
        await fail(engine, old.wf)
    new.works = True
    async with open_engine(disk, workflows=[new.wf]) as engine:
        with pytest.raises(RunBlocked, match="'x'"):
            await engine.retry("r", from_step)
        assert (await engine.get("r")).status == "failed"
    assert new.entered == []
    old.works = True
    async with open_engine(disk, workflows=[old.wf]) as engine:
        assert await (await engine.retry("r")).result() == {"a": 1, "b": 1, "c": 1}


async def test_only_what_still_counts_has_to_fit(disk):
    old, new = Bench("abc"), Bench("axc")
    async with open_engine(disk, workflows=[old.wf]) as engine:
        await fail(engine, old.wf)
    new.works = True
    async with open_engine(disk, workflows=[new.wf]) as engine:
        run = await engine.retry("r", "a")
        assert await run.result() == {"a": 2, "x": 1, "c": 2}
