"""``python -m tests.torture``: exit status 1 if there was a violation."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from .expected import CI
from .parts import ROUND, Parts
from .sums import Sums

_SOAK = 0.15  # of the time, if time is what counts
_APART = 5.0  # seconds between two lines of progress


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


class _Progress:
    """A line now and then: how much there is of each part."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self._began = self._said = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def tell(self) -> None:
        if time.monotonic() - self._said >= _APART:
            self._said = time.monotonic()
            _say(f"{self.seconds:6.0f} s  {self._sums.progress()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--ci", action="store_true", help=f"these counts instead: {CI}")
    parser.add_argument("--share", type=float, default=1.0, help="with --ci: this share of each count")
    parser.add_argument("--only", choices=list(CI), action="append", help="this part; may be given again")
    parser.add_argument("--seed", type=int, help="what is done (default: something new each time)")
    parser.add_argument("--processes", type=int, default=2, help="side by side (default: 2)")
    parser.add_argument("--json", type=Path, help="keep the counts in this file")
    return parser.parse_args()


def main() -> int:
    options = _options()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    sums = Sums()
    progress = _Progress(sums)
    parts = Parts(sums, seed, processes=options.processes, told=progress.tell)
    names = options.only or list(CI)
    try:
        if options.ci:
            for name in names:
                parts.do(name, max(round(CI[name] * options.share), 1))
        else:
            if "soak" in names:
                parts.do("soak", max(round(options.minutes * 60 * _SOAK), 1))
            while progress.seconds < options.minutes * 60:
                for name in names:
                    if name in ROUND:
                        parts.do(name, ROUND[name])
        parts.finish()
    finally:
        parts.close()
    minutes = progress.seconds / 60
    _say(f"\nseed {seed}, {minutes:.1f} minutes\n{sums.table()}")
    if options.json is not None:
        options.json.write_text(sums.as_json(minutes, seed))
    return 1 if sums.violations else 0


if __name__ == "__main__":
    sys.exit(main())
