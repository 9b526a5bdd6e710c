"""What ``list`` and ``show`` print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from durable_trio import Failure, HistoryInfo, RunInfo
from durable_trio.cli.jsonable import dumps
from durable_trio.cli.text import (
    count_text,
    instant_text,
    is_utf8,
    reason_text,
    safe,
    safe_lines,
    seconds_text,
    short_instant_text,
    shorten,
    shorten_middle,
)
from durable_trio.cli.tree import compensation_rows, render, rows

_ID_WIDTH = 40
_NAME_WIDTH = 32
_SMALLEST = 8  # what is left of an id or a name in the narrowest terminal
_ERROR_WIDTH = 40  # with less room than this, an error gets a line of its own
_REASON_WIDTH = 2000
_DATA_LENGTH = 4000  # characters of a context that are shown
_WIDE = 240  # columns where there is no terminal whose width would be the limit

_Cells = tuple[str, ...]
_ACTS = {
    "cancelled": "cancelled",
    "retried": "retried",
    "paused": "paused",
    "resumed": "resumed",
    "forked": "forked, as",
    "forked_from": "forked from",
}
_STYLES = {
    "completed": "green",
    "compensated": "yellow",
    "failed": "red",
    "compensation_failed": "red",
    "blocked": "red",
    "cancelled": "yellow",
}


def console() -> Console:
    """The standard output, wide enough when it is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


# -- list --------------------------------------------------------------------------------------------


def print_runs(infos: list[RunInfo], target: Console) -> None:
    """Print a page of runs, one per line; what is too long for a line is shortened."""
    utf8 = is_utf8(target.file)
    for line in _run_lines(infos, target.width, utf8=utf8):
        target.print(line, no_wrap=True, overflow="ellipsis" if utf8 else "crop")


def _run_lines(infos: list[RunInfo], room: int, *, utf8: bool) -> Iterator[Text]:
    cells, widths = _cells(infos, instant_text)
    if sum(widths) + 2 * (len(widths) - 1) > room:  # a whole id is worth more: the next command asks for it
        cells, widths = _cells(infos, short_instant_text)
    for column in (1, 0):
        too_much = max(sum(widths) + 2 * (len(widths) - 1) - room, 0)
        widths[column] = max(widths[column] - too_much, min(widths[column], _SMALLEST))
    beside = room - sum(widths) - 2 * len(widths)
    beneath = beside < _ERROR_WIDTH
    errors = [None if info.error is None else reason_text(info.error) for info in infos]
    yield Text(_line(cells[0], widths) + ("  error" if any(errors) and not beneath else ""), style="bold")
    rule = "─" if utf8 else "-"
    yield Text(rule * (sum(widths) + 2 * len(widths) - 2), style="dim")
    for info, row, error in zip(infos, cells[1:], errors, strict=True):
        style = _STYLES.get(info.status, "cyan")
        text = Text(_line(row, widths))
        start = widths[0] + widths[1] + 4
        text.stylize(style, start, start + widths[2])
        if error is not None and not beneath:
            text.append(f"  {shorten(error, beside)}", style=style)
        yield text
        if error is not None and beneath:
            yield Text(f"  {shorten(error, room - 2)}", style=style)


def _cells(infos: list[RunInfo], instant: Callable[[datetime], str]) -> tuple[list[_Cells], list[int]]:
    """The table with its head, and how wide each column wants to be."""
    cells: list[_Cells] = [("id", "workflow", "status", "created", "duration")]
    cells += [
        (safe(info.id), safe(info.workflow), info.status, instant(info.created_at), _took(info))
        for info in infos
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths[:2] = min(widths[0], _ID_WIDTH), min(widths[1], _NAME_WIDTH)
    return cells, widths


def _line(row: _Cells, widths: list[int]) -> str:
    *left, last = (shorten_middle(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([*left, last.strip().rjust(widths[-1])])


def _took(info: RunInfo) -> str:
    if info.finished_at is None:
        return ""
    return seconds_text(max((info.finished_at - info.created_at).total_seconds(), 0.0))


# -- show --------------------------------------------------------------------------------------------


def print_run(info: RunInfo, target: Console) -> None:
    """Print everything that is recorded about one run."""
    utf8 = is_utf8(target.file)
    for name, value, style in _fields(info):
        target.print(Text.assemble((f"{name:<10}", "bold"), (value, style)), soft_wrap=True)
    target.print()
    if info.steps:
        target.print(Text("steps", style="bold"))
        for line in render(rows(info.steps, utf8=utf8), utf8=utf8):
            target.print(line, no_wrap=True, overflow="ellipsis" if utf8 else "crop")
    else:
        target.print(Text("no step is recorded", style="dim"))
    if info.compensations:
        target.print(Text("\ncompensations, in the order in which they ran", style="bold"))
        for line in render(compensation_rows(info), utf8=utf8):
            target.print(line, no_wrap=True, overflow="ellipsis" if utf8 else "crop")
    if info.history:
        _print_section(target, "history", "\n".join(map(_act_line, info.history)))
    if isinstance(info.error, Failure) and info.error.traceback:
        _print_section(target, "traceback", safe_lines(info.error.traceback.rstrip()))
    _print_section(target, "input", _data(info.input, utf8=utf8))
    title = "result" if info.status == "completed" else "context"
    _print_section(target, title, _data(info.context, utf8=utf8))


def _fields(info: RunInfo) -> Iterator[tuple[str, str, str]]:
    """Name, value and style."""
    yield "run", safe(info.id), ""
    yield "workflow", f"{safe(info.workflow)}, version {safe(info.version)}", ""
    yield "status", _status(info), _STYLES.get(info.status, "cyan")
    yield "created", _moment(info.created_at), ""
    if info.finished_at is not None:
        yield "finished", f"{_moment(info.finished_at)}, after {_took(info)}", ""
    else:
        yield "updated", _moment(info.updated_at), ""
    if (info.queue, info.priority) != ("default", 0):
        yield "queue", f"{safe(info.queue)}, priority {info.priority}", ""
    if info.parent is not None:
        yield "parent", safe(info.parent), ""
    if info.forked_from is not None:
        yield "forked", f"from {safe(info.forked_from)}", ""
    for path, reason in info.errors.items():
        yield "error", f"{safe(path)}: {reason_text(reason, _REASON_WIDTH)}", "red"
    if info.error is not None and not info.errors:
        yield "reason", reason_text(info.error, _REASON_WIDTH), "red"


def _moment(instant: datetime) -> str:
    return instant_text(instant, zone=True)


def _status(info: RunInfo) -> str:
    if info.finished_at is not None or info.status == "blocked":
        return info.status
    at = "" if info.current_step is None else f", at {safe(info.current_step)}"
    if info.paused:
        at = f"{at}, paused"
    return f"{info.status}{at} (as recorded; a step under way has no record yet)"


def _act_line(act: HistoryInfo) -> str:
    words = [_moment(act.at), " ", _ACTS[act.act]]
    if act.run is not None:
        words.append(safe(act.run))
    if act.step is not None:
        visit = "" if act.visit in (None, 1) else f" (visit {act.visit})"
        words.append(f"{'from' if act.run is None else 'at'} {safe(act.step)}{visit}")
    line = " ".join(words)
    return line if act.reason is None else f"{line}: {reason_text(act.reason, _REASON_WIDTH)}"


def _print_section(target: Console, title: str, text: str) -> None:
    target.print()
    target.print(Text(title, style="bold"))
    for line in text.split("\n"):
        target.print(Text(f"  {line}"), soft_wrap=True)


def _data(value: Any, *, utf8: bool) -> str:
    text = dumps(value, pretty=True, ascii_only=not utf8)
    if len(text) <= _DATA_LENGTH:
        return text
    left = count_text(len(text) - _DATA_LENGTH, "character")
    return f"{text[:_DATA_LENGTH]}\n({left} more; --json shows everything)"
