"""What the mode ``sync`` promises, seen from outside: strace watches a process with an engine.

An effect is a folder that a step makes, so that effects and syncs are in one list, in the order in which the
kernel saw them. LMDB makes a commit durable in two moves: ``fdatasync`` of the data, then a write of the page
that names them, through a descriptor that was opened with ``O_DSYNC``.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = '''
"""Runs onboard so many times, one after another; each step makes a folder."""

import os, sys
import trio
from durable_trio import Workflow, open_engine

folder, runs, durability = sys.argv[1], int(sys.argv[2]), sys.argv[3]
onboard = Workflow("onboard")


def effect(name):
    async def body(ctx):
        os.mkdir(f"{folder}/effect-{ctx['number']}-{name}")
        return {"number": ctx["number"]}

    return body


onboard.step(effect("create"), name="create")
with onboard.parallel(name="set_up"):
    for name in ("email", "crm", "billing"):
        onboard.step(effect(name), name=name)
onboard.step(effect("complete"), name="complete")


async def main():
    async with open_engine(f"{folder}/db", workflows=[onboard], durability=durability) as engine:
        os.mkdir(f"{folder}/effect-opened")
        for number in range(runs):
            await engine.run(onboard, {"number": number})
            os.mkdir(f"{folder}/effect-{number}-answered")
        os.mkdir(f"{folder}/effect-closing")


trio.run(main)
'''

pytestmark = [pytest.mark.slow]


class Call(NamedTuple):
    """One system call that has come to its end."""

    name: str
    text: str


@pytest.fixture(scope="module")
def strace():
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed, so nobody can watch the system calls")
    tried = subprocess.run(
        [program, "-f", "-o", "/dev/null", "true"], check=False, capture_output=True, text=True
    )
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()[-200:]}")
    return program


def watched(strace, folder, runs, durability):
    """All calls that matter, in the order in which they ended, or for effects began."""
    log = folder / "strace.txt"
    names = "fdatasync,fsync,msync,pwrite64,pwritev,openat,mkdir"
    command = [strace, "-f", "-qq", "-s", "200", "-e", f"trace={names}", "-e", "signal=none", "-o", log]
    command += [sys.executable, "-c", PROGRAM, folder, str(runs), durability]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    return calls(log.read_text())


def calls(log):
    """Every call where it ended; an effect where it began, which is earlier."""
    under_way = {}
    found = []
    for line in log.splitlines():
        pid, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            text = text.removesuffix("<unfinished ...>")
            under_way[pid] = text
            if text.startswith("mkdir"):
                found.append(Call("mkdir", text))
            continue
        resumed = re.match(r"<\.\.\. (\w+) resumed>(.*)", text)
        if resumed:
            if resumed[1] == "mkdir":
                continue
            text = under_way.pop(pid) + resumed[2]
        name = text.partition("(")[0]
        if name.isidentifier():
            found.append(Call(name, text))
    return found


def story(found):
    """Effects by name, and ``commit`` for each time that a commit's last move was over."""
    synchronous = set()  # descriptors opened with O_DSYNC
    events = []
    data_synced = False
    for name, text in found:
        if name == "openat":
            descriptor = text.rpartition(" = ")[2].split()[0]
            (synchronous.add if "O_DSYNC" in text else synchronous.discard)(descriptor)
        elif name in {"fdatasync", "fsync"}:
            assert text.endswith("= 0"), text
            data_synced = True
        elif name == "pwrite64" and text.partition("(")[2].partition(",")[0] in synchronous:
            if data_synced:
                events.append("commit")
            data_synced = False
        elif name == "mkdir" and "effect-" in text:
            events.append(re.search(r'effect-([\w-]+)"', text)[1])
    return events[events.index("opened") + 1 : events.index("closing")]


def test_in_sync_each_step_is_on_disk_before_its_successor_starts(strace, tmp_path):
    events = story(watched(strace, tmp_path, 5, "sync"))
    for number in range(5):
        steps = ["create", "email", "crm", "billing", "complete", "answered"]
        create, *branches, complete, answered = (events.index(f"{number}-{step}") for step in steps)
        before = events.index(f"{number - 1}-answered") if number else -1
        assert "commit" in events[before + 1 : create]  # the start, before anything happens outside
        assert "commit" in events[create : min(branches)]
        assert "commit" in events[max(branches) : complete]
        assert "commit" in events[complete:answered]


def test_one_workflow_alone_costs_four_commits(strace, tmp_path):
    """The start, the first step, the block with its branches, and the last step with the run's end."""
    events = story(watched(strace, tmp_path, 10, "sync"))
    assert events.count("0-answered") == 1
    assert events.count("commit") == 40


def test_exit_commits_the_start_and_the_end(strace, tmp_path):
    """Fewer syncs where fewer were promised: what counts them above can count to something else than four."""
    events = story(watched(strace, tmp_path, 10, "exit"))
    assert events.count("commit") == 20


def test_a_commit_does_not_ask_for_the_times_of_its_files(strace, tmp_path):
    """Linux from 6.13 on would give them new ones at the next write, which costs an entry in a journal."""
    if not hasattr(ctypes.CDLL(None), "statx"):
        pytest.skip("this C library has no statx")
    log = tmp_path / "strace.txt"
    command = [strace, "-f", "-qq", "-s", "200", "-e", "trace=%%stat,mkdir", "-e", "signal=none", "-o", log]
    command += [sys.executable, "-c", PROGRAM, tmp_path, "3", "sync"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=120)
    under_way = log.read_text().partition("effect-opened")[2].partition("effect-closing")[0]
    asked = [line for line in under_way.splitlines() if "data.mdb" in line]
    assert len(asked) >= 4 * 3
    assert all("STATX_INO, {" in line or "STATX_INO,  <unfinished" in line for line in asked), asked[:3]
