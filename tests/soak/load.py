"""A process that keeps runs in flight: ``python -m tests.soak.load`` and the fields of ``Plan``.

It opens the engine ``LIVES`` times within its time. Each life takes up what it finds, fills up what is
missing, and is left or drained in the middle of the work. With ``FINISH`` a last life starts nothing and must
end everything. What was done, and what was seen, goes to ``FOLDER/notes`` as lines of JSON, which a SIGKILL
cannot take back.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trio

from durable_trio import DurableError, Engine, EngineClosed, Run, RunNotFound, open_engine

from .flows import MIXTURE, WORKFLOWS

UNENDED = ("pending", "running", "waiting", "compensating", "blocked")
_STARTERS, _SENDERS, _CANCELLERS = 24, 16, 2
_PAGE = 1000
_APART = 0.5  # seconds between two looks at the figures
_PATIENCE = 120.0  # seconds in which everything must end, once nothing disturbs it


class Plan(NamedTuple):
    """What this process is to do; see the module."""

    folder: Path
    seed: int
    seconds: float
    in_flight: int
    lives: int
    finish: bool


class Pick:
    """Ids of runs in flight, of which a random one can be had at once."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, run_id: str) -> None:
        self._places[run_id] = len(self._ids)
        self._ids.append(run_id)

    def drop(self, run_id: str) -> None:
        place = self._places.pop(run_id)
        last = self._ids.pop()
        if last != run_id:
            self._ids[place] = last
            self._places[last] = place

    def any(self, rng: random.Random) -> str:
        return self._ids[rng.randrange(len(self._ids))]

    def all(self) -> list[str]:
        return list(self._ids)


class Load:
    """The lives of one process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed)
        self._notes = os.open(plan.folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._done: Counter[str] = Counter()
        self._number = 0
        self._in_flight = Pick()
        self._left: list[str] = []  # in flight when the life before was left

    def note(self, kind: str, **what: Any) -> None:
        """One line; what was done since the last one goes with it."""
        line = {"kind": kind, "done": dict(self._done), **what}
        self._done.clear()
        os.write(self._notes, json.dumps(line).encode() + b"\n")

    def complain(self, text: str) -> None:
        self.note("violation", text=text)

    async def live(self) -> None:
        """All lives."""
        plan = self._plan
        for number in range(plan.lives):
            way = ("left", "drained")[number % 2]
            async with open_engine(plan.folder / "db", workflows=WORKFLOWS) as engine:
                await self._live(engine, plan.seconds / plan.lives, drained=way == "drained")
            self._left = self._in_flight.all()
            self._in_flight = Pick()
            self._done[way] += 1
            self.note("life")
        if plan.finish:
            async with open_engine(plan.folder / "db", workflows=WORKFLOWS) as engine:
                await self._finish(engine)

    async def _live(self, engine: Engine, seconds: float, *, drained: bool) -> None:
        async with trio.open_nursery() as callers:
            await self._take_up(engine, callers)
            began = time.monotonic()
            with trio.move_on_after(seconds):
                async with trio.open_nursery() as clients:
                    clients.start_soon(self._watch, engine)
                    clients.start_soon(self._prune, engine)
                    for _ in range(_STARTERS):
                        clients.start_soon(self._start, engine, callers)
                    for _ in range(_SENDERS):
                        clients.start_soon(self._send, engine)
                    for _ in range(_CANCELLERS):
                        clients.start_soon(self._cancel, engine)
            self.note("worked", seconds=time.monotonic() - began)
            if drained:
                with trio.move_on_after(1.0):
                    await engine.drain()
            callers.cancel_scope.cancel()

    async def _take_up(self, engine: Engine, callers: trio.Nursery) -> None:
        """Wait for all runs that are there; what this process left in flight is among them."""
        found = {run_id for run_id, parent in await _unended(engine) if parent is None}
        for run_id in self._left:
            if run_id not in found:
                try:
                    await engine.get(run_id)
                except RunNotFound:
                    self.complain(f"the run {run_id} was started, has not ended, and is not there any more")
        names = {workflow.name: workflow for workflow in WORKFLOWS}
        for run_id in sorted(found):
            run = await engine.start(names[run_id.partition("-")[0]], id=run_id)
            if run.created:
                self.complain(f"the run {run_id} is listed, and can be started again")
            self._in_flight.add(run_id)
            callers.start_soon(self._outlast, run)

    async def _outlast(self, run: Run) -> None:
        try:
            info = await run.wait()
        except EngineClosed:
            return  # it goes on in the next life
        except RunNotFound:
            self._in_flight.drop(run.id)
            return  # it has ended, and was pruned before this could look: only what has ended is
        if info.status in UNENDED:
            self.complain(f"the run {run.id} is said to have ended as {info.status}: {info.error}")
        self._done[f"ended {info.status}"] += 1
        self._in_flight.drop(run.id)

    async def _start(self, engine: Engine, callers: trio.Nursery) -> None:
        while True:
            if len(self._in_flight) >= self._plan.in_flight:
                await trio.sleep(0.005)
                continue
            self._number += 1
            number = self._number
            workflow = self._rng.choice(MIXTURE)
            given = {"number": number, "seconds": self._rng.uniform(0.1, 5.0)}
            run_id = f"{workflow.name}-{self._plan.seed}-{number}"
            run = await engine.start(workflow, given, id=run_id, priority=number % 3)
            self._done["started"] += 1
            self._in_flight.add(run_id)
            callers.start_soon(self._outlast, run)

    async def _send(self, engine: Engine) -> None:
        while True:
            if len(self._in_flight) < self._plan.in_flight // 2:
                await trio.sleep(0.005)  # first there shall be many
                continue
            await _unless_it_has_ended(engine.send_event, self._in_flight.any(self._rng), "go", self._number)
            self._done["events"] += 1

    async def _cancel(self, engine: Engine) -> None:
        while True:
            await trio.sleep(self._rng.uniform(0, 0.02))
            if self._in_flight:
                run_id = self._in_flight.any(self._rng)
                if await _unless_it_has_ended(engine.cancel, run_id, "enough"):
                    self._done["cancelled"] += 1

    async def _prune(self, engine: Engine) -> None:
        while True:
            await trio.sleep(0.7)
            self._done["pruned"] += await engine.prune(0.0)

    async def _watch(self, engine: Engine) -> None:
        while True:
            await trio.sleep(_APART)
            full = len(self._in_flight) >= self._plan.in_flight * 9 // 10
            self.note("figures", memory=_memory(), full=full, in_flight=len(self._in_flight))

    # -- the end ---------------------------------------------------------------------------------------

    async def _finish(self, engine: Engine) -> None:
        """Nothing disturbs it any more: everything must end, and all space must come back."""
        async with trio.open_nursery() as callers:
            await self._take_up(engine, callers)
            with trio.move_on_after(_PATIENCE):
                async with trio.open_nursery() as clients:
                    waiting = iter(self._in_flight.all())
                    for _ in range(_SENDERS):
                        clients.start_soon(self._send_at_last, engine, waiting)
                while self._in_flight:  # noqa: ASYNC110 - their callers come out one by one
                    await trio.sleep(0.05)
                while await _unended(engine):  # noqa: ASYNC110 - children have no callers
                    await trio.sleep(0.05)
            stranded = await _unended(engine)
            if stranded or self._in_flight:
                some = [await engine.get(run_id) for run_id, _ in stranded[:3]]
                self.complain(
                    f"{len(stranded)} runs are stranded, {len(self._in_flight)} callers wait: {some}"
                )
            callers.cancel_scope.cancel()
        await trio.sleep(0.01)  # what ended in this millisecond is not yet older than now
        self._done["pruned"] += await engine.prune(0.0)
        left = await engine.list(limit=3)
        if left:
            self.complain(f"they were pruned, and are there: {left}")
        self.note("finished")

    async def _send_at_last(self, engine: Engine, waiting: Iterator[str]) -> None:
        for run_id in waiting:
            await _unless_it_has_ended(engine.send_event, run_id, "go", "at last")


async def _unended(engine: Engine) -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    after = None
    while page := await engine.list(status=UNENDED, limit=_PAGE, after=after):
        found += [(info.id, info.parent) for info in page]
        after = page[-1].id
    return found


async def _unless_it_has_ended(ask: Any, *arguments: Any) -> Any:
    """A client cannot know whether the run is still there."""
    try:
        return await ask(*arguments)
    except EngineClosed:
        raise
    except DurableError:
        return None


def _memory() -> int:
    """Bytes that are this process's own; the pages of the data file are not."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1024


def main() -> None:
    folder, seed, seconds, in_flight, lives, finish = sys.argv[1:]
    plan = Plan(Path(folder), int(seed), float(seconds), int(in_flight), int(lives), finish == "1")
    trio.run(Load(plan).live)


if __name__ == "__main__":
    main()
