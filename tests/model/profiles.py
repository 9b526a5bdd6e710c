"""For how long the machine looks: ``HYPOTHESIS_PROFILE=long`` for some twenty minutes, at random.

The quick profile, which is the default, is the same every time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
# One example opens, crashes and closes databases; a failing one is not kept, since the machine changes.
_COMMON = settings(
    deadline=None,
    database=None,
    derandomize=not _LONG,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    report_multiple_bugs=False,
)


def looking() -> settings:
    """The machine is expected to find nothing."""
    return settings(_COMMON, max_examples=2500 if _LONG else 20, stateful_step_count=40 if _LONG else 25)


def searching() -> settings:
    """It is expected to find something; the first example that fails is good enough."""
    return settings(_COMMON, max_examples=400, stateful_step_count=25, phases=[Phase.generate])
