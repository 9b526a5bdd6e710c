"""The figures as plots: PNG and SVG, by matplotlib (the extra ``bench``).

Colours and markers go together, so that the lines can be told apart without colours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.byhand import BESIDE
from benchmarks.command import Results
from benchmarks.measuring import PERCENTILES, Row

_STYLES = (("tab:blue", "o"), ("tab:orange", "s"), ("tab:green", "^"), ("tab:red", "D"), ("tab:purple", "v"))
_GREY = "0.45"


def load_matplotlib() -> Any:
    """``matplotlib.pyplot``, or the end of the program with a word on how to get it."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - nothing else needs it
    except ImportError:
        sys.exit("plots need matplotlib: pip install 'durable-trio[bench]', or leave --plots away")
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "durable-trio"  # the same figures give the same file
    import matplotlib.pyplot as plt  # noqa: PLC0415 - as above

    return plt


def draw(results: Results, folder: Path) -> list[str]:
    """Draw what there are figures for; the names of the plots."""
    plt = load_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, (bench, title, plot) in PLOTS.items():
        report = results.benches.get(bench)
        if report is None or not report.rows:
            continue
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        plot(axes, report.rows)
        axes.set_title(title)
        axes.grid(visible=True, which="major", alpha=0.3)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8)
        figure.savefig(folder / f"{name}.png", dpi=130)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
        drawn.append(name)
    return drawn


def _lines(axes: Any, rows: list[Row], value: Callable[[Row], float], label: str = "{}") -> None:
    """One line for each case, over the sizes."""
    cases = list(dict.fromkeys(row.case for row in rows))
    for number, case in enumerate(cases):
        colour, marker = _STYLES[number % len(_STYLES)]
        points = sorted((row.size or 0, value(row)) for row in rows if row.case == case)
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label.format(case))
    axes.set_xscale("log")


def _throughput(axes: Any, rows: list[Row]) -> None:
    rows = [row for row in rows if row.unit == "workflows/s"]
    _lines(axes, [row for row in rows if not row.case.endswith(BESIDE)], lambda row: row.ours.median)
    for case, style, label in (
        ("onboard, sync", "--", "bare Trio, nothing stored"),
        (f"onboard, sync{BESIDE}", ":", "bare Trio, group commit by hand"),
    ):
        points = sorted((row.size or 0, row.theirs.median) for row in rows if row.case == case)
        if points:  # figures of earlier versions have nothing by hand
            axes.plot(*zip(*points, strict=True), color=_GREY, linestyle=style, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("runs in flight")
    axes.set_ylabel("workflows per second")


def _latency(axes: Any, rows: list[Row]) -> None:
    rows = [row for row in rows if row.case == "onboard, sync" and "p50_ms" in row.more]
    for number, row in enumerate(rows):
        colour, marker = _STYLES[number % len(_STYLES)]
        values = [row.more[f"p{percent:g}_ms"] for percent in PERCENTILES]
        axes.plot(range(len(values)), values, color=colour, marker=marker, label=f"{row.size:,} in flight")
    axes.set_xticks(range(len(PERCENTILES)), [f"{percent:g}" for percent in PERCENTILES])
    axes.set_yscale("log")
    axes.margins(y=0.2)  # room for the legend
    axes.set_xlabel("percentile")
    axes.set_ylabel("milliseconds for one workflow (onboard, sync)")


def _context(axes: Any, rows: list[Row]) -> None:
    _lines(axes, rows, lambda row: row.ours.median)
    axes.set_yscale("log")
    axes.set_xlabel("bytes of context")
    axes.set_ylabel("microseconds per step")


def _history(axes: Any, rows: list[Row]) -> None:
    _lines(axes, rows, lambda row: row.ratio.median)
    axes.axhline(1, color=_GREY, linestyle="--", label="an empty database")
    axes.set_ylim(0, 1.4)
    axes.set_xlabel("finished runs in the database")
    axes.set_ylabel("throughput, by that on an empty database")


def _parked(axes: Any, rows: list[Row]) -> None:
    rows = [row for row in rows if row.unit == "ms"]
    _lines(axes, rows, lambda row: row.ours.median)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("sleeping runs in the database")
    axes.set_ylabel("milliseconds")


def _peers(axes: Any, rows: list[Row]) -> None:
    """Bars, ours beside each."""
    labels = [f"{row.baseline}\n{row.size:,} in flight" for row in rows]
    places = range(len(rows))
    axes.barh([place - 0.2 for place in places], [row.ours.median for row in rows], 0.4, label="durable-trio")
    axes.barh([place + 0.2 for place in places], [row.theirs.median for row in rows], 0.4, label="the other")
    axes.set_yticks(places, labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("workflows per second (onboard, each step durable)")


Plot = Callable[[Any, list[Row]], None]
PLOTS: dict[str, tuple[str, str, Plot]] = {
    "throughput": ("onboard", "Throughput against runs in flight", _throughput),
    "latency": ("onboard", "Distribution of latencies", _latency),
    "context": ("context", "Cost against the size of the context", _context),
    "database": ("history", "Cost against the size of the database", _history),
    "parked": ("parked", "Time against sleeping runs", _parked),
    "peers": ("peers", "Beside other systems", _peers),
}
