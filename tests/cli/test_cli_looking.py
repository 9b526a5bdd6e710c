"""``durable-trio list`` and ``show``."""

from __future__ import annotations

import json
import os
import shlex
from datetime import UTC, datetime, timedelta

import pytest
import trio

from durable_trio import Err, Workflow, open_engine


@pytest.fixture
def runs(cli):
    for workflow, run_id in (("order", "first"), ("broken", "second"), ("order", "third")):
        cli("run", f"flows.py:{workflow}", "--id", run_id, "--input", '{"order_id": 7}')


def ids(done):
    assert done.status == 0
    return [info["id"] for info in json.loads(done.out)]


def test_an_empty_database_says_so(cli):
    assert (
        cli("run", "flows.py:order", "--id", "").status == 2
    )  # the database is made before the id is looked at
    done = cli("list")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("there are no runs in durable-trio.lmdb yet; start one: durable-trio run ")
    assert json.loads(cli("list", "--json").out) == []


@pytest.mark.usefixtures("runs")
def test_runs_are_listed_newest_first(cli):
    done = cli("list")
    lines = done.out.splitlines()
    assert lines[0].split() == ["id", "workflow", "status", "created", "duration", "error"]
    assert [line.split()[:3] for line in lines[2:]] == [
        ["third", "order_processing", "completed"],
        ["second", "broken", "failed"],
        ["first", "order_processing", "completed"],
    ]
    assert lines[3].endswith("ValueError: the \\x1b[31mfuse")
    assert ids(cli("list", "--json")) == ["third", "second", "first"]


@pytest.mark.usefixtures("runs")
def test_a_list_can_be_narrowed_and_paged(cli):
    assert ids(cli("list", "--json", "--status", "failed")) == ["second"]
    assert ids(cli("list", "--json", "--status", "failed", "--status", "completed")) == [
        "third",
        "second",
        "first",
    ]
    assert ids(cli("list", "--json", "--workflow", "order_processing")) == ["third", "first"]
    assert cli("list", "--workflow", "nope").out == "no run in durable-trio.lmdb fits\n"
    page = cli("list", "--limit", "2")
    assert page.err.startswith("there may be more: durable-trio list ")
    following = shlex.split(page.err.partition(": durable-trio ")[2])
    assert ids(cli(*following, "--json")) == ["first"]
    done = cli("list", "--after", "nope")
    assert (done.status, done.out) == (2, "")
    assert done.error.startswith("error: there is no run 'nope' in ")


def test_a_long_id_is_shortened_in_the_table_and_whole_in_json(cli):
    long = "customer-" + "4" * 200 + "-end"
    cli("run", "flows.py:order", "--id", long)
    row = cli("list").out.splitlines()[2]
    assert row.startswith("customer-4")
    assert "4-end" in row
    assert "…" in row
    assert len(row.split()[0]) == 40
    assert ids(cli("list", "--json")) == [long]


def test_the_table_fits_a_narrow_terminal(cli, monkeypatch):
    cli("run", "flows.py:broken")
    cli("run", "flows.py:order", "--id", "x" * 200)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("durable_trio.cli.tables._WIDE", 80)
    lines = cli("list").out.splitlines()
    assert max(map(len, lines)) <= 80
    [failed] = [line for line in lines if "failed" in line]
    assert len(failed.split()[0]) == 36  # a UUID stays whole
    assert lines[-1] == "  ValueError: the \\x1b[31mfuse"
    monkeypatch.setattr("durable_trio.cli.tables._WIDE", 50)
    assert max(map(len, cli("list").out.splitlines())) <= 50


@pytest.mark.usefixtures("runs")
def test_show_tells_everything_about_a_run(cli):
    done = cli("show", "third")
    assert (done.status, done.err) == (0, "")
    lines = [line.rstrip() for line in done.out.splitlines()]
    assert lines[0] == "run       third"
    assert lines[1] == "workflow  order_processing, version 1"
    assert lines[2] == "status    completed"
    start = lines.index("steps")
    tree = [line.split()[:-2] for line in lines[start + 1 : start + 6]]
    assert [tree[0], tree[1], tree[4]] == [["✓", "validate"], ["✓", "checks"], ["✓", "ship"]]
    assert [line[:2] for line in tree[2:4]] == [["├─", "✓"], ["└─", "✓"]]
    assert {tree[2][2], tree[3][2]} == {"stock", "pay"}  # they start at the same time
    text = done.out
    assert json.loads(text[text.index("\ninput\n") + 7 : text.index("\nresult\n")]) == {"order_id": 7}
    assert json.loads(text[text.index("\nresult\n") + 8 :])["payment"] == {"base64": "cGFpZA=="}


@pytest.mark.usefixtures("runs")
def test_show_tells_why_a_run_failed(cli):
    done = cli("show", "second")
    assert done.status == 0
    assert "error     explode: ValueError: the \\x1b[31mfuse" in done.out
    assert "✗ explode" in done.out
    assert "attempt 2, failed: ValueError" in done.out
    assert '    raise ValueError("the' in done.out
    assert "\x1b" not in done.out


@pytest.mark.usefixtures("runs")
def test_show_as_json_is_the_whole_record(cli):
    info = json.loads(cli("show", "second", "--json").out)
    assert (info["id"], info["workflow"], info["status"]) == ("second", "broken", "failed")
    assert info["error"]["type"] == "ValueError"
    assert info["error"]["attempts"] == 2
    [step] = info["steps"]
    assert (step["path"], step["status"], step["attempt"]) == ("explode", "error", 2)
    assert step["duration"] >= 0


def test_show_tells_what_was_undone(cli, folder):
    (folder / "undone.py").write_text(
        "from durable_trio import Err, Workflow\nwf = Workflow('undone')\n"
        "@wf.compensation\nasync def give_back(ctx, result):\n    pass\n"
        "@wf.step(compensate='give_back')\ndef take(ctx):\n    return ctx\n"
        "@wf.step\ndef fail(ctx):\n    return Err('sold out')\n"
    )
    done = cli("run", "undone.py", "--id", "u")
    assert (done.status, done.error) == (1, "error: run u compensated at fail: sold out")
    text = cli("show", "u").out
    assert "status    compensated" in text
    assert "compensations, in the order in which they ran\n  ✓ give_back, for take " in text


def test_a_big_context_is_cut_in_show_and_whole_in_json(cli):
    cli("run", "flows.py:broken", "--id", "big", "--input", json.dumps({"x": "y" * 50_000}))
    done = cli("show", "big")
    assert "characters more; --json shows everything)" in done.out
    assert len(done.out) < 15_000
    assert json.loads(cli("show", "big", "--json").out)["context"] == {"x": "y" * 50_000}


def test_values_of_unknown_classes_are_shown_by_name_and_fields(cli, folder, process):
    (folder / "typed.py").write_text(
        "import msgspec\nfrom durable_trio import Workflow\nwf = Workflow('typed')\n"
        "class Item(msgspec.Struct):\n    n: int\n"
        "@wf.step\ndef make(ctx):\n    return {'item': Item(3)}\n"
    )
    assert cli("run", "typed.py", "--id", "t").status == 0
    info = json.loads(process("show", "t", "--json").out)
    assert info["result"] == {"item": {"type": "typed:Item", "fields": {"n": 3}}}


def test_output_that_nobody_reads_any_more_is_no_error(process, runs, folder):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = process("list", "--json", stdout=writing)
    finally:
        os.close(writing)
    assert done.status == 141
    assert done.err == ""


@pytest.mark.slow
def test_a_terminal_that_is_not_utf8_is_no_error(process):
    env = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = process("run", "flows.py:order", "--id", "é✓", "--input", '{"order_id": "é"}', env=env)
    assert done.status == 0
    assert json.loads(done.out)["id"] == "é"
    shown = process("show", "é✓", env=env)
    assert shown.status == 0
    assert "  + validate" in shown.out
    assert process("list", env=env).status == 0


def test_show_tells_what_was_done_to_a_run(cli, folder):
    wf = Workflow("orders")
    wf.step(lambda ctx: {"a": 1}, name="a", inline=True)
    wf.step(lambda ctx: Err("broken"), name="b", inline=True)
    wf.wait_for_event("go")

    async def steer():
        async with open_engine(folder / "durable-trio.lmdb", workflows=[wf]) as engine:
            await (await engine.start(wf, id="r")).wait()
            await (await engine.retry("r", "a")).wait()
            await (await engine.fork("r", "b", id="f")).wait()
            await engine.start(wf, id="later", at=datetime.now(UTC) + timedelta(days=1))
            await engine.pause("later")

    trio.run(steer)
    out = cli("show", "r").out
    history = [line.split(maxsplit=3)[3] for line in out.partition("\nhistory\n")[2].splitlines()[:2]]
    assert history == ["retried from a", "forked, as f at b (visit 2)"]
    assert "superseded" in out
    out = cli("show", "f").out
    assert "forked    from r\n" in out
    assert "forked from r at b (visit 2)" in out
    assert "waiting, paused" in cli("show", "later").out
    shown = json.loads(cli("show", "r", "--json").out)
    assert [act["act"] for act in shown["history"]] == ["retried", "forked"]
