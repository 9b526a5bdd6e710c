"""An engine in a process of its own, and how tests wait for what it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[2]


class Service:
    """A process with an engine."""

    def __init__(self, db, **environment):
        path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import client_flows, trio; trio.run(client_flows.main)", str(db)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        )

    async def hear(self, expected):
        line = await trio.to_thread.run_sync(self.process.stdout.readline)
        if line.strip() != expected:
            pytest.fail(f"{expected!r} did not come but {line!r}: {self.process.stderr.read()}")

    def say(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    async def close(self):
        """End it in an orderly way."""
        self.say("close")
        assert await self.ended() == 0

    async def ended(self):
        """Wait for the end of the process; gives its exit status."""
        return await trio.to_thread.run_sync(self.process.wait, abandon_on_cancel=True)

    async def kill(self):
        self.process.kill()
        assert await self.ended() == -signal.SIGKILL


async def until(condition):
    """Look on, in real time, until an async condition gives something; gives it."""
    while not (found := await condition()):
        await trio.lowlevel.checkpoint()
    return found
