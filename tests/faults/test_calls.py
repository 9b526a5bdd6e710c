"""System calls that fail: nothing acknowledged is lost, and the error is typed."""

from __future__ import annotations

import pytest

from tests.faults import calls


@pytest.mark.slow
def test_a_failing_call_loses_nothing():
    totals = calls.run(1, 30)
    assert not totals.violations, "\n".join(totals.violations[:5])
    assert totals.fired.total() >= 30
    assert totals.fired.keys() == {kind.label for kind in calls.KINDS}
    assert totals.endings.keys() <= {"went on", "stopped with a typed error"}
