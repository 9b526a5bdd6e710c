"""The benchmarks run, at sizes that say nothing, and give what tables, plots and docs are made of."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
import trio

from benchmarks import bench_peers
from benchmarks.__main__ import NAMES
from benchmarks.byhand import (
    BESIDE,
    OF_BARE,
    OF_RAW,
    GroupCommit,
    add_beside,
    chain_by_hand,
    onboard_by_hand,
)
from benchmarks.command import Report, Results, measured, read_json
from benchmarks.measuring import Bench, Row, Session, all_in_turns, in_turns, spread
from benchmarks.report import BEGIN, END, with_figures
from benchmarks.targets import TARGETS, Target, ratio
from benchmarks.targets import measured as looked_up
from benchmarks.workloads import (
    CHAIN,
    INPUT,
    Body,
    chain_bare,
    chain_workflow,
    link,
    onboard_bare,
    onboard_workflow,
)
from durable_trio import Workflow, open_engine

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


@pytest.mark.slow
def test_plots_are_drawn(tmp_path: Path):
    plots = importlib.import_module("benchmarks.plots")
    assert plots.draw(results_of(row(baseline="DBOS"), name="peers"), tmp_path) == ["peers"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".svg"}


def test_the_throughput_is_drawn_with_what_there_is_by_hand():
    plots = importlib.import_module("benchmarks.plots")

    def drawn(*rows: Row) -> list[str]:
        _, axes = plots.load_matplotlib().subplots()
        plots._throughput(axes, list(rows))
        return axes.get_legend_handles_labels()[1]

    session = Session([], 0, 1, Path())
    add_beside(session, "onboard, sync", 1000, [(50, 100, 60)])
    earlier = ["onboard, sync", "bare Trio, nothing stored"]
    assert drawn(row()) == earlier
    assert drawn(row(), *session.rows) == [*earlier, "bare Trio, group commit by hand"]


def test_the_ratio_is_taken_pair_by_pair():
    assert row().ratio == spread([0.5, 0.6, 0.6])
    assert row().ours.median / row().theirs.median != row().ratio.median


def test_sides_take_turns_and_keep_their_places():
    said: list[str] = []

    def side(name: str, value: float) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            said.append(name)
            return value

        return measure

    a, b, c = side("a", 1), side("b", 2), side("c", 3)
    assert trio.run(all_in_turns, (a, b, c), 4) == [(1, 2, 3)] * 4
    assert "".join(said) == "abcbcacababc"
    said.clear()
    assert trio.run(in_turns, a, b, 3) == [(1, 2)] * 3
    assert "".join(said) == "abbaab"


# -- durability by hand --------------------------------------------------------------------------------


def by_hand(path: Path, scenario: Callable[[GroupCommit], Awaitable[Any]], **options: int) -> Any:
    """What the scenario returns; no thread is left behind."""

    async def run() -> Any:
        with GroupCommit(path, **options) as store:
            return await scenario(store)

    try:
        return trio.run(run)
    finally:
        assert "by hand" not in {thread.name for thread in threading.enumerate()}


def committed(store: GroupCommit) -> list[bytes]:
    """The keys that a reader sees, in their order: LMDB shows nothing before it is synced."""
    with store._env.begin(db=store._table) as txn:
        return list(txn.cursor().iternext(keys=True, values=False))


def test_by_hand_each_link_is_entered_with_all_before_it_on_disk(tmp_path: Path):
    async def scenario(store: GroupCommit) -> None:
        def watched(number: int) -> Body:
            body = link(number)

            async def step(ctx: Any) -> dict[str, Any]:
                seen.append(len(committed(store)))
                return await body(ctx)

            return step

        chain = chain_by_hand(store, watched)
        seen: list[int] = []
        assert await chain() == await chain_bare()()
        assert seen == list(range(1, CHAIN + 1))
        assert len(committed(store)) == CHAIN + 1
        await chain()
        keys = committed(store)
        assert len(keys) == 2 * (CHAIN + 1)
        assert [key[:16] for key in keys] == sorted(key[:16] for key in keys)
        assert store.commits == 2 * (CHAIN + 1)
        # Or a commit would say nothing.
        assert store._env.flags()["sync"]
        assert store._env.flags()["metasync"]

    by_hand(tmp_path / "x", scenario)


def test_by_hand_onboard_waits_for_its_block(tmp_path: Path):
    async def scenario(store: GroupCommit) -> None:
        seen: list[tuple[str, int]] = []

        def watched(body: Body) -> Body:
            async def step(ctx: Any) -> dict[str, Any]:
                seen.append((body.__name__, len(committed(store))))
                return await body(ctx)

            return step

        assert await onboard_by_hand(store, watched)() == await onboard_bare()()
        assert seen[0] == ("create", 1)
        assert sorted(seen[1:4]) == [("send_email", 2), ("set_up_billing", 2), ("update_crm", 2)]
        assert seen[4:] == [("complete", 5)]
        assert len(committed(store)) == 6

    by_hand(tmp_path / "x", scenario)


@pytest.mark.parametrize(
    ("workflow", "same"), [(chain_workflow(), chain_by_hand), (onboard_workflow(), onboard_by_hand)]
)
def test_by_hand_waits_as_often_as_the_engine(workflow: Workflow, same: Any, tmp_path: Path):
    async def commits() -> tuple[int, int]:
        async with open_engine(tmp_path / "engine", workflows=[workflow]) as engine:
            with GroupCommit(tmp_path / "by-hand") as store:
                before = engine.committer.commits
                result = await engine.run(workflow, INPUT)
                after = engine.committer.commits
                assert await same(store)() == result
                return after - before, store.commits

    of_engine, of_hand = trio.run(commits)
    assert of_engine == of_hand


def test_by_hand_many_share_commits(tmp_path: Path):
    async def scenario(store: GroupCommit) -> None:
        chain = chain_by_hand(store)
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(chain)
        assert len(committed(store)) == 100 * (CHAIN + 1)
        assert store.commits < 100 * (CHAIN + 1)

    by_hand(tmp_path / "x", scenario)


def test_by_hand_what_nobody_waits_for_is_written_at_the_end(tmp_path: Path):
    async def scenario(store: GroupCommit) -> None:
        store.put((b"key", b"value"))

    by_hand(tmp_path / "x", scenario)
    with lmdb.open(str(tmp_path / "x"), max_dbs=1) as env, env.begin() as txn:
        assert txn.get(b"key", db=env.open_db(b"rows", txn=txn)) == b"value"


def test_by_hand_a_failed_commit_reaches_all_who_wait(tmp_path: Path):
    async def scenario(store: GroupCommit) -> list[str]:
        failed: list[str] = []

        async def waiting(name: str, value: bytes) -> None:
            store.put((name.encode(), value))
            try:
                await store.durable()
            except lmdb.MapFullError:
                failed.append(name)

        await waiting("fits", b"value")
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(waiting, f"too large {number}", bytes(1 << 20))
        await waiting("too late", b"value")
        assert committed(store) == [b"fits"]
        return failed

    failed = by_hand(tmp_path / "x", scenario, map_size=1 << 18)
    assert sorted(failed[:3]) == ["too large 0", "too large 1", "too large 2"]
    assert failed[3:] == ["too late"]


def test_by_hand_a_failed_commit_ends_the_workflow(tmp_path: Path):
    entered: list[int] = []

    def watched(number: int) -> Body:
        async def step(ctx: Any) -> dict[str, Any]:
            entered.append(number)
            return {"large": bytes(1 << 20)}

        return step

    with pytest.raises(lmdb.MapFullError):
        by_hand(tmp_path / "x", lambda store: chain_by_hand(store, watched)(), map_size=1 << 18)
    assert entered == [0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "case"),
    [("chain", "chain, sync"), ("onboard", "onboard, sync"), ("mixed", "onboard with I/O, sync")],
)
def test_each_size_has_a_line_beside_by_hand(name: str, case: str, tmp_path: Path):
    rows = measured(bench(name), "tiny", tmp_path, quiet=True).rows
    bare = {line.size: line for line in rows if line.case == case}
    beside = {line.size: line for line in rows if line.case == case + BESIDE}
    assert bare.keys() == beside.keys() == set(bench(name).sizes["tiny"])
    for size, line in beside.items():
        assert line.ours == bare[size].ours, "the same measurements"
        assert line.baseline == "group commit by hand"
        # One round, in which all three figures were found.
        assert line.more[OF_BARE] == pytest.approx(line.theirs.median / bare[size].theirs.median)
    alone = [line for line in rows if line.case == "one workflow, sync"]
    assert [OF_RAW in line.more for line in alone] == [True] * (name == "onboard")


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


def test_what_by_hand_reaches_stands_beside_a_target():
    session = Session([], 0, 1, Path())
    add_beside(session, "onboard, sync", 1000, [(50, 100, 60), (60, 100, 70), (30, 50, 40)])
    results = results_of(row(), *session.rows)
    missed = Target("x", "0.9", "onboard", "onboard, sync", 1000, ratio, lambda value: value >= 0.9)
    assert looked_up(missed, results) == ("0.600 (0.500 to 0.600); by hand: 0.700", "**no**")
    assert session.rows[0].ratio == spread([50 / 60, 60 / 70, 30 / 40])
    page = with_figures(PAGE, results)
    assert "0.600 (0.500 to 0.600); by hand: 0.700 | yes |" in page
    assert "| onboard, sync, beside by hand | 1,000 |" in page

    session.add("alone", 1, "ms", "raw", [(2, 1)], **{OF_RAW: 1.4})
    alone = Target("x", "at most 1.3 times", "onboard", "alone", 1, ratio, lambda value: value <= 1.3)
    assert looked_up(alone, results_of(session.rows[-1]))[0] == "2.00 (2.00 to 2.00); by hand: 1.40"


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
