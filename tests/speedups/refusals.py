"""What the tests of refused values share."""

from __future__ import annotations

import pytest
from strategies import USER_TYPES, resolve

from durable_trio._errors import SnapshotError
from durable_trio._speedups.context import freeze


def refusal(value, user_types=USER_TYPES, where="ctx"):
    with pytest.raises(SnapshotError) as caught:
        freeze(value, user_types, resolve, where)
    return caught.value
