"""Drives real engines: a Trio run in a thread, in which commands are given one by one while its clock stands.

A command is followed by waiting until nothing moves any more: no task can go on, the committer has nothing
left, no thread reads. So the interleaving is the machine's choice, and what is then seen can be compared.

A crash: the store's image is taken at one of the commits that a command leads to, the engine goes on until
nothing moves, is thrown away, and another one opens the image.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from building import build
from model import BY_CALLER, BY_PARENT

from durable_trio import DurableError, Failure, RunInfo, open_engine
from durable_trio._engine import committer, lifetime
from durable_trio._snapshot.records import EVENT_MESSAGE
from durable_trio._store.base import Store
from durable_trio._store.lmdb import open_lmdb
from durable_trio._store.memory import MemoryStore
from durable_trio.testing import EPOCH, trio_clock

T = TypeVar("T")
Gate = tuple[str, str, int, int]
_PATIENCE = 20.0  # real seconds; nothing that is right takes a tenth of it


class Host:
    """A Trio run in a thread of its own, under a mock clock that moves when it is told to."""

    def __init__(self) -> None:
        self.clock = trio.testing.MockClock()
        ready: queue.Queue[Any] = queue.Queue()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        self._token, self._over, self.nursery = ready.get(timeout=_PATIENCE)

    def _run(self, ready: queue.Queue[Any]) -> None:
        async def main() -> None:
            over = trio.Event()
            async with trio.open_nursery() as nursery:
                ready.put((trio.lowlevel.current_trio_token(), over, nursery))
                await over.wait()
                nursery.cancel_scope.cancel()

        trio.run(main, clock=self.clock)

    def call(self, function: Callable[..., Awaitable[T]], *arguments: Any, **named: Any) -> T:
        """Call an async function in the Trio thread."""
        return trio.from_thread.run(partial(function, **named), *arguments, trio_token=self._token)

    def close(self) -> None:
        trio.from_thread.run_sync(self._over.set, trio_token=self._token)
        self._thread.join(_PATIENCE)
        assert not self._thread.is_alive(), "an engine does not let itself be left"


class Crashed(Exception):
    """A command was not answered before the crash."""


class _Counting(deque[Any]):
    """The committer's queue, which tells whether anybody has put something in."""

    appended = 0

    def append(self, entry: Any) -> None:
        self.appended += 1
        super().append(entry)


class Side:
    """One store, and the engine that works on it now."""

    def __init__(self, host: Host, folder: Path | None) -> None:
        self.name = "memory" if folder is None else "lmdb"
        self._host = host
        self._folder = folder
        self._images = 0
        self._store: Store | None = None
        self._life = 0
        self._countdown: int | None = None
        self._image: Any = None
        self.broken: Exception | None = None
        self.entered: list[Gate] = []
        self.gates: dict[Gate, tuple[trio.Event, list[Any]]] = {}
        self.ids: dict[str, str] = {}  # run id by tag

    # -- lives ---------------------------------------------------------------------------------------

    async def open(self, *, crash_after: int | None = None) -> None:
        """Open the store; with ``crash_after``, have an image taken at that commit of the recovery."""
        self._life += 1
        self.entered.clear()
        self.gates.clear()
        if self._folder is None:
            self._store = MemoryStore() if self._store is None else self._store
        else:
            self._store = open_lmdb(self._folder / str(self._images))
        self._arm(crash_after)
        self.workflows = build(partial(self._arrive, self._life), partial(self._enter, self._life))
        self.leave = trio.Event()
        self._left = trio.Event()
        with _store_to_open(self._store):
            await self._host.nursery.start(self._live)
        await self.settle()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        left = self._left
        try:
            async with open_engine(
                f"the {self.name} store", workflows=self.workflows.values(), clock=trio_clock()
            ) as self.engine:
                task_status.started()
                await self.leave.wait()
        except Exception as error:  # raised where the machine looks next
            self.broken = error
        finally:
            left.set()

    async def close(self) -> None:
        """Leave the engine in good order."""
        self._life += 1  # what its bodies still do does not count
        self.leave.set()
        await self._left.wait()
        self.check()
        if isinstance(self._store, MemoryStore):
            self._store = self._store.copy()

    async def crash(self) -> None:
        """Throw the engine away, and keep the image."""
        image = self._image or self._take_image()
        self._countdown = self._image = None
        await self.close()
        if self._folder is None:
            self._store = image
        else:
            shutil.rmtree(self._folder / str(self._images))
            self._images += 1
            image.rename(self._folder / str(self._images))

    def _take_image(self) -> Any:
        if isinstance(self._store, MemoryStore):
            return self._store.copy()
        assert self._folder is not None
        image = self._folder / f"{self._images}.image"
        shutil.copytree(self._folder / str(self._images), image)
        return image

    def _arm(self, crash_after: int | None) -> None:
        """Have an image taken when so many more commits are done."""
        store = self._store
        assert store is not None
        self._countdown, self._image = crash_after, None
        commit = type(store).commit

        def counted(writes: Any, answers: Any = ()) -> int:
            if self._countdown == 0 and self._image is None:
                self._image = self._take_image()
            if self._countdown:
                self._countdown -= 1
            return commit(store, writes, answers)

        store.commit = counted  # type: ignore[method-assign]

    # -- bodies --------------------------------------------------------------------------------------

    def _enter(self, life: int, gate: Gate) -> None:
        if life == self._life:
            self.entered.append(gate)

    async def _arrive(self, life: int, gate: Gate) -> tuple[str, Any]:
        if life != self._life:
            await trio.sleep_forever()
        assert gate not in self.gates, f"{gate} is under way twice"
        door = self.gates[gate] = (trio.Event(), [])
        try:
            await door[0].wait()
        finally:
            if self.gates.get(gate) is door:
                del self.gates[gate]
        return door[1][0]  # type: ignore[no-any-return]

    # -- commands ------------------------------------------------------------------------------------

    async def do(self, command: str, arguments: dict[str, Any], *, crash_after: int | None = None) -> Any:
        """Give a command and wait until nothing moves; its answer, or the name of the error.

        Raises:
            Crashed: the image was taken before the answer came.
        """
        if crash_after is not None:
            self._arm(crash_after)
        answer: Any = None
        try:
            answer = await getattr(self, f"_{command}")(**arguments)
        except DurableError as error:
            answer = type(error).__name__
        unanswered = self._image is not None
        await self.settle()
        if unanswered:
            raise Crashed
        return answer

    def _id(self, tag: str) -> str:
        return self.ids.get(tag, tag)

    async def _start(self, tag: str, flow: str, given: dict[str, Any], after: int, **place: Any) -> bool:
        at = None
        if after:
            at = datetime.fromtimestamp(self.engine.now() + after * 1000.0, UTC)
        run = await self.engine.start(self.workflows[flow], given | {"tag": tag}, id=tag, at=at, **place)
        return run.created

    async def _release(self, gate: Gate, what: str, value: Any) -> None:
        door, chosen = self.gates[gate]
        chosen.append((what, value))
        door.set()
        await trio.testing.wait_all_tasks_blocked()

    async def _send_event(self, tag: str, name: str, payload: Any) -> None:
        await self.engine.send_event(self._id(tag), name, payload)

    async def _provide_input(self, tag: str, name: str, value: Any) -> None:
        await self.engine.provide_input(self._id(tag), name, value)

    async def _cancel(self, tag: str, reason: Any, compensate: bool) -> bool:
        return await self.engine.cancel(self._id(tag), reason, compensate=compensate)

    async def _retry(self, tag: str) -> None:
        await self.engine.retry(self._id(tag))

    async def _delete(self, tag: str) -> None:
        await self.engine.delete(self._id(tag))

    async def _prune(self, age: int) -> int:
        return await self.engine.prune(age * 1000.0)

    def check(self) -> None:
        """Raise what the engine has ended with."""
        if self.broken is not None:
            raise AssertionError(f"the engine on the {self.name} store is broken") from self.broken

    async def settle(self) -> None:
        """Wait until nothing moves any more."""
        engine, start = self.engine, time.monotonic()
        queue = engine.committer._queue
        assert isinstance(queue, _Counting)
        threads = trio.to_thread.current_default_thread_limiter()
        while True:
            await trio.testing.wait_all_tasks_blocked()
            self.check()
            idle = not threads.borrowed_tokens
            after = queue.appended + engine.store.threaded  # it puts itself in
            await engine.committer.durable()
            await trio.testing.wait_all_tasks_blocked()
            # All that had been handed over has landed, and whoever was woken by it has handed over nothing.
            if idle and not threads.borrowed_tokens and queue.appended == after:
                return
            if time.monotonic() - start > _PATIENCE:
                raise TimeoutError("the engine does not come to rest")

    # -- what can be seen ----------------------------------------------------------------------------

    async def seen(self) -> dict[str, dict[str, Any]]:
        """Every run as ``world_model.seen`` shows it."""
        engine = self.engine
        infos = await engine.list(limit=1000)
        self.ids = {info.input["tag"]: info.id for info in infos}
        assert len(self.ids) == len(infos), "a run was started twice"
        store, codec = engine.store, engine.codec
        timers: dict[bytes, set[float]] = {}
        for due, key in store.timers(limit=1000):
            timers.setdefault(key, set()).add(due / 1000 - EPOCH.timestamp())
        asked: dict[str, set[tuple[str, str]]] = {}
        for ask in await engine.pending_inputs(limit=1000):
            asked.setdefault(ask.run_id, set()).add((ask.name, ask.path))
        shown = {}
        for listed in infos:
            info = await engine.get(listed.id)
            assert info.status in (listed.status, "running"), f"listed as {listed.status}"
            key = engine.reader.find(info.id)
            assert key is not None
            mail: dict[tuple[str, str], list[Any]] = {}
            for _, data in store.messages(key):
                message = codec.decode_message(data)
                kind = "event" if message.kind == EVENT_MESSAGE else "input"
                mail.setdefault((kind, message.name), []).append(message.payload)
            shown[info.input["tag"]] = _shown(info) | {
                "timers": timers.get(key, set()) if info.status == "waiting" else set(),
                "mail": mail,
                "questions": asked.get(info.id, set()),
            }
        return shown


def _shown(info: RunInfo) -> dict[str, Any]:
    return {
        "status": info.status,
        "result": plain(info.result),
        "error": plain(info.error),
        "errors": {path: plain(reason) for path, reason in info.errors.items()},
        "compensations": [(done.path, done.status) for done in info.compensations],
    }


def plain(value: Any) -> Any:
    """A value with each Failure as its type, and what it says where the machine chose it."""
    if isinstance(value, Failure):
        return f"!ValueError: {value.message}" if value.message.startswith("#") else f"!{value.type}"
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and value.endswith("which started it, was cancelled"):
        return BY_PARENT
    return BY_CALLER if value == "the step that called it was cancelled" else value


@contextmanager
def _store_to_open(store: Store | None) -> Iterator[None]:
    """Let ``open_engine`` open this store."""

    async def opened(_path: str | os.PathLike[str] | None) -> Store:
        await trio.lowlevel.checkpoint()
        assert store is not None
        return store

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifetime, "_opened", opened)
        patch.setattr(committer, "deque", _Counting)
        yield
