"""Both stores for each test of the engine, and an end for one that hangs."""

from __future__ import annotations

import signal

import pytest

from durable_trio import Workflow

_PATIENCE = 60


@pytest.fixture(params=["memory", "lmdb"])
def db(request, tmp_path):
    """What is given to ``open_engine`` as its path; in memory, each engine is a new one."""
    return None if request.param == "memory" else tmp_path / "app.lmdb"


@pytest.fixture
def disk(tmp_path):
    """A path for what only a disk can show: restarts."""
    return tmp_path / "app.lmdb"


@pytest.fixture
def wf():
    return Workflow("orders")


@pytest.fixture(autouse=True)
def _patience():
    """A broken engine shows as a step that waits for ever: that shall fail its test, and only that one."""

    def give_up(signum, frame):
        pytest.fail(f"the test hung for {_PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
