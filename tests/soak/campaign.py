"""Processes under load, one after the other on one database, and what is held against them.

The first one is left to itself for most of the time: its memory and its file must not grow. Others are killed
in the middle. The last one must bring everything to its end and give all space back; then a process starts
as many runs again, and the file must be large enough for them. Meanwhile a client in the parent reads.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from durable_trio import StoreError, open_client

IN_FLIGHT = 10_000
DISTURBANCES = ("left", "drained", "SIGKILL", "cancelled")

_ROOT = Path(__file__).parents[2]
_MEMORY = Path("/dev/shm")
_FIRST = 0.6  # of the time: for the process that is not killed
_GROWTH = 1.3  # memory, and the file, of the second half of the time against those of the first
_SLACK = 16 << 20  # bytes
_READERS = 40  # reads under way over all processes; each is short
_PATIENCE = 300.0  # seconds above its time in which a process must be done


class Totals:
    """What a soak came to.

    Attributes:
        disturbances: cancellations that took effect, and restarts by kind.
        figures: runs started, ended and pruned, events sent, and the largest sizes, in MB.
        violations: in words.
    """

    def __init__(self) -> None:
        self.disturbances: Counter[str] = Counter()
        self.figures: Counter[str] = Counter()
        self.violations: list[str] = []
        self.seconds = 0.0

    def table(self) -> str:
        """The counts, as text."""
        rows = [f"{self.seconds:.0f} s: {dict(self.disturbances)}"]
        rows += [f"  {count:9,} {kind}" for kind, count in sorted(self.figures.items())]
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


class Soak:
    """One soak in one folder."""

    def __init__(self, folder: Path, seed: int, in_flight: int) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._in_flight = in_flight
        self._sizes: list[int] = []  # of the data file, as the client sees it
        self._used: list[int] = []
        self.totals = Totals()

    def run(self, seconds: float) -> None:
        """All processes."""
        first = seconds * _FIRST
        began = len(self._sizes)
        notes = self._process(first, lives=max(round(first / 15), 4))
        self._judge_growth("memory", [note["memory"] for note in notes if note.get("full")])
        self._judge_growth("the file", self._sizes[began + (len(self._sizes) - began) // 4 :])
        left = seconds - first
        while left > 1:
            until = min(self._rng.uniform(2.0, 15.0), left)
            self._process(left * 2, lives=1, killed_after=until)
            left -= until
        self._process(0, lives=0, finish=True)
        self._judge_space(seconds)
        self.totals.figures["MB of file"] = max(self._sizes) >> 20

    def _judge_space(self, seconds: float) -> None:
        """All has been pruned: what was used is free, and is used again before the file grows."""
        size, used = self._sizes[-1], self._used[-1]
        if used > max(self._used) // 10 + (1 << 20):
            self._complain(f"{used:,} bytes are used when everything is pruned; {max(self._used):,} at most")
        self._process(min(seconds / 10, 20.0), lives=1)
        self._process(0, lives=0, finish=True)
        if self._sizes[-1] > size * _GROWTH + _SLACK:
            self._complain(f"the file had {size:,} bytes, nothing in use, and has {self._sizes[-1]:,} now")

    def _judge_growth(self, what: str, figures: list[int]) -> None:
        half = len(figures) // 2
        if not half:
            self._complain(f"{what} was not looked at with {self._in_flight} runs in flight")
            return
        before, after = max(figures[:half]), max(figures[half:])
        key = f"MB of {what.removeprefix('the ')}"
        self.totals.figures[key] = max(before, after) >> 20
        if after > before * _GROWTH + _SLACK:
            self._complain(
                f"{what} grows: {before:,} bytes in the first half of the time, {after:,} after it"
            )

    def _process(
        self, seconds: float, *, lives: int, killed_after: float | None = None, finish: bool = False
    ) -> list[dict[str, Any]]:
        """Run a process to its end, or kill it; gives its notes."""
        notes = self._folder / "notes"
        notes.unlink(missing_ok=True)
        words = [self._folder, self._rng.getrandbits(32), seconds, self._in_flight, lives, int(finish)]
        command = [sys.executable, "-m", "tests.soak.load", *map(str, words)]
        output = self._folder / "output"
        with output.open("w") as file:
            process = subprocess.Popen(command, cwd=_ROOT, stdout=file, stderr=file)
        until = time.monotonic() + (seconds + _PATIENCE if killed_after is None else killed_after)
        try:
            trio.run(self._read_beside, process, until)
        finally:
            ended = process.poll()
            process.kill()
            process.wait()
        if killed_after is not None and ended is None:
            self.totals.disturbances["SIGKILL"] += 1
        elif ended is None:
            self._complain(f"a process of {seconds:.0f} s hung")
        elif ended:
            self._complain(f"a process ended with {ended}:\n{output.read_text()[-2000:]}")
        return self._read_notes(notes)

    def _read_notes(self, path: Path) -> list[dict[str, Any]]:
        notes = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        for note in notes:
            for name, count in note["done"].items():
                into = self.totals.disturbances if name in DISTURBANCES else self.totals.figures
                into[name] += count
            if note["kind"] == "violation":
                self._complain(note["text"])
        return notes

    async def _read_beside(self, process: subprocess.Popen[bytes], until: float) -> None:
        """Look at the figures and at some runs from another process, until it is over."""
        database = self._folder / "db"
        while process.poll() is None and time.monotonic() < until:
            await trio.sleep(0.1)
            if not (database / "durable-trio.json").exists():
                continue
            async with open_client(database) as client:
                while process.poll() is None and time.monotonic() < until:
                    await self._look(client)
                    await trio.sleep(min(0.25, max(until - time.monotonic(), 0)))
                await self._look(client)

    async def _look(self, client: Any) -> None:
        try:
            info = await client.statistics()
            await client.list(status="waiting", limit=50)
        except StoreError as error:
            self._complain(f"a client cannot read: {error}")
            return
        self._sizes.append(info.size)
        self._used.append(info.used)
        self.totals.figures["looks of a client"] += 1
        if info.readers > _READERS:
            self._complain(f"{info.readers} reads are under way at once")

    def _complain(self, text: str) -> None:
        self.totals.violations.append(text)


def run(seed: int, seconds: float, in_flight: int = IN_FLIGHT) -> Totals:
    """A soak of about so many seconds, and those that it takes to bring everything to its end."""
    began = time.monotonic()
    base = _MEMORY if _MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=base))
    soak = Soak(folder, seed, in_flight)
    try:
        soak.run(seconds)
    finally:
        if soak.totals.violations:
            soak.totals.violations.append(f"what is left of it is in {folder}")
        else:
            shutil.rmtree(folder)
    soak.totals.seconds = time.monotonic() - began
    return soak.totals
