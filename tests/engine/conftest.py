"""Both stores for each test of the engine, and an end for one that hangs."""

from __future__ import annotations

import faulthandler
import signal

import pytest
from client_helpers import Service
from compensation_helpers import Undone

from durable_trio import Workflow

_PATIENCE = 20


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


@pytest.fixture
def undone(wf):
    return Undone(wf)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """A broken engine shows as a step that waits for ever: that shall fail its test, and only that one.

    Trio turns the SIGINT into a KeyboardInterrupt in the test's own task, so that everything is unwound.
    """
    hung = []

    def give_up(signum, frame):
        hung.append(True)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_PATIENCE)
    faulthandler.dump_traceback_later(2 * _PATIENCE, exit=True)
    try:
        return (yield)
    except BaseException:
        if not hung:
            raise
        pytest.fail(f"the test hung for {_PATIENCE} s")
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def service():
    """Start an engine in a process of its own, on a database; ``await start(db)`` gives the ``Service``."""
    started = []

    async def start(db, *, is_heard=True, **environment):
        started.append(Service(db, **environment))
        if is_heard:
            await started[-1].hear("open")
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()
