"""``python -m tests.torture``: exit status 1 if there was a violation."""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

from .parts import CI, ROUND, Parts, Sums


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: 1)")
    parser.add_argument("--ci", action="store_true", help=f"these counts instead: {CI}")
    parser.add_argument("--only", choices=list(CI), action="append", help="this part; may be given again")
    parser.add_argument("--seed", type=int, help="what is done (default: something new each time)")
    parser.add_argument("--json", type=Path, help="keep the counts in this file")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    sums = Sums()
    parts = Parts(sums, seed)
    names = options.only or list(CI)
    began = time.monotonic()
    try:
        if options.ci:
            for name in names:
                _do(parts, sums, name, CI[name], began)
        else:
            while time.monotonic() - began < options.minutes * 60:
                for name in names:
                    _do(parts, sums, name, ROUND[name], began)
    finally:
        parts.close()
    minutes = (time.monotonic() - began) / 60
    _say(f"\nseed {seed}, {minutes:.1f} minutes\n{sums.table()}")
    if options.json is not None:
        options.json.write_text(sums.as_json(minutes, seed))
    return 1 if sums.violations else 0


def _do(parts: Parts, sums: Sums, name: str, number: int, began: float) -> None:
    before = time.monotonic()
    getattr(parts, name)(number)
    sums.seconds[name] += time.monotonic() - before
    progress = ", ".join(f"{part} {kinds.total()}" for part, kinds in sums.faults.items())
    _say(f"{time.monotonic() - began:6.0f} s  {progress}  violations {len(sums.violations)}")


if __name__ == "__main__":
    sys.exit(main())
