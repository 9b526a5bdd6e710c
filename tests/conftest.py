"""Async tests run under Trio; one that asks for ``mock_clock`` runs on it: time jumps when all is idle."""

from __future__ import annotations

import functools
import inspect

import pytest
import trio
import trio.testing
from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("durable-trio", deadline=None)
settings.load_profile("durable-trio")


@pytest.fixture
def mock_clock():
    return trio.testing.MockClock(autojump_threshold=0)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(inspect.unwrap(pyfuncitem.obj)):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    trio.run(
        functools.partial(pyfuncitem.obj, **arguments),
        clock=pyfuncitem.funcargs.get("mock_clock"),
    )
    return True
