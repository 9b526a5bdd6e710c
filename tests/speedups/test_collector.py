"""``Collector`` against a plain model of the contract's rules for a block's end."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import alike, patient, values

from durable_trio._snapshot.records import CANCELLED, ERROR, NEVER_STARTED, OK, TIMED_OUT
from durable_trio._speedups.results import Collector
from durable_trio._values import Err, Ok

ERRORS = (ERROR, CANCELLED, TIMED_OUT, NEVER_STARTED)

blocks = st.integers(0, 6).flatmap(
    lambda count: st.tuples(
        st.just(tuple(f"branch{i}" for i in range(count))),
        st.permutations(range(count)),
        st.lists(st.sampled_from((OK, *ERRORS)), min_size=count, max_size=count),
        st.lists(values, min_size=count, max_size=count),
    )
)


def judge(collector, statuses, need, fail_fast):
    """Everything that is promised, from the outcomes so far: index to status, in the order of time."""
    count = len(statuses["order"])
    outcomes = statuses["seen"]
    oks = sum(status == OK for status in outcomes.values())
    left = count - len(outcomes)
    errors = [index for index, status in outcomes.items() if status in (ERROR, TIMED_OUT)]
    reached = need > 0 and oks >= need
    impossible = need > 0 and oks + left < need
    failed = fail_fast and (impossible if need else bool(errors))
    assert collector.ok_count == oks
    assert collector.error_count == len(outcomes) - oks
    assert collector.left == left
    assert collector.first_error == (errors[0] if errors else -1)
    assert collector.is_settled is (left == 0)
    assert collector.need_reached is reached
    assert collector.need_impossible is impossible
    assert collector.has_failed is failed
    assert collector.must_stop is (reached or failed)
    assert [collector.status(i) for i in range(count)] == [outcomes.get(i, -1) for i in range(count)]


@patient
@given(blocks, st.integers(0, 7), st.booleans())
def test_it_agrees_with_the_rules(block, need, fail_fast):
    keys, order, codes, data = block
    collector = Collector(keys, need, fail_fast)
    statuses = {"order": order, "seen": {}}
    judge(collector, statuses, need, fail_fast)
    for index in order:
        with pytest.raises(RuntimeError, match="no outcome yet"):
            collector.merge()
        if codes[index] == OK:
            collector.ok(index, data[index])
        else:
            collector.error(index, data[index], codes[index])
        statuses["seen"][index] = codes[index]
        judge(collector, statuses, need, fail_fast)
    merged = collector.merge()
    assert list(merged) == list(keys)
    for key, code, value in zip(keys, codes, data, strict=True):
        assert alike(merged[key], Ok(value) if code == OK else Err(value))
        assert merged[key][1] is value


def test_an_outcome_comes_once():
    collector = Collector(("a", "b"))
    collector.ok(0, 1)
    collector.error(1, "x")
    for again in (lambda: collector.ok(0, 2), lambda: collector.error(0, 2), lambda: collector.ok(1, 2)):
        with pytest.raises(RuntimeError, match=r"branch '[ab]' has an outcome already"):
            again()
    assert collector.merge() == {"a": Ok(1), "b": Err("x")}
    assert (collector.ok_count, collector.error_count, collector.left) == (1, 1, 0)


@pytest.mark.parametrize("index", [-1, 2, 2**40])
def test_indexes_are_checked(index):
    collector = Collector(("a", "b"))
    for use in (
        lambda: collector.ok(index, 1),
        lambda: collector.error(index, 1),
        lambda: collector.status(index),
    ):
        with pytest.raises(IndexError, match="has 2 branches"):
            use()
    assert collector.left == 2


@pytest.mark.parametrize("status", [OK, -1, 5, 300])
def test_statuses_are_checked(status):
    collector = Collector(("a",))
    with pytest.raises(ValueError, match=f"{status} is the status of no error"):
        collector.error(0, 1, status)
    assert collector.left == 1


def test_arguments_are_checked():
    with pytest.raises(TypeError):
        Collector(["a"])
    with pytest.raises(TypeError):
        Collector(None)


def test_what_it_holds_is_let_go():
    class Thing:
        pass

    thing = Thing()
    gone = weakref.ref(thing)
    collector = Collector(("a", "b"))
    collector.ok(0, thing)
    collector.ok(1, [collector])
    del thing, collector
    gc.collect()
    assert gone() is None
