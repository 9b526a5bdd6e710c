"""What the tests of the command line share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import trio

from durable_trio import open_engine

ROOT = Path(__file__).parent.parent.parent
TIME_LIMIT = 60  # seconds; nothing comes near it unless it hangs

FLOWS = """
from durable_trio import Err, Ok, Retry, Workflow

order = Workflow("order_processing")

@order.step
def validate(ctx):
    print("validating")
    return Ok(dict(ctx) | {"valid": True})

with order.parallel(name="checks"):

    @order.step
    async def stock(ctx):
        return Ok(7)

    @order.step(returns="payment")
    async def pay(ctx):
        return Ok(b"paid")

@order.step
async def ship(ctx):
    return Ok({"id": ctx.get("order_id"), "payment": ctx.results["payment"].value})

broken = Workflow("broken")

@broken.step(retry=Retry(max_attempts=2, base=0.001))
def explode(ctx):
    raise ValueError("the \\x1b[31mfuse\\nis blown")

refusing = Workflow("refusing")

@refusing.step
def refuse(ctx):
    return Err({"code": 402})
"""


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line of the standard error, which is where the error stands."""
        return self.err.rstrip("\n").rpartition("\n")[2]


def environment(**variables):
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("DURABLE_TRIO", "PYTHON", "COLUMNS", "LINES"))
    }
    # A limit on file sizes would cut the byte code that Python keeps beside its sources, too.
    ours = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
    return inherited | ours | variables


def words_of(*words):
    return [sys.executable, "-m", "durable_trio", *map(str, words)]


def read_until(stream, text):
    """Read lines until one holds the text; gives all of them."""
    lines = []
    for line in stream:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} did not come; instead: {lines}")


def started(db, workflow, *ids):
    """Leave runs in a database that have been started and no more."""

    async def leave():
        async with open_engine(db, workflows=[workflow]) as engine:
            for run_id in ids:
                await engine.start(workflow, {"from": "a test"}, id=run_id)

    trio.run(leave)
