"""A stepper and a run without an engine, to be driven by hand."""

from __future__ import annotations

import types
from collections import deque
from threading import Lock
from types import SimpleNamespace
from typing import Any

import outcome
import pytest
import trio

from durable_trio._engine.run import Outcome
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, OK, REPLACED, SAME, STEP, VALUE
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._speedups.batching import Entry, Intake, Ledger, gather
from durable_trio._speedups.context import Concluder, RunBase, Stepper, StepScope

CODEC = Codec(TypeRegistry([]))
SLEEP, AWAKE = object(), outcome.Value(None)


@types.coroutine
def trap(value: Any) -> Any:
    return (yield value)


async def uncancelled() -> None:
    await trap("asked")


class Told(Exception):
    """What came of an attempt that was no plain success."""


async def otherwise(
    _run: Any, scope: Any, _node: Any, _base: Any, _place: Any, _ctx: Any, value: Any, error: Any
) -> Any:
    if isinstance(error, trio.Cancelled):
        raise error
    answer = await trap("judged")
    if error is not None and not isinstance(error, Exception):
        raise error
    scope.path = None
    return answer or Outcome(1, repr(error if error is not None else value), b"")


class Run(RunBase):
    """Records go to the intake like those that the stepper hands over itself."""

    expired = False

    def __init__(self, intake: Intake) -> None:
        super().__init__(bytes(16), 1)
        self.intake = intake
        self.waits = True

    def recorded(self) -> Any:
        return trap("recorded")

    def record(self, record: bytes) -> Any:
        self.intake.append(Entry(self, record))
        return trap("recording")


class World:
    """One engine's stepper, and one run that it goes through."""

    def __init__(self, *bodies: Any, clean: Any = None, tells: bool = True) -> None:
        self.restored: list[Any] = []
        self.nodes = tuple(
            SimpleNamespace(path=f"s{i}", fn=body, simple=body is not None) for i, body in enumerate(bodies)
        )
        self.queue: deque[Any] = deque()
        self.intake = Intake()
        self.intake.append, self.intake.bell = self.queue.append, Lock()
        self.run = Run(self.intake)
        self.scope = StepScope(self.run)
        self.scope.clean = clean
        self.task = SimpleNamespace(_cancel_status=SimpleNamespace(effectively_cancelled=False))
        self.stepper = Stepper(
            Concluder(CODEC, Outcome, (OK, STEP, SAME, DELTA, REPLACED, VALUE)),
            lambda: 100.0,
            lambda: 5.0,
            lambda _run: trap("may not enter"),
            uncancelled,
            lambda: self.task,
            tells,
            self.intake,
            SLEEP,
            AWAKE,
            self.restored.append,
            otherwise,
            self.run_node,
            "branch",
            None,
            trio.Event(),
        )
        self.visits: dict[int, int] = {}

    async def run_node(
        self, _run: Any, _scope: Any, node: Any, base: dict[str, Any], visit: int, place: str
    ) -> Outcome:
        """Of what is no plain step."""
        value = await trap((node.path, base, visit, place))
        return Outcome(OK, {**base, "node": value}, b"" if value is None else b"the node's", None)

    def row(self) -> bytes:
        """The journal row of what was handed over."""
        waiters: list[Any] = []
        (write,), _, _ = gather(self.queue, waiters, Ledger, None)
        assert all(waiter is self.task for waiter in waiters)
        return write.row

    def walk(self, index: int = 0) -> Any:
        return self.stepper.walk(self.run, self.scope, self.nodes, index, {"n": 0}, self.visits, "top")

    def step(self, place: str = "branch") -> Any:
        return self.stepper.step(self.run, self.scope, self.nodes[0], {"n": 0}, 3, place)


async def one(_ctx: Any) -> dict[str, Any]:
    return {"a": await trap("one")}


async def two(ctx: Any) -> dict[str, Any]:
    return {"b": ctx["a"]}


async def quick(_ctx: Any) -> None:
    pass


def returned(awaitable: Any, *sent: Any) -> Any:
    """What it returns when the last of these is sent."""
    with pytest.raises(StopIteration) as stop:
        for value in sent:
            awaitable.send(value)
    return stop.value.value
