"""A soak in small: a few seconds, a few hundred runs, and every way of restarting."""

from __future__ import annotations

import random

import pytest

from tests.soak import campaign
from tests.soak.load import Pick

_MB = 1 << 20


@pytest.mark.slow
def test_hundreds_of_runs_in_flight_through_restarts():
    totals = campaign.run(1, seconds=8, in_flight=400)
    assert not totals.violations, "\n".join(totals.violations[:5])
    assert totals.disturbances.keys() == set(campaign.DISTURBANCES)
    figures = totals.figures
    assert figures["started"] >= 1000
    assert figures["pruned"] >= 1000
    assert figures["events"] >= 500
    for status in ("completed", "failed", "cancelled", "compensated"):
        assert figures[f"ended {status}"] > 0


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ([100 * _MB] * 4 + [180 * _MB], "memory grows"),
        ([100 * _MB], "was not looked at with 10 runs in flight"),
        ([100 * _MB, 110 * _MB, 90 * _MB, 115 * _MB], ""),
    ],
)
def test_what_grows_with_time_is_a_violation(tmp_path, figures, words):
    soak = campaign.Soak(tmp_path, seed=1, in_flight=10)
    soak._judge_growth("memory", figures)
    assert [words in text for text in soak.totals.violations] == ([True] if words else [])


def test_any_of_what_is_in_flight_is_one_that_was_not_dropped():
    pick, rng, left = Pick(), random.Random(1), set()
    for number in range(200):
        pick.add(str(number))
        left.add(str(number))
        if number % 3 == 0:
            gone = pick.any(rng)
            pick.drop(gone)
            left.remove(gone)
    assert set(pick.all()) == left
    assert len(pick) == len(left)
