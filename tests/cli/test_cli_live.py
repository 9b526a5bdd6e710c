"""The live display, on a real (pseudo) terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import termios

import pytest
from cli_helpers import TIME_LIMIT

from durable_trio import RunInfo, StepInfo

FLOW = """
import sys
from durable_trio import Ok, Workflow
wf = Workflow("live")

with wf.parallel(name="block"):

    @wf.step
    async def quick(ctx):
        return Ok(1)

    @wf.step
    def held(ctx):
        print("a line of the user's")
        with open("pipe") as pipe:
            return Ok(pipe.readline())
"""


@pytest.fixture
def terminal(folder):
    """A terminal of 70 columns and 20 lines; gives both ends."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 70, 0, 0))
    yield ours, theirs
    for fd in (ours, theirs):
        with contextlib.suppress(OSError):
            os.close(fd)


def read_terminal(fd, until):
    """Everything that appears, without its control sequences, until a text has appeared or it is closed."""
    text = ""
    while until is None or until not in text:
        try:
            text += os.read(fd, 65536).decode()
        except OSError:  # the other end is closed
            break
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return text


def test_a_terminal_shows_a_tree_that_changes(folder, background, pipe, terminal):
    ours, theirs = terminal
    (folder / "live.py").write_text(FLOW)
    child = background("run", "live.py", "--id", "l", env={"TERM": "xterm-256color"}, stderr=theirs)
    os.close(theirs)
    before = read_terminal(ours, "● held")
    pipe("heard")
    after = read_terminal(ours, None)
    out, _ = child.communicate(timeout=TIME_LIMIT)
    assert child.returncode == 0
    assert json.loads(out)["__results__"]["held"] == {"ok": "heard\n"}
    assert "run l" in before
    assert "● block" in before
    assert "├─ " in before
    assert "a line of the user's" in before + after
    last = after[after.rindex("✓ block") :]
    assert "✓ quick" in last
    assert "✓ held" in last
    assert "running" not in last


def info(*steps, finished=None):
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    return RunInfo(
        id="r",
        workflow="w",
        version="1",
        status="running",
        input={},
        context={},
        created_at=now,
        updated_at=now,
        finished_at=now if finished else None,
        steps=list(steps),
    )


class Recorder:
    """Stands in for rich's Live."""

    def update(self, group, *, refresh):
        assert refresh
        self.lines = [line.plain.rstrip() for line in group.renderables]


@pytest.fixture
def tree(monkeypatch):
    from rich.console import Console

    from durable_trio.cli.live import LiveTree

    recorder = Recorder()
    nowhere = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    return LiveTree(None, recorder, Console(file=nowhere, width=80, height=10)), recorder


def test_a_step_between_its_end_and_its_record_does_not_vanish(tree):
    shown, recorder = tree
    running = StepInfo(path="a", status="running", attempt=1, duration=0.1)
    shown.update(info(running))
    assert recorder.lines == ["  ● a  0.10 s  running"]
    shown.update(info())
    assert recorder.lines == ["  … a  0.10 s  done, not on disk yet"]
    shown.update(info(StepInfo(path="a", status="ok", attempt=1, duration=0.2)))
    assert recorder.lines == ["  ✓ a  0.20 s"]


def test_a_tree_that_is_higher_than_the_terminal_shows_its_end(tree):
    shown, recorder = tree
    steps = [StepInfo(path=f"s{n:03}", status="ok", attempt=1, duration=0.1) for n in range(200)]
    shown.update(info(*steps))
    assert len(recorder.lines) <= 8
    assert recorder.lines[0] == "  (194 lines above)"
    assert "s199" in recorder.lines[-1]


def test_lines_are_printed_once_for_each_change(capsys):
    from durable_trio.cli.live import PlainLines

    lines = PlainLines(None)
    running = StepInfo(path="b/a", status="running", attempt=1, duration=0.1)
    lines.update(info(running))
    lines.update(info(running))
    lines.update(info(StepInfo(path="b/a", status="error", attempt=1, duration=0.3, error="no\x1b")))
    err = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert err == ["b/a: running", "b/a: failed: no\\x1b (0.30 s)"]
