"""Says how a run ended: the result on the standard output, everything else on the standard error."""

from __future__ import annotations

from typing import Any, NamedTuple, TextIO

from durable_trio import Failure
from durable_trio.cli.jsonable import dumps
from durable_trio.cli.text import is_utf8, reason_text, safe, safe_lines, say

_REASON_WIDTH = 2000
_EXIT_STATUSES = {"completed": 0, "cancelled": 3, "blocked": 3}


class Outcome(NamedTuple):
    """How a run stands at the end of the command; ``--json`` prints these fields."""

    id: str
    workflow: str
    status: str
    created: bool
    result: dict[str, Any] | None
    error: Any
    errors: dict[str, Any]

    @property
    def exit_status(self) -> int:
        """Of the command."""
        return _EXIT_STATUSES.get(self.status, 1)


def print_outcome(outcome: Outcome, out: TextIO, *, as_json: bool) -> None:
    """Print the result, or why there is none."""
    if as_json:
        print_json(outcome._asdict(), out)
    elif outcome.status == "completed":
        print_json(outcome.result, out, pretty=True)
    elif outcome.status == "blocked":
        say(f"error: {safe(str(outcome.error))}")
    elif outcome.status == "cancelled":
        why = "" if outcome.error is None else f": {reason_text(outcome.error, _REASON_WIDTH)}"
        say(f"error: run {safe(outcome.id)} was cancelled{why}")
    else:
        _say_failure(outcome)


def _say_failure(outcome: Outcome) -> None:
    paths = list(outcome.errors)
    if isinstance(outcome.error, Failure) and outcome.error.traceback:
        say(safe_lines(outcome.error.traceback.rstrip()))
    for path in paths[1:]:
        say(f"also failed: {safe(path)}: {reason_text(outcome.errors[path], _REASON_WIDTH)}")
    where = f" at {safe(paths[0])}" if paths else ""
    say(f"error: run {safe(outcome.id)} {outcome.status}{where}: {reason_text(outcome.error, _REASON_WIDTH)}")


def print_json(value: Any, out: TextIO, *, pretty: bool = False) -> None:
    """Print a value as JSON; on one line and in ASCII unless it is for people."""
    text = dumps(value, pretty=pretty, ascii_only=not pretty or not is_utf8(out))
    out.write(f"{text}\n")
    out.flush()
