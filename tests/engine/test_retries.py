"""A step's ``retry=``: which errors are tried again, how often, and after how long (on a mock clock)."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import trio
from engine_helpers import failed, finish, result_of, states, step_of

from durable_trio import Err, Failure, Ok, Retry, open_engine, step_info
from durable_trio.testing import trio_clock

QUICK = Retry(max_attempts=3, base=0, jitter=False)


class Transient(Exception):
    pass


class Worse(Transient):
    pass


def failing(times, error=Transient, result=None):
    """A step that fails so many times, then succeeds; ``entered`` are the attempts it was told."""
    entered = []

    async def step(ctx):
        entered.append(step_info().attempt)
        await trio.lowlevel.checkpoint()
        if len(entered) <= times:
            if isinstance(error, Err):
                return error
            raise error("again")
        return result

    step.entered = entered
    return step


async def test_without_a_policy_there_is_one_attempt(db, wf):
    step = failing(1)
    wf.step(step)
    assert (await failed(db, wf)).error.attempts == 1
    assert step.entered == [1]


async def test_a_step_that_raises_is_tried_again_until_it_succeeds(db, wf):
    step = failing(2, result={"done": True})
    wf.step(step, retry=QUICK)
    info = await finish(db, wf)
    assert info.result == {"done": True}
    assert step.entered == [1, 2, 3]
    assert step_of(info, "step").attempt == 3
    assert states(info) == {"step": "ok"}


async def test_the_last_attempts_error_is_the_steps_and_tells_how_many_there_were(db, wf):
    step = failing(9)
    wf.step(step, retry=QUICK)
    error = await failed(db, wf)
    assert isinstance(error.error, Failure)
    assert error.error.type == f"{__name__}.Transient"
    assert error.error.attempts == 3
    assert step.entered == [1, 2, 3]


async def test_a_returned_err_is_tried_again_too(db, wf):
    step = failing(2, Err("busy"), {"done": True})
    wf.step(step, retry=QUICK)
    assert await result_of(db, wf) == {"done": True}
    assert step.entered == [1, 2, 3]


async def test_a_returned_err_that_stays_keeps_its_reason(db, wf):
    step = failing(9, Err({"code": 503}))
    wf.step(step, retry=QUICK)
    assert (await failed(db, wf)).error == {"code": 503}
    assert step.entered == [1, 2, 3]


async def test_an_err_without_retry_is_final(db, wf):
    step = failing(9, Err("card_declined", retry=False))
    wf.step(step, retry=QUICK)
    assert (await failed(db, wf)).error == "card_declined"
    assert step.entered == [1]


@pytest.mark.parametrize(
    ("retry_on", "error", "attempts"),
    [
        (Transient, Transient, 3),
        (Transient, Worse, 3),
        (Transient, ValueError, 1),
        ((OSError, Transient), Transient, 3),
        ((OSError, ValueError), Transient, 1),
        (Worse, Transient, 1),
    ],
)
async def test_only_the_types_of_retry_on_are_tried_again(db, wf, retry_on, error, attempts):
    step = failing(9, error)
    wf.step(step, retry=Retry(max_attempts=3, base=0, retry_on=retry_on))
    assert (await failed(db, wf)).error.attempts == attempts
    assert len(step.entered) == attempts


async def test_a_returned_err_is_tried_again_whatever_retry_on_says(db, wf):
    step = failing(1, Err("busy"), {"done": True})
    wf.step(step, retry=Retry(base=0, retry_on=OSError))
    assert await result_of(db, wf) == {"done": True}


async def test_a_group_from_a_steps_own_nursery_is_tried_again_if_all_in_it_would_be(db, wf):
    entered = []

    @wf.step(retry=Retry(base=0, retry_on=Transient))
    async def step(ctx):
        entered.append(1)
        async with trio.open_nursery() as nursery:
            if len(entered) == 1:
                nursery.start_soon(raising, Transient)
                nursery.start_soon(raising, Worse)
            else:
                nursery.start_soon(raising, Transient)
                nursery.start_soon(raising, ValueError)

    async def raising(error):
        raise error("in a task")

    assert (await failed(db, wf)).error.type == "ExceptionGroup"
    assert len(entered) == 2


async def test_each_attempt_gets_the_context_as_it_was_before_the_step(db, wf):
    seen = []

    @wf.step(retry=QUICK)
    async def step(ctx):
        seen.append(copy.deepcopy(dict(ctx)))
        ctx["list"].append("spoiled")
        ctx["extra"] = 1
        if len(seen) < 3:
            raise Transient

    assert await result_of(db, wf, {"list": []}) == {"list": ["spoiled"], "extra": 1}
    assert seen == [{"list": []}] * 3


async def test_what_cannot_be_stored_is_not_tried_again(db, wf):
    step = failing(0, result={"bad": object()})
    wf.step(step, retry=QUICK)
    assert (await failed(db, wf)).error.type.endswith("SnapshotError")
    assert step.entered == [1]


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (Retry(5, "exponential", base=1.0, jitter=False), [1, 2, 4, 8]),
        (Retry(5, "exponential", base=10.0, max_backoff=30.0, jitter=False), [10, 20, 30, 30]),
        (Retry(4, "linear", base=60, max_backoff=1000, jitter=False), [60, 120, 180]),
        (Retry(4, "constant", base=7, jitter=False), [7, 7, 7]),
    ],
    ids=repr,
)
async def test_the_delay_before_each_attempt_is_the_policys(mock_clock, wf, policy, delays):
    times = []

    @wf.step(retry=policy)
    async def step(ctx):
        times.append(trio.current_time())
        raise Transient

    await failed(None, wf, clock=trio_clock())
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx(delays)


async def test_with_jitter_the_delay_is_shorter_but_never_longer(mock_clock, wf):
    times = []

    @wf.step(retry=Retry(40, "constant", base=100.0, max_backoff=1000.0))
    async def step(ctx):
        times.append(trio.current_time())
        raise Transient

    await failed(None, wf, clock=trio_clock())
    delays = [later - earlier for earlier, later in pairwise(times)]
    assert len(set(delays)) > 1
    assert all(0 <= delay <= 100.000001 for delay in delays)


async def test_each_branch_has_a_policy_of_its_own(mock_clock, wf):
    patient, hasty = failing(3, result=Ok("patient")), failing(9)
    with wf.parallel(on_error="complete_all"):
        wf.step(patient, name="patient", retry=Retry(5, jitter=False))
        wf.step(hasty, name="hasty")
    results = (await result_of(None, wf, clock=trio_clock()))["__results__"]
    assert results["patient"] == Ok("patient")
    assert results["hasty"].reason.attempts == 1
    assert patient.entered == [1, 2, 3, 4]


async def test_a_branch_that_waits_for_its_next_attempt_does_not_hold_up_the_others(mock_clock, wf):
    times = {}

    async def note(ctx):
        times["quick"] = trio.current_time()

    step = failing(1, result=Ok(1))
    with wf.parallel():
        wf.step(step, name="slow", retry=Retry(base=30, jitter=False))
        wf.step(note, name="quick")
    start = trio.current_time()
    await result_of(None, wf, clock=trio_clock())
    assert times["quick"] == start
    assert trio.current_time() == pytest.approx(start + 30)


async def test_fail_fast_waits_for_a_branchs_attempts_and_ends_its_back_off(mock_clock, wf):
    waiting, dying = failing(9), failing(9)
    with wf.parallel(name="block"):
        wf.step(waiting, name="waiting", retry=Retry(9, "constant", base=20, jitter=False))
        wf.step(dying, name="dying", retry=Retry(3, "constant", base=15, jitter=False))
    start = trio.current_time()
    info = await finish(None, wf, clock=trio_clock())
    assert info.status == "failed"
    assert info.error.attempts == 3
    assert len(waiting.entered) == 2  # at 0 s and 20 s; at 30 s the other one fails for good
    assert trio.current_time() == pytest.approx(start + 30)
    assert states(info) == {"block/dying": "error", "block/waiting": "cancelled", "block": "error"}


async def test_a_step_that_waits_for_its_next_attempt_says_when_it_is_due(mock_clock, wf):
    step = failing(1)
    wf.step(step, retry=Retry(base=60, max_backoff=60, jitter=False))
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf)
        await trio.sleep(10)
        (shown,) = (await engine.get(run.id)).steps
        assert (shown.status, shown.attempt) == ("retrying", 1)
        assert (shown.due_at - shown.started_at).total_seconds() == pytest.approx(60)
        assert run.status == "running"
        await run.result()
