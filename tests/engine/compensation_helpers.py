"""What the tests of compensations share: handlers that note what they are given."""

from __future__ import annotations

import trio

from durable_trio import Err


class Undone:
    """Handlers that note what they are given, in the order in which they run."""

    def __init__(self, wf):
        self.calls = []
        self._wf = wf

    def handler(self, name, *, outcome=None, retry=None):
        """A handler of this name; ``outcome`` is returned, or raised if it is an exception."""

        async def undo(ctx, result):
            self.calls.append((name, dict(ctx), result))
            await trio.lowlevel.checkpoint()
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        self._wf.compensation(name, undo, retry)
        return name

    def step(self, name, returns=None, **options):
        """A step of this name, with a handler ``undo_<name>``."""
        handler = self.handler(f"undo_{name}", **options)
        self._wf.step(lambda _: returns, name=name, compensate=handler, inline=True)

    @property
    def names(self):
        return [name for name, _, _ in self.calls]


def fail(wf, name="fail", reason="sold out"):
    wf.step(lambda _: Err(reason), name=name, inline=True)


def summary(info):
    return [(done.path, done.visit, done.handler, done.status) for done in info.compensations]
