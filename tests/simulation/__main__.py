"""``python -m tests.simulation --seed 7`` plays one episode; ``--minutes 10`` plays new ones.

Exit status 1 if there was a violation; then the command that plays its episode again is printed.
"""

from __future__ import annotations

import argparse
import random
import sys

from . import campaign
from .episode import Result, play


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def _show(seed: int, *, with_lines: bool) -> int:
    result = play(seed)
    if with_lines:
        for line in result.lines:
            _say(f"{line.wall - result.lines[0].wall:10.5f} {line}")
    for _, text in result.violations:
        _say(text)
    _say(f"seed {seed}: {dict(result.crashes)}, {len(result.violations)} violations, trace {result.trace}")
    return 1 if result.violations else 0


def _tell(result: Result, totals: campaign.Totals) -> None:
    for _, text in result.violations[:3]:
        _say(f"{text}\n    {campaign.replay_command(result.seed)}")
    if totals.episodes % 500 == 0:
        _say(f"{totals.crashes.total()} crashes in {totals.seconds:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Crash a simulated machine."
    )
    parser.add_argument("--seed", type=int, help="play this episode only")
    parser.add_argument("--lines", action="store_true", help="with --seed: show all that happened")
    parser.add_argument("--first", type=int, help="the first seed (default: new ones each time)")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--crashes", type=int, help="how many crashes at least")
    options = parser.parse_args()
    if options.seed is not None:
        return _show(options.seed, with_lines=options.lines)
    first = random.SystemRandom().getrandbits(40) if options.first is None else options.first
    minutes = 1.0 if options.minutes is None and options.crashes is None else options.minutes
    totals = campaign.run(first, crashes=options.crashes, minutes=minutes, told=_tell)
    _say(totals.table())
    return 1 if totals.violations else 0


if __name__ == "__main__":
    sys.exit(main())
