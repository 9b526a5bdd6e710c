"""The steps of a run as a tree: blocks hold their branches, and everything stands in the order of starting.

A block under way has no record of its own yet. It is shown all the same, as the parent of its branches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple

from rich.text import Text

from durable_trio import RunInfo, StepInfo
from durable_trio.cli.text import instant_text, reason_text, safe, seconds_text, shorten_middle

_NAME_WIDTH = 60
_REASON_WIDTH = 100

_ICONS = {  # status: on a UTF-8 terminal, on another, style
    "ok": ("✓", "+", "green"),
    "error": ("✗", "x", "red"),
    "timed_out": ("✗", "x", "red"),
    "cancelled": ("⊘", "-", "yellow"),
    "never_started": ("·", ".", "dim"),
    "running": ("●", "*", "cyan"),
    "retrying": ("↻", "~", "yellow"),
    "waiting": ("◷", "w", "cyan"),
    "unfinished": ("…", "?", "dim"),
}
_WORDS = {"error": "failed", "timed_out": "timed out", "never_started": "never started"}


class Row(NamedTuple):
    """One line of the tree: the name with its branch lines, and what there is to say about the step."""

    status: str
    lines: str
    name: str
    duration: str
    note: str


class _Node:
    def __init__(self, path: str, visit: int) -> None:
        self.path = path
        self.visit = visit
        self.step: StepInfo | None = None
        self.begun: datetime | None = None
        self.recorded = True
        self.children: list[_Node] = []

    def started(self) -> tuple[bool, float]:
        """For sorting; what never started comes last."""
        if self.step is not None:
            return (self.begun is None, self.begun.timestamp() if self.begun else 0.0)
        return min((child.started() for child in self.children), default=(True, 0.0))

    @property
    def status(self) -> str:
        if self.step is not None:
            return self.step.status if self.recorded else "unfinished"
        under_way = any(child.status in {"running", "retrying", "waiting"} for child in self.children)
        return "running" if under_way else "unfinished"


def rows(
    steps: list[StepInfo],
    *,
    since: datetime | None = None,
    unrecorded: Collection[tuple[str, int]] = (),
    begun: Mapping[tuple[str, int], datetime] = MappingProxyType({}),
    utf8: bool = True,
) -> list[Row]:
    """The tree of these steps, line by line.

    Args:
        steps: as ``RunInfo.steps`` has them.
        since: what was recorded before this instant is marked as such.
        unrecorded: path and visit of steps that have ended, but have no record on disk yet.
        begun: path and visit to when a step was first seen to start, which is when its first attempt did.
        utf8: whether more than ASCII can be shown.
    """
    top: list[_Node] = []
    nodes: dict[tuple[str, int], _Node] = {}
    for step in steps:
        node = _node(step.path, step.visit, nodes, top)
        node.step = step
        node.begun = begun.get((step.path, step.visit), step.started_at)
        node.recorded = (step.path, step.visit) not in unrecorded
    return list(_rows(top, "", since, utf8))


def _node(path: str, visit: int, nodes: dict[tuple[str, int], _Node], top: list[_Node]) -> _Node:
    node = nodes.get((path, visit))
    if node is None:
        node = nodes[path, visit] = _Node(path, visit)
        parent = path.rpartition("/")[0]
        siblings = _node(parent, visit, nodes, top).children if parent else top
        siblings.append(node)
    return node


def _rows(nodes: list[_Node], indent: str, since: datetime | None, utf8: bool) -> Iterator[Row]:
    fork, corner, line = ("├─ ", "└─ ", "│  ") if utf8 else ("|- ", "`- ", "|  ")
    nested = bool(nodes) and "/" in nodes[0].path
    ordered = sorted(nodes, key=_Node.started)
    for node in ordered:
        last = node is ordered[-1]
        lines = indent + (corner if last else fork) if nested else ""
        name = shorten_middle(safe(node.path.rpartition("/")[2]), _NAME_WIDTH)
        if node.visit > 1 and not nested:
            name = f"{name} (visit {node.visit})"
        step = node.step
        duration = seconds_text(step.duration) if step is not None and step.duration is not None else ""
        yield Row(node.status, lines, name, duration, _note(node, since))
        below = indent + ("   " if last else line) if nested else ""
        yield from _rows(node.children, below, since, utf8)


def _note(node: _Node, since: datetime | None) -> str:
    step = node.step
    if step is None:
        return "under way" if node.status == "running" else "not finished"
    if not node.recorded:
        return "done, not on disk yet"
    if step.status == "retrying":
        return _retry_note(step)
    parts = []
    if step.superseded:
        parts.append("superseded")
    if step.attempt > 1:
        parts.append(f"attempt {step.attempt}")
    if step.status != "ok":
        parts.append(_WORDS.get(step.status, step.status))
        if step.due_at is not None:
            parts.append(f"until {instant_text(step.due_at)}")
    elif since is not None and step.started_at is not None and step.started_at < since:
        parts.append("recorded before, not run again")
    note = ", ".join(parts)
    if step.error is not None:
        note = f"{note}: {reason_text(step.error, _REASON_WIDTH)}"
    return note


def _retry_note(step: StepInfo) -> str:
    note = f"attempt {step.attempt} failed"
    if step.error is not None:
        note = f"{note}: {reason_text(step.error, _REASON_WIDTH)}"
    left = (step.due_at - datetime.now(UTC)).total_seconds() if step.due_at is not None else 0.0
    return f"{note}; next in {seconds_text(left)}" if left > 0 else f"{note}; the next is due"


def compensation_rows(info: RunInfo) -> list[Row]:
    """The handlers that have undone steps."""
    return [
        Row(
            done.status,
            "",
            shorten_middle(safe(f"{done.handler}, for {done.path}"), _NAME_WIDTH),
            seconds_text(done.duration),
            "" if done.error is None else f"failed: {reason_text(done.error, _REASON_WIDTH)}",
        )
        for done in info.compensations
    ]


def render(lines: list[Row], *, utf8: bool = True) -> Iterator[Text]:
    """The rows in columns, with colours."""
    left = [len(row.lines) + len(row.name) for row in lines]
    width = max(left, default=0)
    right = max((len(row.duration) for row in lines), default=0)
    for row, used in zip(lines, left, strict=True):
        icon, plain, style = _ICONS.get(row.status, _ICONS["unfinished"])
        quiet = row.status in {"ok", "never_started", "unfinished"}
        yield Text.assemble(
            "  ",
            (row.lines, "dim"),
            (icon if utf8 else plain, style),
            f" {row.name}{' ' * (width - used)}  {row.duration:>{right}}  ",
            (row.note, "dim" if quiet else style),
            overflow="ellipsis",
            no_wrap=True,
        )
