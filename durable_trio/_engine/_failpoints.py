"""Named points at which a test can have the process die, as a power cut or the kernel would have it.

``DURABLE_TRIO_FAILPOINT=name:n`` kills the process with SIGKILL when the point is passed for the n-th
time. Without the variable a point is a call of an empty function, except on the per-step path, where
the name is not even looked at.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "start.put",  # a run's start is queued
    "body.before",  # the body is about to be entered
    "body.after",  # it has returned; nothing is handed over yet
    "step.put",  # its record is queued
    "step.durable",  # its record is on disk, its successor has not started
    "attempt.put",  # a failed attempt is queued
    "attempt.due",  # the next attempt is about to start
    "branch.put",  # a branch's record is queued, its block has not ended
    "join",  # all branches are out, the block's end is not yet queued
    "into.before",  # the branches are on disk, into is about to be called
    "into.after",  # into has returned; nothing is handed over yet
    "cancel.put",  # a cancellation is queued
    "end.put",  # the end of the run is queued
    "end.durable",  # the end is on disk; nobody has been told
    "commit.begin",  # the batch is gathered; the transaction has not begun
    "commit.end",  # the transaction is on disk; nobody has been woken
    "recover.run",  # a run was found on opening
)


def _armed(setting: str) -> Callable[[str], None]:
    name, _, count = setting.partition(":")
    left = int(count or 1)

    def failpoint(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


def _counting(path: str) -> Callable[[str], None]:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def failpoint(passed: str) -> None:
        os.write(handle, passed.encode() + b"\n")

    return failpoint


def _nothing(_passed: str) -> None:
    pass


_setting = os.environ.get("DURABLE_TRIO_FAILPOINT")
_log = os.environ.get("DURABLE_TRIO_FAILPOINT_LOG")

failpoint: Callable[[str], None] = _armed(_setting) if _setting else _counting(_log) if _log else _nothing
ARMED = failpoint is not _nothing
