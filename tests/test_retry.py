"""``Retry`` by itself: delays, jitter, and what it refuses."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from durable_trio import DefinitionError, Retry


def delays(policy, count=6, **options):
    return [policy.delay(attempt, **options) for attempt in range(1, count + 1)]


def test_the_documented_defaults():
    policy = Retry()
    assert (policy.max_attempts, policy.backoff, policy.base) == (3, "exponential", 1.0)
    assert (policy.max_backoff, policy.jitter) == (30.0, True)
    assert policy.covers(ValueError())
    assert not policy.covers(KeyboardInterrupt())


def test_exponential_delays_double():
    assert delays(Retry(jitter=False, max_backoff=1000)) == [1, 2, 4, 8, 16, 32]
    assert delays(Retry(base=0.5, jitter=False, max_backoff=1000)) == [0.5, 1, 2, 4, 8, 16]


def test_linear_delays_grow_by_the_base():
    assert delays(Retry(backoff="linear", base=3, jitter=False)) == [3, 6, 9, 12, 15, 18]


def test_constant_delays_stay():
    assert delays(Retry(backoff="constant", base=7, jitter=False)) == [7] * 6


@pytest.mark.parametrize("backoff", ["exponential", "linear", "constant"])
def test_no_delay_is_above_max_backoff(backoff):
    policy = Retry(backoff=backoff, base=4, max_backoff=10, jitter=False)
    assert max(delays(policy, 50)) <= 10
    assert Retry(backoff=backoff, base=40, max_backoff=10, jitter=False).delay(1) == 10


def test_the_default_bound_is_thirty_seconds():
    assert delays(Retry(jitter=False), 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_very_late_attempt_overflows_nothing():
    assert Retry(jitter=False).delay(100_000) == 30
    assert Retry(base=0, jitter=False).delay(100_000) == 0


@pytest.mark.parametrize("backoff", ["exponential", "linear", "constant"])
@pytest.mark.parametrize("seed", range(5))
def test_jitter_never_makes_a_delay_longer_than_without_it(backoff, seed):
    uniform = random.Random(seed).uniform
    plain = delays(Retry(backoff=backoff, base=2, jitter=False), 40)
    spread = delays(Retry(backoff=backoff, base=2), 40, uniform=uniform)
    for most, delay in zip(plain, spread, strict=True):
        assert most / 2 <= delay <= most


def test_jitter_spreads_over_the_whole_range():
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return high

    assert Retry(base=8).delay(2, uniform=uniform) == 16
    assert asked == [(8, 16)]


def test_jitter_differs_from_time_to_time_by_default():
    assert len({Retry(base=8).delay(1) for _ in range(50)}) > 1


def test_durations_may_be_timedeltas():
    policy = Retry(base=timedelta(minutes=1), max_backoff=timedelta(minutes=3), jitter=False)
    assert delays(policy, 4) == [60, 120, 180, 180]


def test_retry_on_takes_a_type_or_several():
    assert Retry(retry_on=OSError).covers(ConnectionError())
    assert not Retry(retry_on=OSError).covers(ValueError())
    both = Retry(retry_on=(OSError, ValueError))
    assert both.covers(ValueError())
    assert both.covers(ConnectionError())
    assert not both.covers(KeyError())


def test_a_group_is_covered_if_all_in_it_are():
    policy = Retry(retry_on=OSError)
    assert policy.covers(ExceptionGroup("g", [OSError(), ExceptionGroup("h", [ConnectionError()])]))
    assert not policy.covers(ExceptionGroup("g", [OSError(), ValueError()]))


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"max_attempts": -1},
        {"max_attempts": 1.5},
        {"max_attempts": True},
        {"max_attempts": None},
        {"backoff": "quadratic"},
        {"backoff": None},
        {"base": -1},
        {"base": "1"},
        {"base": float("nan")},
        {"base": None},
        {"max_backoff": -1},
        {"max_backoff": timedelta(seconds=-1)},
        {"max_backoff": True},
        {"retry_on": "ValueError"},
        {"retry_on": ValueError("x")},
        {"retry_on": [ValueError]},
        {"retry_on": (ValueError, 5)},
        {"retry_on": BaseException},
        {"retry_on": KeyboardInterrupt},
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused_and_the_option_is_named(options):
    with pytest.raises(DefinitionError) as caught:
        Retry(**options)
    assert next(iter(options)) in str(caught.value)


def test_one_attempt_is_allowed():
    assert Retry(max_attempts=1).max_attempts == 1
