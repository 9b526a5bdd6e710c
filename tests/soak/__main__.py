"""``python -m tests.soak --seconds 60``; exit status 1 if there was a violation."""

from __future__ import annotations

import argparse
import random
import sys

from . import campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Keep many runs in flight.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--in-flight", type=int, default=campaign.IN_FLIGHT, help="how many runs")
    parser.add_argument("--seed", type=int, help="what is done (default: something new each time)")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    totals = campaign.run(seed, options.seconds, options.in_flight)
    for text in totals.violations:
        print(text)  # noqa: T201
    print(f"seed {seed}\n{totals.table()}")  # noqa: T201
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
