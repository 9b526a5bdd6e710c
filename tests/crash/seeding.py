"""How a bug is seeded: planted in the worker after the fork, in every boot, when its name is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from durable_trio._engine import committer, engine, step
from durable_trio._engine.dispatch import run_node

from .faults import Fault

LINE = Fault("line", "#1-60")


class Bug(NamedTuple):
    """A way to break the engine.

    Attributes:
        plant: breaks it, given the path of the database.
        invariants: any of these finds it.
        scenario, faults: the episodes in which it shows; ``#1-60`` in a fault is a random number.
    """

    plant: Callable[[str], None]
    invariants: frozenset[int]
    scenario: str
    faults: tuple[Fault, ...]


BUGS: dict[str, Bug] = {}


def bug(
    *invariants: int, scenario: str = "order", faults: tuple[Fault, ...] = (LINE, LINE, LINE)
) -> Callable[[Callable[[str], None]], Callable[[str], None]]:
    """Register the function under its name."""

    def register(function: Callable[[str], None]) -> Callable[[str], None]:
        BUGS[function.__name__] = Bug(function, frozenset(invariants), scenario, faults)
        return function

    return register


def plant(name: str, database: str) -> None:
    """Break the engine of this process, if a bug is named."""
    if name:
        BUGS[name].plant(database)


def tag(record: bytes) -> int:
    """Which kind of record this is (see ``records.py``)."""
    return record[3] if record[0] == 0xDC else record[1]


class LongerWay:
    """A stepper that takes no short way: each step goes through the functions that can be replaced."""

    def __init__(self, stepper: Any) -> None:
        self.__dict__["stepper"] = stepper

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stepper, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.stepper, name, value)

    def step(self, *arguments: Any) -> Any:
        return step.run_any_step(*arguments)

    async def walk(
        self,
        run: Any,
        scope: Any,
        nodes: Any,
        index: int,
        base: Any,
        visits: Any,
        place: Any,
        then: Any = None,
    ) -> Any:
        visits[index] = visits.get(index, 0) + 1
        run.at = nodes[index].path
        outcome = await run_node(run, scope, nodes[index], base, visits[index], place)
        if then is None:
            return index, base, outcome
        following = then(run, scope, visits, index, base, outcome)
        return following if following is None else await following


def no_short_intake() -> None:
    """Have all records go through ``RunState.record``."""
    begin = committer.Committer.__init__

    def closed(self: committer.Committer, *arguments: Any) -> None:
        begin(self, *arguments)
        self.closed = True

    committer.Committer.__init__ = closed


def no_short_way(longer: Callable[[Any], Any] = LongerWay) -> None:
    """Have all steps go through functions that a bug can replace."""
    make = engine.make_stepper
    engine.make_stepper = lambda *arguments: longer(make(*arguments))
