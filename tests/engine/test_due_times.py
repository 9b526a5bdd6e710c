"""When parked runs are due: sleeps, timeouts, starts for later, and a wall clock that jumps."""

from __future__ import annotations

DAY = 86400
