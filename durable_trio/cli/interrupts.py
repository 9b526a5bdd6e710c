"""SIGINT and SIGTERM, the first of which drains, the second cancels and the third kills.

Killing is always safe: what is recorded stays, and the rest runs again. Draining only spares the steps that
are under way from being run twice.
"""

from __future__ import annotations

import signal

import trio

from durable_trio.cli.text import say

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """What signals have arrived.

    Attributes:
        first: the first signal, or None so far.
        all: around everything; the second signal cancels it.
        is_heeded: somebody looks at ``first``, and will ``announce`` it at the moment that it is true.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self.all = trio.CancelScope()
        self.is_heeded = False
        self._waiting = trio.CancelScope()

    def announce(self) -> None:
        """Say what the first signal does."""
        assert self.first is not None
        say(
            f"{self.first.name}: no new step starts; those under way come to their end first "
            "(again: cancel them)"
        )

    @property
    def exit_status(self) -> int:
        """The shell's convention for a program that a signal has ended."""
        assert self.first is not None
        return 128 + self.first

    def waiting(self, seconds: float) -> trio.CancelScope:
        """A scope for waiting at most so long, which the first signal ends too."""
        self._waiting = trio.move_on_after(seconds)
        return self._waiting

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take what arrives, until the second one."""
        with trio.open_signal_receiver(*_SIGNALS) as arriving:
            task_status.started()
            async for number in arriving:
                name = signal.Signals(number).name
                if self.first is not None:
                    break
                self.first = signal.Signals(number)
                if not self.is_heeded:
                    self.announce()
                self._waiting.cancel()
        for known in _SIGNALS:
            signal.signal(known, signal.SIG_DFL)
        say(f"{name}: cancelling the steps under way (again: die at once)")
        self.all.cancel()
