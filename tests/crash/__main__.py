"""``python -m tests.crash --minutes 10``: random episodes for as long as one likes.

Exit status 1 if there was a violation; then the folder of its episode is named.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import campaign
from .pool import Pool, Totals
from .runner import Job, Report
from .scenarios import SCENARIOS


def _jobs(passed: campaign.Passed, seed: int, until: float) -> Iterator[Job]:
    """A mixture of all kinds, until the time is up."""
    rng = random.Random(seed)
    scenarios = tuple(SCENARIOS)
    while time.monotonic() < until:
        some = {name: passed[name] for name in rng.sample(scenarios, 2)}
        batch = [
            *campaign.anywhere(scenarios, 20, rng.getrandbits(32)),
            *campaign.signals(scenarios, 4, rng.getrandbits(32)),
            *campaign.misfits(1, rng.getrandbits(32)),
            *_sample(rng, campaign.failpoints(some, 9), 16),
            *_sample(rng, campaign.moments(some, 9), 10),
            *_sample(rng, campaign.commits(some, 9), 12),
            *_sample(rng, campaign.errors(some, 3), 5),
        ]
        rng.shuffle(batch)
        for job in batch:
            if time.monotonic() >= until:
                return
            yield job


def _sample(rng: random.Random, jobs: Iterator[Job], number: int) -> list[Job]:
    found = list(jobs)
    return rng.sample(found, min(number, len(found)))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description="Kill workers, and check what is left."
    )
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--seed", type=int, default=None, help="which episodes (default: new ones each time)")
    parser.add_argument("--processes", type=int, default=2, help="runners side by side (default: 2)")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    totals = Totals()

    def tell(report: Report) -> None:
        totals.add(report)
        for _, text in report.violations[:3]:
            print(f"{text}\n    {report.job}\n    {report.folder}", flush=True)  # noqa: T201

    with Pool(Path(tempfile.mkdtemp(prefix="crash-")), options.processes) as pool:
        passed = campaign.count(pool)
        pool.run(_jobs(passed, seed, time.monotonic() + options.minutes * 60), tell)
    print(f"seed {seed}\n{totals.table()}")  # noqa: T201
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
