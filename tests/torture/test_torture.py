"""The program itself: that it adds up, that a seed gives the same again, and that it complains."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.crash.everywhere import Everywhere
from tests.crash.faults import Fault
from tests.crash.runner import Job, Report
from tests.simulation import campaign as simulation_campaign
from tests.torture import report
from tests.torture.chunks import Outcome
from tests.torture.expected import CI, KINDS_OF, TENTH, lacking
from tests.torture.parts import Parts
from tests.torture.sums import Sums

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_little_of_everything(tmp_path):
    counts = tmp_path / "counts.json"
    parts = [word for part in CI if part != "soak" for word in ("--only", part)]
    command = [sys.executable, "-m", "tests.torture", "--ci", "--share", "0.004", "--seed", "1", *parts]
    done = subprocess.run(
        [*command, "--json", str(counts)], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(counts.read_text())
    assert found["violations"] == []
    for part in CI.keys() - {"soak"}:
        assert found["totals"][part] >= CI[part] * 0.004 - 1, part
        assert found["seconds"][part] > 0
    assert f"{found['totals']['power']:,} in" in done.stdout


@pytest.mark.slow
def test_a_seed_gives_the_same_with_any_number_of_processes():
    def done(processes: int) -> Counter[str]:
        sums = Sums()
        parts = Parts(sums, 7, processes=processes)
        try:
            parts.do("simulation", 60)
        finally:
            parts.close()
        return sums.faults["simulation"] + sums.others["simulation"]

    assert done(1) == done(2)


# -- faults that were armed and never happened -------------------------------------------------------


@pytest.mark.parametrize("part", [part for part in CI if part != "kills"])
def test_a_kind_of_fault_that_never_happened_is_a_violation(part):
    asked = TENTH[part]
    kinds = sorted(KINDS_OF[part])
    others = Counter({"leave": 1, "drain": 1, "failed commit": 1})
    for missing in kinds:
        faults = Counter({f"{kind}: read": asked for kind in kinds if kind != missing})
        assert list(lacking(part, faults, others, asked)) == [
            f"no fault of this kind has happened: {missing}"
        ]
    assert not list(lacking(part, Counter({f"{kind}: read": asked for kind in kinds}), others, asked))


def test_too_few_faults_are_a_violation():
    assert list(lacking("calls", Counter({"one": 2}), Counter(), 3)) == [
        "3 faults were asked for, and 2 have happened"
    ]


def test_what_is_lacking_is_complained_about_at_the_end(capsys):
    sums = Sums()
    parts = Parts(sums, 1)
    try:
        parts.asked["power"] = TENTH["power"]
        parts.finish()
    finally:
        parts.close()
    assert ("power", "no fault of this kind has happened: committed") in sums.violations
    assert "VIOLATION (power)" in capsys.readouterr().out


def test_files_that_are_all_refused_are_a_violation():
    faults = Counter({f"{kind}: refused": TENTH["hostile"] for kind in KINDS_OF["hostile"]})
    (text,) = lacking("hostile", faults, Counter(), TENTH["hostile"])
    assert "every file was refused" in text


def test_crashes_of_the_simulation_that_never_come_end_it(monkeypatch):
    played = simulation_campaign.play(3)
    monkeypatch.setattr(simulation_campaign, "play", lambda _seed: played._replace(crashes=Counter()))
    with pytest.raises(AssertionError, match="0 crashes in 106 episodes"):
        simulation_campaign.run(1, crashes=5)


class FakePool:
    """Runs nothing: each scenario passes two failpoints, of which one kills."""

    def __init__(self, *, later: bool = True) -> None:
        self.later = later
        self.kills = 0

    def run(self, jobs: Any) -> list[Report]:
        return [self._report(job) for job in jobs]

    def _report(self, job: Job) -> Report:
        kills = {}
        if job.faults[-1].kind == "failpoint" and "body.before" in job.faults[-1].at:
            kills["failpoint body.before"] = 1
            self.kills += 1
        passed = {"body.before": 3, **({"join": 1} if self.later or not self.kills else {})}
        return Report(job, kills, {}, [], 1, 0, 0, {}, [], passed, "")


def _everywhere(pool: Any) -> Everywhere:
    everywhere = Everywhere(pool)
    everywhere.passed = {"order": {"body.before": 3, "join": 1}}
    everywhere.places = {("order", "body.before"), ("order", "join")}
    for batch in everywhere.batches(random.Random(1)):
        for each in pool.run(batch):
            everywhere.add(each)
    return everywhere


def test_a_failpoint_that_never_kills_is_a_violation():
    everywhere = _everywhere(FakePool())
    assert everywhere.hit == {("order", "body.before")}
    (text,) = everywhere.missed()
    assert text.startswith("the failpoint join is passed in order, and has not killed there")


def test_a_failpoint_that_was_passed_by_chance_is_none():
    assert _everywhere(FakePool(later=False)).missed() == []


def test_what_is_counted_undisturbed_and_after_a_kill_is_to_be_hit():
    class Pool(FakePool):
        def _report(self, job: Job) -> Report:
            recovers = job.faults[0] != Fault("count")
            passed = {"recover.load": 1} if recovers else {"body.before": 1, "line enter": 4}
            return super()._report(job)._replace(passed=passed)

    everywhere = Everywhere(Pool())
    assert {name for scenario, name in everywhere.places if scenario == "order"} == {
        "body.before",
        "recover.load",
    }


# -- the counts in the documentation -----------------------------------------------------------------


def test_the_report_replaces_the_last_run_and_nothing_else(tmp_path, monkeypatch):
    document, counts = tmp_path / "reliability.md", tmp_path / "counts.json"
    document.write_text("# One\n\n## The last run\n\nold\n\n## What it has found\n\n- this\n")
    sums = Sums()
    sums.add("calls", Outcome(Counter({"EIO": 1234}), checks=Counter({1: 10, 2: 5})))
    counts.write_text(sums.as_json(2.04, 9))
    monkeypatch.setattr(report, "_DOCUMENT", document)
    monkeypatch.setattr(sys, "argv", ["report", str(counts)])
    report.main()
    text = document.read_text()
    assert "old" not in text
    assert "2.0 minutes, seed 9" in text
    assert "| system call faults | 1,234 |" in text
    assert "15 checks of invariants, and 0 hostile records; violations: 0" in text
    assert text.startswith("# One\n\n## The last run\n\n2.0")
    assert text.endswith("\n\n## What it has found\n\n- this\n")
