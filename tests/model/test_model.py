"""The machine, for as long as the profile says."""

from __future__ import annotations

import pytest
from machine import Machine
from profiles import looking

TestModel = pytest.mark.slow(Machine.TestCase)
TestModel.settings = looking()
