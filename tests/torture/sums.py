"""What a run of the torture comes to: the summary that is shown, and the counts that are kept."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .chunks import Outcome
from .expected import CI


@dataclass
class Sums:
    """What all parts came to.

    Attributes:
        faults: those that count, by part and by kind; ``others`` likewise.
        seconds: how long each part took.
        checks: invariants that were looked at, by number.
        violations: part, and in words.
    """

    faults: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CI})
    others: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in CI})
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CI, 0.0))
    checks: Counter[int] = field(default_factory=Counter)
    violations: list[tuple[str, str]] = field(default_factory=list)

    def add(self, part: str, outcome: Outcome) -> None:
        """What came of a piece; its violations are shown at once."""
        self.faults[part].update(outcome.faults)
        self.others[part].update(outcome.others)
        self.checks.update(outcome.checks)
        for text in outcome.violations:
            self.violations.append((part, text))
            print(f"VIOLATION ({part})\n{text}", flush=True)  # noqa: T201

    def progress(self) -> str:
        """One line."""
        done = ", ".join(f"{part} {kinds.total():,}" for part, kinds in self.faults.items() if kinds)
        return f"{done}; violations {len(self.violations)}"

    def table(self) -> str:
        """The counts, as text."""
        rows = []
        for part, kinds in self.faults.items():
            if not kinds:
                continue
            rows.append(f"{part}: {kinds.total():,} in {self.seconds[part]:.0f} s")
            rows += [f"  {count:9,} x {kind}" for kind, count in sorted(kinds.items())]
            rows += [f"  {count:9,} - {kind}" for kind, count in sorted(self.others[part].items())]
        looked = ", ".join(f"{number}: {self.checks[number]:,}" for number in sorted(self.checks))
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
            "others": {part: dict(sorted(kinds.items())) for part, kinds in self.others.items()},
            "checks": {str(number): self.checks[number] for number in sorted(self.checks)},
            "violations": [list(violation) for violation in self.violations],
        }
        return json.dumps(counts, indent=2) + "\n"
