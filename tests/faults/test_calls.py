"""System calls that fail: nothing acknowledged is lost, and the error is typed."""

from __future__ import annotations

import pytest

from tests.faults import calls
from tests.torture.expected import TENTH


@pytest.mark.slow
def test_a_failing_call_loses_nothing():
    totals = calls.run(1, TENTH["calls"])
    assert not totals.violations, "\n".join(totals.violations[:5])
    assert totals.fired.total() >= TENTH["calls"]
    assert totals.fired.keys() == {kind.label for kind in calls.KINDS}
    assert totals.endings.keys() <= {"went on", "stopped with a typed error"}


def test_a_fault_that_never_happens_is_a_violation():
    never = calls.Kind("a call that nobody makes", "?", 5, 1, 4)
    totals = calls.run(1, 1, [never])
    assert not totals.fired
    assert totals.violations == ["a call that nobody makes (?:1:1:5) was armed, and never happened"]
