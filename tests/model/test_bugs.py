"""The machine can fail: each seeded bug is found, and by what it does."""

from __future__ import annotations

import pytest
from bugs import BUGS
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine
from profiles import searching

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = BUGS[name]
    bug.plant(monkeypatch)
    focused = type("Focused", (Machine,), {"flows": bug.flows, "stores": ("memory",)})
    with pytest.raises(AssertionError, match=bug.says):
        run_state_machine_as_test(focused, settings=searching())
