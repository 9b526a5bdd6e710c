"""Shows a run while it goes on, on the standard error: the standard output is for its result alone.

On a terminal it is a tree that is drawn again several times a second; elsewhere a line for each change.
Both are made from what ``Engine.get`` says: a step that starts and ends between two looks is shown once.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from durable_trio import RunInfo, StepInfo
from durable_trio.cli.text import is_utf8, safe, say, seconds_text
from durable_trio.cli.tree import Row, render, rows

_MARGIN = 4  # lines of a terminal that are left for what stands above the tree


class Display(Protocol):
    """Is told how a run stands, again and again."""

    def update(self, info: RunInfo) -> None:
        """Show the run as it stands now."""


class Silent:
    """For programs that read the result."""

    def update(self, info: RunInfo) -> None:
        """Show nothing."""


class PlainLines:
    """A line for each change of a step."""

    def __init__(self, since: datetime | None) -> None:
        self._since = since
        self._begun = time.monotonic()
        self._shown: dict[tuple[str, int], tuple[str, int]] = {}

    def update(self, info: RunInfo) -> None:
        """Print what has changed."""
        steps = {(step.path, step.visit): step for step in info.steps}
        for key, step in steps.items():
            state = (step.status, step.attempt)
            if self._shown.get(key) != state:
                self._shown[key] = state
                say(f"[{time.monotonic() - self._begun:7.2f} s] {self._line(step)}")

    def _line(self, step: StepInfo) -> str:
        [row] = rows([msgspec.structs.replace(step, path="step")], since=self._since)
        visit = f" (visit {step.visit})" if step.visit > 1 else ""
        text = f"{safe(step.path)}{visit}: {row.note or step.status}"
        ended = step.status in {"ok", "error", "timed_out", "cancelled"} and step.duration is not None
        return f"{text} ({seconds_text(step.duration or 0.0)})" if ended else text


class LiveTree:
    """The tree of steps, drawn over itself."""

    def __init__(self, since: datetime | None, live: Live, console: Console) -> None:
        self._since = since
        self._live = live
        self._console = console
        self._steps: dict[tuple[str, int], StepInfo] = {}
        self._begun: dict[tuple[str, int], datetime] = {}
        self._utf8 = is_utf8(console.file)

    def update(self, info: RunInfo) -> None:
        """Draw the tree."""
        unrecorded = self._keep(info)
        for key, step in self._steps.items():
            if step.started_at is not None:
                self._begun.setdefault(key, step.started_at)  # so that a retry does not move its line
        lines = rows(
            list(self._steps.values()),
            since=self._since,
            unrecorded=unrecorded,
            begun=self._begun,
            utf8=self._utf8,
        )
        self._live.update(Group(*self._cut(lines)), refresh=True)

    def _keep(self, info: RunInfo) -> set[tuple[str, int]]:
        """Which steps have been seen under way, and neither are any more nor are recorded yet."""
        steps = {(step.path, step.visit): step for step in info.steps}
        missing = self._steps.keys() - steps.keys() if info.finished_at is None else set()
        self._steps = {key: self._steps[key] for key in missing} | steps
        return missing

    def _cut(self, lines: list[Row]) -> Iterator[Text]:
        """The last lines, as many as the terminal holds: what goes on is at the end."""
        room = max(self._console.size.height - _MARGIN, 4)
        if len(lines) > room:
            yield Text(f"  ({len(lines) - room:,} lines above)", style="dim")
        yield from render(lines[-room:], utf8=self._utf8)


@contextlib.contextmanager
def display(since: datetime | None, *, quiet: bool) -> Iterator[Display]:
    """The display that fits the standard error; what user code prints meanwhile appears above a tree.

    Args:
        since: when the database was opened, if the run existed: what was recorded before is marked as such.
        quiet: show nothing.
    """
    console = Console(stderr=True)
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty() or console.is_dumb_terminal:
        yield PlainLines(since)
    else:
        with Live(console=console, auto_refresh=False) as live:
            try:
                yield LiveTree(since, live, console)
            finally:
                sys.stdout.flush()  # half a line that user code has printed is kept until now
                sys.stderr.flush()
