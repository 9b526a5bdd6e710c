"""``open_engine(queues=...)``: how many bodies of a queue's steps are entered at the same time."""

from __future__ import annotations

import threading

import pytest
import trio
from engine_helpers import Hold, at

from durable_trio import DurableError, Ok, Workflow, open_engine


class Counter:
    """Counts who is in a body, and remembers the most."""

    def __init__(self):
        self.inside = 0
        self.most = 0
        self.total = 0
        self._lock = threading.Lock()

    def enter(self):
        with self._lock:
            self.inside += 1
            self.total += 1
            self.most = max(self.most, self.inside)

    def leave(self):
        with self._lock:
            self.inside -= 1

    async def body(self, ctx):
        self.enter()
        await trio.sleep(1)
        self.leave()


async def test_over_all_runs_and_steps_of_a_queue(mock_clock):
    mail, other = Counter(), Counter()
    wf = Workflow("orders")
    with wf.parallel():
        for number in range(4):
            wf.step(mail.body, name=f"mail{number}", queue="mail")
            wf.step(other.body, name=f"other{number}", queue="other")
    wf.step(mail.body, name="last", queue="mail")
    async with open_engine(workflows=[wf], queues={"mail": 3}) as engine:
        for run in [await engine.start(wf) for _ in range(3)]:
            await run.result()
    assert (mail.most, mail.total) == (3, 15)
    assert (other.most, other.total) == (12, 12)  # a queue that has no limit


async def test_plain_functions_too(db):
    counter, gate = Counter(), threading.Semaphore(0)

    def body(ctx):
        counter.enter()
        gate.acquire()
        counter.leave()
        return Ok(None)

    wf = Workflow("orders")
    with wf.parallel():
        for number in range(4):
            wf.step(body, name=f"mail{number}", queue="mail")
    async with open_engine(db, workflows=[wf], queues={"mail": 2}) as engine:
        run = await engine.start(wf)
        while counter.inside < 2:
            await trio.lowlevel.checkpoint()
        for _ in range(4):
            gate.release()
        await run.result()
    assert (counter.most, counter.total) == (2, 4)


async def test_a_step_that_waits_for_its_place_can_be_cancelled_and_its_place_is_not_lost(db):
    hold, entered = trio.Event(), []

    async def body(ctx):
        entered.append(1)
        await hold.wait()

    wf = Workflow("orders")
    wf.step(body, name="mail", queue="mail")
    async with open_engine(db, workflows=[wf], queues={"mail": 1}) as engine:
        runs = [await engine.start(wf, id=str(number)) for number in range(3)]
        await trio.testing.wait_all_tasks_blocked()
        waiting = [run for run in runs if not (await engine.get(run.id)).steps[0].attempt]
        assert len(waiting) == 2
        assert await engine.cancel(waiting[0].id)
        assert (await waiting[0].wait()).status == "cancelled"
        hold.set()
        for run in runs:
            if run is not waiting[0]:
                await run.result()
    assert len(entered) == 2


async def test_a_run_that_is_paused_while_it_waits_for_its_place_does_not_keep_it_from_others(db):
    """Not even while another branch of it is in a body, so that it cannot be set aside yet."""
    first, busy, last = Hold(), Hold(), Hold()
    mailing, paused = Workflow("mailing"), Workflow("paused")

    @mailing.step(queue="mail")
    async def mail(ctx):
        await (first if ctx["n"] == 1 else last)()

    with paused.parallel(name="all"):
        paused.step(at(busy), name="busy")

        @paused.step(name="mail", queue="mail")
        async def mail_too(_ctx):
            entered.append("mail")

    entered = []
    async with open_engine(db, workflows=[mailing, paused], queues={"mail": 1}) as engine:
        await engine.start(mailing, {"n": 1})
        await first.reached.wait()
        run = await engine.start(paused, id="r")
        await busy.reached.wait()
        await engine.pause("r")
        await engine.start(mailing, {"n": 2})
        first.let_go()
        with trio.fail_after(5):
            await last.reached.wait()
        assert entered == []
        last.let_go()
        await engine.resume("r")
        busy.let_go()
        assert (await run.wait()).status == "completed"
    assert entered == ["mail"]


async def test_waiting_for_a_place_is_no_time_of_the_step(mock_clock):
    counter = Counter()
    wf = Workflow("orders")
    with wf.parallel():
        for number in range(3):
            wf.step(counter.body, name=f"mail{number}", queue="mail", timeout=1.5)
    async with open_engine(workflows=[wf], queues={"mail": 1}) as engine:
        await engine.run(wf)
    assert counter.total == 3


@pytest.mark.parametrize("queues", [["mail"], {"mail": 0}, {"mail": True}, {"mail": 1.5}, {1: 1}])
async def test_limits_that_make_no_sense_are_refused(queues):
    wf = Workflow("orders")
    wf.step(Counter().body, name="step")
    with pytest.raises(DurableError, match=r"queues= maps names to limits"):
        async with open_engine(workflows=[wf], queues=queues):
            pass
