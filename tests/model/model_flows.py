"""The workflows that the machine drives, as plain data: ``building.py`` makes them, ``model.py`` foretells.

A body leaves ``[what the machine chose, *what its waits gave]`` under its step's name, so that whatever is
lost, swapped or done twice shows in a result. Durations are whole seconds, different within a workflow: no
two things of one run are due at the same instant, since nobody says which of them is first. For the same
reason no two waits of one run that can be open together are for the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Default = str | None  # None: without one


@dataclass(frozen=True)
class Event:
    """A wait for an event: a node, or a part of a step's body."""

    name: str
    event: str
    timeout: int | None = None
    default: Default = None


@dataclass(frozen=True)
class Input:
    """A question to a person, likewise."""

    name: str
    input: str
    kind: Literal["text", "approval", "choice"] = "text"
    timeout: int | None = None
    default: Default = None


@dataclass(frozen=True)
class Sleep:
    name: str
    seconds: int


@dataclass(frozen=True)
class Child:
    """A part of a body: starts another run; ``call`` waits for its end."""

    flow: str
    call: bool = True


Part = Event | Input | Sleep | Child


@dataclass(frozen=True)
class Step:
    """A body that goes through its parts, and then does what the machine says."""

    name: str
    parts: tuple[Part, ...] = ()
    attempts: int = 1
    back_off: int = 0
    timeout: int | None = None
    undo: bool = False


@dataclass(frozen=True)
class Sequence:
    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Parallel:
    """``into`` goes on with the number of branches that are Ok, and fails if it is 0."""

    name: str
    branches: tuple[Node, ...]
    complete_all: bool = False
    into: bool = False
    need: int = 0
    limit: int | None = None
    timeout: int | None = None


@dataclass(frozen=True)
class Map:
    """One step per item of ``ctx["items"]``."""

    name: str
    complete_all: bool = False
    need: int = 0
    limit: int | None = None
    attempts: int = 1
    back_off: int = 0


@dataclass(frozen=True)
class Branch:
    """Chooses by ``ctx["kind"]``."""

    name: str
    cases: dict[str, tuple[Node, ...]] = field(hash=False)
    default: tuple[Node, ...] = ()


Node = Step | Sequence | Parallel | Map | Branch | Event | Input | Sleep


@dataclass(frozen=True)
class Flow:
    name: str
    nodes: tuple[Node, ...]
    timeout: int | None = None

    @property
    def has_handlers(self) -> bool:
        return any(isinstance(node, Step) and node.undo for node in everything(self.nodes))


def everything(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """The nodes and all that is in them."""
    for node in nodes:
        yield node
        if isinstance(node, Sequence):
            yield from everything(node.nodes)
        elif isinstance(node, Parallel):
            yield from everything(node.branches)
        elif isinstance(node, Branch):
            for clause in (*node.cases.values(), node.default):
                yield from everything(clause)


FLOWS = {
    flow.name: flow
    for flow in (
        Flow("line", (Step("a"), Step("b", attempts=3, back_off=7), Step("c", timeout=90))),
        Flow(
            "fast",
            (
                Step("a"),
                Parallel(
                    "block",
                    (
                        Step("x", attempts=2, back_off=5),
                        Sequence("y", (Step("y1"), Sleep("y2", 31), Step("y3"))),
                        Sequence("z", (Step("z1"), Event("z2", "go"), Step("z3"))),
                    ),
                    timeout=120,
                ),
                Step("b"),
            ),
        ),
        Flow(
            "all",
            (
                Parallel(
                    "block",
                    (
                        Step("x"),
                        Step("y", timeout=11),
                        Event("z", "go", timeout=23),
                        Sequence("s", (Input("q", "name", timeout=37, default="nobody"), Step("s1"))),
                    ),
                    complete_all=True,
                    into=True,
                    limit=3,
                ),
                Step("b"),
            ),
        ),
        Flow(
            "quorum",
            (
                Parallel(
                    "race",
                    (Step("x"), Step("y"), Sequence("z", (Step("z1"), Sleep("z2", 17)))),
                    need=2,
                ),
                Parallel(
                    "any",
                    (Step("u"), Step("v", attempts=2, back_off=3)),
                    need=1,
                    complete_all=True,
                    timeout=41,
                ),
                Step("b"),
            ),
        ),
        Flow(
            "saga",
            (
                Step("a", undo=True),
                Parallel(
                    "block",
                    (
                        Step("x", undo=True),
                        Sequence("y", (Step("y1", undo=True), Event("y2", "go"), Step("y3", undo=True))),
                    ),
                ),
                Event("paid", "paid", timeout=53),
                Step("b", undo=True, attempts=2, back_off=13),
            ),
        ),
        Flow(
            "choose",
            (
                Branch(
                    "kind",
                    {
                        "red": (Step("r1"), Sleep("r2", 19), Step("r3")),
                        "blue": (Input("b1", "colour", "choice", timeout=29), Step("b2", undo=True)),
                        "wide": (Map("m1", complete_all=True), Step("m2")),
                    },
                ),
                Step("b"),
            ),
            timeout=200,
        ),
        Flow(
            "many",
            (
                Map("first", limit=2, attempts=2, back_off=9),
                Map("second", need=1),
                Step("b"),
            ),
        ),
        Flow(
            "ask",
            (
                Event("e", "go", timeout=43, default="late"),
                Input("i", "sure", "approval", timeout=61),
                Step("a"),
            ),
        ),
        Flow(
            "inside",
            (
                Step(
                    "a",
                    (Event("w1", "go"), Sleep("w2", 33), Event("w3", "go", timeout=27)),
                    attempts=2,
                    back_off=3,
                ),
                Parallel(
                    "block",
                    (
                        Step("x", (Input("w4", "name", timeout=47, default="nobody"),)),
                        Sequence("y", (Sleep("y1", 15), Step("y2", (Event("w5", "paid"),), timeout=71))),
                    ),
                    complete_all=True,
                ),
            ),
        ),
        Flow("leaf", (Step("a", undo=True), Event("e", "go", timeout=67, default="late"), Step("b"))),
        Flow(
            "family",
            (
                Step("a", (Child("leaf"),), attempts=2, back_off=5),
                Parallel(
                    "block",
                    (
                        Step("x", (Child("line"),), timeout=83),
                        Sequence("y", (Step("y1"), Step("y2", (Child("ask", call=False),)))),
                    ),
                ),
                Step("b", (Child("choose"),)),
            ),
        ),
    )
}
EVENTS = ("go", "paid")
INPUTS = ("name", "colour", "sure")
CHOICES = ("green", "grey")
ITEMS = (10, 20, 30)
