"""Records a database for ``test_recorded_databases.py``; run it from the root, with a number of its own.

    python tests/engine/record_databases.py 2

It writes ``tests/data/databases/2.tar.xz``, with the runs of ``recorded_workflows.py`` as this version of the
package leaves them, and adds a line to the README there. A generation that exists is never written again: it
stands for the databases that users have. Record a new one when the stored form gains anything.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
from pathlib import Path

import trio
import trio.testing
from recorded_workflows import RUNS, build_all

import durable_trio
from durable_trio import open_engine
from durable_trio.testing import trio_clock

FOLDER = Path(__file__).parent.parent / "data" / "databases"


async def record(database: Path) -> None:
    async with open_engine(database, workflows=build_all(recording=True), clock=trio_clock()) as engine:

        async def rest() -> None:
            """Real time may pass here: this is no test, and nothing of it is recorded."""
            for _ in range(20):
                await trio.testing.wait_all_tasks_blocked(0.005)
                await engine.list(limit=1)

        for run_id, (workflow, given) in RUNS.items():
            run = await engine.start(workflow, {"pages": ["one", "two", "three"], **given}, id=run_id)
            await rest()
            if "event" in given:
                await engine.send_event(run_id, given["event"], {"early": False})
                await engine.send_event(run_id, "never asked for", run_id)
                await rest()
            if "answer" in given:
                await engine.provide_input(run_id, given["answer"], "approved")
                await rest()
            if "cancel" in given:
                await engine.cancel(run_id, "not needed")
            print(f"{run_id}: {run.status}")  # noqa: T201 - a script


def main(generation: str) -> None:
    target = FOLDER / f"{generation}.tar.xz"
    if target.exists():
        sys.exit(f"{target} exists: what was recorded is never changed; take another number")
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "recorded.lmdb"
        trio.run(record, database, clock=trio.testing.MockClock())
        with tarfile.open(target, "w:xz") as archive:
            archive.add(database, arcname="recorded.lmdb")
    with (FOLDER / "README.md").open("a") as readme:
        readme.write(f"| `{target.name}` | {durable_trio.__version__} |\n")


if __name__ == "__main__":
    main(sys.argv[1])
