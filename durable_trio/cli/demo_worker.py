"""The process that ``durable-trio demo`` kills: ``python -m durable_trio.cli.demo_worker DB LOG LIFE``.

It does the same in every life: start the three runs, which is nothing new for those that the database knows,
and wait for their results.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from durable_trio import open_engine
from durable_trio.cli.demo_workflow import CUSTOMERS, Services, onboarding, run_id


async def work(db: Path, log: Path, life: int) -> None:
    """Onboard the customers."""
    workflow = onboarding(Services(log, life))
    async with open_engine(db, workflows=[workflow]) as engine:
        runs = [await engine.start(workflow, {"name": name}, id=run_id(name)) for name in CUSTOMERS]
        for run in runs:
            await run.result()


if __name__ == "__main__":
    trio.run(work, Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
