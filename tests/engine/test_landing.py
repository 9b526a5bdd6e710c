"""A commit that many wait for: they are woken slice by slice, and their next records share the next one."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from itertools import count
from types import SimpleNamespace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from durable_trio import EngineClosed, StoreError, open_engine
from durable_trio._engine import handover
from durable_trio.testing import trio_clock

MANY = 600  # well above the number from which this begins
SLICE = 48


class Commits:
    """Counts the runs of each commit, and holds one back while it is told to."""

    def __init__(self, engine, monkeypatch):
        self.sizes = []
        self.held = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._holds = None
        self._then = None
        self._commit = engine.store.commit
        monkeypatch.setattr(engine.store, "commit", self._counted)

    def hold(self):
        """Hold back the next one; when it has come, ``held`` is set."""
        self.held = trio.Event()
        self._holds = threading.Event()

    def let_go(self, then=None, *, hold_the_next=False):
        """Let it pass. ``then`` is awaited, in Trio, when it is on disk and not reported yet."""
        self._then = then
        holds, self._holds = self._holds, None
        if hold_the_next:
            self.hold()
        holds.set()

    def _counted(self, writes, answers=()):
        self.sizes.append(len(writes))
        holds = self._holds
        if holds is not None:
            self._token.run_sync_soon(self.held.set)
            assert holds.wait(30)
        self._commit(writes, answers)
        then, self._then = self._then, None
        if then is not None:
            trio.from_thread.run(then, trio_token=self._token)


class Ticks(trio.abc.Instrument):
    """The number of the scheduler's turn."""

    def __init__(self):
        self.now = 0

    def before_io_wait(self, timeout):
        self.now += 1


@pytest.fixture
def chain(wf):
    """Two steps; ``entered`` has the tick of each body's entry, by step."""
    wf.entered = {"one": [], "two": []}
    wf.now = lambda: 0

    @wf.step
    async def one(ctx):
        wf.entered["one"].append(wf.now())
        await trio.lowlevel.checkpoint()
        return {"one": ctx["n"]}

    @wf.step
    async def two(ctx):
        wf.entered["two"].append(wf.now())
        return {"two": ctx["one"]}

    return wf


class Crowd:
    """Starts many runs whose starts are in one commit, which is held back."""

    def __init__(self, engine, wf, nursery, monkeypatch):
        self.results = {}
        self.commits = Commits(engine, monkeypatch)
        engine.committer.clock = lambda: 0.0  # however slow the machine is
        self._engine = engine
        self._wf = wf
        self._nursery = nursery

    async def start(self):
        self.commits.hold()
        self._nursery.start_soon(self.run, 0)
        await self.commits.held.wait()
        for n in range(1, MANY):
            self._nursery.start_soon(self.run, n)
        await wait_all_tasks_blocked()
        await self.go_on_to_the_next()
        assert self.commits.sizes[-1] >= MANY - 1

    async def run(self, n):
        self.results[n] = await self._engine.run(self._wf, {"n": n}, id=f"r{n}")

    async def go_on_to_the_next(self):
        """Let the commit pass that is held, and hold the one that follows."""
        self.commits.let_go(hold_the_next=True)
        await self.commits.held.wait()


async def test_those_who_are_woken_share_a_commit_with_those_who_came_meanwhile(disk, chain, monkeypatch):
    async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
        crowd = Crowd(engine, chain, nursery, monkeypatch)
        await crowd.start()
        nursery.start_soon(crowd.run, MANY)
        await wait_all_tasks_blocked()
        await crowd.go_on_to_the_next()
        # One start, which was there before the others' first steps had begun, and these steps.
        assert crowd.commits.sizes[-1] >= MANY
        crowd.commits.let_go()
    assert crowd.results == {n: {"two": n} for n in range(MANY + 1)}


async def test_they_are_woken_slice_by_slice(disk, chain, monkeypatch):
    ticks = Ticks()
    trio.lowlevel.add_instrument(ticks)
    chain.now = lambda: ticks.now
    async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
        crowd = Crowd(engine, chain, nursery, monkeypatch)
        await crowd.start()
        await crowd.go_on_to_the_next()  # the first steps are handed over
        crowd.commits.let_go()
    assert len(crowd.results) == MANY
    for entered in chain.entered.values():
        assert len(entered) == MANY
        # The run that was started first may be on its way beside the others.
        assert max(Counter(entered).values()) <= SLICE + 1


async def test_where_ticks_are_long_slices_are_not_waited_for(disk, chain, monkeypatch):
    ticks = Ticks()
    trio.lowlevel.add_instrument(ticks)
    chain.now = lambda: ticks.now
    async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
        crowd = Crowd(engine, chain, nursery, monkeypatch)
        engine.committer.clock = count(0.0, 0.01).__next__
        await crowd.start()
        crowd.commits.let_go()
    assert len(crowd.results) == MANY
    assert max(Counter(chain.entered["one"]).values()) > MANY // 2


@pytest.mark.parametrize("ticks_before", range(6))
async def test_those_who_land_while_the_flusher_is_busy_are_woken_too(disk, chain, monkeypatch, ticks_before):
    async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
        crowd = Crowd(engine, chain, nursery, monkeypatch)
        await crowd.start()

        async def flush():
            engine.committer.soon()
            for _ in range(ticks_before):
                await trio.lowlevel.checkpoint()

        crowd.commits.let_go(flush)
    assert len(crowd.results) == MANY


@pytest.mark.parametrize("when", ["held", "woken", "in step one", "in step two"])
async def test_an_engine_that_is_left_meanwhile_loses_nothing(disk, chain, monkeypatch, when):
    scope = trio.CancelScope()

    def now():
        steps = [len(entered) for entered in chain.entered.values()]
        if (when == "in step one" and steps[0] == MANY // 3) or (
            when == "in step two" and steps[1] == MANY // 3
        ):
            scope.cancel()

    chain.now = now
    with scope:
        async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
            crowd = Crowd(engine, chain, nursery, monkeypatch)
            await crowd.start()
            if when == "held":
                trio.lowlevel.spawn_system_task(let_go_later, crowd)
                scope.cancel()
                await trio.lowlevel.checkpoint()

            async def leave():
                scope.cancel()

            crowd.commits.let_go(leave if when == "woken" else None)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with open_engine(disk, workflows=[chain]) as engine:
        for n in range(MANY):
            assert (await engine.run(chain, {"n": n}, id=f"r{n}"))["two"] == n
    # A body that was being cancelled is entered again; what has returned is on disk, however late it was.
    assert len(chain.entered["two"]) == MANY


async def let_go_later(crowd):
    await wait_all_tasks_blocked()
    crowd.commits.let_go()


async def test_a_failing_commit_tells_all_who_wait_and_nobody_hangs(disk, chain, monkeypatch):
    with pytest.raises(StoreError, match="the disk is gone"):
        async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
            crowd = Crowd(engine, chain, nursery, monkeypatch)
            await crowd.start()
            await crowd.go_on_to_the_next()

            def fail(*_batch):
                raise StoreError("the disk is gone")

            monkeypatch.setattr(engine.store, "commit", fail)
            crowd.commits.let_go()
    async with open_engine(disk, workflows=[chain]) as engine:
        assert (await engine.run(chain, {"n": 3}, id="r3")) == {"two": 3}


async def test_an_interrupt_while_they_are_woken_reaches_the_main_task_and_they_are_told(disk, wf):
    told = []

    async def wait(run):
        with pytest.raises(EngineClosed):
            await run.result()
        told.append(run.id)

    wf.wait_for_event("wanted")
    async with trio.open_nursery() as outside:
        with pytest.raises(KeyboardInterrupt):
            async with open_engine(disk, workflows=[wf]) as engine:
                for n in range(3):
                    outside.start_soon(wait, await engine.start(wf, {"n": n}))
                engine.committer.many = 1
                engine.committer.clock = signal_once()
                await engine.start(wf)
                await trio.sleep_forever()
    assert len(told) == 3


def signal_once():
    """A clock at whose first look there is a SIGINT."""
    signals = [signal.SIGINT]

    def look():
        if signals:
            signal.raise_signal(signals.pop())
        return 0.0

    return look


async def test_what_commits_while_it_is_called_of_a_commit_lands_too(wf, mock_clock):
    """In memory, and of runs that are woken together, and have more to read than is read ahead."""

    @wf.step
    async def fill(ctx):
        return {"y": "y" * 5000}

    wf.sleep(10)
    async with (
        open_engine(None, workflows=[wf], clock=trio_clock()) as engine,
        trio.open_nursery() as nursery,
    ):
        for _ in range(3):
            nursery.start_soon(engine.run, wf)


async def test_a_loop_that_is_never_idle_does_not_keep_the_writer_from_its_work(disk, chain):
    """Unless the loop pauses for it, a thread on another core never gets the GIL between such short ticks."""

    async def busy():
        while True:
            until = time.perf_counter() + 0.001
            while time.perf_counter() < until:
                pass
            await trio.lowlevel.checkpoint()

    async with open_engine(disk, workflows=[chain]) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(busy)
        for n in range(20):
            assert await engine.run(chain, {"n": n}) == {"two": n}
        nursery.cancel_scope.cancel()


async def test_a_busy_loop_pauses_for_a_writer_only(wf, monkeypatch):
    """In memory there is none."""
    pauses = []
    # Each look at this clock is a second after the last, so that it is always time to pause.
    clock = SimpleNamespace(perf_counter=count(1.0).__next__, sleep=pauses.append)
    monkeypatch.setattr(handover, "time", clock)
    wf.step(lambda ctx: None, name="nothing", inline=True)
    async with open_engine(None, workflows=[wf]) as engine:
        for _ in range(20):
            await engine.run(wf)
    assert not pauses
