"""Databases that cannot be used: an error in one line, exit status 2, and what is there stays as it is."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import sqlite3

import pytest


@pytest.fixture
def database(cli, folder):
    """A good database with one run, and a function that tells whether anything in a path has changed."""
    assert cli("run", "flows.py:order", "--id", "kept", "--db", "good.lmdb").status == 0
    return folder / "good.lmdb"


def contents(path):
    """Every file below a path, or the path's own bytes. The lock files may change by looking."""
    if path.is_file():
        return path.read_bytes()
    return {
        str(found.relative_to(path)): found.read_bytes()
        for found in path.rglob("*")
        if found.is_file() and found.name not in {"lock.mdb", "writer.lock"}
    }


def directory_of_something_else(path, good):
    path.mkdir()
    (path / "letter.txt").write_text("dear")


def sqlite_file(path, good):
    sqlite3.connect(path).execute("create table t (x)").connection.close()


def empty_data_file(path, good):
    shutil.copytree(good, path)
    (path / "data.mdb").write_bytes(b"")


def truncated_data_file(path, good):
    shutil.copytree(good, path)
    os.truncate(path / "data.mdb", 5000)


def cut_by_a_page(path, good):
    shutil.copytree(good, path)
    os.truncate(path / "data.mdb", (path / "data.mdb").stat().st_size - 4096)


def newer_format(path, good):
    shutil.copytree(good, path)
    text = (path / "durable-trio.json").read_text()
    (path / "durable-trio.json").write_text(text.replace('"version": 1', '"version": 99'))


def damaged_identity(path, good):
    shutil.copytree(good, path)
    (path / "durable-trio.json").write_text("")


def of_another_program(path, good):
    shutil.copytree(good, path)
    (path / "durable-trio.json").unlink()


BAD = {
    directory_of_something_else: "is not empty and holds no database of this library (it has 'letter.txt')",
    sqlite_file: "is not a directory",
    empty_data_file: "data.mdb is empty: its contents were lost",
    truncated_data_file: "data.mdb is cut short",
    cut_by_a_page: "data.mdb is cut short",
    newer_format: "has format version 99, and this library knows versions up to 1: update durable-trio",
    damaged_identity: "durable-trio.json is damaged",
    of_another_program: "holds data.mdb without durable-trio.json",
}


@pytest.mark.parametrize("make", BAD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("command", ["run", "list", "show"])
def test_bad_databases(cli, database, folder, make, command):
    path = folder / "bad.lmdb"
    make(path, database)
    before = contents(path)
    words = {"run": ["flows.py:order"], "list": [], "show": ["kept"]}[command]
    done = cli(command, *words, "--db", path)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: "), done.err
    assert done.err.count("\n") == 1
    assert str(path) in done.err
    assert BAD[make] in done.err
    assert contents(path) == before


@pytest.mark.parametrize("command", [["list"], ["show", "x"]])
@pytest.mark.parametrize("name", ["missing", "empty"])
def test_looking_creates_no_database(cli, folder, command, name):
    (folder / "empty").mkdir()
    done = cli(*command, "--db", name)
    assert done.status == 2
    assert done.err.startswith(f"error: there is no database in {folder / name}")
    assert not (folder / "missing").exists()
    assert list((folder / "empty").iterdir()) == []


def obey_permissions():
    """Make the superuser a user like others as far as files go, without changing who it is."""
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    if os.geteuid() == 0:
        for capability in (dac_override, dac_read_search):
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, capability, 0, 0, 0) == 0


@pytest.mark.parametrize("command", [["list"], ["show", "kept"], ["run", "flows.py:order"]])
def test_without_permission(process, database, folder, command):
    database.chmod(0)
    done = process(*command, "--db", database, preexec_fn=obey_permissions)
    database.chmod(0o700)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Permission denied" in done.err
    assert str(database) in done.err
    assert done.err.count("\n") == 1


def limited_to(size):
    """Let this process write no file beyond this size: the disk is full, as far as it can tell."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_without_space_for_a_new_database(process, folder):
    done = process("run", "flows.py:order", preexec_fn=limited_to(20_000))
    assert done.status == 2
    assert done.out == ""
    assert done.error.startswith("error: no space is left for the database in")
    assert process("run", "flows.py:order").status == 0  # what was left behind is no obstacle


def test_without_space_for_a_run_nothing_that_was_recorded_is_lost(process, cli, database, folder):
    (folder / "big.json").write_text(json.dumps({"order_id": "x" * 1_000_000}))
    words = ["run", "flows.py:order", "--db", "good.lmdb", "--id", "big", "--input", "@big.json"]
    done = process(*words, preexec_fn=limited_to((database / "data.mdb").stat().st_size))
    assert done.status == 2
    assert done.out == ""
    assert done.error.startswith("error: no space is left for the database in")
    assert "Traceback" not in done.err
    assert json.loads(cli("show", "kept", "--db", "good.lmdb", "--json").out)["status"] == "completed"
    assert cli(*words).status == 0


def test_without_space_in_the_middle_of_a_run_it_can_go_on(process, cli, database, folder):
    (folder / "grows.py").write_text(
        "from durable_trio import Workflow\nwf = Workflow('grows')\n"
        "@wf.step\ndef small(ctx):\n    return {'small': True}\n"
        "@wf.step\ndef big(ctx):\n    return ctx | {'big': 'x' * 1_000_000}\n"
    )
    words = ["run", "grows.py", "--db", "good.lmdb", "--id", "g"]
    done = process(*words, preexec_fn=limited_to((database / "data.mdb").stat().st_size + 100_000))
    assert done.status == 2
    assert done.error.startswith("error: no space is left for the database in")
    assert "run grows.py --db good.lmdb --id g" in done.err
    assert json.loads(cli("show", "kept", "--db", "good.lmdb", "--json").out)["status"] == "completed"
    again = cli(*words)
    assert again.status == 0
    assert "small: recorded before, not run again" in again.err


@pytest.mark.slow
def test_a_database_in_use_can_be_read_but_not_run_on(process, cli, database, folder):
    (folder / "nested.py").write_text(
        "import subprocess, sys\nfrom durable_trio import Workflow\nwf = Workflow('nested')\n"
        "def give(*words):\n"
        "    done = subprocess.run([sys.executable, '-m', 'durable_trio', *words, '--db', 'good.lmdb'],\n"
        "                          capture_output=True, text=True)\n"
        "    return [done.returncode, done.stdout, done.stderr]\n"
        "@wf.step\ndef look(ctx):\n"
        "    return {'list': give('list'), 'run': give('run', 'flows.py:order')}\n"
    )
    done = process("run", "nested.py", "--db", "good.lmdb", "--id", "outer")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert said["list"][0] == 0
    assert "outer" in said["list"][1]
    assert said["run"][0] == 2
    assert "is open for writing in process" in said["run"][2]
