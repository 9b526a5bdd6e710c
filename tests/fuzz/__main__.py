"""``python -m tests.fuzz --files 5000``; exit status 1 if there was a violation."""

from __future__ import annotations

import argparse
import random
import sys

from . import campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Open hostile files.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--seed", type=int, help="which ones (default: new ones each time)")
    options = parser.parse_args()
    seed = random.SystemRandom().getrandbits(32) if options.seed is None else options.seed
    totals = campaign.run(seed, options.files, options.records)
    for text in totals.violations[:10]:
        print(text)  # noqa: T201
    print(f"seed {seed}, {totals.seconds:.0f} s\n{totals.table()}")  # noqa: T201
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
