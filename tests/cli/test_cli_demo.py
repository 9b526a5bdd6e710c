"""``durable-trio demo``: it shows what it says, and would notice if it did not."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime

import pytest

from durable_trio import RunInfo, StepInfo
from durable_trio.cli import demo as demonstration
from durable_trio.cli.demo_facts import Facts
from durable_trio.cli.demo_workflow import CUSTOMERS, STALLED, STEPS, Entry, onboarding

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.slow
def test_the_story(process, folder):
    done = process("demo", "--db", "kept.lmdb")
    assert (done.status, done.err) == (0, "")
    text = done.out
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("kill -9") == 1
    assert text.count("result recorded") == 7
    assert text.count("cut off   ") == 5
    assert text.count("1 + 0") == 7
    assert text.count("1 + 1") == 5
    assert text.count("0 + 1") == 3
    assert text.count("  ✓ ") == 5
    assert "✗" not in text
    assert [path.name for path in folder.glob("*.lmdb")] == ["kept.lmdb"]
    for line in text.splitlines()[-2:]:
        words = shlex.split(line)
        assert process(*words[3:]).status == 0
    assert process("demo", "--db", "kept.lmdb").status == 2  # it does not touch what is there


@pytest.mark.slow
def test_the_facts(process, folder):
    done = process("demo", "--json")
    assert (done.status, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts["holds"] is True
    assert facts["signal"] == "SIGKILL"
    counted = {(step["run"], step["step"]): step for step in facts["steps"]}
    assert len(counted) == 15
    for (run, name), step in counted.items():
        cut_off = (run.removeprefix("onboard-"), name) in STALLED
        later = name == "complete"
        assert step["recorded_before_kill"] is (not cut_off and not later)
        assert step["entered_before_kill"] == (0 if later else 1)
        assert step["entered_after_kill"] == (1 if cut_off or later else 0)
    assert facts["results"]["onboard-ada"] == {
        "name": "ada",
        "user_id": "user-ada",
        "mail": "Welcome, Ada!",
        "workspace": "https://example.com/user-ada",
        "billing": "user-ada-billing",
    }
    assert list(folder.iterdir()) == [folder / "flows.py"]


def snapshot(*, ended, result="r"):
    """The runs as they must be at the kill, or at the end."""

    def run(name):
        done = [step for step in STEPS if ended or ((name, step) not in STALLED and step != "complete")]
        return RunInfo(
            id=f"onboard-{name}",
            workflow="onboarding",
            version="1",
            status="completed" if ended else "running",
            input={},
            context={},
            created_at=NOW,
            updated_at=NOW,
            steps=[StepInfo(path=step, status="ok", attempt=1, result=result) for step in done],
        )

    return {name: run(name) for name in CUSTOMERS}


def log():
    """What the steps' code must have logged."""
    entries = []
    for name in CUSTOMERS:
        for step in STEPS:
            cut_off = (name, step) in STALLED
            lives = [1, 2] if cut_off else [2] if step == "complete" else [1]
            entries += [Entry(life, name, step, f"key-{name}-{step}") for life in lives]
    return entries


def broken(facts):
    return [claim.text for claim in facts.claims if not claim.holds]


def test_what_should_be_so_holds():
    facts = Facts(snapshot(ended=False), snapshot(ended=True), log())
    assert broken(facts) == []
    assert facts.hold


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        (Entry(2, "ada", "create_user", "key-ada-create_user"), "did not run again"),
        (Entry(1, "ada", "create_user", "key-ada-create_user"), "did not run again"),
        (Entry(2, "ada", "open_billing_account", "key-ada-open_billing_account"), "ran once more"),
        (Entry(2, "linus", "complete", "key-linus-complete"), "ran once"),
    ],
)
def test_a_step_that_runs_too_often_breaks_the_claim(wrong, claim):
    facts = Facts(snapshot(ended=False), snapshot(ended=True), [*log(), wrong])
    [text] = broken(facts)
    assert text.endswith(claim)
    assert not facts.hold


def test_a_result_that_changes_a_run_that_does_not_end_and_a_new_key_are_noticed():
    facts = Facts(snapshot(ended=False), snapshot(ended=True, result="other"), log())
    assert broken(facts) == ["the results in the database are still the same ones"]
    unended = snapshot(ended=True) | {"ada": snapshot(ended=False)["ada"]}
    assert "all 3 customers are onboarded" in broken(Facts(snapshot(ended=False), unended, log()))
    entries = [*log()[:-1], Entry(2, "linus", "create_workspace", "another key")]
    assert not Facts(snapshot(ended=False), snapshot(ended=True), entries).keys_kept


@pytest.mark.parametrize("as_json", [True, False])
async def test_if_a_claim_does_not_hold_the_demo_fails(monkeypatch, capsys, as_json):
    wrong = Entry(2, "ada", "create_user", "key")

    async def run(*_):
        return Facts(snapshot(ended=False), snapshot(ended=True), [*log(), wrong]), 1

    monkeypatch.setattr(demonstration, "_run", run)
    assert await demonstration.demo(None, as_json) == 1
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["holds"] is False
    else:
        assert "please report it" in out


async def test_a_worker_that_ends_by_itself_is_reported(monkeypatch, tmp_path, capsys):
    from durable_trio.cli.text import CommandError

    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(CommandError, match="the first worker has ended by itself, with exit status 1"):
        await demonstration.demo(tmp_path / "db", as_json=True)


def test_its_workflow_is_the_one_of_the_story():
    from durable_trio import Workflow

    assert isinstance(onboarding(None), Workflow)
