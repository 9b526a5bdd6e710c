"""The counts of the crash tests, at the end of pytest's report."""

from __future__ import annotations

from typing import Any

import pytest

from .pool import Pool, Totals

_totals = pytest.StashKey[Totals]()


@pytest.fixture(scope="session")
def totals(pytestconfig):
    """The sum of all episodes of this session in which no bug was seeded."""
    return pytestconfig.stash.setdefault(_totals, Totals())


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with Pool(tmp_path_factory.mktemp("episodes")) as pool:
        yield pool


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    totals = config.stash.get(_totals, None)
    if totals is not None and totals.episodes:
        terminalreporter.section("crash tests")
        terminalreporter.write_line(totals.table())
