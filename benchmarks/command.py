"""The command line of every benchmark, its table, and its JSON."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

import durable_trio
from benchmarks.measuring import PERCENTILES, SCALES, Bench, Row, Session, Spread


class Report(msgspec.Struct):
    """One benchmark's rows."""

    title: str
    counts: str
    seconds: float  # how long it took in all
    rows: list[Row]


class Results(msgspec.Struct):
    """What a JSON file holds: figures, and what they were measured on. No paths and no names of machines."""

    scale: str
    machine: dict[str, str | int | float]
    benches: dict[str, Report]


# -- one benchmark -------------------------------------------------------------------------------------


def main(bench: Bench, arguments: Sequence[str] | None = None) -> None:
    """What ``python -m benchmarks.bench_x`` does."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.bench_{bench.name}", description=bench.title)
    add_common(parser)
    parser.add_argument(
        "--sizes", type=int, nargs="+", metavar="N", help=f"{bench.counts}: instead of the usual"
    )
    options = parser.parse_args(arguments)
    print_head(bench)
    with scratch(options.folder) as folder:
        machine = machine_facts(Path(folder))
        report = measured(bench, options.scale, Path(folder), options.sizes, options.seconds, options.repeat)
    results = Results(options.scale, machine, {bench.name: report})
    if options.json:
        write_json(options.json, results)


def add_common(parser: argparse.ArgumentParser) -> None:
    """The options that all of it has."""
    parser.add_argument(
        "--quick", dest="scale", action="store_const", const="quick", help="the same as --scale quick"
    )
    parser.add_argument("--scale", dest="scale", choices=SCALES, help="by default full")
    parser.set_defaults(scale="full")
    parser.add_argument("--seconds", type=float, help="of one side of one pair")
    parser.add_argument("--repeat", type=int, help="pairs; by default 5, and 1 at --scale tiny")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; by default the temporary one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")


def scratch(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A folder of our own that goes again."""
    return tempfile.TemporaryDirectory(prefix="durable-trio-bench-", dir=parent)


def measured(
    bench: Bench,
    scale: str,
    folder: Path,
    sizes: Sequence[int] | None = None,
    seconds: float | None = None,
    repeat: int | None = None,
    *,
    quiet: bool = False,
) -> Report:
    """Run one benchmark; prints its rows as they come."""
    session = Session(
        bench.sizes[scale] if sizes is None else sizes,
        bench.seconds[scale] if seconds is None else seconds,
        (1 if scale == "tiny" else 5) if repeat is None else repeat,
        folder,
        on_row=(lambda _row: None) if quiet else print_row,
    )
    began = time.perf_counter()
    bench.measure(session)
    return Report(bench.title, bench.counts, round(time.perf_counter() - began, 1), session.rows)


# -- the table -----------------------------------------------------------------------------------------


_NOT_SHOWN = {f"p{percent:g}_ms" for percent in PERCENTILES} - {"p50_ms", "p99_ms"}  # the plots have them


def print_head(bench: Bench) -> None:
    print(f"\n{bench.title}\n")
    print(f"{'':44}{bench.counts:>10}{'ours':>12}{'baseline':>12}{'ratio':>8}  spread")


def print_row(row: Row) -> None:
    """One line, and under it what else was found out."""
    size = "" if row.size is None else f"{row.size:,}"
    print(
        f"{row.case:44}{size:>10}{number(row.ours.median):>12}{number(row.theirs.median):>12}"
        f"{number(row.ratio.median):>8}  {span(row.ratio):14} {row.unit}; beside {row.baseline}"
    )
    more = {name: value for name, value in row.more.items() if name not in _NOT_SHOWN}
    if more:
        print("      " + ", ".join(f"{name} {number(value)}" for name, value in more.items()))
    sys.stdout.flush()


def number(value: float) -> str:
    """Three digits that count."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.01 else f"{value:.2g}"


def span(spread: Spread) -> str:
    return f"{number(spread.low)} to {number(spread.high)}"


# -- the machine, and JSON -----------------------------------------------------------------------------


def machine_facts(folder: Path) -> dict[str, str | int | float]:
    """What figures depend on, and how fast it is just now. Nothing that tells whose machine it is."""
    packages = {name: importlib.metadata.version(name) for name in ("trio", "lmdb", "msgspec")}
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "durable_trio": durable_trio.__version__,
        **packages,
        "fdatasync_ms": round(_fdatasync(folder) * 1e3, 3),
        "loop_of_a_million_ms": round(_loop() * 1e3, 1),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _fdatasync(folder: Path) -> float:
    """Median seconds of appending 4 kB and syncing it."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    (folder / "probe").unlink()
    return statistics.median(times)


def _loop() -> float:
    began = time.perf_counter()
    total = 0
    for value in range(1_000_000):
        total += value
    return time.perf_counter() - began


def write_json(path: Path, results: Results) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def read_json(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)
