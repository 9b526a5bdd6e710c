"""Retries, forks, pauses and deletions in the moment in which something else happens to the run."""

from __future__ import annotations

import threading

import pytest
import trio
from engine_helpers import Hold
from waiting_helpers import Wall

from durable_trio import Err, Finish, InputError, RunNotFound, Workflow, open_engine, step_info
from durable_trio._engine import forgetting
from durable_trio._info import STATUS_CODES


class Writer:
    """Holds up commits until it is let go."""

    def __init__(self, engine, monkeypatch):
        self._go = threading.Event()
        self._commit = engine.store.commit
        self.is_held = threading.Event()
        monkeypatch.setattr(engine.store, "commit", self._held)

    def _held(self, writes, answers=()):
        self.is_held.set()
        self._go.wait()
        return self._commit(writes, answers)

    async def wait_until_held(self):
        await trio.to_thread.run_sync(self.is_held.wait)

    def let_go(self):
        self._go.set()


class Flow:
    """Steps a and b; what a run does in b is said by its id."""

    def __init__(self, **options):
        self.wf = Workflow("orders", **options)
        self.broken = {"failing"}
        self.holds = {}
        self.entered = []
        self.wf.step(lambda ctx: ctx | {"a": 1}, name="a", inline=True)
        self.wf.step(self.b, name="b")
        self.wf.step(lambda ctx: ctx | {"c": 1}, name="c", inline=True)

    async def b(self, ctx):
        name = step_info().run_id
        self.entered.append(name)
        if name in self.holds:
            await self.holds[name]()
        await trio.lowlevel.checkpoint()
        if name == "busy":
            return Finish(ctx)  # so that its place is free as soon as that is handed over
        return Err("broken") if name in self.broken else ctx | {"b": 1}

    async def fail(self, engine, run_id="failing", **options):
        run = await engine.start(self.wf, id=run_id, **options)
        assert (await run.wait()).status == "failed"
        self.entered.clear()

    async def hold(self, engine, run_id):
        hold = self.holds[run_id] = Hold()
        await engine.start(self.wf, id=run_id)
        await hold.reached.wait()
        return hold


async def test_a_retried_run_goes_before_those_that_have_not_begun(db):
    flow = Flow()
    async with open_engine(db, workflows=[flow.wf], max_running=1) as engine:
        await flow.fail(engine)
        hold = await flow.hold(engine, "busy")
        last = await engine.start(flow.wf, id="new")
        await engine.retry("failing")
        hold.let_go()
        await last.wait()
    assert flow.entered == ["busy", "failing", "new"]


@pytest.mark.parametrize("how", ["start", "retry", "fork"])
async def test_a_run_that_gets_its_place_before_it_is_on_disk_waits_for_that(disk, monkeypatch, how):
    flow = Flow()
    async with open_engine(disk, workflows=[flow.wf], max_running=1) as engine:
        await flow.fail(engine)
        hold = await flow.hold(engine, "busy")
        writer = Writer(engine, monkeypatch)
        async with trio.open_nursery() as nursery:
            if how == "start":
                nursery.start_soon(lambda: engine.start(flow.wf, id="new"))
            elif how == "retry":
                nursery.start_soon(engine.retry, "failing")
            else:
                nursery.start_soon(lambda: engine.fork("failing", "b", id="new"))
            await writer.wait_until_held()
            flow.entered.clear()
            hold.let_go()
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            assert flow.entered == []
            writer.let_go()
        await (await engine.start(flow.wf, id="failing" if how == "retry" else "new")).wait()
    assert flow.entered == ["failing" if how == "retry" else "new"]


async def test_a_fork_takes_over_what_is_not_written_yet(disk):
    flow = Flow(durability="exit")
    async with open_engine(disk, workflows=[flow.wf]) as engine:
        await flow.hold(engine, "busy")
        fork = await engine.fork("busy", "b", id="new")
        assert await fork.result() == {"a": 1, "b": 1, "c": 1}


async def test_a_fork_has_the_priority_of_the_other_run(db):
    flow = Flow()
    async with open_engine(db, workflows=[flow.wf], max_running=1) as engine:
        await flow.fail(engine, priority=5)
        hold = await flow.hold(engine, "busy")
        last = await engine.start(flow.wf, id="new")
        await engine.fork("failing", "b", id="urgent")
        hold.let_go()
        await last.wait()
    assert flow.entered == ["busy", "urgent", "new"]


async def test_a_failed_run_is_not_forked_behind_what_failed(db):
    flow = Flow()
    async with open_engine(db, workflows=[flow.wf]) as engine:
        await flow.fail(engine)
        with pytest.raises(InputError, match="it has come to: 'a', 'b'"):
            await engine.fork("failing", "c")


async def test_a_queued_run_that_gets_its_place_while_it_is_forked_goes_on(disk, monkeypatch):
    flow = Flow()
    async with open_engine(disk, workflows=[flow.wf]) as engine:
        await flow.hold(engine, "busy")
        await flow.hold(engine, "queued")
    hold = flow.holds["busy"] = Hold()
    del flow.holds["queued"]
    async with open_engine(disk, workflows=[flow.wf], max_running=1) as engine:
        await hold.reached.wait()
        writer = None

        def put_with_header(run, records, status=None, header=None, *more, **named):
            nonlocal writer
            put(run, records, status, header, *more, **named)
            if header is not None:
                writer = Writer(engine, monkeypatch)

        put = engine.committer.put
        monkeypatch.setattr(engine.committer, "put", put_with_header)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: engine.fork("queued", "b", id="new"))
            while writer is None:
                await trio.lowlevel.checkpoint()
            await writer.wait_until_held()
            hold.let_go()
            for _ in range(50):
                await trio.lowlevel.checkpoint()
            writer.let_go()
        for name in ("queued", "new", "busy"):
            assert (await (await engine.start(flow.wf, id=name)).wait()).status == "completed"
        assert [act.act for act in (await engine.get("queued")).history] == ["forked"]


async def test_a_run_that_is_being_cancelled_is_not_paused(db):
    wf, hold = Workflow("orders"), Hold()

    @wf.step
    async def stubborn(ctx):
        with trio.CancelScope(shield=True):
            await hold()

    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        await hold.reached.wait()
        assert await engine.cancel("r")
        with pytest.raises(InputError, match="is being cancelled"):
            await engine.pause("r")
        hold.let_go()
        assert (await run.wait()).status == "cancelled"


@pytest.mark.parametrize("how", ["delete", "prune"])
async def test_a_run_is_not_deleted_while_it_is_being_forked(disk, monkeypatch, how):
    """Both in one transaction contradict each other. Who deletes waits; who prunes leaves it."""
    flow, wall = Flow(), Wall()
    pruned = []

    async def delete(engine):
        if how == "delete":
            await engine.delete("r")
        else:
            pruned.append(await engine.prune(50))

    async with open_engine(disk, workflows=[flow.wf], clock=wall) as engine:
        await engine.run(flow.wf, id="r")
        hold = await flow.hold(engine, "busy")
        wall.pass_(100)
        writer, together = Writer(engine, monkeypatch), engine.committer.together

        def behind_a_commit():
            engine.committer.put(engine.live["busy"], (), STATUS_CODES["running"])
            engine.committer.kick()
            writer.is_held.wait()
            return together()

        monkeypatch.setattr(engine.committer, "together", behind_a_commit)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: engine.fork("r", "b", id="f"))
            await writer.wait_until_held()
            nursery.start_soon(delete, engine)
            await trio.testing.wait_all_tasks_blocked(0.01)
            writer.let_go()
        hold.let_go()
        assert (await (await engine.start(flow.wf, id="f")).wait()).status == "completed"
        if how == "delete":
            with pytest.raises(RunNotFound):
                await engine.get("r")
        else:
            assert pruned == [0]
            assert (await engine.get("r")).status == "completed"


async def test_prune_leaves_a_run_that_was_retried_while_it_looked_and_has_failed_once_more(db, monkeypatch):
    flow, wall = Flow(), Wall()
    async with open_engine(db, workflows=[flow.wf], clock=wall) as engine:
        await flow.fail(engine)
        wall.pass_(100)
        call = engine.reader.call

        async def slow_call(function, *arguments):
            found = await call(function, *arguments)
            if function is forgetting._old_runs and not flow.entered:
                await (await engine.retry("failing")).wait()
            return found

        monkeypatch.setattr(engine.reader, "call", slow_call)
        assert await engine.prune(50) == 0
        assert (await engine.get("failing")).status == "failed"
    assert flow.entered == ["failing"]


async def test_prune_takes_what_ended_before_the_instant_and_not_at_it(db):
    flow, wall = Flow(), Wall()
    async with open_engine(db, workflows=[flow.wf], clock=wall) as engine:
        await engine.run(flow.wf, id="r")
        wall.pass_(10)
        assert await engine.prune(10) == 0
        assert await engine.prune(9.99) == 1
