"""Compensations: which handlers run when a run fails, and in which order."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from compensation_helpers import fail, summary
from engine_helpers import finish

from durable_trio import (
    Err,
    Goto,
    Ok,
    RunFailed,
    open_engine,
)


async def test_the_handlers_of_the_succeeded_steps_run_last_first(db, wf, undone):
    for name in "abc":
        undone.step(name)
    fail(wf)
    info = await finish(db, wf)
    assert undone.names == ["undo_c", "undo_b", "undo_a"]
    assert info.status == "compensated"
    assert summary(info) == [(name, 1, f"undo_{name}", "ok") for name in "cba"]


async def test_the_error_of_the_run_is_kept(db, wf, undone):
    undone.step("a")
    fail(wf, reason=("sold", {"out": 1}))
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        with pytest.raises(RunFailed) as caught:
            await run.result()
        assert run.status == "compensated"
        info = await run.wait()
        (listed,) = await engine.list("compensated")
    assert caught.value.error == info.error == listed.error == ("sold", {"out": 1})
    assert caught.value.errors == info.errors == {"fail": ("sold", {"out": 1})}
    assert info.finished_at is not None
    assert listed.compensations == []  # as with the steps: a list has none


async def test_a_run_that_completes_undoes_nothing(db, wf, undone):
    undone.step("a", {"a": 1})
    info = await finish(db, wf)
    assert (info.status, info.compensations, undone.calls) == ("completed", [], [])


async def test_a_run_without_a_success_to_undo_just_fails(db, wf, undone):
    wf.step(lambda _: None, name="plain", inline=True)
    undone.handler("undo_charge")
    wf.step(lambda _: Err("declined"), name="charge", compensate="undo_charge", inline=True)
    undone.step("never_reached")
    info = await finish(db, wf)
    assert (info.status, info.error, info.compensations) == ("failed", "declined", [])
    assert undone.calls == []


async def test_a_step_is_undone_for_each_of_its_visits(db, wf, undone):
    undone.handler("release")

    @wf.step(compensate="release")
    async def reserve(ctx):
        return {"n": ctx["n"] + 1}

    @wf.step
    async def again(ctx):
        return Goto("reserve", ctx) if ctx["n"] < 3 else Err("enough")

    info = await finish(db, wf, {"n": 0})
    assert undone.calls == [("release", {"n": n - 1}, {"n": n}) for n in (3, 2, 1)]
    assert [done.visit for done in info.compensations] == [3, 2, 1]


async def test_branches_are_undone_in_the_reverse_order_of_their_ends(db, wf, undone):
    second, third = trio.Event(), trio.Event()
    for name in ("undo_1", "undo_2", "undo_3"):
        undone.handler(name)

    with wf.parallel(name="block"):

        @wf.step(compensate="undo_2")
        async def ends_second(ctx):
            await second.wait()
            third.set()

        @wf.step(compensate="undo_3")
        async def ends_third(ctx):
            await third.wait()
            await trio.testing.wait_all_tasks_blocked()

        @wf.step(compensate="undo_1")
        async def ends_first(ctx):
            second.set()

    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        info = await (await engine.start(wf)).wait()
    ends = [step.path for step in info.steps if step.path.startswith("block/")]
    assert ends == ["block/ends_first", "block/ends_second", "block/ends_third"]
    assert undone.names == ["undo_3", "undo_2", "undo_1"]


async def test_in_a_block_that_failed_the_branches_that_succeeded_are_undone(db, wf, undone):
    booked = trio.Event()
    for name in ("flight", "hotel", "car"):
        undone.handler(f"cancel_{name}")

    with wf.parallel(name="book", on_error="fail_fast"):

        @wf.step(compensate="cancel_flight")
        async def flight(ctx):
            booked.set()
            return Ok("F1")

        @wf.step(compensate="cancel_hotel")
        async def hotel(ctx):
            await booked.wait()
            return Err("no rooms")

        @wf.step(compensate="cancel_car")
        async def car(ctx):
            await trio.sleep_forever()

    info = await finish(db, wf, {"to": "Oslo"})
    assert undone.calls == [("cancel_flight", {"to": "Oslo"}, "F1")]
    assert summary(info) == [("book/flight", 1, "cancel_flight", "ok")]
    assert (info.status, info.error) == ("compensated", "no rooms")


async def test_what_went_wrong_in_a_block_that_ended_well_is_not_undone(db, wf, undone):
    undone.handler("undo")
    with wf.parallel(on_error="complete_all"):
        wf.step(lambda _: Ok(1), name="good", compensate="undo", inline=True)
        wf.step(lambda _: Err("no"), name="bad", compensate="undo", inline=True)
    fail(wf)
    info = await finish(db, wf)
    assert [done.path.rpartition("/")[2] for done in info.compensations] == ["good"]


async def test_the_steps_of_a_sequence_get_what_each_was_given(db, wf, undone):
    undone.handler("undo_pack")
    undone.handler("undo_send")
    with wf.parallel(name="ways", on_error="complete_all"), wf.sequence("ship"):
        wf.step(lambda ctx: ctx | {"packed": 1}, name="pack", compensate="undo_pack", inline=True)
        wf.step(lambda ctx: ctx | {"sent": 2}, name="send", compensate="undo_send", inline=True)
        wf.step(lambda _: Err("lost"), name="deliver", inline=True)
    fail(wf)
    await finish(db, wf, {"id": 7})
    assert undone.calls == [
        ("undo_send", {"id": 7, "packed": 1}, {"id": 7, "packed": 1, "sent": 2}),
        ("undo_pack", {"id": 7}, {"id": 7, "packed": 1}),
    ]


async def test_a_sequence_that_was_cancelled_in_the_middle_is_undone_so_far(db, wf, undone):
    packed, reached = undone.handler("unpack"), trio.Event()
    with wf.parallel(name="ways", on_error="fail_fast"):
        with wf.sequence("ship"):
            wf.step(lambda ctx: ctx | {"box": 1}, name="box", compensate=packed, inline=True)
            wf.step(lambda ctx: ctx | {"label": 2}, name="label", compensate=packed, inline=True)

            @wf.step
            async def send(ctx):
                reached.set()
                await trio.sleep_forever()

        @wf.step
        async def pay(ctx):
            await reached.wait()
            return Err("declined")

    info = await finish(db, wf, {})
    assert undone.calls == [("unpack", {"box": 1}, {"box": 1, "label": 2}), ("unpack", {}, {"box": 1})]
    assert info.status == "compensated"


async def test_the_steps_of_a_clause_are_undone(db, wf, undone):
    undone.handler("undo_one")
    undone.handler("undo_two")
    undone.handler("undo_other")
    with wf.branch(on=lambda ctx: ctx["kind"], name="by_kind") as kind:
        with kind.case("a"):
            wf.step(lambda ctx: ctx | {"one": 1}, name="one", compensate="undo_one", inline=True)
            wf.step(lambda ctx: ctx | {"two": 2}, name="two", compensate="undo_two", inline=True)
            fail(wf)
        with kind.default():
            wf.step(lambda _: None, name="other", compensate="undo_other", inline=True)
    info = await finish(db, wf, {"kind": "a"})
    assert undone.calls == [
        ("undo_two", {"kind": "a", "one": 1}, {"kind": "a", "one": 1, "two": 2}),
        ("undo_one", {"kind": "a"}, {"kind": "a", "one": 1}),
    ]
    assert [done.path for done in info.compensations] == ["by_kind/two", "by_kind/one"]


async def test_the_handlers_run_one_after_another(db, wf, undone):
    under_way = []

    @wf.compensation
    async def undo(ctx, result):
        under_way.append(result)
        await trio.lowlevel.checkpoint()
        assert under_way == [result]
        under_way.clear()

    with wf.parallel(name="many"):
        for number in range(5):
            wf.step(lambda _, n=number: Ok(n), name=f"s{number}", compensate="undo", inline=True)
    fail(wf)
    info = await finish(db, wf)
    assert (info.status, len(info.compensations)) == ("compensated", 5)
