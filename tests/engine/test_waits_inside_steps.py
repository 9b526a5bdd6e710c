"""Waits inside steps: the body starts again after a restart, and what was answered is not asked again."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
import trio
from engine_helpers import Hold, states
from waiting_helpers import START, Wall, reaches, waiting_for

from durable_trio import (
    DurableError,
    Ok,
    Retry,
    RunFailed,
    WaitTimeout,
    Workflow,
    open_engine,
    sleep,
    sleep_until,
    wait_for_all,
    wait_for_any,
    wait_for_approval,
    wait_for_choice,
    wait_for_event,
    wait_for_form,
    wait_for_input,
    wait_for_text,
)
from durable_trio.testing import EPOCH, trio_clock

DAY = 86400


def single(body, **options):
    """A workflow with one step, whose body is ``body()`` and whose result is kept as ``got``."""
    wf = Workflow("single")

    @wf.step(**options)
    async def only(ctx):
        return {"got": await body()}

    return wf


async def settled(run, *events):
    """Under a mock clock: let the run come to its wait, and send it events, one after the other."""
    for name, payload in events:
        await trio.sleep(1)
        await run._engine.send_event(run.id, name, payload)
    return (await run.result())["got"]


async def test_sleeping_takes_its_time(mock_clock):
    async def body():
        begun = trio.current_time()
        await sleep(10)
        await sleep(timedelta(days=2))
        await sleep_until(EPOCH + timedelta(days=5))
        await sleep_until(EPOCH)
        return trio.current_time() - begun

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        assert (await engine.run(wf))["got"] == 5 * DAY


async def test_each_wait_for_one_name_takes_one_event(mock_clock):
    async def body():
        return [await wait_for_event("item") for _ in range(4)]

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for early in (1, 2):
            await engine.send_event(run.id, "item", early)
        assert await settled(run, ("item", 3), ("other", 0), ("item", [4])) == [1, 2, 3, [4]]


@pytest.mark.parametrize("default", ["later", None, [], (1, {"a": {1}})])
async def test_a_time_that_is_over_gives_the_default(mock_clock, default):
    async def body():
        return [
            await wait_for_event("go", timeout=10, default=default),
            await wait_for_any(["go", "stop"], timeout=timedelta(seconds=10), default=default),
            await wait_for_all(["go", "stop"], timeout=10, default=default),
        ]

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        assert (await engine.run(wf))["got"] == [default] * 3
        assert 30 <= trio.current_time() < 31


async def test_a_time_that_is_over_raises_in_the_body_and_names_the_wait(mock_clock):
    async def body():
        caught = []
        for wait in (
            lambda: wait_for_event("go", timeout=10),
            lambda: wait_for_any(["go", "stop"], timeout=10),
            lambda: wait_for_all(["go", "stop"], timeout=10),
            lambda: wait_for_approval("boss", timeout=10),
        ):
            with pytest.raises(WaitTimeout) as timeout:
                await wait()
            caught.append(str(timeout.value))
        return caught

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        got = (await engine.run(wf))["got"]
        for text, name in zip(got, ("go", "stop", "go", "boss"), strict=True):
            assert name in text

        failing = single(lambda: wait_for_event("go", timeout=10))
    async with open_engine(workflows=[failing], clock=trio_clock()) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(failing)
        assert failed.value.error.type == "durable_trio.WaitTimeout"


async def test_without_a_bound_and_with_an_infinite_one_it_waits(mock_clock):
    wf = single(lambda: wait_for_event("go", timeout=math.inf))
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(DAY)
        assert waiting_for(await engine.get(run.id))
        assert await settled(run, ("go", 1)) == 1


@pytest.mark.parametrize(
    "body",
    [
        lambda: sleep(-1),
        lambda: sleep("1"),
        lambda: sleep(math.inf),
        lambda: sleep(timedelta.max),
        lambda: sleep_until(START.replace(tzinfo=None)),
        lambda: sleep_until(5),
        lambda: wait_for_event(""),
        lambda: wait_for_event(5),
        lambda: wait_for_event("x" * 300),
        lambda: wait_for_event("go", timeout=-1),
        lambda: wait_for_event("go", timeout=1e300),
        lambda: wait_for_any([]),
        lambda: wait_for_any("go"),
        lambda: wait_for_all(["go", 5]),
        lambda: wait_for_all(["go", "stop", "go"]),
    ],
)
async def test_a_wait_that_makes_no_sense_is_an_error_of_the_step(mock_clock, body):
    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        with pytest.raises(RunFailed) as failed, trio.fail_after(1000):
            await run.result()
        assert failed.value.error.type in ("durable_trio.InputError", "durable_trio.DefinitionError")
        assert waiting_for(await engine.get("r")) == []


async def test_any_takes_the_earliest_sent_and_leaves_the_others(mock_clock):
    async def body():
        first = await wait_for_any(["a", "b", "c"])
        second = await wait_for_any(["a", "c"])
        return [first, second, await wait_for_event("a"), await wait_for_any(["b", "z"])]

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for name in "cba":
            await engine.send_event(run.id, name, name.upper())
        got = await settled(run, ("a", 2))
        assert got == [("c", "C"), ("a", "A"), 2, ("b", "B")]


async def test_all_waits_for_each(mock_clock):
    wf = single(lambda: wait_for_all(["b", "a", "c"]))
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await engine.send_event(run.id, "a", 1)
        got = await settled(run, ("c", 3), ("a", "second"), ("b", 2))
        assert got == {"a": 1, "b": 2, "c": 3}
        assert list(got) == ["b", "a", "c"]


async def test_after_a_restart_answers_come_at_once_and_dues_stay(disk):
    wall, asked, hold = Wall(), [], Hold()
    wf = Workflow("again")

    @wf.step
    async def only(ctx):
        asked.append("begin")
        first = await wait_for_event("first")
        asked.append(first)
        first["changed"] = True
        await sleep(100)
        either = await wait_for_any(["x", "y"])
        both = await wait_for_all(["x", "y"])
        none = await wait_for_event("none", timeout=0, default="none")
        asked.append((either, both, none))
        await hold()
        late = await wait_for_event("late", timeout=1000, default="too late")
        return {"got": [first, either, both, none, late]}

    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        for name, payload in [("first", {"n": 1}), ("y", 1), ("x", 2), ("y", 3)]:
            await engine.send_event("r", name, payload)
        while len(asked) < 2:
            await trio.lowlevel.checkpoint()
        while not waiting_for(info := await engine.get("r")):
            await trio.lowlevel.checkpoint()
        (wait,) = [step for step in info.steps if step.kind == "sleep"]
        assert wait.due_at == START + timedelta(seconds=100)
    wall.pass_(101)
    hold.let_go()
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await hold.reached.wait()
        while not any("late" in path for path in waiting_for(await engine.get("r"))):
            await trio.lowlevel.checkpoint()
    results = (("y", 1), {"x": 2, "y": 3}, "none")
    assert asked == ["begin", {"n": 1, "changed": True}, "begin", {"n": 1, "changed": True}, results]
    wall.pass_(1001)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        run = await engine.start(wf, id="r")
        got = (await run.result())["got"]
        assert got == [{"n": 1, "changed": True}, *results, "too late"]
    assert asked.count("begin") == 3


async def test_a_further_attempt_gets_the_same_answers(mock_clock):
    seen = []

    async def body():
        seen.append(await wait_for_event("go"))
        if len(seen) < 3:
            raise OSError("again")
        return await wait_for_event("go")

    wf = single(body, retry=Retry(max_attempts=3, base=1, jitter=False))
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        assert await settled(run, ("go", "a"), ("go", "b"), ("go", "c")) == "b"
        assert seen == ["a", "a", "a"]


async def test_two_branches_and_the_items_of_a_map_share_the_events_of_one_name(mock_clock):
    wf = Workflow("shared")
    with wf.parallel(name="block"):
        for name in ("one", "two"):

            @wf.step(name=name)
            async def wait(ctx):
                return Ok(await wait_for_event("go"))

        wf.wait_for_event("go")

        @wf.map(over=lambda ctx: range(3))
        async def each(ctx, item):
            return Ok(await wait_for_event("go"))

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        for n in range(6):
            if n > 2:
                await trio.sleep(1)
            await engine.send_event(run.id, "go", n)
        results = (await run.result())["__results__"]
        each = [item.value for item in results["each"].value]
        got = [results["one"].value, results["two"].value, results["go"].value["go"], *each]
        assert sorted(got) == [0, 1, 2, 3, 4, 5]


async def test_a_step_with_a_timeout_leaves_its_event_in_the_mailbox(mock_clock):
    wf = Workflow("bounded")
    with wf.parallel(name="block", into=lambda ctx, results: {"errors": [r.is_ok for r in results.values()]}):

        @wf.step(timeout=10)
        async def impatient(ctx):
            await wait_for_event("go")

    wf.wait_for_event("go")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(20)
        info = await engine.get(run.id)
        assert (info.status, waiting_for(info)) == ("waiting", ["wait_for_go"])
        await engine.send_event(run.id, "go", 1)
        assert await run.result() == {"errors": [False], "go": 1}


async def test_a_thread_can_wait_too(mock_clock):
    wf = Workflow("thread")

    @wf.step
    def threaded(ctx):
        first = trio.from_thread.run(wait_for_event, "go")
        trio.from_thread.run(sleep, 0)
        return {"got": first, "text": trio.from_thread.run(wait_for_text, "name")}

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await engine.send_event("r", "go", 1)
        while not await engine.pending_inputs("r"):
            await trio.lowlevel.checkpoint()
        await engine.provide_input("r", "name", "Ada")
        assert await run.result() == {"got": 1, "text": "Ada"}


@pytest.mark.parametrize(
    ("wait", "arguments"),
    [
        (sleep, (0,)),
        (sleep_until, (EPOCH,)),
        (wait_for_event, ("go",)),
        (wait_for_any, (["go"],)),
        (wait_for_all, (["go"],)),
        (wait_for_input, ("name",)),
        (wait_for_approval, ("name",)),
        (wait_for_choice, ("name", ["a", "b"])),
        (wait_for_text, ("name",)),
        (wait_for_form, ("name", [{"name": "a", "type": "text"}])),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_outside_of_a_step_it_says_so_and_names_what_was_called(wait, arguments):
    with pytest.raises(RuntimeError, match=rf"^{wait.__name__}\(\) was called outside a step"):
        await wait(*arguments)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: wait_for_choice("size", []), r"wait_for_choice\('size'\)"),
        (lambda: wait_for_form("trip", [{"name": "a", "type": "colour"}]), r"wait_for_form\('trip'\)"),
        (lambda: wait_for_text(""), "wait_for_text: the name"),
        (lambda: wait_for_event(5), "wait_for_event: the name"),
    ],
)
async def test_what_makes_no_question_is_refused_under_the_name_that_was_called(ask, message):
    wf = Workflow("orders")

    @wf.step
    async def asks(ctx):
        with pytest.raises(DurableError, match=message):
            await ask()

    async with open_engine(workflows=[wf]) as engine:
        await engine.run(wf)


async def test_waits_that_are_answered_at_once_let_others_run(mock_clock):
    wf, ticks = Workflow("polite"), []

    @wf.step
    async def greedy(ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            for _ in range(20):
                await wait_for_event("item")
                await wait_for_any(["other"])
                await sleep(0)
            nursery.cancel_scope.cancel()

    async def tick():
        while True:
            ticks.append(1)
            await trio.lowlevel.checkpoint()

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, at=EPOCH + timedelta(seconds=10))
        for _ in range(20):
            await engine.send_event(run.id, "item")
            await engine.send_event(run.id, "other")
        await run.result()
    assert len(ticks) > 40


async def test_a_failed_step_can_be_retried_and_waits_anew_for_what_did_not_come(mock_clock):
    async def body():
        return [await wait_for_event("first"), await wait_for_event("second", timeout=10)]

    wf = single(body)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await engine.send_event("r", "first", 1)
        assert (await run.wait()).status == "failed"
        await trio.sleep(DAY)
        run = await engine.retry("r")
        await trio.sleep(5)
        assert waiting_for(await engine.get("r")) == ["only", "only/__event:second#1"]
        await engine.send_event("r", "second", 2)
        assert (await run.result())["got"] == [1, 2]


async def test_cancelling_a_run_that_waits_in_steps_ends_it(db):
    wf = Workflow("cancelled")
    with wf.parallel(name="block"):
        for name in ("one", "two"):

            @wf.step(name=name)
            async def wait(ctx):
                await wait_for_any(["go", "stop"])

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        while len(waiting_for(await engine.get("r"))) < 2:
            await trio.lowlevel.checkpoint()
        assert await engine.cancel("r")
        info = await run.wait()
        assert (states(info), waiting_for(info)) == ({"block/one": "cancelled", "block/two": "cancelled"}, [])
        assert (await reaches(engine, "r", "cancelled")).error is None
