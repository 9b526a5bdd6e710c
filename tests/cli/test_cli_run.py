"""``durable-trio run``: what it prints where, how it ends, and that a run is never run twice."""

from __future__ import annotations

import json

import pytest
import trio
from cli_helpers import started

from durable_trio import Workflow


def test_a_result_is_json_on_stdout_and_nothing_else_is(cli):
    done = cli("run", "flows.py:order", "--input", '{"order_id": 7}', "--id", "o-7")
    assert done.status == 0
    assert json.loads(done.out) == {"id": 7, "payment": {"base64": "cGFpZA=="}}
    assert done.err.startswith("run o-7\nworkflow order_processing, database durable-trio.lmdb\n")
    assert "validating\n" in done.err
    for line in ("validate: ok", "checks/stock: ok", "checks/pay: ok", "checks: ok", "ship: ok"):
        assert line in done.err


def test_json_is_one_line_for_machines(cli):
    done = cli("run", "flows.py:order", "--input", '{"order_id": 7}', "--id", "o-7", "--json")
    assert done.status == 0
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == {
        "id": "o-7",
        "workflow": "order_processing",
        "status": "completed",
        "created": True,
        "result": {"id": 7, "payment": {"base64": "cGFpZA=="}},
        "error": None,
        "errors": {},
    }
    assert done.err == "run o-7\nvalidating\n"


def test_the_same_id_again_gives_the_recorded_result(cli):
    first = cli("run", "flows.py:order", "--input", '{"order_id": 7}', "--id", "o-7")
    again = cli("run", "flows.py:order", "--input", '{"order_id": 8}', "--id", "o-7")
    assert again.status == 0
    assert again.out == first.out
    assert "is completed already (--input is not used again)" in again.err
    assert "validating" not in again.err
    assert "validate: recorded before, not run again" in again.err
    assert json.loads(cli("run", "flows.py:order", "--id", "o-7", "--json").out)["created"] is False


def test_a_failure_says_where_why_and_how_it_came_to_it(cli):
    done = cli("run", "flows.py:broken", "--id", "b")
    assert done.status == 1
    assert done.out == ""
    assert done.error == "error: run b failed at explode: ValueError: the \\x1b[31mfuse"
    assert 'raise ValueError("the' in done.err
    assert "explode: attempt 2, failed" in done.err
    assert "\x1b" not in done.err


def test_the_reason_of_an_error_is_shown_as_given(cli):
    done = cli("run", "flows.py:refusing", "--id", "r")
    assert (done.status, done.error) == (1, 'error: run r failed at refuse: {"code": 402}')
    said = json.loads(cli("run", "flows.py:refusing", "--id", "r", "--json").out)
    assert (said["status"], said["error"], said["errors"]) == (
        "failed",
        {"code": 402},
        {"refuse": {"code": 402}},
    )


@pytest.mark.parametrize("given", ["argument", "file", "stdin"])
def test_input_comes_from_an_argument_a_file_or_stdin(cli, folder, given):
    text = '\ufeff{"order_id": "größe"}'
    (folder / "order.json").write_text(text)
    word = {"argument": text, "file": "@order.json", "stdin": "-"}[given]
    done = cli("run", "flows.py:order", "--input", word, stdin=text.encode() if given == "stdin" else b"")
    assert json.loads(done.out)["id"] == "größe"


def test_without_input_the_context_is_empty(cli):
    assert json.loads(cli("run", "flows.py:order").out)["id"] is None


def test_a_step_that_ends_the_program_does_not_look_like_success(cli, folder):
    (folder / "quits.py").write_text(
        "import sys\nfrom durable_trio import Workflow\nwf = Workflow('wf')\n"
        "@wf.step\nasync def leave(ctx):\n    sys.exit(0)\n"
    )
    done = cli("run", "quits.py", "--id", "q")
    assert done.status == 2
    assert done.error.startswith("error: a step raised SystemExit(0)")
    assert "run quits.py --db durable-trio.lmdb --id q" in done.err


async def forever(ctx):
    await trio.sleep_forever()


def test_a_changed_definition_blocks_the_run_and_loses_nothing(cli, folder):
    old = Workflow("order_processing", version="0")
    old.step(forever, name="validate")
    started("durable-trio.lmdb", old, "o-1", "o-2")
    done = cli("run", "flows.py:order", "--id", "o-1")
    assert done.status == 3
    assert done.out == ""
    assert done.error.startswith("error: run 'o-1' is blocked: it was started by workflow 'order_processing'")
    assert "note: run o-2 is blocked: it was started by" in done.err
    assert done.err.count("o-1' is blocked") == 1
    assert json.loads(cli("show", "o-1", "--json").out)["status"] == "blocked"


def test_blocked_runs_of_other_files_are_not_talked_about(cli):
    other = Workflow("other")
    other.step(forever, name="only")
    started("durable-trio.lmdb", other, "theirs")
    done = cli("run", "flows.py:order")
    assert done.status == 0
    assert "theirs" not in done.err


def test_types_of_imported_modules_can_be_stored(cli, folder):
    (folder / "models.py").write_text(
        "import dataclasses, enum, msgspec\n"
        "class Color(enum.Enum):\n    RED = 'red'\n"
        "class Item(msgspec.Struct):\n    n: int\n"
        "@dataclasses.dataclass\nclass Box:\n    item: Item\n"
        "@dataclasses.dataclass\nclass Odd(dict):\n    n: int = 0\n"
    )
    (folder / "uses.py").write_text(
        "from durable_trio import Workflow\nfrom models import Box, Color, Item, Odd\nwf = Workflow('wf')\n"
        "@wf.step\nasync def make(ctx):\n    return {'box': Box(Item(1)), 'color': Color.RED}\n"
        "@wf.step\nasync def check(ctx):\n    assert type(ctx['box'].item) is Item\n"
    )
    done = cli("run", "uses.py")
    assert done.status == 0, done.err
    assert json.loads(done.out) == {"box": {"item": {"n": 1}}, "color": "red"}


def test_where_the_database_is(cli, folder, monkeypatch):
    monkeypatch.setenv("DURABLE_TRIO_DB", "elsewhere.lmdb")
    assert cli("run", "flows.py:order").status == 0
    assert cli("run", "flows.py:order", "--db", "here.lmdb").status == 0
    assert sorted(path.name for path in folder.glob("*.lmdb")) == ["elsewhere.lmdb", "here.lmdb"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_each_durability(cli, durability):
    assert cli("run", "flows.py:order", "--durability", durability, "--id", "d").status == 0
    assert json.loads(cli("show", "d", "--json").out)["status"] == "completed"
