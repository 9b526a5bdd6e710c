"""The kinds of torture, each as something that can be asked for so much of it."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tests.crash import campaign as crash_campaign
from tests.crash.pool import Pool
from tests.crash.pool import Totals as CrashTotals
from tests.crash.runner import Job
from tests.crash.scenarios import SCENARIOS
from tests.faults import calls, power
from tests.fuzz import campaign as fuzz_campaign
from tests.simulation import campaign as simulation_campaign

CI = {"simulation": 20_000, "kills": 1_000, "power": 10_000, "calls": 300, "hostile": 5_000}
"""How much of each is done for every change."""

ROUND = {"simulation": 600, "kills": 60, "power": 400, "calls": 10, "hostile": 200}
"""How much of each is done at a time, when time is what counts."""


@dataclass
class Sums:
    """What all parts came to.

    Attributes:
        faults: by part, and by kind.
        checks: invariants that were looked at, by number.
        violations: part, and in words.
    """

    faults: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CI})
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CI, 0.0))
    checks: Counter[int] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)

    def table(self) -> str:
        """The counts, as text."""
        rows = []
        for part, kinds in self.faults.items():
            rows.append(f"{part}: {kinds.total()} in {self.seconds[part]:.0f} s")
            rows += [f"  {count:7} x {kind}" for kind, count in sorted(kinds.items())]
        looked = ", ".join(f"{number}: {self.checks[number]}" for number in sorted(self.checks))
        rows += [f"checks by invariant: {looked}", f"violations: {len(self.violations)}"]
        return "\n".join(rows)

    def as_json(self, minutes: float, seed: int) -> str:
        """The counts, for ``docs/reliability.md``."""
        counts: dict[str, Any] = {
            "minutes": round(minutes, 1),
            "seed": seed,
            "totals": {part: kinds.total() for part, kinds in self.faults.items()},
            "seconds": {part: round(seconds, 1) for part, seconds in self.seconds.items()},
            "faults": {part: dict(sorted(kinds.items())) for part, kinds in self.faults.items()},
            "checks": {str(number): self.checks[number] for number in sorted(self.checks)},
            "violations": [list(violation) for violation in self.violations],
        }
        return json.dumps(counts, indent=2) + "\n"


class Parts:
    """Each method does so much of one part, and adds it up.

    Args:
        sums: where to.
        seed: what is done follows from it, but for the kills, whose processes run as they like.
    """

    def __init__(self, sums: Sums, seed: int) -> None:
        self._sums = sums
        self._rng = random.Random(seed)
        self._pool: Pool | None = None
        self._queue: Iterator[Job] = iter(())

    def simulation(self, number: int) -> None:
        """Simulated crashes."""
        totals = simulation_campaign.run(self._rng.getrandbits(40), crashes=number)
        self._add("simulation", totals.crashes)
        self._sums.checks.update(totals.looked)
        for seed, _, text in totals.violations:
            self._complain("simulation", f"{text}\n{simulation_campaign.replay_command(seed)}")

    def kills(self, number: int) -> None:
        """SIGKILLs of real processes, at every failpoint first."""
        totals = CrashTotals()
        if self._pool is None:
            self._pool = Pool(Path(tempfile.mkdtemp(prefix="torture-")))
            self._queue = self._jobs(crash_campaign.count(self._pool))
        while totals.kills.total() < number:
            for report in self._pool.run(list(islice(self._queue, 40))):
                totals.add(report)
        self._add("kills", totals.kills)
        self._sums.checks.update(totals.looked)
        for _, text, report in totals.violations:
            self._complain("kills", f"{text}\n{report.job}\n{report.folder}")

    def _jobs(self, passed: crash_campaign.Passed) -> Iterator[Job]:
        everywhere = list(crash_campaign.failpoints(passed, 2))
        self._rng.shuffle(everywhere)
        while True:
            yield from everywhere
            yield from crash_campaign.anywhere(tuple(SCENARIOS), 200, self._rng.getrandbits(32))

    def power(self, number: int) -> None:
        """Power-loss states."""
        totals = power.run(self._rng.getrandbits(32), number)
        self._add("power", totals.states)
        for text in totals.violations:
            self._complain("power", text)

    def calls(self, number: int) -> None:
        """Failing system calls."""
        totals = calls.run(self._rng.getrandbits(32), number)
        self._add("calls", totals.fired)
        for text in totals.violations:
            self._complain("calls", text)

    def hostile(self, number: int) -> None:
        """Hostile files, and four times as many records."""
        totals = fuzz_campaign.run(self._rng.getrandbits(32), number, 4 * number)
        kinds = Counter[str]()
        for (name, came), count in totals.files.items():
            kinds[f"{name.replace('_', ' ')}: {came}"] += count
        self._add("hostile", kinds)
        for text in totals.violations:
            self._complain("hostile", text)

    def close(self) -> None:
        """End the processes that were kept."""
        if self._pool is not None:
            self._pool.__exit__(None, None, None)

    def _add(self, part: str, kinds: Counter[str]) -> None:
        assert kinds, f"no fault of {part} happened"
        self._sums.faults[part].update(kinds)

    def _complain(self, part: str, text: str) -> None:
        self._sums.violations.append((part, text))
        print(f"VIOLATION ({part})\n{text}", flush=True)  # noqa: T201
