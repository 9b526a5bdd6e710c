"""Does what other processes ask for: calls that clients have left in the database.

A thread looks at the number of LMDB's last transaction 25 times a second, which costs a few thousandths of a
core; only if it has changed does it look whether there is a request. It is a thread, and not a task, so that
a mock clock does not jump from one look to the next. Nothing is written by looking.

Requests are taken one after the other, in the order in which they were left. What one does and its answer
are handed over together, so that they are in one transaction, which also removes the request. So a request
that is still there after a crash has had no effect, and one whose effect is there is not there any more:
nothing is done twice, and there is nothing to be compared. The one exception is ``prune``, which takes many
transactions and is therefore answered in a last one: after a crash it is done again, and counts anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from durable_trio._engine import cancelling, forgetting, messages, starting, steering
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.calls import age_of, pack_error, pack_value, unpack_call
from durable_trio._errors import (
    DurableError,
    EngineClosed,
    InputError,
    SnapshotError,
    StoreCorrupt,
    StoreError,
)
from durable_trio._snapshot.types import UnknownType
from durable_trio._store.base import Answer

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

_logger = logging.getLogger("durable_trio")
_INTERVAL = 0.04  # seconds between two looks
_SHORT_INTERVAL = 0.005  # the same when one has just been answered with yes,
_EAGER = 30  # for so many looks: who asks in a row need not wait each time
_SWEEP_EVERY = 1500  # looks: a minute
_REPLY_LIFE = 600.0  # seconds that a reply waits for its client; one that lives takes it at once
_PAGE = 1000

Act = Callable[[], Any]  # hands over what was asked for, and gives the answer


class Requests:
    """The requests that come to one engine. Only for a store that is shared with other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken: set[bytes] = set()  # those that were taken up when they were last seen in the store
        self._bell = trio.Event()
        self._stop = threading.Lock()  # held as long as the thread shall go on
        self._nursery: trio.Nursery
        self._begun = trio.Event()

    async def begin(self) -> None:
        """Do what was left while there was no engine; it is on disk when this returns. Then, look for more.

        Not before every run that has not ended is known: what is asked for is asked of them.
        """
        await self._perform_all()
        await self._engine.committer.durable()
        self._begun.set()

    @trio.lowlevel.enable_ki_protection  # an interrupt is for the main task
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled."""
        self._stop.acquire()
        token = trio.lowlevel.current_trio_token()
        thread = threading.Thread(
            target=self._watch, args=(token,), name="durable-trio requests", daemon=True
        )
        async with trio.open_nursery() as self._nursery:
            try:
                task_status.started()
                await self._begun.wait()
                thread.start()
                while True:
                    await self._bell.wait()
                    self._bell = trio.Event()
                    await self._perform_all()
                    await self._sweep()
            finally:
                self._stop.release()  # it ends by itself: what it could touch is closed safely

    # -- the thread ----------------------------------------------------------------------------------

    def _watch(self, token: trio.lowlevel.TrioToken) -> None:
        store = self._engine.store
        seen = looks = eager = 0
        while not self._stop.acquire(timeout=_SHORT_INTERVAL if eager else _INTERVAL):
            looks += 1
            eager = max(eager - 1, 0)
            is_time = looks % _SWEEP_EVERY == 0
            try:
                number = store.last_transaction()  # before the look: what comes after it is another number
                if number == seen and not is_time:
                    continue
                seen = number
                found = store.requests(limit=1) or (store.replies(limit=1) if is_time else [])
                if found:
                    eager = _EAGER
                    token.run_sync_soon(self._ring)
            except (StoreError, trio.RunFinishedError):
                return  # the engine has failed, or is closed

    def _ring(self) -> None:
        self._bell.set()

    # -- the Trio thread -----------------------------------------------------------------------------

    async def _perform_all(self) -> None:
        """Take up each request that is there, in order, and hand over what it asks for."""
        engine = self._engine
        while not engine.draining:  # then they are left to the next engine, or taken back by their clients
            try:
                limit = _PAGE + len(self._taken)
                page = await engine.reader.call(lambda: engine.store.requests(limit=limit))  # noqa: B023
            except StoreError as error:
                if engine.failure is None:
                    _logger.error("requests of other processes cannot be read: %s", error)  # noqa: TRY400
                return
            new = [(key, payload) for key, payload in page if key not in self._taken]
            # Only what is not read any more is forgotten. That an answer is on disk is no reason: the page
            # may have been read before.
            self._taken.intersection_update([key for key, _ in page])
            if not new:
                return
            for key, payload in new:
                self._taken.add(key)
                await self._take_up(key, payload)

    async def _take_up(self, key: bytes, payload: bytes | None) -> None:
        engine = self._engine
        if ARMED:
            failpoint("request.taken")
        try:
            operation, arguments = _decoded(engine, payload)
        except Exception as error:  # noqa: BLE001 - the client is told
            self._answer(key, partial(_raise, error))
            return
        if operation == "prune":  # takes its time; the others do not wait for it
            self._nursery.start_soon(self._perform, key, operation, arguments)
        elif operation in _STEERING:  # two acts that steer a run do not overlap, until they are on disk
            async with engine.steering:
                await self._perform(key, operation, arguments)
                with suppress(StoreError):  # the engine has failed, and says so itself
                    await engine.committer.durable()
        else:
            await self._perform(key, operation, arguments)

    async def _perform(self, key: bytes, operation: str, arguments: Mapping[str, Any]) -> None:
        act: Act
        try:
            act = await _prepared(operation)(self._engine, **arguments)
        except Exception as error:  # noqa: BLE001 - the client is told
            act = partial(_raise, error)
        self._answer(key, act)

    def _answer(self, key: bytes, act: Act) -> None:
        """Do it, and hand over the effect together with the reply."""
        engine = self._engine
        if engine.draining or engine.failure is not None:
            return  # nothing was done: the request stays
        codec = engine.codec
        with engine.committer.together():
            try:
                reply = pack_value(codec, act())
            except EngineClosed:
                return
            except Exception as error:
                if engine.failure is not None:
                    return
                if not isinstance(error, DurableError):
                    _logger.exception("a request of another process failed unexpectedly")
                reply = pack_error(codec, error)
            engine.committer.put_answer(Answer(key, reply))
        if ARMED:
            failpoint("request.put")

    async def _sweep(self) -> None:
        """Remove the replies of clients that have gone."""
        engine = self._engine
        if engine.draining:
            return
        try:
            page = await engine.reader.call(lambda: engine.store.replies(limit=_PAGE))
            old = [key for key, reply in page if age_of(engine.codec, reply) > _REPLY_LIFE]
            for key in old:
                engine.committer.put_answer(Answer(key, None))
            if old:
                engine.committer.soon()
        except StoreError as error:
            if engine.failure is None:
                _logger.error("replies to other processes cannot be read: %s", error)  # noqa: TRY400


def _decoded(engine: Engine, payload: bytes | None) -> tuple[str, dict[str, Any]]:
    if payload is None:
        raise StoreCorrupt("the request was damaged on disk; ask again")
    try:
        return unpack_call(engine.codec, payload)
    except UnknownType as error:
        raise SnapshotError(f"the engine that has the database open cannot take this: {error}") from error


def _raise(error: Exception) -> Any:
    raise error


# -- what can be asked for -----------------------------------------------------------------------------
# Each checks, and gives what is to be done with no await in between.


def _prepared(operation: str) -> Callable[..., Awaitable[Act]]:
    if operation not in _OPERATIONS:
        raise InputError(f"the engine's version of durable-trio does not know {operation!r}; update it")
    return _OPERATIONS[operation]


async def _start(engine: Engine, workflow: str, **arguments: Any) -> Act:
    await trio.lowlevel.checkpoint()

    def act() -> list[Any]:
        run, created = starting.enter(engine, workflow, **arguments)
        engine.committer.when_durable(partial(engine.post.settle_down, run))
        return [run.id, created]

    return act


async def _cancel(engine: Engine, run_id: str, reason: Any, *, compensate: bool) -> Act:
    run = await cancelling.cancellable(engine, run_id)
    return partial(cancelling.cancel_now, run, reason, compensate=compensate)


async def _retry(engine: Engine, run_id: str, from_step: str | None = None, visit: int | None = None) -> Act:
    await trio.lowlevel.checkpoint()
    return lambda: steering.retry_now(engine, run_id, from_step, visit).id


async def _fork(engine: Engine, run_id: str, from_step: str, id: str | None, visit: int | None) -> Act:  # noqa: A002
    fork = await steering.fork_for(engine, run_id, from_step, id, visit)

    def act() -> list[Any]:
        run, created = fork()
        return [run.id, created]

    return act


async def _pause(engine: Engine, run_id: str) -> Act:
    return partial(steering.pause_now, engine, await steering.under_way(engine, run_id, "paused"))


async def _resume(engine: Engine, run_id: str) -> Act:
    return partial(steering.resume_now, engine, await steering.under_way(engine, run_id, "resumed"))


async def _delete(engine: Engine, run_id: str) -> Act:
    await forgetting.nothing_on_its_way(engine, run_id)
    return partial(forgetting.delete_now, engine, run_id)


async def _prune(engine: Engine, older_than: Any, statuses: Any) -> Act:
    count = await forgetting.prune(engine, older_than, statuses)
    return lambda: count


_STEERING = ("retry", "fork", "pause", "resume")
_OPERATIONS: dict[str, Callable[..., Awaitable[Act]]] = {
    "start": _start,
    "send_event": messages.event_for,
    "provide_input": messages.answer_for,
    "cancel": _cancel,
    "retry": _retry,
    "fork": _fork,
    "pause": _pause,
    "resume": _resume,
    "delete": _delete,
    "prune": _prune,
}
