"""Order pipeline: a run that starts others and waits for them, two at the same time.

What it shows: ``call_workflow`` in the branches of a parallel block. A child is a run of its own, with a
record, a status and a result, and answers ``Ok(result)`` or ``Err(reason)``, which is what a branch returns.
However often the parent's step begins, it has one child for each ``ref``: after a crash it waits for the one
that it had started. A child that fails does not fail its parent: here ``into`` sees both answers and
decides. ``engine.cancel`` of the parent cancels the children that are under way.

Run it::

    python examples/order_pipeline.py [--db app.lmdb]
    durable-trio run examples/order_pipeline.py:order_pipeline \
        --input '{"order": 1, "card": "good", "item": "lamp"}' --db app.lmdb

It prints three orders, and the runs that each of them consists of: all is well, the card is declined, and the
item is sold out.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, call_workflow, open_engine

STOCK = {"lamp": 3, "chair": 0}

payment = Workflow("payment")
shipment = Workflow("shipment")
order_pipeline = Workflow("order_pipeline")


@payment.step(inline=True)
def charge(ctx):
    if ctx["card"] != "good":
        return Err("card declined")
    return Ok({"receipt": f"R-{ctx['order']}"})


@shipment.step(inline=True)
def take_from_stock(ctx):
    if not STOCK.get(ctx["item"]):
        return Err(f"no {ctx['item']} left")
    return Ok(ctx)


@shipment.step(inline=True)
def make_label(ctx):
    return Ok({"label": f"{ctx['item']} for order {ctx['order']}"})


with order_pipeline.parallel(name="children") as children:

    @order_pipeline.step(returns="payment")
    async def pay(ctx):
        return await call_workflow(payment, {"order": ctx["order"], "card": ctx["card"]}, ref="payment")

    @order_pipeline.step(returns="shipment", timeout=3600)
    async def ship(ctx):
        return await call_workflow(shipment, {"order": ctx["order"], "item": ctx["item"]}, ref="shipment")

    @children.into
    def decide(ctx, results):
        match results["payment"], results["shipment"]:
            case Ok(paid), Ok(shipped):
                return Ok({"order": ctx["order"], **paid, **shipped})
            case Ok(paid), Err(reason):
                return Ok({"order": ctx["order"], "refund": paid["receipt"], "why": reason})
            case Err(reason), _:
                return Err(reason)


async def main(db):
    orders = [
        {"order": 1, "card": "good", "item": "lamp"},
        {"order": 2, "card": "stolen", "item": "lamp"},
        {"order": 3, "card": "good", "item": "chair"},
    ]
    async with open_engine(db, workflows=[order_pipeline, payment, shipment]) as engine:
        for order in orders:
            parent = await (await engine.start(order_pipeline, order)).wait()
            print(f"Order {order['order']} => {parent.status}: {parent.result or parent.error}")
            for workflow in (payment, shipment):
                child = (await engine.list(workflow=workflow, limit=1))[0]  # the newest one
                print(f"  {child.workflow:<10} {child.status}: {child.result or child.error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three orders, each a run with two children.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
