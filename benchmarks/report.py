"""Puts the figures of one run into ``docs/performance.md``, so that they are exactly those of one run.

    python -m benchmarks.report results.json [docs/performance.md]

What stands between the two markers is replaced; nothing else is touched.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.command import Report, Results, number, read_json, span
from benchmarks.targets import TARGETS, measured

BEGIN, END = "<!-- figures: python -m benchmarks.report -->", "<!-- end of the figures -->"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
_LATENCIES = {"p50_ms", "p99_ms"}


def main() -> None:
    """Replace the figures on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description="Figures for the docs.")
    parser.add_argument("results", type=Path, help="JSON of python -m benchmarks")
    parser.add_argument("page", type=Path, nargs="?", default=PAGE)
    options = parser.parse_args()
    text = options.page.read_text()
    options.page.write_text(with_figures(text, read_json(options.results)))


def with_figures(text: str, results: Results) -> str:
    """The page with these figures.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page needs the lines {BEGIN} and {END}; what is between them is replaced")
    return f"{before}{BEGIN}\n\n{figures(results)}\n{END}{after}"


def figures(results: Results) -> str:
    """The targets, and every row of every benchmark."""
    parts = [_machine(results), _targets(results)]
    parts += [_bench(report) for report in results.benches.values()]
    return "\n".join(parts)


def _machine(results: Results) -> str:
    facts = results.machine
    return (
        f"Scale `{results.scale}`, {facts['date']}: {facts['cores']} cores ({facts['processor']}), "
        f"{facts['memory_gb']} GB, {facts['system']}, Python {facts['python']}, trio {facts['trio']}, lmdb "
        f"{facts['lmdb']}, msgspec {facts['msgspec']}; an fdatasync of 4 kB took "
        f"{facts['fdatasync_ms']} ms.\n"
    )


def _targets(results: Results) -> str:
    lines = ((target.what, target.goal, *measured(target, results)) for target in TARGETS)
    return "### Targets\n\n" + _table(("workload", "target", "measured", "reached"), lines)


def _bench(report: Report) -> str:
    lines = (
        (
            row.case,
            "" if row.size is None else f"{row.size:,}",
            f"{number(row.ours.median)} {row.unit}",
            f"{number(row.theirs.median)} ({row.baseline})",
            f"{number(row.ratio.median)} ({span(row.ratio)})",
            ", ".join(f"{name} {number(value)}" for name, value in _shown(row.more)),
        )
        for row in report.rows
    )
    head = ("", report.counts, "ours", "baseline", "ratio (spread)", "also")
    return f"### {report.title[0].upper()}{report.title[1:]}\n\n" + _table(head, lines)


def _shown(more: dict[str, float]) -> Iterator[tuple[str, float]]:
    """All but the percentiles that only a plot needs."""
    for name, value in more.items():
        if name in _LATENCIES or not (name[0] == "p" and name[1].isdigit()):
            yield name, value


def _table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    cells = list(head)
    rows = [cells, ["---"] * len(cells), *(list(line) for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


if __name__ == "__main__":
    main()
