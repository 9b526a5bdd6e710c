"""The benchmarks run, at sizes that say nothing, and give what tables, plots and docs are made of."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks import bench_peers
from benchmarks.__main__ import NAMES
from benchmarks.command import Report, Results, measured, read_json
from benchmarks.measuring import Bench, Row, Session, spread
from benchmarks.report import BEGIN, END, with_figures
from benchmarks.targets import TARGETS, Target, ratio
from benchmarks.targets import measured as looked_up

ROOT = Path(__file__).parents[1]
FACTS = (
    "date",
    "cores",
    "processor",
    "memory_gb",
    "system",
    "python",
    "trio",
    "lmdb",
    "msgspec",
    "fdatasync_ms",
)
PAGE = (ROOT / "docs" / "performance.md").read_text()


def bench(name: str) -> Bench:
    found = importlib.import_module(f"benchmarks.bench_{name}").BENCH
    assert isinstance(found, Bench)
    return found


def results_of(*rows: Row, name: str = "onboard") -> Results:
    report = Report("onboard: something", "in flight", 1.0, list(rows))
    return Results("tiny", dict.fromkeys(FACTS, 1), {name: report})


def row(case: str = "onboard, sync", size: int | None = 1000, baseline: str = "bare Trio") -> Row:
    session = Session([], 0, 1, Path())
    session.add(case, size, "workflows/s", baseline, [(50, 100), (60, 100), (30, 50)], p50_ms=1.5, p5_ms=1.0)
    return session.rows[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_runs_and_says_what_it_found(name: str, tmp_path: Path):
    report = measured(bench(name), "tiny", tmp_path, quiet=True)
    assert report.rows
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert again == report
    for line in report.rows:
        assert line.case
        assert line.unit
        assert line.baseline
        for side in (line.ours, line.theirs, line.ratio):
            assert 0 < side.low <= side.median <= side.high


@pytest.mark.slow
def test_the_suite_writes_json_without_paths(tmp_path: Path):
    output = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--only", "chain", "codec"]
    command += ["--json", output, "--folder", tmp_path]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    assert "chain, sync" in done.stdout
    results = read_json(output)
    assert list(results.benches) == ["chain", "codec"]
    assert {*FACTS, "durable_trio"} <= set(results.machine)
    text = output.read_text()
    assert str(tmp_path) not in text
    assert os.uname().nodename not in json.loads(text)["machine"].values()


@pytest.mark.slow
def test_plots_need_matplotlib_and_say_so_first(tmp_path: Path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')")
    command = [sys.executable, "-m", "benchmarks", "--plots", tmp_path / "plots"]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 1
    assert "pip install 'durable-trio[bench]'" in done.stderr
    assert done.stdout == ""


def test_plots_are_drawn(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plots = importlib.import_module("benchmarks.plots")
    assert plots.draw(results_of(row(baseline="DBOS"), name="peers"), tmp_path) == ["peers"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}


def test_the_ratio_is_taken_pair_by_pair():
    assert row().ratio == spread([0.5, 0.6, 0.6])
    assert row().ours.median / row().theirs.median != row().ratio.median


def test_a_peer_answers_by_turns(tmp_path: Path):
    script = tmp_path / "peer.py"
    script.write_text(
        "print('ready', flush=True)\nwhile line := input():\n    print(len(line), flush=True)\n"
    )
    with bench_peers.running(Path(sys.executable), script, tmp_path / "its") as runner:
        assert runner is not None
        assert runner.ask(10, 0.5) == len("10 0.5")
        assert runner.ask(1, 0.5) == len("1 0.5")


def test_a_peer_that_does_not_start_is_none(tmp_path: Path):
    script = tmp_path / "peer.py"
    script.write_text("raise SystemExit(1)")
    with bench_peers.running(Path(sys.executable), script, tmp_path / "its") as runner:
        assert runner is None


def test_peers_that_are_not_installed_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    session = Session([1], 0.01, 1, tmp_path)
    bench_peers.measure(session, envs=tmp_path, names=["dbos"])
    assert session.rows == []
    assert "--install" in capsys.readouterr().out


# -- the page ------------------------------------------------------------------------------------------


def test_the_page_takes_the_figures_and_keeps_the_rest():
    results = results_of(row())
    once = with_figures(PAGE, results)
    assert "| onboard, 1,000 in flight, `sync` |" in once
    assert "0.600 (0.500 to 0.600) | yes |" in once
    assert once.partition(BEGIN)[0] == PAGE.partition(BEGIN)[0]
    assert once.partition(END)[2] == PAGE.partition(END)[2]
    assert "p5_ms" not in once
    assert with_figures(once, results) == once


def test_the_page_names_every_benchmark():
    there = {path.name for path in (ROOT / "benchmarks").glob("bench_*.py")}
    assert {name for name in there if f"| `{name}` |" not in PAGE} == set()


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="needs the lines"):
        with_figures("# Performance", results_of(row()))


def test_a_missed_target_shows():
    target = Target("x", "0.9", "onboard", "onboard, sync", 1000, ratio, lambda value: value >= 0.9)
    assert looked_up(target, results_of(row()))[1] == "**no**"
    assert looked_up(target, results_of(row(size=10))) == ("not measured", "")


def test_targets_look_where_full_runs_have_rows():
    """A target about a size or a benchmark that no full run has would be "not measured" for ever."""
    for target in TARGETS:
        sizes = bench(target.bench).sizes["full"]
        assert target.size in {None, *sizes}, target.what


@pytest.mark.slow
def test_targets_name_cases_that_there_are(tmp_path: Path):
    """At tiny sizes the cases are the same, but for those whose name says the size."""
    for name in {target.bench for target in TARGETS} - {"peers"}:
        folder = tmp_path / name
        folder.mkdir()
        cases = {line.case for line in measured(bench(name), "tiny", folder, quiet=True).rows}
        wanted = {target.case for target in TARGETS if target.bench == name}
        assert {case for case in wanted if "beside 1,000,000" not in case} <= cases
