"""Who uses the engine in a simulated life: owners, who start a run and wait for its end, and who write to it.

Everything is asked for again in every life, with the same ids: that must change nothing. An event is another
one each time that it is sent, so that each can be followed to the wait that takes it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import trio

from durable_trio import DurableError, Engine, RunBlocked, RunCancelled, RunFailed, StoreError
from durable_trio._engine.calling import Caller
from durable_trio._engine.client import Client
from durable_trio._engine.reader import Reader
from durable_trio.testing import EPOCH
from tests.crash.values import digest

from .disk import Box
from .drawing import Cast, Run, messages_of
from .facts import CODEC
from .meddling import Meddler, resume
from .world import World

_PATIENCE = 2000.0  # virtual seconds after which a run has not ended that should have
_SHORT = 30.0  # the same, in a life in which nobody sends what it may wait for
_UNENDED = ("pending", "running", "waiting", "compensating", "blocked")


class Clients:
    """All of them, in one life.

    Args:
        world: where they live.
        cast: what is played.
        engine: which they use; some of what they want they ask for from another process.
        taken: the runs that were cancelled for good; shared by all lives.
    """

    def __init__(self, world: World, cast: Cast, engine: Engine, taken: set[str]) -> None:
        self._world = world
        self._cast = cast
        self._engine = engine
        self._taken = taken
        box: Any = Box(world)
        reader = Reader(engine.store, CODEC)
        store: Any = engine.store
        self._client = Client(store, box, reader, Caller(box, CODEC))

    def _face(self) -> Any:
        """Whom to ask: the engine, or a client of it."""
        return self._client if self._world.rng.random() < 0.25 else self._engine

    async def act(self) -> None:
        """Until all runs have ended, their children too."""
        with trio.move_on_after(_PATIENCE if self._world.last else _SHORT):
            async with trio.open_nursery() as senders:
                if self._world.last:
                    senders.start_soon(self._feed)
                async with trio.open_nursery() as owners:
                    meddler = Meddler(self._world, self._cast, self._engine, self._face)
                    owners.start_soon(meddler.act)
                    for run in self._cast.runs:
                        if run.id not in self._world.going:
                            owners.start_soon(self._own, run)
                while await self._unended():  # noqa: ASYNC110 - children have no owner who waits
                    await trio.sleep(3 + self._world.rng.random())
                senders.cancel_scope.cancel()

    async def _unended(self) -> list[Any]:
        return await self._engine.list(status=_UNENDED)

    async def _own(self, run: Run) -> None:
        world = self._world
        delay = run.delay - world.now()
        if delay > 0:
            await trio.sleep(delay)
        if run.id in world.going:
            return
        at = None
        if run.later is not None:
            at = EPOCH + timedelta(seconds=run.delay + run.later)
        try:
            handle = await self._face().start(run.workflow, run.input, id=run.id, at=at)
            world.started.add(run.id)
            world.write("ack-start", run.id, value=handle.created)
            async with trio.open_nursery() as others:
                if run.cancel is not None and run.id not in self._taken:
                    others.start_soon(self._cancel, run)
                if run.events:
                    others.start_soon(self._send_some, run)
                await self._see_the_end(run, handle)
                others.cancel_scope.cancel()
        except DurableError as error:
            self._refused(run.id, error)
        except BaseExceptionGroup as group:
            refused, rest = group.split(DurableError)
            if rest is not None:
                raise rest from None  # a cancellation, and not what it came together with
            self._refused(run.id, refused)

    def _refused(self, run: str, error: object) -> None:
        self._world.write("ack-refused", run, value=type(error).__name__)

    async def _see_the_end(self, run: Run, handle: Any) -> None:
        try:
            value = await handle.result()
            told = ("completed", digest(value))
        except RunFailed as error:
            told = ("failed", digest(error.error))
        except RunCancelled as error:
            told = ("cancelled", digest(error.reason))
        self._world.write("told", run.id, value=told[0], more=told[1])
        info = await self._engine.get(run.id)
        if info.finished_at is None:
            return  # it was let go on
        shown = digest(info.result if info.status == "completed" else info.error)
        self._world.write("ack-result", run.id, value=info.status, more=shown)

    async def _cancel(self, run: Run) -> None:
        assert run.cancel is not None
        world = self._world
        at, undo = run.cancel
        await trio.sleep(max(at - world.now(), 0.0))
        try:
            took_effect = await self._face().cancel(run.id, {"because": run.id}, compensate=undo)
        except RunBlocked as error:
            self._refused(run.id, error)
            return
        world.write("ack-cancel", run.id, value=took_effect)
        if not world.dead:
            self._taken.add(run.id)

    # -- messages ------------------------------------------------------------------------------------

    async def _send_some(self, run: Run) -> None:
        rng = self._world.rng
        events, inputs = messages_of(self._cast.plans[run.workflow])
        for _ in range(rng.randrange(8)):
            await trio.sleep(rng.random() * rng.choice((0.05, 3.0)))
            if inputs and rng.random() < 0.4:
                await self._answer(run.id, rng.choice(inputs))
            elif not await self._send(run.id, rng.choice(events)):
                return

    async def _send(self, run: str, name: str) -> bool:
        """Send an event that there has never been before; False if the run takes nothing any more."""
        world = self._world
        number = len(world.lines)
        nonce = f"{world.boot}.{number}.{run}"
        world.write("send", run, value=nonce, more=name)
        try:
            await self._face().send_event(run, name, {"event": nonce})
        except StoreError:
            raise
        except DurableError as error:
            world.write("unsent", run, value=nonce, more=type(error).__name__)
            return False
        world.write("sent", run, value=nonce, more=name)
        return True

    async def _answer(self, run: str, name: str) -> None:
        try:
            await self._face().provide_input(run, name, value="approved")
        except StoreError:
            raise
        except DurableError as error:
            self._world.write("unsent", run, value=None, more=type(error).__name__)

    async def _feed(self) -> None:
        """In the last life: give every run what it may wait for, until it has ended."""
        while True:
            await trio.sleep(5 + self._world.rng.random())
            for info in await self._unended():
                if info.paused:
                    await resume(self._world, self._engine, info.id)
                if info.status in ("pending", "blocked"):
                    continue
                plan = self._cast.plans[info.workflow]
                events, _ = messages_of(plan)
                for name in events:
                    if not await self._send(info.id, name):
                        break
                for asked in await self._engine.pending_inputs(run_id=info.id):
                    await self._answer(info.id, asked.name)
