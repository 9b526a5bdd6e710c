"""Point 10 of parallel blocks: ``need=n``, a race or a quorum, reached or out of reach."""

from __future__ import annotations

import pytest
import trio
from engine_helpers import Hold, failed, finish, interrupt, result_of, resume, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Failure, Ok


async def forever(ctx):
    await trio.sleep_forever()


def answer(value):
    async def branch(ctx):
        await wait_all_tasks_blocked()
        return value

    return branch


def block(wf, steps, **options):
    with wf.parallel(name="block", **options) as opened:
        for name, step in steps.items():
            wf.step(step, name=name)
    return opened


modes = pytest.mark.parametrize("on_error", [None, "fail_fast", "complete_all"])


@modes
async def test_a_race_is_over_with_the_first_ok(db, wf, on_error):
    block(wf, {"slow": forever, "quick": answer(Ok("won")), "other": forever}, need=1, on_error=on_error)
    info = await finish(db, wf)
    assert info.status == "completed"
    results = info.result["__results__"]
    assert list(results) == ["slow", "quick", "other"]
    assert results["quick"] == Ok("won")
    for name in ("slow", "other"):
        assert type(results[name]) is Err
        assert isinstance(results[name].reason, Failure)
        assert results[name].reason.type == "Cancelled"
        assert step_of(info, f"block/{name}").status == "cancelled"
        assert step_of(info, f"block/{name}").error == results[name].reason
    assert states(info)["block"] == "ok"


@modes
async def test_an_error_does_not_end_a_race_that_can_still_be_won(db, wf, on_error):
    lost = trio.Event()

    async def loser(ctx):
        lost.set()
        return Err("lost")

    async def winner(ctx):
        await lost.wait()
        await wait_all_tasks_blocked()
        return Ok("won")

    block(wf, {"loser": loser, "winner": winner, "slow": forever}, need=1, on_error=on_error)
    results = (await result_of(db, wf))["__results__"]
    assert results["loser"] == Err("lost")
    assert results["winner"] == Ok("won")
    assert results["slow"].reason.type == "Cancelled"


@modes
async def test_a_quorum_is_reached_with_so_many_oks(db, wf, on_error):
    first, second = trio.Event(), trio.Event()

    async def one(ctx):
        first.set()
        return Ok(1)

    async def two(ctx):
        await first.wait()
        second.set()
        return Ok(2)

    async def three(ctx):
        await second.wait()
        await wait_all_tasks_blocked()
        return Ok(3)

    block(wf, {"one": one, "two": two, "three": three, "slow": forever}, need=3, on_error=on_error)
    results = (await result_of(db, wf))["__results__"]
    assert [results[key] for key in ("one", "two", "three")] == [Ok(1), Ok(2), Ok(3)]
    assert results["slow"].reason.type == "Cancelled"


@pytest.mark.parametrize("on_error", [None, "fail_fast"])
async def test_out_of_reach_the_rest_is_cancelled_and_the_run_fails_with_the_first_error(db, wf, on_error):
    lost = trio.Event()

    async def first(ctx):
        lost.set()
        return Err("first")

    async def second(ctx):
        await lost.wait()
        return Err("second")

    block(wf, {"second": second, "slow": forever, "first": first}, need=2, on_error=on_error)
    info = await finish(db, wf)
    assert info.status == "failed"
    assert info.error == "first"
    assert list(info.errors.items()) == [("block/first", "first"), ("block/second", "second")]
    assert states(info) == {
        "block/first": "error",
        "block/second": "error",
        "block/slow": "cancelled",
        "block": "error",
    }


async def test_out_of_reach_under_complete_all_every_branch_runs_to_its_end(db, wf):
    lost = trio.Event()

    async def loser(ctx):
        lost.set()
        return Err("lost")

    async def late(ctx):
        await lost.wait()
        await wait_all_tasks_blocked()
        return Ok("late")

    block(wf, {"loser": loser, "late": late}, need=2, on_error="complete_all")
    assert (await result_of(db, wf))["__results__"] == {"loser": Err("lost"), "late": Ok("late")}


async def test_into_decides_about_a_race_that_was_won(db, wf):
    race = block(wf, {"slow": forever, "quick": answer(Ok("won"))}, need=1)
    race.into(lambda ctx, results: {"winner": [key for key, found in results.items() if found.is_ok]})
    assert await result_of(db, wf) == {"winner": ["quick"]}


async def test_into_is_called_under_fail_fast_when_the_race_was_won_in_spite_of_an_error(db, wf):
    lost = trio.Event()

    async def loser(ctx):
        lost.set()
        return Err("lost")

    async def winner(ctx):
        await lost.wait()
        return Ok("won")

    race = block(wf, {"loser": loser, "winner": winner}, need=1, on_error="fail_fast")
    race.into(lambda ctx, results: {"winner": results["winner"].value, "loser": results["loser"].reason})
    assert await result_of(db, wf) == {"winner": "won", "loser": "lost"}


async def test_into_is_called_with_the_errors_when_the_need_is_out_of_reach(db, wf):
    quorum = block(wf, {"a": answer(Err(1)), "b": answer(Ok(2)), "c": answer(Err(3))}, need=2)
    quorum.into(lambda ctx, results: {"ok": [found.is_ok for found in results.values()]})
    assert await result_of(db, wf) == {"ok": [False, True, False]}


async def test_into_is_not_called_under_fail_fast_when_the_need_is_out_of_reach(db, wf):
    called = []
    quorum = block(wf, {"a": answer(Err(1)), "b": forever}, need=2, on_error="fail_fast")
    quorum.into(lambda ctx, results: called.append(1))
    error = await failed(db, wf)
    assert error.error == 1
    assert called == []


async def test_when_the_need_is_reached_nothing_starts_any_more(db, wf):
    entered = []

    async def late(ctx):
        entered.append(1)

    block(wf, {"quick": answer(Ok(1)), "late": late, "later": late}, need=1, limit=1)
    info = await finish(db, wf)
    assert info.status == "completed"
    assert entered == []
    assert states(info)["block/late"] == states(info)["block/later"] == "never_started"
    results = info.result["__results__"]
    assert results["late"].reason.type == results["later"].reason.type == "Cancelled"


async def test_the_losers_of_a_race_are_out_before_the_next_step(db, wf):
    events = []
    began = trio.Event()

    async def tidy(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
            events.append("out")

    async def winner(ctx):
        await began.wait()
        return Ok(1)

    block(wf, {"tidy": tidy, "winner": winner}, need=1)
    wf.step(lambda ctx: events.append("next"), name="next", inline=True)
    await result_of(db, wf)
    assert events == ["out", "next"]


async def test_a_loser_that_fails_on_its_way_out_does_not_undo_the_race(db, wf):
    began = trio.Event()

    async def breaking(ctx):
        began.set()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    async def winner(ctx):
        await began.wait()
        return Ok("won")

    block(wf, {"breaking": breaking, "winner": winner}, need=1)
    results = (await result_of(db, wf))["__results__"]
    assert results["winner"] == Ok("won")
    assert results["breaking"].reason.message == "in the cleanup"


async def test_needing_all_is_the_same_as_needing_each(db, wf):
    block(wf, {"a": answer(Ok(1)), "b": answer(Ok(2))}, need=2)
    assert (await result_of(db, wf))["__results__"] == {"a": Ok(1), "b": Ok(2)}


async def test_more_oks_than_needed_in_one_tick_are_all_kept(db, wf):
    block(wf, {name: answer(Ok(name)) for name in "abc"}, need=2)
    results = (await result_of(db, wf))["__results__"]
    won = [key for key, found in results.items() if found.is_ok]
    assert len(won) >= 2
    assert all(results[key] == Ok(key) for key in won)


async def test_results_recorded_before_a_restart_count_towards_the_need(disk, wf):
    hold = Hold()
    entered = []

    async def early(ctx):
        entered.append("early")
        return Ok(1)

    async def second(ctx):
        entered.append("second")
        await hold()
        return Ok(2)

    async def slow(ctx):
        entered.append("slow")
        await trio.sleep_forever()

    block(wf, {"early": early, "second": second, "slow": slow}, need=2)
    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    results = (await resume(disk, wf)).result["__results__"]
    assert results["early"] == Ok(1)
    assert results["second"] == Ok(2)
    assert results["slow"].reason.type == "Cancelled"
    assert entered.count("early") == 1
    assert entered.count("second") == 2
