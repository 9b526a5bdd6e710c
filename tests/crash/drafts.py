"""An episode made by hand, in which all is well: what the tests of the checker then break in one place.

Two workflows: ``w`` is a step, a block with ``into``, a step; ``f`` is a block that fails fast, with a
sequence in it. Run ``one`` of ``w`` is killed in boot 0 in the middle of its block, and completes in boot 1;
run ``two`` of ``f`` fails in boot 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .checker import check
from .model import (
    Attempt,
    Boot,
    Cancel,
    Done,
    Dump,
    Ended,
    Episode,
    Expected,
    Index,
    Line,
    Node,
    Record,
    RunDump,
    Tree,
)


def tree_of_nodes(*nodes: Node) -> Tree:
    return Tree({node.path: node for node in nodes}, tuple(node.path for node in nodes if not node.parent))


TREES = {
    "w": tree_of_nodes(
        Node("a", "step", "", 0),
        Node("b", "parallel", "", 1, into=True, keys=("x", "y"), children=("b/x", "b/y")),
        Node("b/x", "step", "b", 0),
        Node("b/y", "step", "b", 1),
        Node("c", "step", "", 2),
    ),
    "f": tree_of_nodes(
        Node("r", "parallel", "", 0, fail_fast=True, keys=("p", "s"), children=("r/p", "r/s"), limit=2),
        Node("r/p", "step", "r", 0),
        Node("r/s", "sequence", "r", 1, children=("r/s/1", "r/s/2")),
        Node("r/s/1", "step", "r/s", 0),
        Node("r/s/2", "step", "r/s", 1, before="r/s/1"),
    ),
}


class Draft:
    """The episode, still to be changed."""

    def __init__(self) -> None:
        self.boots = [Boot(0, "killed", 9), Boot(1, "exit")]
        self.lines: list[Line] = []
        self.records: list[dict[str, list[Record]]] = [{}, {}]
        self.status: list[dict[str, str]] = [
            {"one": "running", "two": "running"},
            {"one": "completed", "two": "failed"},
        ]
        self.result = {"one": "C", "two": "why"}
        self.input = {"one": "IN", "two": "IN2"}
        self.index: dict[int, Index] = {}
        self.damaged: dict[str, int] = {}
        self.unreadable: dict[str, str] = {}
        self.faults: dict[int, Dump] = {}
        self.limit: int | None = None  # of block b
        _tell(self)

    def line(
        self, boot: int, kind: str, run: str = "", path: str = "", value: Any = None, **other: Any
    ) -> None:
        """Append a line."""
        visit, attempt = (1, 1) if path else (0, 0)
        fields = {"visit": visit, "attempt": attempt, "more": None, "wall": 100.0 + len(self.lines)} | other
        self.lines.append(
            Line(
                0,
                boot,
                0,
                0,
                fields["wall"],
                kind,
                run,
                path,
                fields["visit"],
                fields["attempt"],
                value,
                fields["more"],
            )
        )

    def insert(
        self, before: Callable[[Line], bool], boot: int, kind: str, *arguments: Any, **other: Any
    ) -> None:
        """Put a line in front of the first for which ``before`` holds."""
        self.line(boot, kind, *arguments, **other)
        added = self.lines.pop()
        place = next(index for index, line in enumerate(self.lines) if before(line))
        self.lines.insert(place, added)

    def drop(self, *kinds_and_paths: tuple[str, str]) -> None:
        """Take lines out."""
        self.lines = [line for line in self.lines if (line.kind, line.path) not in kinds_and_paths]

    def change(self, kind: str, path: str, boot: int = 1, /, **fields: Any) -> None:
        """Change the first line of this kind and path in a boot."""
        place = next(
            index
            for index, line in enumerate(self.lines)
            if (line.boot, line.kind, line.path) == (boot, kind, path)
        )
        self.lines[place] = self.lines[place]._replace(**fields)

    def edit(self, path: str, boots: tuple[int, ...] = (0, 1), run: str = "one", **fields: Any) -> None:
        """Change a node's record in the dumps after some boots."""
        for boot in boots:
            records = self.records[boot][run]
            records[:] = [
                record._replace(**fields) if isinstance(record, Done) and record.path == path else record
                for record in records
            ]

    def lose(self, path: str, boots: tuple[int, ...] = (0, 1), run: str = "one") -> None:
        """Take a node's records out of the dumps after some boots."""
        for boot in boots:
            records = self.records[boot][run]
            records[:] = [record for record in records if getattr(record, "path", None) != path]

    def dump(self, boot: int) -> Dump:
        """The store after a boot."""
        runs = {
            run: RunDump(
                run,
                "w" if run == "one" else "f",
                self.status[boot][run],
                tuple(repr(r).encode() for r in records),
                tuple(records),
                self.input[run],
                self.result[run] if boot else None,
                self.unreadable.get(run) if boot >= self.damaged.get(run, 0) else None,
                raw=run,
            )
            for run, records in self.records[boot].items()
        }
        entries = tuple((f"key {run}", 1, dump.status) for run, dump in runs.items())
        counts = {(1, status): [e[2] for e in entries].count(status) for _, _, status in entries}
        index = Index(
            entries, {run: f"key {run}" for run in runs}, {f"key {run}": (run, 1) for run in runs}, counts
        )
        return Dump(runs, self.index.get(boot, index))

    def episode(self) -> Episode:
        """As the checker wants it."""
        lines = [line._replace(number=number, seq=number) for number, line in enumerate(self.lines, 1)]
        runs = {"one": Expected("w", ("completed",), "IN"), "two": Expected("f", ("failed",), "IN2")}
        nodes = TREES["w"].nodes
        limited = TREES["w"]._replace(nodes=nodes | {"b": nodes["b"]._replace(limit=self.limit)})
        trees = TREES | {"w": limited}
        dumps = [self.dump(boot.number) for boot in self.boots]
        return Episode(trees, runs, self.boots, lines, dumps, self.damaged, self.faults)

    def broken(self) -> set[int]:
        """The numbers of the invariants that the checker finds violated."""
        return {violation.invariant for violation in check(self.episode()).violations}


def _tell(draft: Draft) -> None:
    line = draft.line
    line(0, "boot")
    for run in ("one", "two"):
        line(0, "ack-start", run, value=True)
    line(0, "enter", "one", "a", "IN")
    line(0, "return", "one", "a", "own a")
    line(0, "enter", "one", "b/x", "A")
    line(0, "return", "one", "b/x", "own x")
    line(0, "enter", "one", "b/y", "A")
    line(1, "boot")
    for run in ("one", "two"):
        line(1, "ack-start", run, value=False)
    line(1, "enter", "one", "b/y", "A")
    line(1, "raise", "one", "b/y", "failure of y")
    line(1, "enter", "one", "b/y", "A", attempt=2)
    line(1, "return", "one", "b/y", "own y", attempt=2)
    line(1, "into-enter", "one", "b", "A", more=[("x", "ok", "X"), ("y", "ok", "Y")])
    line(1, "into-return", "one", "b", "own b")
    line(1, "enter", "one", "c", "B")
    line(1, "return", "one", "c", "own c")
    line(1, "ack-result", "one", value="completed", more="C")
    line(1, "enter", "two", "r/p", "IN2")
    line(1, "enter", "two", "r/s/1", "IN2")
    line(1, "err", "two", "r/p", "own p")
    line(1, "cancelled", "two", "r/s/1")
    line(1, "ack-result", "two", value="failed", more="why")
    line(1, "exit")
    begun: list[Record] = [
        Done("a", 1, "step", "ok", 1, "own a", "A"),
        Done("b/x", 1, "step", "ok", 1, "own x", "X"),
    ]
    rest: list[Record] = [
        Attempt("b/y", 1, 1, 100.0),
        Done("b/y", 1, "step", "ok", 2, "own y", "Y"),
        Done("b", 1, "parallel", "ok", 1, "own b", "B"),
        Done("c", 1, "step", "ok", 1, "own c", "C"),
        Ended("completed"),
    ]
    failed: list[Record] = [
        Done("r/p", 1, "step", "error", 1, "own p", "why"),
        Done("r/s/1", 1, "step", "cancelled", 1),
        Done("r/s", 1, "sequence", "cancelled", 1),
        Done("r", 1, "parallel", "error", 1, "why", "why"),
        Ended("failed", "why"),
    ]
    draft.records = [{"one": list(begun), "two": []}, {"one": begun + rest, "two": failed}]


__all__ = ["Attempt", "Boot", "Cancel", "Done", "Draft", "Dump", "Ended", "Index"]
