"""Stores to test, and other processes to test them against."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from durable_trio._store.base import Store, Write
from durable_trio._store.lmdb import LmdbStore, open_lmdb
from durable_trio._store.memory import MemoryStore

ROOT = Path(__file__).parents[2]

# What every child process begins with. `say` and `hear` are how parent and child wait for each other.
PRELUDE = """
import os, sys
from durable_trio._errors import *
from durable_trio._store.base import Write
from durable_trio._store.lmdb import open_lmdb

def say(text):
    print(text, flush=True)

def hear():
    return sys.stdin.readline().strip()

def new_run(n, status=2, row=b"row"):
    return Write(n.to_bytes(16), header=b"header %d" % n, row=row, workflow=1, new=status)

path = sys.argv[1]
"""


class Child:
    """A Python process that runs some code, line by line in step with the test."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            umask=0,
        )
        self.pid = self.process.pid

    def hear(self) -> str:
        line = self.process.stdout.readline().strip()
        if not line:
            pytest.fail(f"the child ended with {self.process.wait()}: {self.process.stderr.read()}")
        return line

    def say(self, text: str = "") -> None:
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def finish(self) -> str:
        """Everything else that it says; it must end well."""
        out, err = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, f"ended with {self.process.returncode}: {err}"
        return out.strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(code: str, *arguments: object) -> Child:
        children.append(Child(code, *arguments))
        return children[-1]

    yield start
    for each in children:
        each.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.lmdb"


@pytest.fixture
def opened(path: Path) -> Iterator[Callable[..., LmdbStore]]:
    """``open_lmdb`` on ``path``; what is left open is closed after the test."""
    stores: list[LmdbStore] = []

    def open_(where: Path = path, **options: object) -> LmdbStore:
        stores.append(open_lmdb(where, **options))
        return stores[-1]

    yield open_
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, path: Path) -> Iterator[Store]:
    made = MemoryStore() if request.param == "memory" else open_lmdb(path)
    yield made
    made.close()


def new_run(number: int, status: int = 2, *, workflow: int = 1, alias: str | None = None) -> Write:
    return Write(
        number.to_bytes(16),
        header=b"header %d" % number,
        alias=None if alias is None else alias.encode(),
        row=b"row 0 of %d" % number,
        workflow=workflow,
        new=status,
    )


@pytest.fixture(name="new_run")
def _new_run() -> Callable[..., Write]:
    return new_run
