"""Isolation: whatever a branch does to its context, nobody else sees it.

What it shows: each branch of a parallel block gets a copy of the context of its own, however deep the data
goes. A branch that clears a list, changes a dict in a dict and drops a key does so to its copy only: the
branch beside it, the step after the block and the caller's own input are as before. What a branch wants to
hand on it returns; the next step finds it under its name, among the results.

Run it::

    python examples/isolation.py [--db app.lmdb]
    durable-trio run examples/isolation.py:isolation \
        --input '{"cart": {"owner": "Ada", "items": ["lamp", "desk"]}, "coupon": "SPRING"}' --db app.lmdb

It prints the cart as the vandal leaves it, and as everybody else sees it.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Ok, Workflow, open_engine

isolation = Workflow("isolation")

with isolation.parallel(name="visitors"):

    @isolation.step
    async def vandal(ctx):
        ctx["cart"]["items"].clear()
        ctx["cart"]["owner"] = "a vandal"
        del ctx["coupon"]
        ctx["graffiti"] = "was here"
        return Ok(dict(ctx))

    @isolation.step
    async def observer(ctx):
        await trio.sleep(0.05)  # by now the vandal has done it all
        return Ok(dict(ctx))

    @isolation.step
    async def shopper(ctx):
        ctx["cart"]["items"].append("chair")
        return Ok(ctx["cart"]["items"])  # the way to hand something on


@isolation.step
async def compare(ctx):
    found = {key: ctx[key] for key in ctx if key != "__results__"}
    seen = {name: result.value for name, result in ctx.results.items()}
    items = seen["shopper"]  # taken over on purpose, by this step
    return Ok({"after_the_block": found, **seen, "order": ctx["cart"] | {"items": items}})


async def main(db):
    mine = {"cart": {"owner": "Ada", "items": ["lamp", "desk"]}, "coupon": "SPRING"}
    async with open_engine(db, workflows=[isolation]) as engine:
        result = await engine.run(isolation, mine)
    print(f"the vandal leaves         {result['vandal']}")
    print(f"the observer sees         {result['observer']}")
    print(f"the step after the block  {result['after_the_block']}")
    print(f"the caller still has      {mine}\n")
    print(f"the shopper returned      {result['shopper']}")
    print(f"so the order is           {result['order']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Let a branch spoil its context, and look at the others.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
