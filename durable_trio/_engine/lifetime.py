"""Opening and closing an engine: its store, its nurseries, and what is raised in the end."""

from __future__ import annotations

import contextvars
import json
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import get_args

import trio

from durable_trio._definition.plan import Plan, compile_plan
from durable_trio._definition.workflow import Durability, Workflow
from durable_trio._engine.engine import Engine
from durable_trio._engine.handover import handing_over
from durable_trio._engine.reader import on_disk
from durable_trio._engine.recovery import recover
from durable_trio._errors import DefinitionError, InputError
from durable_trio._retry import seconds
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.base import Store
from durable_trio._store.lmdb import open_lmdb
from durable_trio._store.memory import MemoryStore

Clock = Callable[[], float | datetime]


@asynccontextmanager
async def open_engine(
    path: str | os.PathLike[str] | None = None,
    *,
    workflows: Iterable[Workflow],
    durability: Durability = "sync",
    max_running: int = 1000,
    queues: Mapping[str, int] | None = None,
    clock: Clock | None = None,
    types: Iterable[type] = (),
    flush_interval: float | timedelta = 0.01,
    cancel_grace: float | timedelta = 5.0,
) -> AsyncIterator[Engine]:
    """Open a database and run workflows on it; every unfinished run in it goes on.

    The engine's tasks live in a nursery of its own and end with the ``async with``. Leaving the block, by
    whatever way, suspends the runs that have not ended: their steps are cancelled, what has a result keeps
    it, and they go on when the database is opened again. Nothing fails by that.

    Args:
        path: the database directory; made if it is missing. None keeps everything in memory.
        workflows: the definitions that may be run here. They cannot be changed afterwards.
        durability: when a step's successor starts (see ``docs/guarantees.md``); a workflow's own
            ``durability`` goes before this one.
        max_running: how many runs may be under way at once; more are ``pending``.
        queues: name to a number: of the steps that were declared with ``queue=name``, at most so many bodies
            are entered at the same time, over all runs of this engine. A queue that is not here has no limit.
            A body keeps its place while it waits inside (``call_workflow`` and the like), so what it waits
            for must not need a place of the same queue.
        clock: says what wall-clock time it is, as seconds since the epoch or an aware datetime; by default
            the system's clock. ``durable_trio.testing.trio_clock()`` gives one that follows Trio's.
        types: classes (Struct, dataclass, Enum) whose instances may be stored, besides those in the modules
            of the workflows.
        flush_interval: seconds between the background commits of the mode ``"async"``.
        cancel_grace: after how many seconds a step that was cancelled and has not ended is named in the log.

    Raises:
        DefinitionError: a workflow is declared wrongly, or two have one name and version.
        InputError: an argument does not fit.
        StoreLocked: the database is open in another process, or another engine of this one.
        StoreCorrupt: what is at ``path`` is damaged, or cut off.
        StoreError: it is something else than a database, or cannot be used for another reason.
        BaseException: on leaving, what stopped the engine: a ``StoreError`` of a commit that failed, or the
            ``KeyboardInterrupt`` or the like that a step let out. The block is cancelled in that case.
    """
    if durability not in get_args(Durability):
        raise InputError(f"durability is one of {get_args(Durability)}, not {durability!r}")
    if isinstance(max_running, bool) or not isinstance(max_running, int) or max_running < 1:
        raise InputError(f"max_running is an int, 1 or more, not {max_running!r}")
    limits = _limits(queues)
    plans = _compiled(workflows)
    modules = {module for plan in plans.values() for module in plan.modules}
    types = tuple(types)
    codec = Codec(TypeRegistry(types, modules))
    lenient = Codec(TypeRegistry(types, modules, lenient=True))
    interval = seconds(flush_interval, "flush_interval")
    grace = seconds(cancel_grace, "cancel_grace")
    clean = contextvars.copy_context()
    store = await _opened(path)
    try:
        numbers = await on_disk(store, _enrolled, store, list(plans.values()))
        engine = Engine(
            store,
            codec,
            lenient,
            plans,
            numbers,
            durability=durability,
            max_running=max_running,
            queues=limits,
            now=_wall_clock(clock),
            cancel_grace=grace,
            clean=clean,
        )
        left: BaseException | None = None
        async with trio.open_nursery() as nursery:
            # Shielded: nursery.start() waits for the end of a child that reports its start too late, after a
            # cancellation, and this one is shielded itself. It does not wait for anything else.
            with trio.CancelScope(shield=True):
                await nursery.start(_host, engine, interval)
            try:
                with trio.CancelScope() as engine.users:
                    await recover(engine)
                    yield engine
            except BaseException as error:  # noqa: BLE001 - raised below, bare: no group of ours around it
                left = error
            engine.suspend()
        if engine.failure is not None and engine.failure is not left:
            raise engine.failure from left
        if left is not None:
            raise left
    finally:
        with trio.CancelScope(shield=True):
            await on_disk(store, store.close)


async def _host(
    engine: Engine, interval: float, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """The task around all others of an engine.

    It is shielded, so that a cancellation that comes from outside reaches the runs only through
    ``Engine.suspend``: before that, what a body raises is its own error; after that, it may be the echo of
    the cancellation, and is not recorded.
    """
    with trio.CancelScope(shield=True), handing_over(engine.committer):
        async with trio.open_nursery() as services:
            services.start_soon(engine.committer.flush_soon)
            services.start_soon(engine.stragglers.run)
            services.start_soon(engine.timers.run)
            if engine.requests is not None:
                await services.start(engine.requests.run)
            if "async" in {engine.durability, *(plan.durability for plan in engine.plans.values())}:
                services.start_soon(engine.committer.flush_every, interval)
            async with trio.open_nursery() as engine.workers.nursery:
                task_status.started()
                await trio.sleep_forever()
            # Before the committer: a service may wait for a commit, and no cancellation ends that.
            services.cancel_scope.cancel()
        await engine.committer.aclose()
        engine.abandon()


def _limits(queues: Mapping[str, int] | None) -> dict[str, int]:
    if queues is None:
        return {}
    if not isinstance(queues, Mapping):
        raise InputError(f'queues= maps names to limits, as in {{"mail": 5}}, and is not {queues!r:.80}')
    for name, limit in queues.items():
        if not isinstance(name, str) or isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(
                'queues= maps names to limits of 1 or more, as in {"mail": 5}, '
                f"not {name!r:.80} to {limit!r:.80}"
            )
    return dict(queues)


def _compiled(workflows: Iterable[Workflow]) -> dict[Workflow, Plan]:
    if isinstance(workflows, Workflow):
        raise DefinitionError("workflows= takes a list of workflows; write workflows=[...]")
    plans: dict[Workflow, Plan] = {}
    taken: dict[tuple[str, str], Workflow] = {}
    for workflow in workflows:
        if not isinstance(workflow, Workflow):
            raise DefinitionError(f"workflows= takes Workflow objects, not {workflow!r:.80}")
        if taken.setdefault((workflow.name, workflow.version), workflow) is not workflow:
            raise DefinitionError(
                f"two workflows are named {workflow.name!r} and have version {workflow.version!r}; rename "
                "one, or give it another version="
            )
        plans[workflow] = compile_plan(workflow)
    return plans


async def _opened(path: str | os.PathLike[str] | None) -> Store:
    if path is None:
        await trio.lowlevel.checkpoint()
        return MemoryStore()
    # Neither can opening be interrupted, nor may what it opened be lost before it can be closed.
    return await trio.to_thread.run_sync(open_lmdb, path, abandon_on_cancel=False)


def _enrolled(store: Store, plans: Iterable[Plan]) -> dict[str, int]:
    """Make the definitions known to the store; gives the workflows' numbers."""
    numbers = {}
    for plan in plans:
        numbers[plan.workflow] = store.workflow_number(plan.workflow)
        store.put_outline(plan.fingerprint, json.dumps(plan.outline, sort_keys=True).encode())
    return numbers


def _wall_clock(clock: Clock | None) -> Callable[[], float]:
    """The clock as seconds since the epoch, checked once."""
    if clock is None:
        return time.time
    if not callable(clock):
        raise InputError(f"clock= takes a function without arguments, not {clock!r:.80}")
    first = clock()
    if isinstance(first, datetime):
        if first.tzinfo is None:
            raise InputError("clock= gives a datetime without a time zone; let it give an aware one (UTC)")
        return lambda: clock().timestamp()  # type: ignore[union-attr]  # checked with the first value
    if isinstance(first, bool) or not isinstance(first, (int, float)) or not math.isfinite(first):
        raise InputError(f"clock= must give seconds since the epoch or an aware datetime, not {first!r:.80}")
    return clock  # type: ignore[return-value]  # checked with the first value
