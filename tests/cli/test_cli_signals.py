"""SIGINT and SIGTERM drain: the step under way ends and is recorded, no other starts, nothing is lost."""

from __future__ import annotations

import json
import shlex
import signal

import pytest
from cli_helpers import TIME_LIMIT, read_until

HELD = """
import os
from durable_trio import Workflow

def note(what):
    with open("entered", "a") as file:
        file.write(what + "\\n")

held = Workflow("held")

@held.step
def hold(ctx):
    note("hold")
    with open("pipe") as pipe:
        return ctx | {"heard": pipe.readline().strip()}

@held.step
def after(ctx):
    note("after")
    return ctx | {"after": True}

stuck = Workflow("stuck")

@stuck.step
async def wait(ctx):
    note("wait")
    if not os.path.exists("go"):
        import trio
        print("waiting now", flush=True)
        await trio.sleep_forever()
    return ctx | {"waited": True}

other = Workflow("other")

@other.step
def quick(ctx):
    return ctx
"""


@pytest.fixture(autouse=True)
def flow(folder):
    (folder / "held.py").write_text(HELD)


def entered(folder):
    return (folder / "entered").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_drains(background, process, folder, pipe, number, status):
    child = background("run", "held.py:held", "--id", "h", "--db", "my runs.lmdb", "--input", '{"n": 1}')
    read_until(child.stderr, "hold: running")
    child.send_signal(number)
    read_until(child.stderr, f"{number.name}: no new step starts; those under way come to their end first")
    pipe("late news")
    out, err = child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == status
    assert out == ""
    assert "run h is not finished; what is recorded of it is kept. To go on:" in err
    assert "Traceback" not in err
    assert entered(folder) == ["hold"]
    command = shlex.split(err.strip().rpartition("\n")[2])
    assert command[:3] == ["python", "-m", "durable_trio"]
    done = process(*command[3:])
    assert done.status == 0
    assert json.loads(done.out) == {"n": 1, "heard": "late news", "after": True}
    assert "hold: recorded before, not run again" in done.err
    assert entered(folder) == ["hold", "after"]


def test_the_second_signal_cancels(background, process, folder, pipe):
    child = background("run", "held.py:stuck", "--id", "s", "--json")
    read_until(child.stderr, "waiting now")
    child.send_signal(signal.SIGINT)
    read_until(child.stderr, "SIGINT: no new step starts")
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == 130
    said = json.loads(out)
    assert (said["id"], said["status"], said["result"]) == ("s", "running", None)
    assert "SIGTERM: cancelling the steps under way" in err
    assert "run held.py:stuck --db durable-trio.lmdb --id s" in err
    assert "Traceback" not in err
    (folder / "go").touch()
    assert json.loads(process("run", "held.py:stuck", "--id", "s").out) == {"waited": True}
    assert entered(folder) == ["wait", "wait"]


def test_the_third_signal_kills_even_what_cannot_be_cancelled(background, process, folder, pipe):
    child = background("run", "held.py:held", "--id", "h")
    read_until(child.stderr, "hold: running")
    child.send_signal(signal.SIGINT)
    read_until(child.stderr, "SIGINT: no new step starts")
    child.send_signal(signal.SIGINT)
    read_until(child.stderr, "SIGINT: cancelling the steps under way (again: die at once)")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == -signal.SIGINT
    assert json.loads(process("show", "h", "--json").out)["status"] == "running"


def test_a_run_that_ends_while_draining_gives_its_result(background, folder, pipe):
    (folder / "held.py").write_text(HELD.replace("@held.step\ndef after", "def after"))
    child = background("run", "held.py:held", "--id", "h")
    read_until(child.stderr, "hold: running")
    child.send_signal(signal.SIGTERM)
    read_until(child.stderr, "SIGTERM: no new step starts")
    pipe("x")
    out, err = child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == 0
    assert json.loads(out) == {"heard": "x"}
    assert "not finished" not in err


@pytest.mark.slow
def test_steps_of_other_runs_are_not_cut_off_when_this_one_ends(background, process, folder, pipe):
    child = background("run", "held.py:held", "--id", "beside")
    read_until(child.stderr, "hold: running")
    child.kill()
    child.communicate()
    child = background("run", "held.py:other", "--id", "mine")
    read_until(child.stderr, "waiting for their steps under way")
    pipe("kept")
    out, _ = child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == 0
    assert json.loads(out) == {}
    info = json.loads(process("show", "beside", "--json").out)
    assert (info["status"], info["context"]["heard"]) == ("running", "kept")
    assert entered(folder) == ["hold", "hold"]
