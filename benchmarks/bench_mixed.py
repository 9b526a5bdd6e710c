"""mixed: onboard with 1 ms of real I/O in each step; how much of Trio's own capacity is left.

    python -m benchmarks.bench_mixed

Each body sends a few bytes to an echo server in another process, which answers 1 ms later, over a connection
that it takes from a pool. The same on bare Trio, and there with a group commit by hand (``byhand.py``). Both
cores are busy: one with the loop, the other with the server and the writer thread, whose GIL is the loop's.
"""

from __future__ import annotations

from typing import Any

import trio

from benchmarks.byhand import GroupCommit, add_beside, onboard_by_hand
from benchmarks.command import main
from benchmarks.echo_server import serving
from benchmarks.measuring import Bench, Session, all_rates_in_turns, latencies_of
from benchmarks.workloads import INPUT, Body, onboard_bare, onboard_workflow
from durable_trio import open_engine


class Pool:
    """Connections to the echo server, made when none is free."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._free: list[trio.SocketStream] = []

    async def ask(self) -> None:
        stream = self._free.pop() if self._free else await trio.open_unix_socket(self._path)
        await stream.send_all(b"hello")
        answer = await stream.receive_some(64)
        assert answer == b"hello"
        self._free.append(stream)

    async def aclose(self) -> None:
        for stream in self._free:
            await stream.aclose()

    def around(self, body: Body) -> Body:
        """The body, after a question to the server."""

        async def asking(ctx: Any) -> dict[str, Any]:
            await self.ask()
            return await body(ctx)

        return asking


def measure(session: Session) -> None:
    with serving(session.folder) as path:
        trio.run(_measure, session, path)


async def _measure(session: Session, path: str) -> None:
    pool = Pool(path)
    try:
        await _levels(session, pool)
    finally:
        await pool.aclose()


async def _levels(session: Session, pool: Pool) -> None:
    workflow = onboard_workflow(pool.around)
    bare = onboard_bare(pool.around)
    for level in session.sizes:
        path = session.folder / f"{level}.lmdb"
        async with open_engine(path, workflows=[workflow], max_running=level + 1) as engine:

            async def durable() -> None:
                await engine.run(workflow, INPUT)

            with GroupCommit(session.folder / f"by-hand-{level}.lmdb") as store:
                sides = (durable, bare, onboard_by_hand(store, pool.around))
                rounds = await all_rates_in_turns(session, sides, level)
            more = await latencies_of(durable, session.seconds, level)
        pairs = [(ours, other) for ours, other, _ in rounds]
        session.add("onboard with I/O, sync", level, "workflows/s", "bare Trio with I/O", pairs, **more)
        add_beside(session, "onboard with I/O, sync", level, rounds)


BENCH = Bench(
    "mixed",
    "mixed: onboard with 1 ms of I/O in each step",
    measure,
    {"full": (1, 100, 1000), "quick": (1000,), "tiny": (3,)},
    "in flight",
)

if __name__ == "__main__":
    main(BENCH)
