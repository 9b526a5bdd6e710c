"""Every seeded bug is found: a check that never complains proves nothing.

A hunt is bounded in episodes; an episode that a bug makes endless is interrupted (see ``episode``), and then
counts as a run that does not end.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.episode import play

_ERRORS = ("AttributeError(", "TypeError(", "NameError(")
_FIRST = 650
_AT_MOST = 1200  # episodes; most bugs show in the first dozen


def hollow(violations: Iterable[tuple[int, str]]) -> list[str]:
    """What an engine dies of that does not have any more what a bug replaces."""
    return [text for _, text in violations if any(error in text for error in _ERRORS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_found(name: str) -> None:
    bug = BUGS[name]
    found: set[int] = set()
    for seed in range(_FIRST, _FIRST + _AT_MOST):
        violations = play(seed, bug.planted).violations
        assert not hollow(violations), "the bug is not in the engine, but in how it is planted"
        found |= {number for number, _ in violations}
        if found & bug.invariants:
            return
    pytest.fail(f"{_AT_MOST} episodes with the bug {name!r} broke only {sorted(found)}")
