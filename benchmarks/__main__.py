"""``python -m benchmarks``: every benchmark in a process of its own, so that none inherits another's heap.

    python -m benchmarks [--quick] [--only onboard chain] [--json FILE] [--plots FOLDER]

The comparison with other systems is not among them: ``python -m benchmarks.bench_peers`` installs them first.
Add its figures with ``--add FILE``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.command import Results, add_common, read_json, scratch, write_json
from benchmarks.plots import draw, load_matplotlib

NAMES = (
    "onboard",
    "chain",
    "wide",
    "recovery",
    "context",
    "history",
    "parked",
    "waking",
    "mixed",
    "compiled",
    "codec",
)


def main() -> None:
    """Run them, and write what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The whole suite.")
    add_common(parser)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these")
    parser.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="draw PNG and SVG files; needs the extra 'bench'"
    )
    parser.add_argument(
        "--add", type=Path, nargs="+", default=[], metavar="FILE", help="figures of earlier runs"
    )
    options = parser.parse_args()
    if options.plots:
        load_matplotlib()  # to be told now, not in an hour
    with scratch(options.folder) as folder:
        found = [run(name, options, Path(folder)) for name in options.only]
    results = found[0]
    for other in [*found[1:], *map(read_json, options.add)]:
        results.benches.update(other.benches)
    if options.json:
        write_json(options.json, results)
    if options.plots:
        draw(results, options.plots)


def run(name: str, options: argparse.Namespace, folder: Path) -> Results:
    """One benchmark, in a process of its own; its table goes to our output."""
    output = folder / f"{name}.json"
    command = [sys.executable, "-m", f"benchmarks.bench_{name}", "--scale", options.scale]
    command += ["--json", str(output), "--folder", str(folder)]
    for option in ("seconds", "repeat"):
        value = getattr(options, option)
        if value is not None:
            command += [f"--{option}", str(value)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    return read_json(output)


if __name__ == "__main__":
    main()
