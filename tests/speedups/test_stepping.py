"""A row of plain steps behaves as a coroutine with a loop over them would, whoever drives it."""

from __future__ import annotations

import contextvars
import gc
import sys
import types
from collections import deque
from typing import Any

import outcome
import pytest
import trio
from stepping_world import AWAKE, CODEC, SLEEP, Told, World, one, quick, returned, trap, two

from durable_trio._engine.run import Outcome
from durable_trio._snapshot.records import OK, REPLACED, SAME


def test_a_row_goes_from_record_to_record() -> None:
    world = World(one, two, quick)
    row = world.walk()
    assert row.send(None) == "one"
    assert world.run.at == "s0"
    assert world.scope.path == "s0"
    assert world.stepper.bodies == 1
    assert row.send(7) is SLEEP  # the first is handed over, and the task sleeps until it is on disk
    assert world.stepper.bodies == 0
    assert row.send(AWAKE) is SLEEP
    index, base, end = returned(row, AWAKE)
    assert (index, base, end.value) == (2, {"b": 7}, {"b": 7})
    records = [*CODEC.decode_row(world.row()), *CODEC.decode_row(b"\x91" + end.record)]
    assert [(record.path, record.form, record.data) for record in records] == [
        ("s0", REPLACED, {"a": 7}),
        ("s1", REPLACED, {"b": 7}),
        ("s2", SAME, None),
    ]
    assert {record.started for record in records} == {100.0}
    assert world.visits == {0: 1, 1: 1, 2: 1}


def test_what_is_no_plain_step_is_run_by_whoever_knows_it() -> None:
    world = World(one, None, quick)
    row = world.walk()
    row.send(None)
    assert row.send(4) is SLEEP
    assert row.send(AWAKE) == ("s1", {"a": 4}, 1, "top")
    assert world.run.at == "s1"
    assert row.send(5) is SLEEP  # until the record is on disk
    assert world.row().endswith(b"the node's")
    assert returned(row, AWAKE)[1] == {"a": 4, "node": 5}
    assert world.visits == {0: 1, 1: 1, 2: 1}


def test_what_has_handed_its_record_over_is_waited_for() -> None:
    world = World(None, quick)
    row = world.walk()
    assert row.send(None)[0] == "s0"
    assert row.send(None) == "recorded"
    assert world.queue == deque()
    assert returned(row, None)[:2] == (1, {"n": 0, "node": None})


def test_what_is_raised_by_what_is_no_plain_step_ends_the_row() -> None:
    row = World(None, quick).walk()
    row.send(None)
    with pytest.raises(KeyboardInterrupt):
        row.throw(KeyboardInterrupt())
    with pytest.raises(RuntimeError, match="awaited already"):
        row.send(None)


@pytest.mark.parametrize("halted", [{"stopped": True}, {"deadline": 1.0, "expired": True}])
def test_it_stops_before_a_step_of_a_halted_run(halted: dict[str, Any]) -> None:
    world = World(quick, quick)
    row = world.walk()
    assert row.send(None) is SLEEP
    for name, value in halted.items():
        setattr(world.run, name, value)
    assert returned(row, AWAKE) == (1, {"n": 0}, None)


def test_an_outcome_is_given_back_if_the_run_was_stopped_meanwhile() -> None:
    world = World(one, quick)
    row = world.walk()
    row.send(None)
    world.run.stopped = True
    index, _, end = returned(row, 1)
    assert (index, end.value) == (0, {"a": 1})
    assert not world.queue


def test_a_failed_commit_is_raised() -> None:
    row = World(quick, quick).walk()
    assert row.send(None) is SLEEP
    with pytest.raises(Told):
        row.send(outcome.Error(Told()))


def test_a_run_that_does_not_wait_so_is_asked_what_to_await() -> None:
    world = World(quick, quick)
    world.run.waits = False
    row = world.walk()
    assert row.send(None) == "recording"
    assert returned(row, None)[0] == 1


def test_if_the_writer_takes_nothing_the_run_is_asked_what_to_await() -> None:
    world = World(quick, quick)
    world.intake.closed = True
    row = world.walk()
    assert row.send(None) == "recording"
    assert returned(row, None)[0] == 1


@pytest.mark.parametrize("how", ["cancelled", "cannot be told"])
def test_a_task_that_may_be_cancelled_is_asked_by_a_checkpoint(how: str) -> None:
    world = World(quick, one, tells=how == "cancelled")
    world.task._cancel_status.effectively_cancelled = how == "cancelled"
    row = world.walk()
    assert row.send(None) == "asked"
    assert world.stepper.bodies == 0
    assert row.send(None) is SLEEP
    assert row.send(AWAKE) == "asked"
    with pytest.raises(Told):
        row.throw(Told())
    assert (world.scope.path, world.scope.attempt) == ("s1", 0)


@pytest.mark.parametrize("why", ["pause", "stopped", "draining"])
def test_nothing_is_entered_that_may_not_be(why: str) -> None:
    world = World(quick)
    setattr(world.stepper if why == "draining" else world.run, why, True)
    step = world.step()
    assert step.send(None) == "may not enter"
    assert world.scope.attempt == 0
    assert returned(step, None).value == {"n": 0}


def test_an_error_is_judged() -> None:
    async def fails(_ctx: Any) -> None:
        await trap("before")
        raise Told("oh")

    world = World(fails, quick)
    row = world.walk()
    assert row.send(None) == "before"
    assert row.send(None) == "judged"
    assert world.stepper.bodies == 0
    index, base, end = returned(row, None)
    assert (index, base, end.status) == (0, {"n": 0}, 1)
    assert "oh" in end.value


def test_what_is_no_plain_success_is_judged_and_the_row_goes_on() -> None:
    async def odd(_ctx: Any) -> int:
        return 5

    world = World(odd, quick)
    row = world.walk()
    assert row.send(None) == "judged"
    assert row.send(Outcome(OK, {"x": 1}, b"\xc0")) is SLEEP
    assert world.row() == b"\x91\xc0"
    assert returned(row, AWAKE)[1] == {"x": 1}


def test_what_is_thrown_reaches_the_body() -> None:
    async def catches(_ctx: Any) -> dict[str, Any]:
        try:
            await trap("waits")
        except Told:
            return {"caught": await trap("again")}
        raise AssertionError

    step = World(catches).step("top")
    step.send(None)
    assert step.throw(Told()) == "again"
    assert returned(step, True).value == {"caught": True}


@pytest.mark.parametrize("thrown", [(Told,), (Told, "x"), (Told("x"),), (Told, Told("x"), None)])
def test_throw_takes_what_a_coroutine_takes(thrown: Any) -> None:
    async def catches(_ctx: Any) -> dict[str, Any]:
        try:
            await trap("waits")
        except Told as error:
            return {"n": len(error.args)}
        raise AssertionError

    step = World(catches).step("top")
    step.send(None)
    with pytest.raises(StopIteration) as stop:
        step.throw(*thrown)
    assert stop.value.value.value["n"] in (0, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_comes_through(error: type[BaseException]) -> None:
    world = World(one)
    step = world.step()
    step.send(None)
    assert step.throw(error()) == "judged"
    with pytest.raises(error):
        step.send(None)
    assert world.stepper.bodies == 0


def test_closed_it_closes_the_body() -> None:
    closed = []

    async def waits(_ctx: Any) -> None:
        try:
            await trap("waits")
        finally:
            closed.append(True)

    world = World(waits)
    step = world.step()
    step.send(None)
    step.close()
    assert closed == [True]
    assert world.stepper.bodies == 0
    step.close()
    with pytest.raises(RuntimeError, match="awaited already"):
        step.send(None)


def test_before_it_begins_it_can_be_closed_or_thrown_at() -> None:
    world = World(quick)
    world.step().close()
    with pytest.raises(Told):
        world.step().throw(Told())
    assert world.stepper.bodies == 0


def test_what_a_body_returns_may_be_any_awaitable() -> None:
    class Later:
        def __await__(self) -> Any:
            return {"a": (yield "later")}

    @types.coroutine
    def generator(_ctx: Any) -> Any:
        return {"a": (yield "later")}

    for body in (lambda _ctx: Later(), generator):
        step = World(body).step("top")
        assert step.send(None) == "later"
        assert returned(step, 3).value == {"a": 3}


@pytest.mark.parametrize("given", [None, 5, {"a": 1}])
def test_what_cannot_be_awaited_is_an_error_of_the_step(given: Any) -> None:
    step = World(lambda _ctx: given).step()
    assert step.send(None) == "judged"
    assert "can't be used in 'await' expression" in returned(step, None).value


def test_context_variables_that_a_body_leaves_are_told() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def sets(_ctx: Any) -> None:
        variable.set(1)

    def play() -> None:
        world = World(quick, sets, clean=contextvars.copy_context())
        row = world.walk()
        row.send(None)
        assert world.restored == []
        returned(row, AWAKE)
        assert world.restored == [world.scope]

    contextvars.copy_context().run(play)


def test_the_last_body_of_an_engine_that_drains_is_told() -> None:
    world = World(one)
    step = world.step()
    step.send(None)
    world.stepper.draining = True
    assert not world.stepper.drained.is_set()
    returned(step, None)
    assert world.stepper.drained.is_set()


def test_what_comes_behind_a_row_is_called_with_how_far_it_came_and_may_be_all() -> None:
    world = World(quick, quick)
    told: list[Any] = []
    row = world.stepper.walk(
        world.run, world.scope, world.nodes, 0, {"n": 0}, world.visits, "top", lambda *came: told.append(came)
    )
    assert row.send(None) is SLEEP
    world.run.stopped = True
    assert told == []  # nothing comes behind a record that is not on disk
    assert returned(row, AWAKE) is None
    assert told == [(world.run, world.scope, {0: 1}, 1, {"n": 0}, None)]


@pytest.mark.parametrize("how", ["returns", "raises", "is interrupted", "closes"])
def test_what_comes_behind_a_row_may_be_awaited(how: str) -> None:
    ended: list[str] = []

    async def behind(*_came: Any) -> int:
        try:
            sent = await trap("behind")
        finally:
            ended.append("behind")
        if how == "raises":
            raise Told
        return sent + 1

    world = World(quick)
    row = world.stepper.walk(world.run, world.scope, world.nodes, 0, {"n": 0}, world.visits, "top", behind)
    assert row.send(None) == "behind"
    if how == "returns":
        assert returned(row, 4) == 5
    elif how == "raises":
        with pytest.raises(Told):
            row.send(4)
    elif how == "is interrupted":
        with pytest.raises(KeyboardInterrupt):
            row.throw(KeyboardInterrupt())
    else:
        row.close()
    assert ended == ["behind"]
    with pytest.raises(RuntimeError, match="awaited already"):
        row.send(None)


async def test_trio_sees_through_it() -> None:
    async def waits(_ctx: Any) -> None:
        await trio.sleep_forever()

    world = World(waits)

    async def task(task_status: trio.TaskStatus[Any]) -> None:
        task_status.started(trio.lowlevel.current_task())
        await world.step()

    async with trio.open_nursery() as nursery:
        found = await nursery.start(task)
        await trio.testing.wait_all_tasks_blocked()
        names = [frame.f_code.co_name for frame, _ in found.iter_await_frames()]
        assert names[:3] == ["task", "waits", "sleep_forever"]
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_it_leaves_nothing_behind() -> None:
    async def fails(_ctx: Any) -> None:
        raise Told

    def play() -> None:
        world = World(one, two, fails)
        row = world.walk()
        for value in (None, 1, AWAKE, AWAKE):
            row.send(value)
        returned(row, None)
        for end in ("close", "drop"):
            row = world.walk()
            row.send(None)
            if end == "close":
                row.close()
        world.queue.clear()  # the collector does not look into entries, and no engine leaves any behind

    for _ in range(50):
        play()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(2000):
        play()
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
