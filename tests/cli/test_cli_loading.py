"""How a workflow is found, and what is said when it is not."""

from __future__ import annotations

import json

import pytest
import trio
from cli_helpers import started

from durable_trio import Workflow

THERE = "order ('order_processing'), broken, refusing"
TINY = "from durable_trio import Workflow\nwf = Workflow('tiny')\n@wf.step\ndef only(ctx): pass\n"


def test_by_variable_by_own_name_and_as_a_module(cli):
    for target in ("flows.py:order", "flows.py:order_processing", "flows:order", "./flows.py:order"):
        done = cli("run", target)
        assert done.status == 0, (target, done.err)


def test_the_only_workflow_needs_no_name(cli, folder):
    (folder / "tiny.py").write_text(TINY + "again = wf\n")
    assert cli("run", "tiny.py").status == 0


def test_a_module_in_a_package(cli, folder):
    (folder / "app").mkdir()
    (folder / "app" / "__init__.py").write_text("")
    (folder / "app" / "names.py").write_text("NAME = 'tiny'\n")
    (folder / "app" / "flow.py").write_text(
        TINY.replace("'tiny'", "NAME").replace("\n", "\nfrom .names import NAME\n", 1)
    )
    assert cli("run", "app.flow:tiny").status == 0
    done = cli("run", "app/flow.py:tiny")
    assert done.status == 2
    assert done.error.endswith("it is part of a package: name it as a module, such as app.flow:WORKFLOW")


def test_a_file_imports_its_siblings_from_anywhere(cli, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "sibling.py").write_text("NAME = 'tiny'\n")
    (folder / "sub" / "my-flow.py").write_text("from sibling import NAME\n" + TINY.replace("'tiny'", "NAME"))
    assert cli("run", "sub/my-flow.py").status == 0


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nofile.py:x", "cannot read nofile.py: No such file or directory"),
        ("nofile.py", "cannot read nofile.py: No such file or directory"),
        ("folder.py", "cannot read folder.py: Is a directory"),
        ("", "'' names no file or module; write FILE.py:WORKFLOW or MODULE:WORKFLOW"),
        (":order", "':order' names no file or module; write FILE.py:WORKFLOW or MODULE:WORKFLOW"),
        ("flows.py:", "nothing follows the colon in 'flows.py:'; write flows.py:WORKFLOW"),
        ("a b", "'a b' is neither a Python file (.py) nor the name of a module"),
        ("./flows:order", "flows is not the name of a Python file (.py); did you mean flows.py?"),
        ("no.such:x", "there is no module 'no' in the current folder or installed"),
        ("trio:x", "there is no workflow in trio; it needs one at its top level"),
        (
            "json.py",
            "json.py cannot be imported as 'json', which is the name of another module; rename the file",
        ),
        (
            "flows.py",
            f"there are several workflows in flows.py: {THERE}; name one: flows.py:order",
        ),
        (
            "flows.py:nope",
            f"there is no workflow 'nope' in flows.py; there are: {THERE}",
        ),
        (
            "flows.py:validate",
            "validate in flows.py is no Workflow (its type is function); the workflows there:",
        ),
        ("exits.py", "importing exits.py ended the program (SystemExit: 3)"),
        (
            "twins.py:twin",
            "there are several workflows of the name 'twin' in twins.py; use the name of a variable",
        ),
        ("steplesss.py", "workflow 'stepless' has no steps"),
        ("x" * 10_000, "there is no module 'xxx"),
        ("\x1b[31m.py", "cannot read \\x1b[31m.py: No such file or directory"),
        ("n\0ul.py", "cannot read n\\x00ul.py"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(cli, folder, target, error):
    (folder / "folder.py").mkdir()
    (folder / "json.py").write_text(TINY)
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "steplesss.py").write_text("from durable_trio import Workflow\nwf = Workflow('stepless')\n")
    (folder / "twins.py").write_text(
        TINY.replace("tiny", "twin") + "other = Workflow('twin', version='2')\nother.step(only)\n"
    )
    done = cli("run", target)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(f"error: {error}"), done.err
    assert done.err.count("\n") == 1
    assert not (folder / "durable-trio.lmdb" / "data.mdb").exists()


@pytest.mark.parametrize(
    ("source", "shown", "error"),
    [
        ("def f():\n    return 1 / 0\nf()\n", "return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "def f(:", "SyntaxError: invalid syntax (mine.py, line 1)"),
        (
            "import nothing_of_this_name\n",
            "import nothing",
            "ModuleNotFoundError: No module named 'nothing_of",
        ),
        (
            TINY + "@wf.step\ndef only(ctx): pass\n",
            "@wf.step",
            "DefinitionError: workflow 'tiny', step 'only'",
        ),
        ("raise ValueError('a\\n\\x1bb') from KeyError(1)\n", "KeyError: 1", "ValueError: a\\n\\x1bb"),
    ],
)
@pytest.mark.parametrize("target", ["mine.py", "mine:wf"])
def test_an_error_in_the_users_module_is_shown_with_its_line_and_none_of_ours(
    cli, folder, source, shown, error, target
):
    (folder / "mine.py").write_text(source)
    done = cli("run", target)
    assert done.status == 2
    assert shown in done.err
    what = "mine.py" if target == "mine.py" else "module mine"
    assert done.error.startswith(f"error: cannot import {what}: {error}"), done.error
    assert "durable_trio/" not in done.err.replace(done.error, "")
    assert "importlib" not in done.err
    assert "\x1b" not in done.err
    assert not (folder / "durable-trio.lmdb").exists()


def test_interrupting_an_import_is_no_error_of_the_module(cli, folder):
    (folder / "mine.py").write_text("raise KeyboardInterrupt\n")
    done = cli("run", "mine.py")
    assert (done.status, done.err) == (130, "\ninterrupted\n")


def test_unfinished_runs_of_the_modules_other_workflows_go_on(cli, folder):
    (folder / "two.py").write_text(
        TINY + "def wait(ctx):\n    open('begun', 'w').close()\n"
        "longer = Workflow('longer')\nlonger.step(wait, name='wait')\n"
    )
    same = Workflow("longer")

    @same.step
    async def wait(ctx):
        await trio.sleep_forever()

    started("durable-trio.lmdb", same, "left")
    assert cli("run", "two.py:tiny").status == 0
    assert (folder / "begun").exists()
    [step] = json.loads(cli("show", "left", "--json").out)["steps"]
    assert (step["path"], step["status"]) == ("wait", "ok")
