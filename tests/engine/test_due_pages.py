"""Runs that are due are read in pages, in a thread. What happens to them between that and its use."""

from __future__ import annotations

import threading

import lmdb
import pytest
import trio
import trio.testing
from engine_helpers import Hold, states
from waiting_helpers import START, Between, Wall, noted, reaches

from durable_trio import RunNotFound, StoreError, Workflow, open_engine
from durable_trio._engine import cancelling, recovery, timers


def naps(seen):
    """Waits a minute at most for an event, a minute for nothing, and ends."""
    wf = Workflow("naps")
    noted(wf, "before", seen)
    wf.wait_for_event("go", timeout=60, default=None)
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    return wf


@pytest.fixture(params=["held", "not held"])
def keep(request):
    """Whether somebody has a handle on the run all the time."""
    handles = []
    return handles.append if request.param == "held" else lambda _: None


@pytest.fixture
def place(tmp_path):
    return tmp_path / "db"


async def started(engine, wf, keep, run_id="r"):
    keep(await engine.start(wf, {}, id=run_id))
    await reaches(engine, run_id)


async def test_a_run_that_an_event_has_woken_and_that_waits_again(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def send():
            await engine.send_event("r", "go", 7)
            while "nap" not in states(await engine.get("r")):
                await trio.lowlevel.checkpoint()
            await reaches(engine, "r")

        between = Between(engine, monkeypatch)
        between.do(wall, send)
        await between.passed.wait()
        await reaches(engine, "r")
        wall.pass_(61)
        engine.timers.set(0.0)
        info = await reaches(engine, "r", "completed")
    assert info.result == {"go": 7}
    assert seen == ["before", "after"]


async def test_a_run_that_was_cancelled(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def cancel():
            assert await engine.cancel("r")

        between = Between(engine, monkeypatch)
        between.do(wall, cancel)
        await between.passed.wait()
        while engine.store.timers(limit=9):
            await trio.lowlevel.checkpoint()
        info = await reaches(engine, "r", "cancelled")
    assert seen == ["before"]
    assert info.result is None


async def test_a_child_that_its_caller_has_cancelled_when_its_time_was_over(place, monkeypatch):
    """The caller holds its child from before the page was read, and lets go of it."""
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, lambda _: None)
        held = [engine.post.find("r")]

        async def time_out():
            assert cancelling.cancel_now(held.pop(), "it took too long")
            await engine.committer.durable()

        between = Between(engine, monkeypatch)
        between.do(wall, time_out)
        await between.passed.wait()
        await started(engine, wf, lambda _: None, "next")  # the engine goes on
        info = await engine.get("r")
    assert (info.status, info.error) == ("cancelled", "it took too long")
    assert seen == ["before", "before"]


async def test_a_run_that_was_deleted(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def delete():
            await engine.cancel("r")
            await reaches(engine, "r", "cancelled")
            await engine.delete("r")

        between = Between(engine, monkeypatch)
        between.do(wall, delete)
        await between.passed.wait()
        await started(engine, wf, keep, "next")  # the engine goes on
        with pytest.raises(RunNotFound):
            await engine.get("r")


async def test_a_run_that_was_paused(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def pause():
            assert await engine.pause("r")

        between = Between(engine, monkeypatch)
        between.do(wall, pause)
        await between.passed.wait()
        info = await engine.get("r")
        assert (info.status, info.paused) == ("waiting", True)
        assert await engine.resume("r")
        while "nap" not in states(await engine.get("r")):
            await trio.lowlevel.checkpoint()
        await reaches(engine, "r")
        wall.pass_(61)
        engine.timers.set(0.0)
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]


async def test_a_run_that_was_paused_and_resumed(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def pause_and_resume():
            assert await engine.pause("r")
            assert await engine.resume("r")

        between = Between(engine, monkeypatch)
        between.do(wall, pause_and_resume)
        await between.passed.wait()
        while "nap" not in states(await engine.get("r")):
            await trio.lowlevel.checkpoint()
        await reaches(engine, "r")
        wall.pass_(61)
        engine.timers.set(0.0)
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]


async def test_a_run_that_was_forked(place, monkeypatch, keep):
    """The run's journal says so, in a row that the page does not have."""
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)

        async def fork():
            await engine.fork("r", "wait_for_go", id="copy")

        between = Between(engine, monkeypatch)
        between.do(wall, fork)
        await between.passed.wait()
        for run_id in ("r", "copy"):
            await reaches(engine, run_id)
        for run_id in ("r", "copy"):
            while (await engine.get(run_id)).status != "completed":
                wall.pass_(61)
                engine.timers.set(0.0)
                await trio.lowlevel.checkpoint()
    assert seen == ["before", "after", "after"]


async def test_the_engine_drains(place, monkeypatch, keep):
    """The run goes on in the next life."""
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)
        between = Between(engine, monkeypatch)
        between.do(wall, engine.drain)
        await between.passed.wait()
    assert seen == []
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "r", "completed")
    assert seen == ["after"]


async def test_the_engine_is_left(place, monkeypatch, keep):
    wall, seen = Wall(), []
    wf = naps(seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await started(engine, wf, keep)
        reading, leave = trio.Event(), trio.Event()

        async def stay():
            reading.set()
            await leave.wait()

        between = Between(engine, monkeypatch)
        between.do(wall, stay)
        await reading.wait()
        suspend = engine.suspend

        def suspend_and_go_on():
            suspend()
            leave.set()

        monkeypatch.setattr(engine, "suspend", suspend_and_go_on)
    assert seen == ["before"]
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        while "nap" not in states(await engine.get("r")):
            await trio.lowlevel.checkpoint()
        await reaches(engine, "r")
        wall.pass_(61)
        engine.timers.set(0.0)
        await reaches(engine, "r", "completed")
    assert seen == ["before", "after"]


# -- what was read is kept until it is the run's turn ---------------------------------------------------


async def fork_it(engine, run_id):
    await engine.fork(run_id, "before", id="copy")


async def pause_and_resume_it(engine, run_id):
    await engine.pause(run_id)
    await engine.resume(run_id)


async def send_it_something(engine, run_id):
    await engine.send_event(run_id, "later", 5)


async def leave_it(_engine, _run_id):
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("life", ["woken", "recovered"])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("act", [leave_it, fork_it, pause_and_resume_it, send_it_something])
async def test_something_happens_to_a_run_that_waits_for_its_turn(place, monkeypatch, act, kept, life):
    if not kept:
        monkeypatch.setattr(recovery, "_MOST_KEPT", 0)
    wall, seen, hold = Wall(), [], Hold()
    wf = Workflow("busy")
    noted(wf, "before", seen)
    wf.sleep(60, name="nap")

    @wf.step
    async def work(ctx):
        await hold()

    wf.wait_for_event("later", timeout=60, default=None)
    noted(wf, "after", seen)
    async with open_engine(place, workflows=[wf], clock=wall, max_running=1) as engine:
        for run_id in ("first", "second"):
            await engine.start(wf, {}, id=run_id)
            await reaches(engine, run_id)
            wall.pass_(1)
        wall.pass_(61)
        engine.timers.set(0.0)
        await hold.reached.wait()
        await reaches(engine, "second", "pending")
        if life == "woken":
            await act(engine, "second")
            hold.let_go()
            await both_end(engine, wall)
    if life == "recovered":
        hold.reached = trio.Event()
        async with open_engine(place, workflows=[wf], clock=wall, max_running=1) as engine:
            await hold.reached.wait()
            await act(engine, "second")
            hold.let_go()
            await both_end(engine, wall)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        info = await engine.get("second")
    assert info.result == {"later": 5 if act is send_it_something else None}
    assert seen.count("after") >= 2


async def both_end(engine, wall):
    for run_id in ("first", "second"):
        while (await engine.get(run_id)).status != "completed":
            wall.pass_(61)
            engine.timers.set(0.0)
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("compensate", [True, False])
async def test_a_run_that_waits_for_its_turn_is_cancelled_with_what_it_did_and_started(place, compensate):
    wall, seen, hold = Wall(), [], Hold()
    wf = Workflow("busy")

    async def undo(ctx, result):
        seen.append("undo")

    wf.compensation("undo", undo)
    wf.step(lambda _: seen.append("book"), name="book", inline=True, compensate="undo")
    wf.sleep(60, name="nap")

    @wf.step
    async def work(ctx):
        await hold()

    async with open_engine(place, workflows=[wf], clock=wall, max_running=1) as engine:
        for run_id in ("first", "second"):
            await engine.start(wf, {}, id=run_id)
            await reaches(engine, run_id)
            wall.pass_(1)
        wall.pass_(61)
        engine.timers.set(0.0)
        await hold.reached.wait()
        await reaches(engine, "second", "pending")
        assert await engine.cancel("second", compensate=compensate)
        hold.let_go()
        await reaches(engine, "first", "completed")
        await reaches(engine, "second", "compensated" if compensate else "cancelled")
    assert seen == ["book", "book", *(["undo"] if compensate else [])]


# -- pages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [True, False])
async def test_more_are_due_than_a_page_holds_and_each_goes_on_once(place, monkeypatch, small):
    monkeypatch.setattr(timers, "_PAGE", 2)
    if not small:
        monkeypatch.setattr(timers, "SMALL", 0)
        monkeypatch.setattr(recovery, "SMALL", 0)
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    wf.step(lambda ctx: seen.append(ctx["number"]), name="after", inline=True)
    for number in range(9):
        async with open_engine(place, workflows=[wf], clock=wall) as engine:
            await engine.start(wf, {"number": number}, id=f"r{number}")
            await reaches(engine, f"r{number}")
        if number % 3:
            wall.pass_(1)  # some are due at one instant
    wall.pass_(61)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        for number in range(9):
            await reaches(engine, f"r{number}", "completed")
        assert engine.store.timers(limit=9) == []
    assert sorted(seen) == list(range(9))


async def test_a_change_on_its_way_to_the_disk_since_before_the_page_of_another_run(place, monkeypatch):
    """The page after that one is read without it."""
    monkeypatch.setattr(timers, "_PAGE", 1)
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine, trio.open_nursery() as nursery:
        for run_id in ("a", "b", "c"):
            await engine.start(wf, {}, id=run_id)
            await reaches(engine, run_id)
            wall.pass_(1)
        load_small, commit, set_aside = engine.store.load_small, engine.store.commit, engine.post.set_aside
        pages, handed_over, may_commit = [], trio.Event(), threading.Event()
        may_commit.set()

        async def pause_c():
            await engine.get("a")  # that it is woken is on disk: "b" does not wait for that
            may_commit.clear()
            nursery.start_soon(engine.pause, "c")
            await handed_over.wait()

        def load_small_and_more(runs, *, likely, size):
            page = load_small(runs, likely=likely, size=size)
            pages.append(page)
            if len(pages) == 2:
                trio.from_thread.run(pause_c)
            elif len(pages) == 3:
                may_commit.set()
            return page

        def commit_when_it_may(*arguments):
            may_commit.wait()
            return commit(*arguments)

        def set_aside_and_tell(*arguments):
            set_aside(*arguments)
            handed_over.set()

        monkeypatch.setattr(engine.store, "load_small", load_small_and_more)
        monkeypatch.setattr(engine.store, "commit", commit_when_it_may)
        monkeypatch.setattr(engine.post, "set_aside", set_aside_and_tell)
        wall.pass_(61)
        engine.timers.set(0.0)
        for run_id in ("a", "b"):
            await reaches(engine, run_id, "completed")
        assert len(pages) >= 3
        assert pages[2][0].run == engine.reader.find("c")
        info = await engine.get("c")
        assert (info.status, info.paused) == ("waiting", True)
        assert await engine.resume("c")
        await reaches(engine, "c", "completed")
    assert seen == ["after"] * 3


async def test_a_run_for_later_may_be_due_before_its_starter_has_been_told(place, monkeypatch):
    wall, seen = Wall(), []
    wf = Workflow("later")
    noted(wf, "only", seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        monkeypatch.setattr(engine.post, "settle_down", lambda _run: None)
        await engine.start(wf, {}, id="r", at=START.replace(minute=1))
        wall.pass_(61)
        engine.timers.set(0.0)
        await reaches(engine, "r", "completed")
    assert seen == ["only"]


async def test_a_due_run_with_a_damaged_journal_is_blocked_and_the_others_go_on(place):
    wall, seen = Wall(), []
    wf = Workflow("nap")
    wf.sleep(60, name="nap")
    noted(wf, "after", seen)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        for run_id in ("good", "bad"):
            await engine.start(wf, {}, id=run_id)
            await reaches(engine, run_id)
        key = engine.reader.find("bad")
    env = lmdb.open(str(place), max_dbs=12)
    with env.begin(write=True, db=env.open_db(b"journal")) as txn:
        row = txn.get(key + bytes(4))
        txn.put(key + bytes(4), row[:-1] + bytes([row[-1] ^ 1]))
    env.close()
    wall.pass_(61)
    async with open_engine(place, workflows=[wf], clock=wall) as engine:
        await reaches(engine, "good", "completed")
        while (run := await engine.start(wf, {}, id="bad")).status != "blocked":
            await trio.lowlevel.checkpoint()
        assert not run.created
    assert seen == ["after"]


async def test_a_commit_that_fails_while_due_runs_are_read_stops_the_engine_with_its_own_error(
    place, monkeypatch
):
    """Not in a group; and whoever waits outside of the engine's block is told."""
    wall = Wall()
    wf = naps([])
    staying = Workflow("staying")
    left = threading.Event()

    @staying.step
    def stays(_ctx):
        left.wait(10)  # the engine cannot close before this is out

    def broken(*_writes):
        raise StoreError("the disk is gone")

    async def end_of(run):
        with pytest.raises(StoreError):
            await run.wait()
        told.append(run.id)

    told = []
    async with trio.open_nursery() as others:
        with pytest.raises(StoreError, match="the disk is gone"):
            async with open_engine(place, workflows=[wf, staying], clock=wall) as engine:
                run = await engine.start(wf, {}, id="r")
                await reaches(engine, "r")
                others.start_soon(end_of, run)
                await reaches(engine, (await engine.start(staying)).id, "running")

                async def fail():
                    monkeypatch.setattr(engine.store, "commit", broken)
                    with trio.CancelScope(shield=True), pytest.raises(StoreError):
                        await engine.send_event("r", "other")

                between = Between(engine, monkeypatch)
                between.do(wall, fail)
                others.start_soon(_let_go, between, left)
                await trio.sleep_forever()
    assert told == ["r"]


async def _let_go(between, left):
    await between.passed.wait()
    await trio.testing.wait_all_tasks_blocked()  # the page was looked at
    left.set()
