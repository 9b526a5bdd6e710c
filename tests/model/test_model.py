"""The machine, for as long as the profile says."""

from __future__ import annotations

from machine import Machine

TestModel = Machine.TestCase
