"""Dashboard: three sources at the same time, and a page that is shown even when some of them fail.

What it shows: with ``on_error="complete_all"`` every branch of a parallel block runs to its end, whatever
happens to the others. The next step finds their results, in the order in which they are declared, in
``ctx.results``: ``Ok(data)`` or ``Err(reason)``, to be told apart with ``match``. The reason is what the
branch gave to ``Err``, or the ``Failure`` that records what it raised; a branch that took too long is a
``Failure`` of type ``"TimeoutError"``.

Run it::

    python examples/dashboard.py [--db app.lmdb]
    durable-trio run examples/dashboard.py:dashboard --input '{"user": "Ada", "stock": "down"}' --db app.lmdb

Each source may be said to be ``"up"`` (the default), ``"down"``, ``"slow"`` or ``"closed"``.

It prints the page for three users: all sources are up; two fail, each in its own way; all fail.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Failure, Ok, Workflow, open_engine

FIGURES = {
    "sales": {"today": 42, "yesterday": 37},
    "stock": {"lamps": 12, "chairs": 0},
    "visitors": {"online": 128},
}


async def ask(source, state):
    """Stands in for a server that is as it is told to be."""
    await trio.sleep(0.02)
    match state:
        case "up":
            return Ok(FIGURES[source])
        case "closed":
            return Err("no permission")
        case "slow":
            return await trio.sleep_forever()
        case _:
            raise ConnectionError(f"no route to {source}")


dashboard = Workflow("dashboard")

with dashboard.parallel(on_error="complete_all", name="sources"):

    @dashboard.step(timeout=0.5)
    async def sales(ctx):
        return await ask("sales", ctx.get("sales", "up"))

    @dashboard.step(timeout=0.5)
    async def stock(ctx):
        return await ask("stock", ctx.get("stock", "up"))

    @dashboard.step(timeout=0.5)
    async def visitors(ctx):
        return await ask("visitors", ctx.get("visitors", "up"))


@dashboard.step
async def compose(ctx):
    tiles, missing = {}, {}
    for source, result in ctx.results.items():
        match result:
            case Ok(figures):
                tiles[source] = figures
            case Err(Failure(type="TimeoutError")):
                missing[source] = "took too long"
            case Err(Failure(message=message)):
                missing[source] = message
            case Err(reason):
                missing[source] = reason
    if not tiles:
        return Err({"no source answered": missing})
    return Ok({"user": ctx.get("user", "you"), "tiles": tiles, "missing": missing})


def show(page):
    print(f"The page of {page['user']}:\n")
    for source, figures in page["tiles"].items():
        print(f"  {source:<10} {', '.join(f'{name} {number}' for name, number in figures.items())}")
    for source, why in page["missing"].items():
        print(f"  {source:<10} -- not available: {why}")
    print()


async def main(db):
    async with open_engine(db, workflows=[dashboard]) as engine:
        show(await engine.run(dashboard, {"user": "Ada"}))
        show(await engine.run(dashboard, {"user": "Grace", "stock": "down", "visitors": "slow"}))

        run = await engine.start(
            dashboard, {"user": "Alan", "sales": "closed", "stock": "down", "visitors": "down"}
        )
        info = await run.wait()
        print(f"The page of Alan: {info.status}\n")
        for source, why in info.error["no source answered"].items():
            print(f"  {source:<10} -- not available: {why}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compose a page from three sources, some of which fail.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
