"""Leaving an engine while somebody asks it for something, and opening one on which something is due."""

from __future__ import annotations

import threading

import trio
import trio.testing

from durable_trio import Ok, StoreError, Workflow, open_engine
from durable_trio._engine import recovery
from durable_trio._engine.cancelling import cancel_now
from durable_trio._engine.committer import Committer


async def test_who_asks_behind_the_writers_last_look_is_answered(disk, wf, monkeypatch):
    """The writer thread has ended, and the engine is not yet closed: nobody else would wake who waits."""
    looked = trio.Event()
    asked = threading.Event()
    token = trio.lowlevel.current_trio_token()
    original = Committer._write_batches

    def write_batches(self):
        original(self)
        token.run_sync_soon(looked.set)
        asked.wait(10)

    monkeypatch.setattr(Committer, "_write_batches", write_batches)

    @wf.step
    async def only(ctx):
        return Ok(ctx)

    answers = []

    async def ask(engine):
        await looked.wait()
        async with trio.open_nursery() as asking:

            @asking.start_soon
            async def _():
                try:
                    answers.append((await engine.get("one")).status)
                except StoreError:
                    answers.append("closed")  # the store was, before it was read

            await trio.testing.wait_all_tasks_blocked()
            asked.set()

    async with trio.open_nursery() as nursery, open_engine(disk, workflows=[wf]) as engine:
        await engine.run(wf, {}, id="one")
        nursery.start_soon(ask, engine)
    assert answers in (["completed"], ["closed"])


async def test_a_run_that_is_due_when_it_is_recovered_runs_once(disk, monkeypatch):
    """Its timer must not wake it while the unfinished runs are being looked for."""
    original = recovery._headers

    def headers(*arguments):
        # In a thread: whatever can happen on the loop meanwhile, happens.
        trio.from_thread.run(trio.testing.wait_all_tasks_blocked, 0.05)
        return original(*arguments)

    monkeypatch.setattr(recovery, "_headers", headers)
    wf = Workflow("sleepy")
    entered = []
    opened = trio.Event()
    wf.sleep(5)

    @wf.step
    async def only(ctx):
        entered.append(ctx["n"])
        await opened.wait()
        return Ok(ctx)

    now = 1000.0
    async with open_engine(disk, workflows=[wf], clock=lambda: now) as engine:
        for n in range(30):
            await engine.start(wf, {"n": n}, id=f"run-{n}")
        while len(await engine.list(status="waiting")) < 30:  # noqa: ASYNC110 - no event tells
            await trio.sleep(0.01)
    now = 2000.0
    async with open_engine(disk, workflows=[wf], clock=lambda: now) as engine:
        opened.set()
        for n in range(30):
            run = await engine.start(wf, {"n": n}, id=f"run-{n}")
            await run.result()
    assert sorted(entered) == list(range(30))


async def test_a_map_that_is_over_is_not_cancelled_as_well(disk, wf):
    """The cancellation comes while the map's record is on its way to the disk."""
    wf.map(_echo, over=lambda ctx: [1, 2], name="items")

    @wf.step
    async def later(ctx):
        await trio.sleep_forever()

    async with open_engine(disk, workflows=[wf], durability="sync") as engine:
        engine.committer.closed = True  # so that every record goes the longer way, by ``durable``
        original = engine.committer.durable
        cancelled = []

        async def durable():
            live = engine.live.get("one")
            at_the_map = live is not None and live.at == "items" and sorted(_done) == [1, 2]
            if at_the_map and not cancelled and not engine.bodies:
                cancelled.append(True)
                cancel_now(live, None)
            await original()

        engine.committer.durable = durable
        run = await engine.start(wf, {}, id="one")
        info = await run.wait()
    assert cancelled
    assert info.status == "cancelled"
    assert [(step.path, step.status) for step in info.steps if step.path == "items"] == [("items", "ok")]


_done: list[int] = []


async def _echo(ctx, item):
    _done.append(item)
    return Ok(item)
