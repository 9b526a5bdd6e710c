"""A thousand states that a power cut could leave: each opens, and has what was acknowledged."""

from __future__ import annotations

import random

import pytest

from tests.faults import power
from tests.faults.recording import Entry
from tests.torture.expected import TENTH


@pytest.mark.slow
def test_no_power_cut_loses_what_was_acknowledged():
    totals = power.run(1, TENTH["power"])
    assert not totals.violations, "\n".join(totals.violations[:5])
    assert totals.states.total() >= TENTH["power"]
    assert totals.states.keys() == set(power.LABELS.values())


@pytest.mark.slow
def test_a_disk_that_lies_about_its_syncs_is_found_out():
    assert power.run(2, 300, heeds_syncs=False).violations


def test_states_are_all_subsets_of_what_is_not_synced():
    log = [Entry("W", 0, b"a" * 512 + b"b" * 512), Entry("S", 0, b""), Entry("W", 512, b"c" * 10)]
    found = {(state.place, state.image) for state in power.states(b"", log, 30, random.Random(1))}
    synced = b"a" * 512 + b"b" * 512
    assert {image for place, image in found if place == 0} == {
        b"", b"a" * 512, bytes(512) + b"b" * 512, synced,
    }  # fmt: skip
    assert {image for place, image in found if place == 1} == {synced}
    assert {image for place, image in found if place == 2} == {synced, b"a" * 512 + b"c" * 10 + b"b" * 502}
