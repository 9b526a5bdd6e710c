"""One life of the service that is killed: it opens the engine, starts the runs, and waits for their ends.

Everything is asked for again in every boot, with the same ids: that must change nothing.
"""

from __future__ import annotations

import contextlib
import signal
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import trio

from durable_trio import (
    Client,
    DurableError,
    Engine,
    EngineClosed,
    RunCancelled,
    RunFailed,
    StoreError,
    open_client,
    open_engine,
)

from .bodies import RunSpec, stage
from .effects import Effects
from .model import Line
from .scenarios import CHANGED, SCENARIOS, WORKFLOWS
from .senders import Senders
from .steerers import Steerer, tell_of_eras
from .values import Address, Colour, Parcel, digest

STORE_ERROR = 3  # the exit status of a life that the store ended

GRACE = 0.15  # seconds that a SIGTERM leaves to the bodies that are under way


class Life(NamedTuple):
    """What one boot is to do."""

    database: str
    scenario: str
    changed: bool = False
    before: tuple[Line, ...] = ()  # what earlier lives have written


def live(life: Life, effects: Effects) -> int:
    """Live until all runs have ended; gives the exit status."""
    effects.write("boot")
    try:
        try:
            trio.run(_main, life, effects)
        finally:
            effects.watchers.clear()
    except (StoreError, ExceptionGroup) as error:
        if isinstance(error, ExceptionGroup) and error.split(StoreError)[1] is not None:
            raise
        effects.write("error", value=repr(error))
        return STORE_ERROR
    effects.write("exit")
    return 0


async def _main(life: Life, effects: Effects) -> None:
    scenario = SCENARIOS[life.scenario]
    specs = {run.id: run for run in (*scenario.runs, *scenario.children)}
    going = {line.run for line in life.before if line.kind == "delete"}
    runs = {run.id: run for run in scenario.runs if run.id not in going}
    stage.set(effects, specs, life.before)
    tell_of_eras(effects)
    # Before the engine is opened: a recovered run may be there at once.
    reached = {run.id: _watch(effects, run.id, run.cancel) for run in runs.values() if run.cancel is not None}
    sends = any(run.sends for run in specs.values())
    senders = Senders(effects, specs, [*runs], list(life.before)) if sends else None
    workflows = (CHANGED if life.changed else WORKFLOWS).values()
    types = [Address, Colour, Parcel]
    # Trio delivers a signal that nobody has looked at again, when the receiver is left: one that comes behind
    # the last run's end must not kill a process that is about to exit.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_engine(
            life.database, workflows=workflows, max_running=scenario.max_running, types=types
        ) as engine:
            effects.write("open")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_terminate, signals, engine, effects, nursery.cancel_scope)
                async with AsyncExitStack() as clients, trio.open_nursery() as drivers:
                    asks = any(run.steers.asks for run in runs.values())
                    client = await clients.enter_async_context(_client(life, types)) if asks else None
                    if senders is not None:
                        senders.client = client
                        nursery.start_soon(senders.run, engine)
                    for run in runs.values():
                        face = client if run.steers.asks else engine
                        drivers.start_soon(_drive, engine, face, effects, run, reached.get(run.id))
                    for name in going:
                        drivers.start_soon(_forget, engine, effects, name)
                if scenario.children and not life.changed:
                    await _outlast_children(engine)
                nursery.cancel_scope.cancel()


async def _outlast_children(engine: Engine) -> None:
    """Wait until what runs have started has come to its end too."""
    with contextlib.suppress(EngineClosed):
        while left := await engine.list(status=("pending", "running", "waiting", "compensating")):
            run = await engine.start(left[0].workflow, id=left[0].id)
            await run.wait()


async def _terminate(signals: Any, engine: Engine, effects: Effects, scope: trio.CancelScope) -> None:
    async for _ in signals:
        effects.write("sigterm")
        with trio.move_on_after(GRACE) as limit:
            await engine.drain()
        effects.write("drained", value=not limit.cancelled_caught)
        scope.cancel()
        return


async def _forget(engine: Engine, effects: Effects, run: str) -> None:
    """Delete what an earlier life has begun to delete."""
    try:
        await engine.delete(run)
    except StoreError:
        raise
    except DurableError as error:
        effects.write("ack-refused", run, value=type(error).__name__)
    else:
        effects.write("deleted", run)


def _client(life: Life, types: list[type]) -> AbstractAsyncContextManager[Client]:
    return open_client(life.database, types=types)


async def _drive(
    engine: Engine, face: Any, effects: Effects, spec: RunSpec, reached: trio.Event | None
) -> None:
    """What the owner of a run does, and is told."""
    steerer = Steerer(engine, face, effects, spec)
    async with trio.open_nursery() as nursery:
        if reached is not None:
            nursery.start_soon(_cancel, face, effects, spec, reached)
        if spec.steers.pause is not None:
            nursery.start_soon(steerer.hold_up, _watch(effects, spec.id, spec.steers.pause))
        try:
            for _ in range(2 if spec.sends or spec.at else 1):
                at = None if spec.at is None else datetime.now(UTC) + timedelta(milliseconds=spec.at)
                run = await face.start(spec.workflow, spec.input, id=spec.id, at=at)
                effects.write("ack-start", spec.id, value=run.created)
            if spec.steers.pause is not None:
                await steerer.resume()
            while run is not None:
                status = await _see_the_end(engine, effects, spec, run)
                run = await steerer.let_go_on() if status == "failed" else None
            await steerer.finish()
        except StoreError as error:
            if engine.failure is not None:
                raise
            effects.write("ack-refused", spec.id, value=type(error).__name__)
        except DurableError as error:
            effects.write("ack-refused", spec.id, value=type(error).__name__)
        nursery.cancel_scope.cancel()


async def _see_the_end(engine: Engine, effects: Effects, spec: RunSpec, run: Any) -> str:
    """What who waits for it is told, and who looks then; gives the status."""
    status, value = "completed", None
    try:
        value = await run.result()
    except RunFailed as error:
        status, value = "failed", error.error
    except RunCancelled as error:
        status, value = "cancelled", error.reason
    effects.write("ack-result", spec.id, value=status, more=digest(value))
    info = await engine.get(spec.id)
    shown = info.result if info.status == "completed" else info.error
    effects.write("ack-result", spec.id, value=info.status, more=digest(shown))
    return status


def _watch(effects: Effects, name: str, at: tuple[str, str]) -> trio.Event:
    """An event that is set when the line is written at which the run is to be cancelled."""
    reached = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def watch(kind: str, run: str, path: str) -> None:
        if run == name and (kind, path.rpartition("/")[2]) == at:
            token.run_sync_soon(reached.set, idempotent=True)

    effects.watchers.append(watch)
    return reached


async def _cancel(face: Any, effects: Effects, spec: RunSpec, reached: trio.Event) -> None:
    await reached.wait()
    with trio.CancelScope(shield=True):  # the run may be over before this has its answer
        try:
            took_effect = await face.cancel(spec.id, {"because": spec.id}, compensate=spec.undo)
        except DurableError as error:
            effects.write("ack-refused", spec.id, value=type(error).__name__)
        else:
            effects.write("ack-cancel", spec.id, value=took_effect, more=spec.undo)
