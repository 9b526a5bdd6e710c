"""How a bug is seeded: planted in the worker after the fork, in every boot, when its name is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

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
