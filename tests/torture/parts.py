"""The kinds of torture, each as something that can be asked for so much of it."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.crash import campaign as crash_campaign
from tests.crash.everywhere import Everywhere
from tests.crash.pool import Pool
from tests.crash.pool import Totals as CrashTotals
from tests.crash.runner import Job
from tests.crash.scenarios import SCENARIOS

from .chunks import PIECES, Outcome, Workers
from .expected import CI, lacking
from .sums import Sums

ROUND = {"simulation": 1000, "kills": 60, "power": 800, "calls": 20, "hostile": 400}
"""How much of each is done at a time, when time is what counts; a soak is not done by and by."""

_RANDOM = 60  # episodes at random moments, between those of other kinds
_IN_VAIN = 50  # batches without a kill, after which there will be none


class Parts:
    """Does so much of a part, and adds it up.

    Args:
        sums: where to.
        seed: what is done follows from it (see ``chunks``).
        processes: how many pieces are done side by side.
        told: is called after each piece.
    """

    def __init__(
        self, sums: Sums, seed: int, *, processes: int = 2, told: Callable[[], None] = lambda: None
    ) -> None:
        self._sums = sums
        # A part's seeds must not depend on which other parts are done.
        self._seeds = {part: _seeds(f"{seed}/{part}") for part in CI}
        self.asked = dict.fromkeys(CI, 0)
        self._processes = processes
        self._told = told
        self._workers = Workers(processes)
        self._kills: _Kills | None = None

    def do(self, part: str, number: int) -> None:
        """So much of a part: faults, but for ``soak`` seconds."""
        before = time.monotonic()
        self.asked[part] += number
        if part == "kills":
            outcomes = self._kill(number)
        else:
            outcomes = self._workers.do(part, self._seeds[part], number)
        for outcome in outcomes:
            self._sums.add(part, outcome)
            now = time.monotonic()
            self._sums.seconds[part] += now - before
            before = now
            self._told()

    def _kill(self, number: int) -> Iterator[Outcome]:
        if self._kills is None:
            self._kills = _Kills(next(self._seeds["kills"]), self._processes)
        return self._kills.do(number)

    def finish(self) -> None:
        """Complain about faults that were armed and have not happened."""
        for part, asked in self.asked.items():
            if asked:
                texts = list(lacking(part, self._sums.faults[part], self._sums.others[part], asked))
                if part == "kills" and self._kills is not None:
                    texts += self._kills.missed()
                self._sums.add(part, Outcome(violations=texts))

    def close(self) -> None:
        """End the processes that were kept."""
        self._workers.close()
        if self._kills is not None:
            self._kills.close()


class _Kills:
    """SIGKILLs of real processes: first everywhere, then at random."""

    def __init__(self, seed: int, processes: int) -> None:
        self._rng = random.Random(seed)
        self._pool = Pool(Path(tempfile.mkdtemp(prefix="torture-")), processes)
        self._everywhere = Everywhere(self._pool)
        self._batches = self._all_batches()
        self._is_complete = False

    def do(self, number: int) -> Iterator[Outcome]:
        """At least so many."""
        killed = in_vain = 0
        # A campaign of the full size tries each place, however many kills that takes.
        while in_vain < _IN_VAIN and (killed < number or (number >= CI["kills"] and not self._is_complete)):
            totals = CrashTotals()
            for report in self._pool.run(next(self._batches)):
                totals.add(report)
                self._everywhere.add(report)
            killed += totals.kills.total()
            in_vain = 0 if totals.kills else in_vain + 1
            violations = [f"{text}\n{report.job}\n{report.folder}" for _, text, report in totals.violations]
            yield Outcome(totals.kills, totals.faults, totals.looked, violations)

    def missed(self) -> list[str]:
        """Places that were to be hit and were not, if all of them have had their turn."""
        return self._everywhere.missed() if self._is_complete else []

    def _all_batches(self) -> Iterator[list[Job]]:
        yield from self._everywhere.batches(self._rng)
        self._is_complete = True
        while True:
            yield list(crash_campaign.anywhere(tuple(SCENARIOS), _RANDOM, self._rng.getrandbits(32)))
            yield self._some(crash_campaign.moments(self._everywhere.passed, 3), 40)
            yield self._some(crash_campaign.commits(self._everywhere.passed, 3), 40)
            yield self._some(crash_campaign.errors(self._everywhere.passed, 1), 10)
            yield list(crash_campaign.signals(tuple(SCENARIOS), 10, self._rng.getrandbits(32)))
            yield list(crash_campaign.misfits(1, self._rng.getrandbits(32)))

    def _some(self, jobs: Iterator[Job], number: int) -> list[Job]:
        found = list(jobs)
        return self._rng.sample(found, min(number, len(found)))

    def close(self) -> None:
        """End the runners."""
        self._pool.__exit__(None, None, None)


def _seeds(of: str) -> Iterator[int]:
    rng = random.Random(of)
    while True:
        yield rng.getrandbits(40)


assert PIECES.keys() | {"kills"} == CI.keys()
