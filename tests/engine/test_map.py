"""Maps: one branch per item of a list that is known at run time; the rules of a parallel block hold."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
import trio
from engine_helpers import Hold, Meeting, failed, finish, interrupt, result_of, resume, states, step_of
from waiting_helpers import Wall, reaches

from durable_trio import Err, Finish, Goto, Ok, Retry, RunFailed, Workflow, open_engine, step_info
from durable_trio.testing import trio_clock


def doubling(over="items", **options):
    wf = Workflow("doubling")

    @wf.map(over=over, **options)
    async def double(ctx, item):
        return Ok(item * 2)

    return wf


async def async_items(ctx):
    await trio.lowlevel.checkpoint()
    return ctx["items"]


@pytest.mark.parametrize(
    "over", ["items", lambda ctx: ctx["items"], async_items, lambda ctx: (n for n in ctx["items"])]
)
@pytest.mark.parametrize("items", [[], [5], [3, 1, 2], ["a", (1,), b"x"]])
async def test_over_a_key_or_what_a_function_returns(db, over, items):
    wf = doubling(over)
    info = await finish(db, wf, {"items": items})
    assert info.result == {"items": items, "__results__": {"double": [Ok(item * 2) for item in items]}}
    paths = {f"double/{n}": "ok" for n in range(len(items))}
    assert states(info) == {**paths, "double": "ok"}
    assert step_of(info, "double").kind == "map"


async def test_over_a_tuple_and_over_one_shot_iterables(db):
    assert (await result_of(db, doubling(), {"items": (1, 2)}))["__results__"]["double"] == [Ok(2), Ok(4)]
    wf = doubling(lambda ctx: range(3))
    assert (await result_of(db, wf))["__results__"]["double"] == [Ok(0), Ok(2), Ok(4)]


@pytest.mark.parametrize("items", ["text", b"bytes", {"a": 1}, 5, None])
@pytest.mark.parametrize("over", ["items", lambda ctx: ctx["items"]])
async def test_what_is_no_list_fails_the_map_and_shows_it(db, over, items):
    wf = doubling(over)
    error = await failed(db, wf, {"items": items})
    assert list(error.errors) == ["double"]
    assert "'double'" in error.error.message
    assert repr(items) in error.error.message


async def test_a_missing_key_a_raising_function_and_what_cannot_be_stored(db):
    error = await failed(db, doubling(), {"docs": []})
    assert "'items'" in error.error.message
    assert "'docs'" in error.error.message
    error = await failed(db, doubling(lambda ctx: 1 / 0))
    assert (error.error.type, list(error.errors)) == ("ZeroDivisionError", ["double"])
    error = await failed(db, doubling(lambda ctx: [1, object()]))
    assert error.error.type == "durable_trio.SnapshotError"
    assert "items[1]" in error.error.message


async def test_a_step_after_the_map_finds_the_results(db):
    wf = doubling(returns="twice")
    wf.step(lambda ctx: {"sum": sum(item.value for item in ctx.results["twice"])}, name="add", inline=True)
    assert await result_of(db, wf, {"items": [1, 2, 3]}) == {"sum": 12}


async def test_results_stand_in_the_order_of_the_items_whoever_ends_first(mock_clock):
    wf = Workflow("order")

    @wf.map(over=lambda ctx: [3, 1, 2], into=lambda ctx, results: {"got": results["wait"], "ended": ended})
    async def wait(ctx, item):
        await trio.sleep(item)
        ended.append(item)
        return Ok(item)

    ended = []
    got = await result_of(None, wf, clock=trio_clock())
    assert got == {"got": [Ok(3), Ok(1), Ok(2)], "ended": [1, 2, 3]}


async def test_no_more_than_the_limit_are_at_work(mock_clock):
    wf, now, most, meeting = Workflow("limited"), [0], [0], Meeting(3)

    @wf.map(over=lambda ctx: range(12), limit=3)
    async def work(ctx, item):
        now[0] += 1
        most[0] = max(most[0], now[0])
        await meeting()
        now[0] -= 1
        return Ok(item)

    result = await result_of(None, wf, clock=trio_clock())
    assert [item.value for item in result["__results__"]["work"]] == list(range(12))
    assert most == [3]


async def test_fail_fast_cancels_the_rest_and_keeps_what_was_done(mock_clock):
    wf, begun = Workflow("fails"), []

    @wf.map(over=lambda ctx: range(6), limit=3)
    async def work(ctx, item):
        begun.append(item)
        if item == 1:
            await trio.sleep(2)
            return Err("one")
        await trio.sleep(1 if item == 0 else 100)
        return Ok(item)

    info = await finish(None, wf, clock=trio_clock())
    assert (info.status, info.error, info.errors) == ("failed", "one", {"work/1": "one"})
    assert states(info) == {
        "work/0": "ok",
        "work/1": "error",
        "work/2": "cancelled",
        "work/3": "cancelled",
        "work/4": "never_started",
        "work/5": "never_started",
        "work": "error",
    }
    assert sorted(begun) == [0, 1, 2, 3]


async def test_complete_all_passes_errors_on_in_place(db):
    wf = Workflow("mixed")

    def decide(ctx, results):
        return Finish({"got": results["odd"], "n": ctx["n"]})

    @wf.map(over=lambda ctx: range(4), into=decide, returns="odd")
    async def work(ctx, item):
        ctx["n"] += 1
        return Ok(item) if item % 2 else Err(f"even {item}")

    wf.step(lambda ctx: 1 / 0, name="never", inline=True)
    info = await finish(db, wf, {"n": 5})
    assert info.result == {"got": [Err("even 0"), Ok(1), Err("even 2"), Ok(3)], "n": 5}


@pytest.mark.parametrize(("count", "reached"), [(3, True), (1, False), (0, False)])
async def test_need_is_reached_or_cannot_be(mock_clock, count, reached):
    wf = Workflow("quorum")

    @wf.map(over=lambda ctx: range(ctx["count"]), need=2)
    async def work(ctx, item):
        await trio.sleep(item)
        return Ok(item)

    info = await finish(None, wf, {"count": count}, clock=trio_clock())
    if reached:
        first, second, third = info.result["__results__"]["work"]
        assert (first, second, third.reason.type) == (Ok(0), Ok(1), "Cancelled")
    else:
        assert (info.status, next(iter(info.errors))) == ("failed", "work")
        assert "2" in info.error.message


async def test_an_item_is_retried_and_timed_out_by_itself(mock_clock):
    wf, attempts = Workflow("retried"), {}

    @wf.map(
        over=lambda ctx: ["ok", "flaky", "slow"],
        retry=Retry(max_attempts=2, base=1),
        timeout=10,
        on_error="complete_all",
    )
    async def work(ctx, item):
        attempts[item] = attempts.get(item, 0) + 1
        assert step_info().attempt == attempts[item]
        if item == "flaky" and attempts[item] == 1:
            raise OSError("once")
        await trio.sleep(100 if item == "slow" else 0)
        return Ok(step_info().path)

    info = await finish(None, wf, clock=trio_clock())
    ok, flaky, slow = info.result["__results__"]["work"]
    assert (ok, flaky, slow.reason.type) == (Ok("work/0"), Ok("work/1"), "TimeoutError")
    assert attempts == {"ok": 1, "flaky": 2, "slow": 2}
    assert states(info)["work/2"] == "timed_out"


async def test_an_item_is_a_copy_for_each_attempt(mock_clock):
    wf, seen = Workflow("copies"), []

    @wf.map(over="items", retry=Retry(max_attempts=2, base=1))
    async def work(ctx, item):
        item["list"].append("mine")
        ctx["items"][0]["list"].append("mine too")
        seen.append(list(item["list"]))
        if len(seen) < 3:
            raise OSError("again")
        return Ok(item)

    shared = {"list": []}
    info = await finish(None, wf, {"items": [shared, shared]}, clock=trio_clock())
    assert seen == [["mine"]] * 4
    assert info.result["items"] == [{"list": []}, {"list": []}]
    assert info.result["__results__"]["work"] == [Ok({"list": ["mine"]})] * 2
    assert shared == {"list": []}


async def test_maps_inside_a_parallel_block_and_a_sequence(db):
    wf = Workflow("inside")
    with wf.parallel(name="block"):

        @wf.map(over="items", returns="direct")
        async def direct_(ctx, item):
            return Ok(item)

        with wf.sequence("part"):
            wf.step(lambda ctx: {"items": ["x"]}, name="other", inline=True)

            @wf.map(over="items")
            async def inner(ctx, item):
                return Ok(item * 2)

            wf.step(lambda ctx: ctx | {"seen": len(ctx.results["inner"])}, name="then", inline=True)

    info = await finish(db, wf, {"items": [1, Ok(2)]})
    results = info.result["__results__"]
    assert results["direct"] == Ok([Ok(1), Ok(Ok(2))])
    assert results["part"] == Ok({"items": ["x"], "__results__": {"inner": [Ok("xx")]}, "seen": 1})
    assert info.context == info.result


async def test_plain_functions_and_other_returns(db):
    wf = Workflow("plain")
    wf.map(
        lambda ctx, item: [None, {"n": item}, item][item], over=lambda ctx: [0, 1], name="inline", inline=True
    )

    @wf.map(over=lambda ctx: [1, 2])
    def threaded(ctx, item):
        return Ok((item, step_info().path))

    info = await finish(db, wf, {"a": 1})
    assert info.result["__results__"]["threaded"] == [Ok((1, "threaded/0")), Ok((2, "threaded/1"))]
    assert step_of(info, "inline").result["__results__"]["inline"] == [Ok({"a": 1}), Ok({"n": 1})]


@dataclass
class Order:
    factor: int
    name: str = "x"


class Line(msgspec.Struct):
    n: int


async def test_a_typed_context_and_items_of_a_type(db):
    wf = Workflow("typed")

    @wf.map(over="lines")
    async def multiply(ctx: Order, item):
        assert isinstance(ctx, Order)
        return Ok(Line(item.n * ctx.factor))

    data = {"factor": 3, "lines": [Line(1), Line(2)]}
    result = await result_of(db, wf, data, types=[Line])
    assert result["__results__"]["multiply"] == [Ok(Line(3)), Ok(Line(6))]
    error = await failed(db, wf, {"factor": "three", "lines": [Line(1)]}, types=[Line])
    assert "factor" in error.error.message


async def test_a_restart_runs_only_what_is_not_recorded_and_asks_for_no_items_again(disk):
    wf, asked, begun, hold = Workflow("restart"), [], [], Hold()

    def items(ctx):
        asked.append(1)
        return [["a"], ["b"], ["c"], ["d"]] if len(asked) == 1 else [["z"]]

    @wf.map(over=items, limit=2)
    async def work(ctx, item):
        begun.append(item[0])
        if item == ["c"]:
            await hold()
        return Ok([*item, ctx["n"]])

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, {"n": 7}, id="r")
        await hold.reached.wait()
        while states(await engine.get("r")).get("work/3") != "ok":
            await trio.lowlevel.checkpoint()
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result["__results__"]["work"] == [Ok([name, 7]) for name in "abcd"]
    assert asked == [1]
    assert sorted(begun) == ["a", "b", "c", "c", "d"]
    assert info.context == info.result


async def test_a_restart_after_an_error_ends_as_without_one(disk):
    wf, hold = Workflow("restart"), Hold()

    @wf.map(over=lambda ctx: range(3), on_error="complete_all")
    async def work(ctx, item):
        if item == 2:
            await hold()
        return Err(f"no {item}") if item == 1 else Ok(item)

    async with open_engine(disk, workflows=[wf]) as engine:
        await engine.start(wf, id="r")
        while states(await engine.get("r")).get("work/1") != "error" or not hold.entered:
            await trio.lowlevel.checkpoint()
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == {"__results__": {"work": [Ok(0), Err("no 1"), Ok(2)]}}
    assert hold.entered == 2


@pytest.mark.parametrize("over", ["others", lambda ctx: [1]])
async def test_a_map_that_has_begun_keeps_its_items_when_over_is_changed(disk, over):
    hold = Hold()

    def definition(over):
        wf = Workflow("changed")

        @wf.map(over=over)
        async def work(ctx, item):
            await hold()
            return Ok(item)

        return wf

    await interrupt(disk, definition("items"), hold.reached, {"items": [1, 2], "others": "none"})
    hold.let_go()
    info = await resume(disk, definition(over))
    assert info.result["__results__"]["work"] == [Ok(1), Ok(2)]


async def test_each_visit_has_its_own_items(db):
    wf = doubling(into=lambda ctx, results: {"items": [item.value for item in results["double"]]})
    wf.step(lambda ctx: Goto("double", ctx) if ctx["items"][0] < 8 else ctx, name="again", inline=True)
    assert await result_of(db, wf, {"items": [1, 2]}) == {"items": [8, 16]}


async def test_thousands_of_items_over_two_lives(disk):
    wf, ran, hold = Workflow("many"), [], Hold()

    @wf.map(
        over=lambda ctx: range(5000),
        limit=100,
        into=lambda ctx, results: {"sum": sum(r.value for r in results["work"])},
    )
    async def work(ctx, item):
        ran.append(item)
        if item == 2500:
            await hold()
        return Ok(item)

    async with open_engine(disk, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        while len(ran) < 5000:
            await trio.lowlevel.checkpoint()
        assert run.status == "running"
    hold.let_go()
    async with open_engine(disk, workflows=[wf]) as engine:
        assert await (await engine.start(wf, id="r")).result() == {"sum": sum(range(5000))}
    assert sorted(ran) == sorted([*range(5000), 2500])


async def test_a_failed_map_is_retried_from_the_items_that_failed(mock_clock):
    wf, begun = Workflow("retried"), []

    @wf.map(over=lambda ctx: range(3))
    async def work(ctx, item):
        begun.append(item)
        await trio.sleep(item)
        if item == 1 and len(begun) == 3:
            raise OSError("once")
        return Ok(item)

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        with pytest.raises(RunFailed):
            await engine.run(wf, id="r")
        result = await (await engine.retry("r")).result()
        assert result["__results__"]["work"] == [Ok(0), Ok(1), Ok(2)]
        assert sorted(begun) == [0, 1, 1, 2, 2]


async def test_a_parked_map_goes_on_with_what_comes(disk):
    wall, wf = Wall(), Workflow("parked")
    with wf.parallel(name="block"):

        @wf.map(over=lambda ctx: range(3))
        async def work(ctx, item):
            return Ok(item)

        wf.wait_for_event("go")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        info = await reaches(engine, "r")
        assert states(info)["block/work"] == "ok"
        await engine.send_event("r", "go", 1)
        results = (await reaches(engine, "r", "completed")).result["__results__"]
        assert results == {"work": Ok([Ok(0), Ok(1), Ok(2)]), "go": Ok({"go": 1})}


@pytest.mark.slow
async def test_a_hundred_thousand_items(disk):
    count = 100_000
    under_way = most = 0
    wf = Workflow("w")

    @wf.step
    async def prepare(ctx):
        return {"docs": list(range(count))}

    @wf.map(over="docs", limit=50)
    async def double(ctx, doc):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await trio.lowlevel.checkpoint()
        under_way -= 1
        return Ok(doc * 2)

    @wf.step
    async def add_up(ctx):
        found = ctx["__results__"]["double"]
        return {"count": len(found), "sum": sum(result.value for result in found)}

    async with open_engine(disk, workflows=[wf]) as engine:
        assert await engine.run(wf, {}) == {"count": count, "sum": count * (count - 1)}
    assert most == 50
