"""The part of a runner that all peers share. It runs in the peer's environment: nothing of ours is imported.

A runner says ``ready``, then reads lines ``<in flight> <seconds>`` and answers each with workflows per
second, in a closed loop of so many, for about so long. Its parent asks by turns with the library
(``bench_peers.py``).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

INPUT = {"user_id": 42, "name": "Ada", "email": "ada@example.com"}
CREATED = {"user_id": 42, "created": True}
BRANCHES = {"send_email": {"email_sent": True}, "update_crm": {"crm_updated": True}}
BRANCHES["set_up_billing"] = {"billing_ready": True}
COMPLETED = {"user_id": 42, "status": "complete"}


async def closed_loop(make: Callable[[], Awaitable[object]], total: int, in_flight: int) -> float:
    """Seconds for so many calls, so many at a time."""
    left = total

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await make()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    return time.perf_counter() - began


async def answer(make: Callable[[], Awaitable[object]]) -> None:
    """Answer questions until there are no more."""
    pace = max(await closed_loop(make, 5, 1), 1e-4) / 5
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        in_flight, seconds = int(line.split()[0]), float(line.split()[1])
        total = max(in_flight, int(seconds / pace))
        took = await closed_loop(make, total, in_flight)
        pace = took / total
        print(total / took, flush=True)
