"""Each seeded bug is found by the checker; else its silence about the real engine would mean little."""

from __future__ import annotations

import pytest

from . import campaign
from .checker import INVARIANTS
from .seeding import BUGS

_EPISODES = 50  # after so many a bug has had its chance
_QUICK = (
    "starts_steps_in_a_cancelled_block",
    "runs_recorded_branches_again",
    "tells_the_end_before_the_commit",
)


def test_the_bugs_break_every_invariant():
    assert set().union(*(bug.invariants for bug in BUGS.values())) == set(INVARIANTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BUGS]
)
def test_the_checker_finds(pool, name):
    found = set()
    for job in campaign.hunts(name, _EPISODES):
        [report] = pool.run([job])
        found |= {invariant for invariant, _ in report.violations}
        if found & BUGS[name].invariants:
            return
    pytest.fail(f"{_EPISODES} episodes showed {sorted(found)}, and none of {sorted(BUGS[name].invariants)}")
