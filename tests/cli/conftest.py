"""Two ways to give a command: in this process, which is quick, and in one of its own, as a user does."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import pytest
from cli_helpers import FLOWS, TIME_LIMIT, Result, environment, words_of

from durable_trio.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, which holds ``flows.py`` and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DURABLE_TRIO_DB", raising=False)
    (tmp_path / "flows.py").write_text(FLOWS)
    return tmp_path


@pytest.fixture
def cli(folder, monkeypatch, capsys):
    """Give a command in this process, which forgets the modules that it has loaded from the folder."""

    def give(*words, stdin=b""):
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "argv", ["durable-trio", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main()
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(str(folder)):
                del sys.modules[name]
        return Result(status, *capsys.readouterr())

    return give


@pytest.fixture
def process(folder):
    """Give a command in a process of its own, and wait for it."""

    def give(*words, env=None, **options):
        done = subprocess.run(
            words_of(*words),
            env=environment(**env or {}),
            timeout=TIME_LIMIT,
            stdin=subprocess.DEVNULL,
            check=False,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),
        )
        return Result(done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode())

    return give


@pytest.fixture
def background(folder):
    """Give a command in a process of its own, which is killed at the end of the test, or if it hangs."""
    begun = []

    def give(*words, env=None, **options):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "bufsize": 1}
        child = subprocess.Popen(
            words_of(*words), env=environment(**env or {}), stdin=subprocess.DEVNULL, **(piped | options)
        )
        watchdog = threading.Timer(TIME_LIMIT, child.kill)
        watchdog.start()
        begun.append((child, watchdog))
        return child

    yield give
    for child, watchdog in begun:
        watchdog.cancel()
        child.kill()
        child.communicate()


@pytest.fixture
def pipe(folder):
    """A pipe in the folder, through which a test decides when a step ends, so that no time does.

    Gives a function that writes a line. Neither side ever waits for the other to open it.
    """
    os.mkfifo(folder / "pipe")
    fd = os.open(folder / "pipe", os.O_RDWR)
    yield lambda text: os.write(fd, f"{text}\n".encode())
    os.close(fd)
