"""What is replaced so that nothing but the seed decides what happens.

Trio's scheduler shuffles what can run in each tick; it has a switch that makes this the work of a seeded
generator. Threads run when the operating system likes, so what the engine gives to a thread is done on the
loop, with time before and after it. Ids and jitter are drawn from seeded generators. The garbage collector is
off during an episode: when a parked run's object goes would otherwise depend on what ran before.
"""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import trio

from durable_trio._engine import children, ids, lifetime, steering
from durable_trio._engine.committer import Committer
from durable_trio._engine.reader import Reader
from durable_trio._engine.requests import Requests
from durable_trio._engine.run import RunState

from .disk import SimulatedCommitter
from .world import World

_scheduler: Any = sys.modules["trio._core._run"]


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """The rules of the world hold."""
    seed = world.rng.getrandbits(64)
    committer = type("_Committer", (SimulatedCommitter,), {"world": world})

    async def call(_reader: Reader, function: Callable[..., Any], *arguments: Any) -> Any:
        return await world.elsewhere(function, *arguments)

    async def watch(
        requests: Requests, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """``Requests.run``, with a task in place of its thread."""
        async with trio.open_nursery() as requests._nursery:
            task_status.started()
            await requests._begun.wait()
            while True:
                await world.bell.wait()
                world.bell = trio.Event()
                await trio.sleep(world.rng.random() * 0.04)
                await requests._perform_all()
                await requests._sweep()

    def retried(original: Callable[..., RunState]) -> Callable[..., RunState]:
        def retry_now(*arguments: Any) -> RunState:
            run = original(*arguments)
            world.write("era", run.id)
            return run

        return retry_now

    changes: list[tuple[Any, str, Any]] = [
        (Requests, "run", watch),
        (steering, "retry_now", retried(steering.retry_now)),
        (children, "retry_now", retried(children.retry_now)),
        (_scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        (_scheduler, "_r", random.Random(seed)),
        (trio.to_thread, "run_sync", world.elsewhere),
        (ids, "random", SimpleNamespace(Random=lambda: random.Random(seed))),
        (lifetime, "MemoryStore", lambda: world.disk),
        (Reader, "call", call),
    ]
    changes += [
        (module, "Committer", committer)
        for name, module in list(sys.modules.items())
        if name.startswith("durable_trio._engine.") and getattr(module, "Committer", None) is Committer
    ]
    before = [(target, name, getattr(target, name)) for target, name, _ in changes]
    state = random.getstate()
    collects = gc.isenabled()
    random.seed(seed)
    gc.disable()
    for target, name, value in changes:
        setattr(target, name, value)
    try:
        yield
    finally:
        for target, name, value in before:
            setattr(target, name, value)
        random.setstate(state)
        if collects:
            gc.enable()
