"""``durable-trio demo``: a worker process is killed in the middle of its work, and nothing is lost.

The parent waits until the worker has got exactly as far as the story needs, by reading what the worker has
written, and then kills it with SIGKILL. Nothing here depends on how fast the machine is. In the end it holds
its own claims against what it has found, and fails if one does not hold.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from durable_trio import open_client
from durable_trio.cli.demo_facts import Facts, Snapshot, results
from durable_trio.cli.demo_story import Story
from durable_trio.cli.demo_workflow import BRANCHES, CUSTOMERS, STALLED, read_log, run_id
from durable_trio.cli.report import print_json
from durable_trio.cli.text import CommandError

_TIME_LIMIT = 60.0  # seconds for each life of the worker, far more than it takes
_LOOK_EVERY = 0.03  # seconds


async def demo(db: Path | None, as_json: bool) -> int:
    """Show it, and give the exit status: 1 if it did not come out as it must.

    Raises:
        CommandError: the worker does not work.
    """
    story = Story(quiet=as_json)
    with tempfile.TemporaryDirectory(prefix="durable-trio-demo-") as folder:
        facts, killed = await _run(story, db or Path(folder, "demo.lmdb"), Path(folder))
    story.ended(facts)
    if as_json:
        print_json(facts.as_json(killed), sys.stdout)
    elif db is not None:
        story.kept(db)
    return 0 if facts.hold else 1


async def _run(story: Story, db: Path, folder: Path) -> tuple[Facts, int]:
    log = folder / "entered.jsonl"
    story.begin()
    async with _worker(db, log, life=1) as first:
        story.started(first.pid, db)
        with _time_limit("the first worker"):
            await _until_in_the_middle(first, db, log)
        first.kill()
        await first.wait()
    found = await _look(db)
    story.killed(first.pid, found, {(entry.customer, entry.step) for entry in read_log(log)})
    async with _worker(db, log, life=2) as second:
        story.restarted(second.pid)
        with _time_limit("the second worker"):
            await second.wait()
    if second.returncode:
        raise CommandError(f"the second worker has failed, with exit status {second.returncode}")
    return Facts(found, await _look(db), read_log(log)), first.pid


@asynccontextmanager
async def _worker(db: Path, log: Path, life: int) -> AsyncIterator[trio.Process]:
    """A worker process, which does not outlive this block."""
    words: list[str | Path] = [sys.executable, "-m", "durable_trio.cli.demo_worker", db, log, str(life)]
    process = await trio.lowlevel.open_process(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@contextmanager
def _time_limit(who: str) -> Iterator[None]:
    try:
        with trio.fail_after(_TIME_LIMIT):
            yield
    except trio.TooSlowError:
        raise CommandError(
            f"{who} did not get through within {_TIME_LIMIT:g} s; is the machine very busy?"
        ) from None


async def _until_in_the_middle(worker: trio.Process, db: Path, log: Path) -> None:
    """Wait until every call that will be cut off has begun, and every other branch is recorded."""
    finished = {(name, branch) for name in CUSTOMERS for branch in BRANCHES} - STALLED
    while True:
        if worker.poll() is not None:
            raise CommandError(f"the first worker has ended by itself, with exit status {worker.returncode}")
        entered = {(entry.customer, entry.step) for entry in read_log(log)}
        if entered >= STALLED | finished:
            recorded = {(name, step) for name, info in (await _look(db)).items() for step in results(info)}
            if recorded >= finished:
                return
        await trio.sleep(_LOOK_EVERY)


async def _look(db: Path) -> Snapshot:
    """What the database says, read as any other process would."""
    async with open_client(db) as client:
        return {name: await client.get(run_id(name)) for name in CUSTOMERS}
