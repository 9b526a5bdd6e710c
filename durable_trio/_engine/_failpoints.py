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
    "wait.put",  # a wait's record, with its due time, is queued
    "wait.over",  # its outcome is queued, and with it that its message leaves the mailbox
    "park.begin",  # all tasks of a run waited and are out; that it is parked is not queued yet
    "park.put",  # that it is parked, and its timer, is queued
    "timer.page",  # a page of timers that are due is read; nothing has come of it yet
    "timer.fire",  # a timer is due; nothing has come of it yet
    "wake.put",  # that a parked run is woken is queued
    "wake.durable",  # it is on disk; the run has not been admitted
    "message.put",  # a message is queued; no wait has seen it
    "choice.put",  # which clause a branch takes is queued
    "items.put",  # what a map runs over is queued
    "child.put",  # a child's start is queued, behind its parent's record of it
    "child.durable",  # it is on disk; the parent does not wait yet, and the child may end first
    "child.ended",  # the parent has its child's end; that it has is not queued yet
    "failing.put",  # that a run's steps are to be undone is queued
    "failing.durable",  # it is on disk; what is to be undone has not been read
    "undo.before",  # a compensation is about to be entered
    "undo.put",  # its record is queued
    "undo.durable",  # its record is on disk; the next one has not started
    "retry.put",  # that a failed run goes on is queued
    "retry.durable",  # it is on disk; who asked has not been told
    "fork.put",  # a fork is queued, and with it that the other run has it
    "fork.durable",  # it is on disk; who asked has not been told
    "pause.put",  # that a run is paused is queued
    "resume.put",  # that it goes on is queued
    "delete.put",  # deletions are queued
    "request.taken",  # a request of another process was read; nothing is done yet
    "request.put",  # its effect and its answer are queued
    "client.left",  # a client's request is in the database; it has not looked for the reply
    "client.replied",  # it has read the reply, which is still there
    "client.told",  # it has removed the reply; its caller has not been told
    "recover.run",  # a run was found: on opening, or when its timer fires
    "recover.end",  # all that opening finds is queued; nobody could start anything yet
    "recover.load",  # the journal of a run that goes on, or was woken, is read
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
