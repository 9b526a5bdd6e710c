"""How values become text that a terminal can be shown.

Ids, names and errors come out of a database, and may hold anything: an escape sequence in one must not
reach the terminal, and one of 10,000 characters must not fill it.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from durable_trio import Failure
from durable_trio.cli.jsonable import jsonable


class CommandError(Exception):
    """What the user asked for cannot be done. Shown as one line; ``detail`` (a traceback) goes before it."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


def safe(text: str) -> str:
    r"""The text with everything that is not printable as an escape: ``\n``, ``\x1b``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def safe_lines(text: str) -> str:
    """As ``safe``, but lines stay lines."""
    return "\n".join(safe(line.expandtabs(4)) for line in text.split("\n"))


def shorten(text: str, width: int) -> str:
    """At most ``width`` characters; what is too much goes from the end."""
    return text if len(text) <= width else text[: width - 1] + "…"


def shorten_middle(text: str, width: int) -> str:
    """At most ``width`` characters; what is too much goes from the middle, as ids differ at either end."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def reason_text(reason: Any, width: int = 200) -> str:
    """The reason of an error in one line."""
    if isinstance(reason, (str, Failure)):
        text = str(reason)
    else:
        text = json.dumps(jsonable(reason), ensure_ascii=False)
    return shorten(safe(text.strip().partition("\n")[0]), width)


def seconds_text(seconds: float) -> str:
    """A duration, as exact as it is of interest."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def instant_text(instant: datetime, *, zone: bool = False) -> str:
    """An instant, in the local time zone."""
    return instant.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z" if zone else "%Y-%m-%d %H:%M:%S").strip()


def short_instant_text(instant: datetime) -> str:
    """As ``instant_text``, but as short as can be: today's have no date, and the others no seconds."""
    local, now = instant.astimezone(), datetime.now().astimezone()
    if local.date() == now.date():
        return local.strftime("%H:%M:%S")
    return local.strftime("%m-%d %H:%M" if local.year == now.year else "%Y-%m-%d")


def count_text(count: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def is_utf8(stream: Any) -> bool:
    """Whether more than ASCII can be written to this stream."""
    return (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")


def program() -> str:
    """The command that this program was started by, for messages that say what to type next."""
    return "python -m durable_trio" if Path(sys.argv[0]).name == "__main__.py" else "durable-trio"


def command(*words: str) -> str:
    """A command of this program, as it can be typed into a shell."""
    return f"{program()} {shlex.join(words)}"


def say(message: str) -> None:
    """Tell the user something that is no result."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def os_error_text(error: OSError) -> str:
    """What went wrong and with which file, without the error's number."""
    what = error.strerror or str(error) or type(error).__name__
    return what if error.filename is None else f"{os.fsdecode(error.filename)}: {what}"
