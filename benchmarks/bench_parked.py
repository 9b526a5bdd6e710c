"""parked: what runs cost that only wait.

    python -m benchmarks.bench_parked [--sizes 1000000]

Each opening is a process of its own (``parked_probe.py``), by turns on the database with that many parked
runs and on one with 1,000. Runs are copies of a parked one (see ``filling.py``), due an hour apart; each
opening uses a clock at which one more of them is due. Memory is beside an engine on an empty database.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import trio

from benchmarks.command import main
from benchmarks.filling import fill, record
from benchmarks.measuring import Bench, Session, spread
from benchmarks.parked_probe import Found
from benchmarks.workloads import sleeping_workflow

FEW = 1000
PARKED = 10_000
HOUR = 3600.0
HOUR_MS = 3_600_000

SLEEPER = sleeping_workflow()


class Sleepers:
    """A database with parked runs, one of which is due every hour."""

    def __init__(self, path: Path, runs: int) -> None:
        self.path = path
        self._hour = 0
        template = trio.run(record, path, SLEEPER, {"seconds": HOUR}, "waiting")
        fill(path, template, runs - 1, lambda due, number: due + HOUR_MS * (number + 1))

    def open(self) -> Found:
        """An hour later: one more is due."""
        self._hour += 1
        return probe("open", self.path, self._hour * HOUR + HOUR / 2)


def probe(what: str, path: Path, number: float) -> Found:
    command = [sys.executable, "-m", "benchmarks.parked_probe", what, str(path), f"{number:g}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[1])
    return msgspec.json.decode(done.stdout, type=Found)


def measure(session: Session) -> None:
    folder = session.folder
    few = Sleepers(folder / "few.lmdb", min(FEW, *session.sizes))
    for size in session.sizes:
        many = Sleepers(folder / f"{size}.lmdb", size)
        ours, theirs, empty = [], [], []
        for _ in range(session.repeat):
            ours.append(many.open())
            theirs.append(few.open())
            empty.append(probe("open", folder / "empty.lmdb", 0))
        shutil.rmtree(many.path)
        above = spread([with_runs.rss - without.rss for with_runs, without in zip(ours, empty, strict=True)])
        own = [
            with_runs.anonymous - without.anonymous for with_runs, without in zip(ours, empty, strict=True)
        ]
        session.add(
            "memory",
            size,
            "MB",
            "an empty database",
            [(with_runs.rss, without.rss) for with_runs, without in zip(ours, empty, strict=True)],
            above_mb=above.median,
            above_anonymous_mb=spread(own).median,
        )
        for case, field in (
            ("open", "open"),
            ("open, and fire the first due timer", "first"),
            ("from due to running, while open", "late"),
        ):
            pairs = [
                (getattr(one, field), getattr(other, field)) for one, other in zip(ours, theirs, strict=True)
            ]
            session.add(case, size, "ms", f"with {FEW:,}", pairs)
    size = min(PARKED, session.sizes[-1])
    _parked_here(session, size)


def _parked_here(session: Session, size: int) -> None:
    """Memory of the engine that has parked them itself."""
    pairs = []
    for number in range(session.repeat):
        own = probe("park", session.folder / f"park-{number}.lmdb", size)
        pairs.append((own.rss, probe("park", session.folder / f"park-none-{number}.lmdb", 0).rss))
    above = spread([ours - theirs for ours, theirs in pairs]).median
    session.add("memory, started and parked there", size, "MB", "an empty database", pairs, above_mb=above)


BENCH = Bench(
    "parked",
    "parked: runs that only wait",
    measure,
    {"full": (10_000, 100_000, 1_000_000), "quick": (1000, 5000), "tiny": (20,)},
    "waiting runs",
)

if __name__ == "__main__":
    main(BENCH)
