"""Workflows for the tests of clients, whose engine is in another process."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, open_engine


@dataclasses.dataclass
class Money:
    amount: int
    currency: str


class Unregistered:
    pass


# Three events one after the other: what came, in which order, and how often is in the result.
orders = Workflow("orders")
for _name in ("first", "second", "third"):
    orders.wait_for_event("news", returns=_name, step=_name)

# Asks for one thing, and ends with the answer.
asking = Workflow("asking")
asking.wait_for_choice("size", choices=["small", "large"], prompt="Which?")

# Notes each run that has begun in a file beside the database.
noting = Workflow("noting")


@noting.step(inline=True)
def note(ctx):
    fd = os.open(ctx["file"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"begun\n")
    os.close(fd)
    return Ok(dict(ctx))


# Fails until a file is there.
failing = Workflow("failing")


@failing.step(inline=True)
def find(ctx):
    return Ok(dict(ctx)) if Path(ctx["file"]).exists() else Err("no file")


# Reports what it was given, and what type it has.
showing = Workflow("showing")


@showing.step(inline=True)
def show(ctx):
    return Ok({"value": ctx["value"], "type": type(ctx["value"]).__name__})


WORKFLOWS = [orders, asking, noting, failing, showing]


def say(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main() -> None:
    async with open_engine(sys.argv[1], workflows=WORKFLOWS) as engine:
        say("open")
        while (line := (await trio.to_thread.run_sync(sys.stdin.readline)).strip()) not in ("", "close"):
            if line == "drain":
                await engine.drain()
                say("drained")
