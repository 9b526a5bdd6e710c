"""The commands that reach the running engine, and those that tell about the whole database.

The engine is that of a ``durable-trio run`` in the background, whose run waits.
"""

from __future__ import annotations

import json
import shlex

import pytest
import trio

from durable_trio import Workflow, open_client, open_engine

FORM = '{"size": "small", "days": 0}'

SERVICE = """
from pathlib import Path
from durable_trio import Err, Ok, Workflow

gate = Workflow("gate")
gate.wait_for_event("close")

order = Workflow("order")
order.wait_for_event("news")

expense = Workflow("expense")
expense.wait_for_approval("manager", prompt="May this be paid?", timeout=1e6, default="rejected")
expense.wait_for_choice("seats", choices=[{"value": 2, "label": "Two"}, {"value": 4, "label": "Four"}])
expense.wait_for_text("remark")
expense.wait_for_form("car", fields=[
    {"name": "size", "type": "select", "options": ["small", "large"]},
    {"name": "days", "type": "number", "required": False},
])

fragile = Workflow("fragile")

@fragile.step(inline=True)
def find(ctx):
    return Ok({"found": True}) if Path("there").exists() else Err("not there")
"""


@pytest.fixture
def running(folder, background, cli):
    """A process with an engine; gives a function that starts runs in it."""
    (folder / "service.py").write_text(SERVICE)
    background("run", "service.py:gate", "--id", "gate")
    await_status(cli, "gate", "waiting")
    return start


def start(workflow, run_id, **data):

    async def ask():
        async with open_client("durable-trio.lmdb") as client:
            return await client.start(workflow, data, id=run_id)

    return trio.run(ask)


def await_status(cli, run_id, status):
    """Look on until the run has this status."""
    while True:
        done = cli("status", run_id, "--json")
        if done.status == 0 and json.loads(done.out)["status"] == status:
            return json.loads(done.out)


def test_an_event_is_sent(cli, running, folder):
    for run_id, options, payload in [
        ("a", [], None),
        ("b", ["--payload", '{"n": [1, null]}'], {"n": [1, None]}),
        ("c", ["--payload", "@news.json"], "from a file"),
        ("d", ["--payload", "-"], 7),
    ]:
        running("order", run_id)
        (folder / "news.json").write_text('"from a file"\n')
        done = cli("send-event", run_id, "news", *options, stdin=b"7")
        assert (done.status, done.out, done.err) == (0, f"sent news to run {run_id}\n", "")
        await_status(cli, run_id, "completed")
        assert json.loads(cli("show", run_id, "--json").out)["result"] == {"news": payload}
    done = cli("send-event", "a", "news")
    assert (done.status, done.error) == (2, "error: run 'a' has ended: it takes nothing any more")


def test_an_event_can_be_sent_for_machines(cli, running):
    running("order", "a")
    done = cli("send-event", "a", "news", "--json")
    assert json.loads(done.out) == {"id": "a", "event": "news", "sent": True}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ("{", "--payload is not valid JSON: "),
        ("", "--payload is empty; give JSON, such as 7 or {}"),
        ("@", "--payload @ names no file; write --payload @order.json"),
        ("@none", "cannot read the payload: none: No such file or directory"),
    ],
)
def test_a_payload_that_cannot_be_read_is_refused_before_anything_is_asked(cli, folder, payload, error):
    done = cli("send-event", "a", "news", "--payload", payload)
    assert done.status == 2
    assert done.err.startswith(f"error: {error}")


def test_the_command_that_answers_can_be_typed_as_it_is_shown_when_a_word_looks_like_an_option(cli, running):
    running("expense", "--run")
    await_question(cli, "manager")
    (shown,) = [line for line in cli("pending").out.splitlines() if line.startswith("  answer: ")]
    words = shlex.split(shown.removeprefix("  answer: durable-trio "))
    done = cli(*words)
    assert (done.status, done.out, done.err) == (0, "answered manager of run --run\n", "")


@pytest.mark.slow
def test_questions_are_listed_and_answered(cli, running):
    assert cli("pending").out == "nobody is asked anything\n"
    running("expense", "e")
    answers = [
        ("manager", "approval", "approved"),
        ("seats", "choice", "4"),
        ("remark", "text", '"quoted" as it stands'),
        ("car", "form", '{"size": "small"}'),
    ]
    for name, kind, answer in answers:
        await_question(cli, name)
        done = cli("pending", "--run", "e")
        assert (done.status, done.err) == (0, "")
        assert done.out.startswith(f"{name}: {kind} for run e of expense, asked ")
        assert f"  answer: durable-trio provide-input e {name} " in done.out
        done = cli("provide-input", "e", name, answer)
        assert (done.status, done.out, done.err) == (0, f"answered {name} of run e\n", "")
    await_status(cli, "e", "completed")
    assert json.loads(cli("show", "e", "--json").out)["result"] == {
        "manager": "approved",
        "seats": 4,
        "remark": '"quoted" as it stands',
        "car": {"size": "small", "days": None},
    }


def await_question(cli, name):
    while not (found := json.loads(cli("pending", "--json").out)) or found[0]["name"] != name:
        pass
    return found[0]


def test_a_question_says_what_may_be_answered(cli, running):
    running("expense", "e")
    question = await_question(cli, "manager")
    assert (question["run_id"], question["kind"], question["prompt"]) == (
        "e",
        "approval",
        "May this be paid?",
    )
    assert ", until " in cli("pending").out.splitlines()[0]
    assert cli("pending").out.splitlines()[1] == "  May this be paid?"
    cli("provide-input", "e", "manager", "true")
    await_question(cli, "seats")
    assert cli("pending").out.splitlines()[1:3] == ["  - 2: Two", "  - 4: Four"]
    cli("provide-input", "e", "seats", "-", stdin=b"2\n")
    await_question(cli, "remark")
    done = cli("provide-input", "e", "remark", "fine", "--json")
    assert json.loads(done.out) == {"id": "e", "input": "remark", "answered": True}
    await_question(cli, "car")
    assert cli("pending", "--workflow", "expense").out.splitlines()[1:4] == [
        "  - size, select: small, large",
        "  - days, number, need not be given",
        f"  answer: durable-trio provide-input e car '{FORM}' --db durable-trio.lmdb",
    ]
    assert cli("pending", "--workflow", "gate").out == "nobody is asked anything\n"


def test_an_answer_that_does_not_fit_is_refused(cli, running):
    running("expense", "e")
    await_question(cli, "manager")
    done = cli("provide-input", "e", "manager", "perhaps")
    assert done.status == 2
    assert done.error.startswith("error: the answer to 'manager' must be 'approved' or 'rejected'")
    assert await_question(cli, "manager")


def test_a_run_is_cancelled(cli, running):
    running("order", "a")
    done = cli("cancel", "a", "--reason", "not needed")
    assert (done.status, done.out) == (0, "run a is cancelled\n")
    assert await_status(cli, "a", "cancelled")["error"] == "not needed"
    assert cli("status", "a").out == "cancelled: not needed\n"
    done = cli("cancel", "a")
    assert (done.status, done.out) == (
        1,
        "run a had ended, or is being compensated, already; nothing was done\n",
    )
    assert json.loads(cli("cancel", "a", "--json").out) == {"id": "a", "cancelled": False}
    assert cli("cancel", "nobody").error.startswith("error: there is no run 'nobody' in ")


def test_a_failed_run_is_retried(cli, running, folder):
    running("fragile", "f")
    await_status(cli, "f", "failed")
    (folder / "there").touch()
    done = cli("retry", "f")
    assert (done.status, done.out) == (0, "run f goes on\n")
    await_status(cli, "f", "completed")
    done = cli("retry", "f", "--json")
    assert (done.status, done.error) == (2, "error: run 'f' is completed; only a failed run can be retried")


@pytest.mark.slow
def test_runs_are_pruned(cli, running):
    for run_id in "abc":
        running("order", run_id)
        cli("send-event", run_id, "news")
        await_status(cli, run_id, "completed")
    assert cli("prune", "--older-than", "1d").out == "deleted 0 runs\n"
    assert cli("prune", "--older-than", "0s", "--dry-run").out == "would delete 3 runs\n"
    assert cli("prune", "--older-than", "0s", "--dry-run", "--status", "failed").out == (
        "would delete 0 runs\n"
    )
    assert json.loads(cli("prune", "--older-than", "99999w", "--dry-run", "--json").out) == {
        "would_delete": 0
    }
    assert json.loads(cli("prune", "--older-than", "0s", "--json").out) == {"deleted": 3}
    assert [info["id"] for info in json.loads(cli("list", "--json").out)] == ["gate"]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1 year", "1e3d", "99999999999999w"])
def test_an_age_that_is_none_is_refused(cli, folder, age):
    done = cli("prune", f"--older-than={age}")
    assert done.status == 2
    assert done.err.startswith(f"error: --older-than {age!r} is ")


def test_the_whole_database_has_a_status(cli, running):
    running("order", "a")
    await_status(cli, "a", "waiting")
    lines = cli("status").out.splitlines()
    assert lines[0].endswith("durable-trio.lmdb")
    assert lines[1:4] == [
        "engine    has it open",
        "runs      2 (2 waiting)",
        "requests  0 not taken up by an engine",
    ]
    info = json.loads(cli("status", "--json").out)
    assert (info["engine"], info["runs"], info["by_status"]) == (True, 2, {"waiting": 2})
    assert cli("status", "a").out == "waiting, at wait_for_news\n"
    assert cli("status", "nobody").status == 2


def test_a_database_is_checked(cli, running, folder):
    done = cli("doctor")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[-2:] == [
        "The structure of the data file was left out, as an engine has it open.",
        "nothing is wrong",
    ]
    report = json.loads(cli("doctor", "--json").out)
    assert report["problems"] == []
    assert report["info"]["engine"] is True


def test_what_is_wrong_with_a_database_is_said(cli, folder):
    done = cli("doctor", "--db", "nothing")
    assert done.status == 1
    assert done.out.startswith("problem: there is no database in ")
    assert done.out.endswith("1 problem found\n")
    assert not (folder / "nothing").exists()
    cli("run", "flows.py:order", "--input", "{}")
    assert cli("doctor").out.endswith("\nnothing is wrong\n")
    data = folder / "durable-trio.lmdb" / "data.mdb"
    data.write_bytes(data.read_bytes()[:9000])
    done = cli("doctor", "--json")
    assert done.status == 1
    assert "cut short" in json.loads(done.out)["problems"][0]
    assert json.loads(done.out)["info"] is None


@pytest.mark.parametrize(
    "words",
    [
        ["cancel", "r"],
        ["retry", "r"],
        ["send-event", "r", "news"],
        ["provide-input", "r", "manager", "approved"],
        ["prune", "--older-than", "1d"],
    ],
    ids=lambda words: words[0],
)
def test_without_an_engine_nothing_is_done(cli, folder, words):

    waits = Workflow("waits")
    waits.wait_for_event("news")

    async def leave():
        async with open_engine("durable-trio.lmdb", workflows=[waits]) as engine:
            await engine.start(waits, {}, id="r")

    trio.run(leave)
    done = cli(*words)
    assert (done.status, done.out) == (2, "")
    assert done.error.startswith("error: no engine has ")
    assert done.error.endswith(
        "so nothing was done: start the program that runs its workflows, and ask again"
    )
    assert json.loads(cli("status", "--json").out)["requests"] == 0
