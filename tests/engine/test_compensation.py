"""Compensations: which handlers run when a run fails, in which order, and what they are given."""

from __future__ import annotations

import copy
import threading

import pytest
import trio
import trio.testing
from engine_helpers import Hold, finish

from durable_trio import (
    Context,
    Err,
    Failure,
    Goto,
    InputError,
    Ok,
    Retry,
    RunFailed,
    Workflow,
    open_engine,
    parallel_ok,
    step_info,
)
from durable_trio.testing import trio_clock


class Undone:
    """Handlers that note what they are given, in the order in which they run."""

    def __init__(self, wf):
        self.calls = []
        self._wf = wf

    def handler(self, name, *, outcome=None, retry=None):
        """A handler of this name; ``outcome`` is returned, or raised if it is an exception."""

        async def undo(ctx, result):
            self.calls.append((name, dict(ctx), result))
            await trio.lowlevel.checkpoint()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self._wf.compensation(name, undo, retry)
        return name

    def step(self, name, returns=None, **options):
        """A step of this name, with a handler ``undo_<name>``."""
        handler = self.handler(f"undo_{name}", **options)
        self._wf.step(lambda _: returns, name=name, compensate=handler, inline=True)

    @property
    def names(self):
        return [name for name, _, _ in self.calls]


@pytest.fixture
def undone(wf):
    return Undone(wf)


def fail(wf, name="fail", reason="sold out"):
    wf.step(lambda _: Err(reason), name=name, inline=True)


def summary(info):
    return [(done.path, done.visit, done.handler, done.status) for done in info.compensations]


# -- which, and in which order -----------------------------------------------------------------------


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


# -- what a handler is given -------------------------------------------------------------------------


async def test_each_attempt_gets_a_context_and_copies_of_its_own(db, wf):
    seen = []

    @wf.compensation(retry=Retry(max_attempts=2, base=0))
    async def undo(ctx, result):
        seen.append((type(ctx), copy.deepcopy(dict(ctx)), type(result), copy.deepcopy(result)))
        ctx["list"].append("changed")
        ctx["new"] = 1
        result["list"].append("changed")
        if len(seen) == 1:
            raise OSError

    wf.step(lambda _: {"list": ["returned"]}, name="a", compensate="undo", inline=True)
    fail(wf)
    info = await finish(db, wf, {"list": ["given"]})
    assert seen == [(Context, {"list": ["given"]}, dict, {"list": ["returned"]})] * 2
    assert info.status == "compensated"
    assert info.context == {"list": ["returned"]}


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (Ok(("a", {1, 2})), ("a", {1, 2})),
        (Ok([1]), [1]),
        (Ok(None), None),
        ({"a": b"1"}, {"a": b"1"}),
        (None, {"id": (1,)}),
    ],
)
async def test_the_data_of_a_branch_comes_back_with_its_type(db, wf, undone, returned, expected):
    undone.handler("undo")
    with wf.parallel(name="block"):
        wf.step(lambda _: returned, name="branch", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf, {"id": (1,)})
    ((_, given, result),) = undone.calls
    assert given == {"id": (1,)}
    assert (result, type(result)) == (expected, type(expected))


async def test_a_plain_function_runs_in_a_thread(db, wf):
    threads = []
    wf.compensation("undo", lambda ctx, result: threads.append((threading.current_thread(), result)))
    wf.step(lambda _: {"x": 1}, name="a", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf)
    ((thread, result),) = threads
    assert thread is not threading.main_thread()
    assert result == {"x": 1}


async def test_step_info_tells_about_the_handler(db, wf):
    steps, handlers = [], []

    @wf.compensation(retry=Retry(max_attempts=2, base=0))
    async def undo(ctx, result):
        handlers.append(step_info())
        if len(handlers) == 1:
            raise OSError

    @wf.step(compensate="undo")
    async def a(ctx):
        steps.append(step_info())

    fail(wf)
    info = await finish(db, wf)
    first, second = handlers
    assert (first.run_id, first.path, first.visit) == (info.id, "a/!undo", 1)
    assert [first.attempt, second.attempt] == [1, 2]
    assert first.idempotency_key == second.idempotency_key != steps[0].idempotency_key


async def test_a_handler_sees_the_results_of_the_block_before_its_step(db, wf):
    seen = []
    wf.compensation("undo", lambda ctx, result: seen.append(parallel_ok("pay")))
    with wf.parallel(name="block"):
        wf.step(lambda _: Ok(1), name="pay", inline=True)
    wf.step(lambda _: {}, name="a", compensate="undo", inline=True)
    fail(wf)
    await finish(db, wf)
    assert seen == [True]


# -- when a handler fails ----------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [OSError("down"), Err("down")])
async def test_a_handler_that_fails_does_not_stop_the_others(db, wf, undone, outcome):
    undone.step("a")
    undone.step("b", outcome=outcome)
    undone.step("c")
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf)
        with pytest.raises(RunFailed) as caught:
            await run.result()
        info = await run.wait()
    assert undone.names == ["undo_c", "undo_b", "undo_a"]
    assert info.status == "compensation_failed"
    assert [done.status for done in info.compensations] == ["ok", "error", "ok"]
    reason = info.compensations[1].error
    assert reason == "down" or (reason.type, reason.message) == ("OSError", "down")
    assert caught.value.error == info.error == "sold out"


async def test_what_a_handler_returns_is_ignored(db, wf, undone):
    undone.step("a", outcome=object())
    fail(wf)
    info = await finish(db, wf)
    assert info.status == "compensated"


async def test_a_handler_is_tried_again_as_its_policy_says(mock_clock, wf, undone):
    retry = Retry(max_attempts=3, backoff="constant", base=60, max_backoff=60, jitter=False)
    undone.step("a")
    undone.step("b", outcome=Err("down"), retry=retry)
    fail(wf)
    began = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert undone.names == ["undo_b"] * 3 + ["undo_a"]
    assert trio.current_time() - began == pytest.approx(120)
    b, a = info.compensations
    assert (b.status, b.attempt, b.error) == ("error", 3, "down")
    assert (a.status, a.attempt) == ("ok", 1)
    assert (a.started_at - b.started_at).total_seconds() == pytest.approx(0, abs=1e-3)


async def test_an_error_that_the_policy_does_not_cover_is_final(db, wf, undone):
    undone.step("a", outcome=KeyError("x"), retry=Retry(retry_on=OSError, base=0))
    undone.step("b", outcome=Err("no", retry=False), retry=Retry(base=0))
    fail(wf)
    info = await finish(db, wf)
    assert [done.attempt for done in info.compensations] == [1, 1]
    assert isinstance(info.compensations[1].error, Failure)


async def test_a_reason_that_cannot_be_stored_is_said_so(db, wf, undone):
    undone.step("a", outcome=Err(object()))
    fail(wf)
    info = await finish(db, wf)
    assert info.status == "compensation_failed"
    assert info.compensations[0].error.type == "durable_trio.SnapshotError"
    assert "undo_a" in info.compensations[0].error.message


# -- the run meanwhile, and afterwards ---------------------------------------------------------------


@pytest.fixture
def held(wf):
    """A run that fails after ``a`` and ``b``; the handler of ``b`` holds."""
    hold = Hold()
    order = []

    @wf.compensation
    async def undo_a(ctx, result):
        order.append("a")

    @wf.compensation
    async def undo_b(ctx, result):
        await hold()
        order.append("b")

    wf.step(lambda _: {"a": 1}, name="a", compensate="undo_a", inline=True)
    wf.step(lambda _: {"b": 1}, name="b", compensate="undo_b", inline=True)
    fail(wf)
    hold.order = order
    return hold


async def test_while_the_handlers_run_the_run_is_compensating(db, wf, held):
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await held.reached.wait()
        info = await engine.get("r")
        assert run.status == info.status == "compensating"
        assert (info.error, info.errors) == ("sold out", {"fail": "sold out"})
        assert info.current_step == "b/!undo_b"
        assert [step.status for step in info.steps] == ["ok", "ok", "error"]
        assert info.compensations == []
        assert info.finished_at is None
        assert [listed.id for listed in await engine.list("compensating")] == ["r"]
        held.let_go()
        info = await run.wait()
    assert info.status == "compensated"
    assert (info.current_step, info.context) == (None, {"b": 1})


async def test_cancelling_it_then_has_no_effect(db, wf, held):
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await held.reached.wait()
        assert await engine.cancel("r", "too late") is False
        assert await engine.cancel("r", "too late", compensate=True) is False
        held.let_go()
        info = await run.wait()
        assert await engine.cancel("r") is False
    assert (info.status, info.error) == ("compensated", "sold out")
    assert held.order == ["b", "a"]


@pytest.mark.parametrize("outcome", [None, Err("down")])
async def test_a_compensated_run_cannot_be_retried(db, wf, undone, outcome):
    undone.step("a", outcome=outcome)
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        info = await run.wait()
        with pytest.raises(InputError, match=rf"'r' is {info.status}.*undone") as caught:
            await engine.retry("r")
    assert "start another" in str(caught.value)
    assert len(undone.calls) == 1


async def test_a_run_with_handlers_that_only_failed_can_be_retried_and_then_undone(db, wf, undone):
    works = []
    undone.handler("undo")
    wf.step(lambda _: {"x": 1} if works else Err("no"), name="a", compensate="undo", inline=True)
    fail(wf)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        assert (await run.wait()).status == "failed"
        works.append(1)
        info = await (await engine.retry("r")).wait()
    assert (info.status, info.error) == ("compensated", "sold out")
    assert undone.calls == [("undo", {}, {"x": 1})]


async def test_a_workflow_that_took_too_long_is_undone_without_a_time_limit(mock_clock):
    wf = Workflow("slow", timeout=10)
    undone = []

    @wf.compensation
    async def undo(ctx, result):
        await trio.sleep(1000)
        undone.append(result)

    wf.step(lambda _: {"n": 1}, name="a", compensate="undo", inline=True)
    wf.step(lambda _: {"n": 2}, name="b", compensate="undo", inline=True)

    @wf.step
    async def slow(ctx):
        await trio.sleep_forever()

    info = await finish(None, wf, clock=trio_clock())
    assert undone == [{"n": 2}, {"n": 1}]
    assert (info.status, info.error.type) == ("compensated", "TimeoutError")
    assert list(info.errors) == ["slow"]


async def test_a_workflow_timeout_does_not_stop_handlers_that_run_already(mock_clock):
    wf = Workflow("slow", timeout=10)
    undone = []

    @wf.compensation
    async def undo(ctx, result):
        await trio.sleep(1000)
        undone.append(result)

    wf.step(lambda _: {"n": 1}, name="a", compensate="undo", inline=True)
    fail(wf)
    info = await finish(None, wf, clock=trio_clock())
    assert undone == [{"n": 1}]
    assert (info.status, info.error) == ("compensated", "sold out")


async def test_too_many_visits_are_a_failure_that_is_undone(db):
    wf = Workflow("loop", max_visits=5)
    undone = []
    wf.compensation("undo", lambda ctx, result: undone.append(result["n"]))
    wf.step(lambda ctx: Goto("a", {"n": ctx["n"] + 1}), name="a", compensate="undo", inline=True)
    info = await finish(db, wf, {"n": 0})
    assert (info.status, undone) == ("compensated", [5, 4, 3, 2, 1])


async def test_other_runs_go_on_meanwhile(db, wf, held):
    other = Workflow("other")
    other.step(lambda _: {"done": True}, name="a", inline=True)
    async with open_engine(db, workflows=[wf, other]) as engine:
        run = await engine.start(wf)
        await held.reached.wait()
        assert await engine.run(other) == {"done": True}
        held.let_go()
        assert (await run.wait()).status == "compensated"


async def test_a_compensating_run_keeps_its_place(db, wf, held):
    async with open_engine(db, workflows=[wf], max_running=1) as engine:
        first = await engine.start(wf)
        await held.reached.wait()
        second = await engine.start(wf)
        assert second.status == "pending"
        held.let_go()
        assert (await first.wait()).status == "compensated"
        assert (await second.wait()).status == "compensated"
