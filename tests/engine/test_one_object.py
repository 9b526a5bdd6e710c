"""A parked run has one object in memory or none, and whoever reads it from the disk reads it as it is."""

from __future__ import annotations

import threading
from datetime import timedelta

import trio
from waiting_helpers import START, Wall, noted, reaches

from durable_trio import Err, Workflow, open_engine
from durable_trio._info import STATUS_CODES


async def test_a_run_that_is_read_while_the_writer_parks_it_takes_its_event(disk, monkeypatch):
    """What was read is old by then, and so is nothing that could be gone on from."""
    wf, seen = Workflow("orders"), []
    wf.wait_for_event("go")
    noted(wf, "after", seen)
    parking, go_on, written = threading.Event(), threading.Event(), threading.Event()
    async with open_engine(disk, workflows=[wf]) as engine:
        commit, load = engine.store.commit, engine.store.load
        write = engine.committer._write_and_report

        def held_commit(writes, answers=()):
            if any(write.new == STATUS_CODES["waiting"] for write in writes):
                parking.set()
                go_on.wait()
            return commit(writes, answers)

        def told_write():
            goes_on = write()
            if parking.is_set():  # it keeps nothing of the run any more
                written.set()
            return goes_on

        def slow_load(key, *, with_rows=True):
            stored = load(key, with_rows=with_rows)
            go_on.set()
            written.wait()
            return stored

        monkeypatch.setattr(engine.committer, "_write_and_report", told_write)
        monkeypatch.setattr(engine.store, "commit", held_commit)
        await engine.start(wf, id="r")
        await trio.to_thread.run_sync(parking.wait)
        with monkeypatch.context() as patch:
            patch.setattr(engine.store, "load", slow_load)
            # Only this look: it is the first one since the run was parked.
            find = engine.post.find

            def look_once(run_id):
                try:
                    return find(run_id)
                finally:
                    patch.undo()

            patch.setattr(engine.post, "find", look_once)
            await engine.send_event("r", "go", 1)
        assert await (await engine.start(wf, id="r")).result() == {"go": 1}
    assert seen == ["after"]


async def test_all_who_wait_for_a_retried_run_that_was_parked_are_told_of_its_end(db):
    """Those, too, who have a handle from before the retry."""
    wf, broken = Workflow("orders"), [True]
    wf.step(lambda ctx: Err("broken") if broken else None, name="first", inline=True)
    wf.wait_for_event("go")
    told = []

    async def wait_for(run):
        told.append((await run.wait()).status)

    async with open_engine(db, workflows=[wf]) as engine:
        first = await engine.start(wf, id="r")
        assert (await first.wait()).status == "failed"
        broken.clear()
        second = await engine.retry("r")
        await reaches(engine, "r")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for, second)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(wait_for, first)
            await trio.testing.wait_all_tasks_blocked()
            await engine.send_event("r", "go", 1)
    assert told == ["completed", "completed"]


async def test_a_run_for_later_that_is_due_before_its_starter_is_told_begins(disk, monkeypatch):
    """Its timer comes with the commit of the start; its starter may hear of it later."""
    wall, seen = Wall(), []
    wf = Workflow("orders")
    noted(wf, "begun", seen)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        landed = engine.committer._landed

        def timer_first(waiters, failure):
            wall.pass_(2)
            for instant, key in engine.store.timers(limit=9):
                engine.ring(key, instant, None)
            landed(waiters, failure)

        monkeypatch.setattr(engine.committer, "_landed", timer_first)
        run = await engine.start(wf, id="r", at=START + timedelta(seconds=1))
        assert await run.result() == {}
    assert seen == ["begun"]
