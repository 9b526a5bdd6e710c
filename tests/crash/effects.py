"""The effects journal: what step bodies did and what callers were told, in the order in which it happened.

A line is one ``os.write`` to an ``O_APPEND`` file. What is written before a SIGKILL is there after it, and
nothing is there that did not happen.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .model import Line


class Effects:
    """The journal of one boot.

    Args:
        path: the file, shared by all boots of an episode.
        boot: the number of this boot.
        at: after which line of this boot ``fault`` is called: ``"40"`` is the 40th, ``"enter:3"`` the third
            of that kind; empty: never.
        fault: what then happens.
    """

    def __init__(self, path: str, boot: int, at: str = "", fault: Callable[[], None] | None = None) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.boot = boot
        self.watchers: list[Callable[[str, str, str], None]] = []
        kind, _, number = at.rpartition(":")
        self._at = (kind, int(number or 0))
        self._fault = fault
        self._of_kind = itertools.count(1)
        self._count = itertools.count(1)  # shared with the threads of plain steps; next() is atomic

    def write(
        self,
        kind: str,
        run: str = "",
        path: str = "",
        visit: int = 0,
        attempt: int = 0,
        value: Any = None,
        more: Any = None,
    ) -> str:
        """Append a line. Gives its nonce: no other line of the episode has it."""
        seq = next(self._count)
        fields = [
            self.boot,
            seq,
            time.monotonic_ns(),
            time.time(),
            kind,
            run,
            path,
            visit,
            attempt,
            value,
            more,
        ]
        os.write(self.fd, json.dumps(fields).encode() + b"\n")
        if self._fault is not None and self._is_at(kind, seq):
            self._fault()
        for watcher in self.watchers:
            watcher(kind, run, path)
        return f"{self.boot}.{seq}"

    def _is_at(self, kind: str, seq: int) -> bool:
        wanted, number = self._at
        if not wanted:
            return seq == number
        return kind == wanted and next(self._of_kind) == number


def kill_self() -> None:
    """Die as in a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def terminate_self() -> None:
    """What a supervisor sends to stop a service."""
    os.kill(os.getpid(), signal.SIGTERM)


def drop_torn_line(path: Path) -> None:
    """Take away the beginning of a line whose writer was killed: such a write ends where its page does.

    What it was to tell is told after it, if at all, by another life.
    """
    if path.exists():
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)


def read_lines(path: Path) -> list[Line]:
    """The whole journal; empty if nothing was written."""
    if not path.exists():
        return []
    with path.open() as file:
        return [Line(number, *json.loads(text)) for number, text in enumerate(file, 1)]
