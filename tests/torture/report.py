"""Puts the counts of a run into ``docs/reliability.md``: ``python -m tests.torture.report counts.json``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
_NAMES = {
    "simulation": "simulated crashes",
    "kills": "SIGKILLs",
    "power": "power-loss states",
    "calls": "system call faults",
    "hostile": "hostile files",
    "soak": "restarts and cancellations with 10,000 runs in flight",
}


def shown(counts: dict[str, Any]) -> str:
    """The counts as the document has them."""
    rows = [f"{counts['minutes']} minutes, seed {counts['seed']}:", "", "| | | seconds |", "|---|---|---|"]
    rows += [
        f"| {name} | {counts['totals'][part]:,} | {counts['seconds'][part]:.0f} |"
        for part, name in _NAMES.items()
    ]
    looked = sum(counts["checks"].values())
    others = counts["others"]
    records = sum(count for kind, count in others["hostile"].items() if kind.startswith("record"))
    soak = {kind: others["soak"].get(kind, 0) for kind in ("started", "events", "pruned")}
    sizes = [others["soak"].get(f"MB of {what}", 0) for what in ("memory", "file")]
    violations = len(counts["violations"])
    rows += [
        "",
        f"{looked:,} checks of invariants, and {records:,} hostile records; violations: {violations}.",
        f"The soak started {soak['started']:,} runs and pruned {soak['pruned']:,};",
        f"{soak['events']:,} events were sent; at most {sizes[0]} MB of memory and {sizes[1]} MB of file.",
    ]
    return "\n".join(rows)


def main() -> int:
    counts = json.loads(Path(sys.argv[1]).read_text())
    text = _DOCUMENT.read_text()
    section = f"## The last run\n\n{shown(counts)}\n\n## "
    _DOCUMENT.write_text(re.sub(r"## The last run\n.*?\n## ", lambda _found: section, text, flags=re.DOTALL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
