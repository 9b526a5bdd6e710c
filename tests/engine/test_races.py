"""Calls about one run at the same time: they may refuse one another, but not hurt the engine or the run."""

from __future__ import annotations

import functools

import pytest
import trio
from engine_helpers import Hold

from durable_trio import DurableError, Err, InputError, RunFailed, RunNotFound, Workflow, open_engine

TIMES = 8


class Switch:
    """A step that fails until it is told to work."""

    def __init__(self):
        self.entered = 0
        self.works = False
        self.wf = Workflow("switch")
        self.wf.step(self.step)

    async def step(self, ctx):
        self.entered += 1
        await trio.lowlevel.checkpoint()
        return {"done": self.entered} if self.works else Err("broken")


async def at_once(*calls):
    """Make the calls in one tick, in any order; gives the results, errors of the library's among them."""
    results = [None] * len(calls)

    async def make(index, call):
        try:
            results[index] = await call()
        except DurableError as error:
            results[index] = error

    async with trio.open_nursery() as nursery:
        for index, call in enumerate(calls):
            nursery.start_soon(make, index, call)
    return results


@pytest.fixture
def switch():
    return Switch()


async def fail(engine, switch, run_id):
    with pytest.raises(RunFailed):
        await engine.run(switch.wf, id=run_id)


async def test_deletions_of_one_run(db, switch):
    async with open_engine(db, workflows=[switch.wf]) as engine:
        for n in range(TIMES):
            await fail(engine, switch, f"r{n}")
            results = await at_once(*[functools.partial(engine.delete, f"r{n}")] * 3)
            assert results.count(None) >= 1
            assert all(result is None or isinstance(result, RunNotFound) for result in results)
        assert await engine.list() == []


async def test_a_deletion_and_a_retry(db, switch):
    """One of them comes first: a run that is retried is not deleted, and one that is deleted not retried."""
    switch.works = False
    async with open_engine(db, workflows=[switch.wf]) as engine:
        for n in range(TIMES):
            run_id = f"r{n}"
            await fail(engine, switch, run_id)
            deleted, retried = await at_once(
                functools.partial(engine.delete, run_id), functools.partial(engine.retry, run_id)
            )
            if deleted is None:
                assert isinstance(retried, RunNotFound | InputError)
                with pytest.raises(RunNotFound):
                    await engine.get(run_id)
            else:
                assert isinstance(deleted, InputError)
                assert (await retried.wait()).status == "failed"


async def test_a_prune_and_a_retry(db, switch):
    async with open_engine(db, workflows=[switch.wf], clock=(clock := Clock())) as engine:
        for n in range(TIMES):
            run_id = f"r{n}"
            await fail(engine, switch, run_id)
            clock.now += 10
            pruned, retried = await at_once(
                functools.partial(engine.prune, 5), functools.partial(engine.retry, run_id)
            )
            if pruned:
                assert isinstance(retried, RunNotFound)
            else:
                assert (await retried.wait()).status == "failed"
                await engine.delete(run_id)
        assert await engine.list() == []


async def test_prunes_and_deletions_of_the_same_runs(db, switch):
    async with open_engine(db, workflows=[switch.wf], clock=(clock := Clock())) as engine:
        for n in range(TIMES):
            await fail(engine, switch, f"r{n}")
        clock.now += 10
        deletions = [functools.partial(engine.delete, f"r{n}") for n in range(TIMES)]
        results = await at_once(
            functools.partial(engine.prune, 5), functools.partial(engine.prune, 5), *deletions
        )
        deleted = sum(result is None for result in results)
        assert results[0] + results[1] + deleted == TIMES
        assert await engine.list() == []


async def test_a_retry_and_a_retry(db, switch):
    async with open_engine(db, workflows=[switch.wf]) as engine:
        for n in range(TIMES):
            switch.works = False
            await fail(engine, switch, f"r{n}")
            switch.works, entered = True, switch.entered
            results = await at_once(*[functools.partial(engine.retry, f"r{n}")] * 3)
            accepted = [result for result in results if not isinstance(result, InputError)]
            assert len(accepted) == 1
            assert await accepted[0].result() == {"done": entered + 1}


async def test_a_retry_and_a_cancel(db, switch):
    async with open_engine(db, workflows=[switch.wf]) as engine:
        for n in range(TIMES):
            await fail(engine, switch, f"r{n}")
            retried, cancelled = await at_once(
                functools.partial(engine.retry, f"r{n}"), functools.partial(engine.cancel, f"r{n}")
            )
            info = await retried.wait()
            assert info.status == ("cancelled" if cancelled else "failed")


async def test_a_deletion_and_a_start_of_the_same_id(db, switch):
    switch.works = True
    async with open_engine(db, workflows=[switch.wf]) as engine:
        for n in range(TIMES):
            await engine.run(switch.wf, id=f"r{n}")
            deleted, run = await at_once(
                functools.partial(engine.delete, f"r{n}"),
                functools.partial(engine.start, switch.wf, id=f"r{n}"),
            )
            if run.created:
                assert (await run.result())["done"] == switch.entered
            else:
                assert deleted is None or isinstance(deleted, InputError)
            again = await engine.start(switch.wf, id=f"r{n}")
            assert (await again.wait()).status == "completed"


async def test_a_handle_from_before_a_retry_is_a_handle_on_the_retried_run(db, switch):
    async with open_engine(db, workflows=[switch.wf]) as engine:
        before = await engine.start(switch.wf, id="r")
        assert (await before.wait()).status == "failed"
        switch.works = True
        after = await engine.retry("r")
        assert await before.result() == await after.result() == {"done": 2}
        assert before.status == after.status == "completed"
        assert (await before.wait()).status == "completed"


async def test_who_waits_sees_an_end_although_the_run_is_retried_at_once(db):
    """``wait`` gives a run that has ended, however often it is taken up again meanwhile."""
    hold = Hold()
    entered = []
    wf = Workflow("w")

    @wf.step
    async def step(ctx):
        entered.append(1)
        if len(entered) > 1:
            await hold()
            return {"done": True}
        return Err("broken")

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        infos = []

        async def waiter():
            infos.append(await run.wait())

        async def retrier():
            with pytest.raises(RunFailed):
                await run.result()
            await engine.retry("r")
            await hold.reached.wait()
            await trio.testing.wait_all_tasks_blocked()
            hold.let_go()

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(waiter)
            nursery.start_soon(retrier)
    assert len(infos) == 5
    assert {info.status for info in infos} <= {"failed", "completed"}
    assert all(info.finished_at is not None for info in infos)


class Clock:
    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


async def test_a_handle_on_a_run_that_was_retried_and_deleted_says_the_last_that_is_known(db, switch):
    async with open_engine(db, workflows=[switch.wf]) as engine:
        before = await engine.start(switch.wf, id="r")
        await before.wait()
        await (await engine.retry("r")).wait()
        await engine.delete("r")
        assert before.status == "failed"
        assert "r" in repr(before)
        with pytest.raises(RunNotFound):
            await before.wait()
