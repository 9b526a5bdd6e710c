"""What the tests of waits share: a wall clock to set by hand, and looking on until a run waits.

Where a run is only looked at, no handle is held: a parked run without one has no object.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import trio

START = datetime(2030, 1, 1, tzinfo=UTC)


class Wall:
    """A wall clock that stands still unless it is set; ``clock=wall``."""

    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


async def reaches(engine, run_id, status="waiting"):
    """Look on until the run is recorded with this status; gives its RunInfo."""
    while (info := await engine.get(run_id)).status != status:
        await trio.lowlevel.checkpoint()
    return info


def waiting_for(info):
    """The paths of what a run waits for."""
    return sorted(step.path for step in info.steps if step.status == "waiting")


def noted(wf, name, seen):
    """Declare a step that notes its name and leaves the context as it is."""
    wf.step(lambda ctx: seen.append(name), name=name, inline=True)


async def set_aside(engine, run_id="r"):
    """Look on until nothing of the paused run is in a body."""
    info = await reaches(engine, run_id)
    assert info.paused
    return info


class Between:
    """Does something, once, when a page of due runs was read and before the engine sees it."""

    def __init__(self, engine, monkeypatch):
        self._read = engine.store.load_small
        self._engine = engine
        self._then = None
        self.passed = trio.Event()
        monkeypatch.setattr(engine.store, "load_small", self._load_small)

    def do(self, wall, then):
        """Let a minute pass; when what is due then was read, ``await then()``."""
        self._then = then
        wall.pass_(61)
        self._engine.timers.set(0.0)

    def _load_small(self, runs, *, likely, size):
        page = self._read(runs, likely=likely, size=size)
        then, self._then = self._then, None
        if then is not None:
            trio.from_thread.run(then)
            trio.from_thread.run_sync(self.passed.set)
        return page


class Gate:
    """Holds the writer before each commit, once this is closed and until it is opened."""

    def __init__(self, engine, monkeypatch):
        self.arrived = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        self._changed = threading.Condition()
        self._is_closed = False
        self._passes = 0
        self._commit = engine.store.commit
        monkeypatch.setattr(engine.store, "commit", self._held)

    async def close(self):
        self._is_closed = True

    def open(self):
        with self._changed:
            self._is_closed = False
            self._changed.notify()

    async def next(self):
        """Let the commit pass that is held, and hold the one that follows."""
        self.arrived = trio.Event()
        with self._changed:
            self._passes += 1
            self._changed.notify()
        await self.arrived.wait()

    def _held(self, *batch):
        with self._changed:
            if self._is_closed:
                self._token.run_sync_soon(self.arrived.set)
                assert self._changed.wait_for(lambda: self._passes or not self._is_closed, 30)
                self._passes = 0
        self._commit(*batch)
