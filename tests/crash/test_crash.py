"""Kills at every point, and the engine's promises hold: all 25 invariants.

The quick part runs a few dozen kills; the slow one many hundreds, over all scenarios. A point that is never
reached fails its test, because a fault that did not happen has shown nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import trio

from durable_trio import open_client
from durable_trio._engine._failpoints import NAMES

from . import campaign
from .checker import INVARIANTS
from .faults import Fault
from .pool import Totals
from .runner import Job
from .scenarios import SCENARIOS

_ALL = tuple(SCENARIOS)
_FLOWS = ("story", "crowd", "trip", "family", "steered")  # those that wait, choose, undo, start others ...
_PLAIN = ("order", "race", "quorum", "tries", "cancel", "lax")


@pytest.fixture(scope="module")
def passed(pool):
    """What each scenario passes when nothing disturbs it."""
    return campaign.count(pool)


@pytest.fixture
def run(pool, totals):
    """Run episodes; there must be no violation, and the faults must have happened."""

    def run(jobs, at_most_unfired=0.15):
        sums = Totals()
        for report in pool.run(jobs):
            sums.add(report)
            totals.add(report)
        assert not sums.violations, f"{len(sums.violations)} violations\n{sums.complaints()}"
        happened = sums.kills.total() + sums.faults.total()
        assert sums.unfired.total() <= at_most_unfired * happened, dict(sums.unfired)
        return sums

    return run


# -- quick: some kills of each kind ----------------------------------------------------------------------


def test_undisturbed_every_point_is_passed(passed):
    points = {name for counts in passed.values() for name in counts}
    assert points >= {*NAMES, "P", "S", "M"} - {"recover.run"}


def test_a_few_kills_of_each_kind(passed, run):
    some = {"race": passed["race"], "cancel": passed["cancel"]}
    sums = run(
        [
            *list(campaign.failpoints(some, 1))[::2],
            *list(campaign.commits({"race": passed["race"]}, 1))[::4],
            *campaign.anywhere(("single", "tries", *_FLOWS), 6, seed=11),
        ],
        at_most_unfired=0.3,
    )
    assert sums.kills.total() >= 40


@pytest.mark.slow
def test_an_error_of_a_system_call_a_signal_and_a_misfit(passed, run):
    sums = run(
        [
            *list(campaign.errors({"race": passed["race"]}, 1))[::2],
            *campaign.signals(("race", "single"), 2, seed=12),
            *list(campaign.misfits(1, seed=13))[::2],
        ],
        at_most_unfired=0.5,
    )
    assert sums.faults.total() >= 4


def test_the_environment_variable_kills_a_process_by_itself(tmp_path):
    """Without the runner: as a user would set it, in a fresh interpreter."""
    program = """
import sys, trio, durable_trio
wf = durable_trio.Workflow("killed")
wf.step(lambda ctx: ctx | {"one": 1}, name="one", inline=True)
wf.step(lambda ctx: ctx | {"two": 2}, name="two", inline=True)
async def main():
    async with durable_trio.open_engine(sys.argv[1], workflows=[wf]) as engine:
        print(await engine.run(wf, {}, id="k"), flush=True)
trio.run(main)
"""

    def live(**environment):
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109
        command = [sys.executable, "-c", program, str(tmp_path / "db")]
        return subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": paths} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    killed = live(DURABLE_TRIO_FAILPOINT="step.durable:1")
    assert killed.returncode == -signal.SIGKILL

    async def look():
        async with open_client(tmp_path / "db") as client:
            return await client.get("k")

    left = trio.run(look)
    assert left.status == "running"
    assert [step.path for step in left.steps] == ["one"]
    again = live()
    assert again.stdout == "{'one': 1, 'two': 2}\n", again.stderr
    assert trio.run(look).result == {"one": 1, "two": 2}


# -- slow: all of it -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_kills_at_every_failpoint(passed, run):
    plain, flows = ({name: passed[name] for name in names} for names in (_PLAIN, _FLOWS))
    sums = run([*campaign.failpoints(plain, 2), *campaign.failpoints(flows, 1)])
    assert {label for label in sums.kills if label.startswith("failpoint")} == {
        f"failpoint {name}" for name in NAMES
    }
    assert sums.kills.total() >= 350


@pytest.mark.slow
def test_kills_in_the_middle_of_commits(passed, run):
    some = {name: passed[name] for name in ("race", "cancel", "tries", "lax", "crowd")}
    sums = run(campaign.commits(some, 1))
    kinds = {label for label in sums.kills if "write" in label or "sync" in label}
    assert len(kinds) == 11
    assert sums.kills.total() >= 80


@pytest.mark.slow
def test_kills_after_each_kind_of_effect(passed, run):
    plain, flows = ({name: passed[name] for name in names} for names in (_PLAIN[:2] + _PLAIN[3:5], _FLOWS))
    sums = run([*campaign.moments(plain, 2), *campaign.moments(flows, 1)])
    assert set(sums.kills) == {f"after {kind}" for kind in campaign.LINE_KINDS}


@pytest.mark.slow
def test_kills_at_random_moments_again_and_again(run):
    sums = run(campaign.anywhere(_ALL, 5 * len(_ALL), seed=1), at_most_unfired=0.3)
    assert sums.kills.total() >= 350
    assert sums.recoveries >= 250


@pytest.mark.slow
def test_system_calls_that_fail(passed, run):
    sums = run(campaign.errors(passed, 1))
    assert sums.faults.total() >= 40


@pytest.mark.slow
def test_sigterm_between_kills(run):
    sums = run(campaign.signals(_ALL, 2 * len(_ALL), seed=2), at_most_unfired=0.4)
    assert sums.faults["sigterm"] >= 24


@pytest.mark.slow
def test_changed_definitions_and_damaged_records(run):
    sums = run(campaign.misfits(4, seed=3), at_most_unfired=0.2)
    assert sums.looked[22] >= 20
    assert sums.looked[23] >= 20


@pytest.mark.slow
def test_the_whole_was_large_enough(totals):
    """At least 900 kills, and every invariant was looked at. Needs the tests above."""
    if totals.episodes < 700:
        pytest.skip("the other slow tests of this file have not run")
    assert totals.kills.total() >= 900
    assert all(totals.looked[invariant] >= 20 for invariant in INVARIANTS), totals.looked


@pytest.mark.slow
def test_a_job_that_has_no_fault_reports_no_kill(pool):
    [report] = pool.run([Job("none", "single", [Fault("line", "100000")])])
    assert report.kills == {}
    assert report.unfired == ["line 100000"]
