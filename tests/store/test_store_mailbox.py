"""Mailboxes and timers, on every store."""

from __future__ import annotations

import uuid

import pytest

from durable_trio._errors import InputError
from durable_trio._store.base import Write

RUNS = [uuid.UUID(int=number << 64).bytes for number in (1, 2, 3)]


@pytest.fixture
def runs(store):
    store.commit([Write(run, header=b"h", workflow=1, new=3) for run in RUNS])
    return store


def test_messages_come_in_the_order_of_their_numbers_and_stay_until_they_are_taken(runs):
    first, second, _ = RUNS
    runs.commit(
        [Write(first, messages=[(7, b"seven"), (2**40, b"later")]), Write(second, messages=[(1, b"x")])]
    )
    runs.commit([Write(first, messages=[(3, b"three")])])
    assert runs.messages(first) == [(3, b"three"), (7, b"seven"), (2**40, b"later")]
    runs.commit([Write(first, taken=[7, 99])])
    assert runs.messages(first) == [(3, b"three"), (2**40, b"later")]
    assert runs.messages(second) == [(1, b"x")]
    assert runs.messages(RUNS[2]) == []


def test_a_message_that_comes_and_is_taken_in_one_batch_was_never_there(runs):
    runs.commit([Write(RUNS[0], messages=[(1, b"a"), (2, b"b")], taken=[1])])
    assert runs.messages(RUNS[0]) == [(2, b"b")]


def test_a_message_number_is_used_once(runs):
    runs.commit([Write(RUNS[0], messages=[(1, b"a")])])
    with pytest.raises(InputError):
        runs.commit([Write(RUNS[0], messages=[(1, b"b")])])
    assert runs.messages(RUNS[0]) == [(1, b"a")]


def test_mailboxes_are_paged_by_run(runs):
    runs.commit([Write(run, messages=[(1, b"a"), (2, b"b")]) for run in RUNS])
    assert runs.mailboxes(limit=2) == RUNS[:2]
    assert runs.mailboxes(after=RUNS[1], limit=2) == RUNS[2:]
    runs.commit([Write(RUNS[1], taken=[1, 2])])
    assert runs.mailboxes(limit=9) == [RUNS[0], RUNS[2]]


def test_timers_come_earliest_first_and_one_of_a_run_can_be_moved(runs):
    runs.commit([Write(RUNS[0], timer=300), Write(RUNS[1], timer=100), Write(RUNS[2], timer=2**50)])
    assert runs.timers(limit=2) == [(100, RUNS[1]), (300, RUNS[0])]
    runs.commit([Write(RUNS[1], old_timer=100, timer=400), Write(RUNS[0], old_timer=1)])
    assert runs.timers(limit=9) == [(300, RUNS[0]), (400, RUNS[1]), (2**50, RUNS[2])]
    runs.commit([Write(RUNS[0], timer=300, old_timer=300)])
    assert runs.timers(limit=1) == [(300, RUNS[0])]


def test_a_deleted_run_takes_its_mailbox_and_its_timer_with_it(runs):
    first, second, _ = RUNS
    runs.commit([Write(first, messages=[(1, b"a")], timer=5), Write(second, messages=[(1, b"b")], timer=6)])
    runs.commit([Write(first, workflow=1, old=3, old_timer=5, delete=True)])
    assert runs.messages(first) == []
    assert runs.mailboxes(limit=9) == [second]
    assert runs.timers(limit=9) == [(6, second)]
