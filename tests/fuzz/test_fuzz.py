"""Hundreds of hostile files and records: a typed error or what was written, and never anything else."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.fuzz import campaign, reading
from tests.fuzz.mutations import MUTATIONS
from tests.torture.expected import TENTH


@pytest.mark.slow
def test_hostile_files_and_records():
    totals = campaign.run(1, files=TENTH["hostile"], hostile_records=4 * TENTH["hostile"])
    assert not totals.violations, "\n".join(totals.violations[:5])
    assert totals.files.total() == TENTH["hostile"]
    assert {name for name, _ in totals.files} == set(MUTATIONS)
    ways = {way for _, way in totals.files}
    assert ways >= {"read", "refused"}  # else the damage is always seen, or never
    assert totals.records.keys() == {"decoded", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "came"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGBUS), "SIGBUS"),
        (lambda: 1 / 0, "untyped"),
        (lambda: reading.WRONG, "wrong"),
        (lambda: reading.REFUSED, "refused"),
        (lambda: time.sleep(60), "hung"),
    ],
)
def test_what_a_child_does_is_noticed(tmp_path, body, came):
    assert reading.in_child(body, tmp_path / "output", patience=1.0) == came


def test_damage_that_changes_nothing_is_a_violation(monkeypatch):
    monkeypatch.setitem(MUTATIONS, "noise", lambda rng, corpus: corpus.versions[-1])
    totals = campaign.run(1, files=len(MUTATIONS), hostile_records=0)
    (violation,) = totals.violations
    assert violation.startswith("noise ")
    assert totals.files.total() == len(MUTATIONS) - 1
