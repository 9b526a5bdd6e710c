"""One life of the simulated machine: its time, its dice, its journal, and the moment in which it crashes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from durable_trio.testing import EPOCH
from tests.crash.model import Line

from .clock import simulated_clock
from .disk import Disk

_START = EPOCH.timestamp()


class World:
    """What all parts of one episode share; ``begin`` makes it a new life.

    Attributes:
        rng: the only source of chance.
        lines: the effects journal of all lives.
        disk: what the engine of this life writes to.
        dead: this life has crashed: nothing that happens now leaves a trace.
        label: at what it crashed.
        crash_at: after how many moments of this life.
        faults: how likely a commit is to fail.
        at_fault: what was on the disk when a commit failed.
        last: nothing disturbs this life.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.lines: list[Line] = []
        self.disk = Disk()
        self.boot = -1
        self.clock = simulated_clock(0.0)
        self.dead = False
        self.label = ""
        self.crash_at = 0
        self.moments = 0
        self.faults = 0.0
        self.at_fault: Disk | None = None
        self.last = False
        self.image: Disk | None = None
        self.bell = trio.Event()  # another process has asked for something
        self.died_at = 0.0
        self.recovering = False
        self.scope: trio.CancelScope | None = None
        self.unwritten: list[Any] = []  # collections of what was handed over to this life's committer
        self.threads = 0
        self.passed: Counter[str] = Counter()
        self.started: set[str] = set()  # runs that their owners have asked for in this life
        self.going: dict[str, int] = {}  # runs that somebody has asked to delete, by the life
        self._seq = 0

    def begin(self, at: float, crash_at: int, faults: float, *, last: bool = False) -> None:
        """Start the next life, at a virtual second, on what the one before has left."""
        self.clock = simulated_clock(at)
        self.boot += 1
        self.dead = False
        self.label = ""
        self.crash_at = crash_at
        self.faults = faults
        self.moments = 0
        self.at_fault = None
        self.last = last
        self.image = None
        self.recovering = True
        self.bell = trio.Event()
        self.started = set()
        self._seq = 0

    def now(self) -> float:
        """Virtual seconds since the beginning of the episode."""
        return self.clock.current_time()

    def moment(self, label: str) -> None:
        """Something happened after which the machine may crash."""
        if self.dead:
            return
        self.moments += 1
        if self.moments == self.crash_at:
            self.crash(f"{label}, recovering" if self.recovering else label)

    def crash(self, label: str) -> None:
        """Freeze what there is. The tasks of the dead are unwound, unheard."""
        self.dead = True
        self.label = label
        self.image = self.disk.frozen()
        self.died_at = self.now()
        assert self.scope is not None
        self.scope.cancel(reason="crashed")

    def write(
        self,
        kind: str,
        run: str = "",
        path: str = "",
        visit: int = 0,
        attempt: int = 0,
        value: Any = None,
        more: Any = None,
    ) -> str:
        """Append a line to the effects journal. Gives its nonce: no other line of the episode has it."""
        self._seq += 1
        nonce = f"{self.boot}.{self._seq}"
        if self.dead:
            return nonce
        now = self.now()
        self.lines.append(
            Line(
                len(self.lines) + 1,
                self.boot,
                self._seq,
                int(now * 1e9),
                _START + now,
                kind,
                run,
                path,
                visit,
                attempt,
                value,
                more,
            )
        )
        self.passed[kind] += 1
        self.moment(f"after {kind}")
        return nonce

    async def pause(self, longest: float = 0.01) -> None:
        """Take some time, or none; cancellable where there is any."""
        if self.dead:
            return
        dice = self.rng.random()
        if dice < 0.35:
            return
        if dice < 0.7:
            for _ in range(self.rng.randrange(1, 4)):
                await trio.lowlevel.checkpoint()
            return
        await trio.sleep(self.rng.random() * longest)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """The scope of this life."""
        with trio.CancelScope() as self.scope:
            yield

    async def elsewhere(self, function: Callable[..., Any], *arguments: Any, **_options: Any) -> Any:
        """What stands for ``trio.to_thread.run_sync``: it takes its time, and cannot be cancelled in it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
            await self.pause()
            self.threads += 1
            try:
                return function(*arguments)
            finally:
                self.threads -= 1
                await self.pause()
