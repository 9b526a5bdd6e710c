"""Order processing: two checks at the same time, and a decision with four exits.

What it shows: ``into`` of a parallel block is given the context from before the block and the tagged results
of all branches, and says how the run goes on: to the next step (``Ok``), to another one (``Goto``), or not at
all (``Err``). ``Finish`` completes the run before its last step. The payment step tries again when the
service cannot be reached, but not when the answer is final (``Err(..., retry=False)``).

Run it::

    python examples/order_processing.py [--db app.lmdb]
    durable-trio run examples/order_processing.py:order_processing \
        --input '{"order_id": 1, "item": "lamp", "card": "good"}' --db app.lmdb

Items are ``lamp`` and ``desk`` (in stock) and ``chair`` (out of stock). Cards are ``good``, ``declined``,
``unsure`` (the bank wants to ask its customer first) and ``offline`` (the bank cannot be reached).

It prints where four orders end: ready and fulfilled, card declined, out of stock, validation failed.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Finish, Goto, Ok, Retry, Workflow, open_engine

STOCK = {"lamp": 3, "desk": 1, "chair": 0}


async def check_stock(item):
    """Stands in for the inventory."""
    await trio.sleep(0.01)
    if not STOCK.get(item):
        return Err("out_of_stock")
    return Ok({"available": True, "left": STOCK[item]})


async def ask_bank(card):
    """Stands in for the payment service; the card says how it answers."""
    await trio.sleep(0.02)
    match card:
        case "declined":
            return Err("card_declined", retry=False)
        case "offline":
            raise ConnectionError("the bank does not answer")
        case _:
            return Ok({"authorized": card == "good"})


order_processing = Workflow("order_processing")


@order_processing.step
async def validate(ctx):
    missing = [key for key in ("order_id", "item", "card") if key not in ctx]
    if missing:
        return Err(f"the order lacks: {', '.join(missing)}")
    return Ok({"order_id": ctx["order_id"], "item": ctx["item"], "card": ctx["card"]})


with order_processing.parallel(name="checks") as checks:

    @order_processing.step
    async def check_inventory(ctx):
        return await check_stock(ctx["item"])

    @order_processing.step(returns="payment", retry=Retry(max_attempts=5, base=0.1), timeout=30)
    async def authorize_payment(ctx):
        return await ask_bank(ctx["card"])

    @checks.into
    def decide(ctx, results):
        match results["check_inventory"], results["payment"]:
            case Ok(inventory), Ok(payment) if inventory["available"] and payment["authorized"]:
                return Ok(ctx | {"ready": True})
            case Ok(_), Err("card_declined"):
                return Goto("handle_payment_issue", ctx)
            case Err("out_of_stock"), _:
                return Goto("handle_backorder", ctx)
            case _:
                return Err("order validation failed")


@order_processing.step
async def fulfill_order(ctx):
    return Finish(ctx | {"fulfilled": True})


@order_processing.step
async def handle_payment_issue(ctx):
    return Finish(ctx | {"needs_payment_retry": True})


@order_processing.step
async def handle_backorder(ctx):
    return Ok(ctx | {"backordered": True})


async def main(db):
    orders = [
        {"order_id": 1, "item": "lamp", "card": "good"},
        {"order_id": 2, "item": "lamp", "card": "declined"},
        {"order_id": 3, "item": "chair", "card": "good"},
        {"order_id": 4, "item": "desk", "card": "unsure"},
    ]
    async with open_engine(db, workflows=[order_processing]) as engine:
        runs = [await engine.start(order_processing, order) for order in orders]  # they run side by side
        for order, run in zip(orders, runs, strict=True):
            info = await run.wait()
            way = " -> ".join(step.path for step in info.steps if "/" not in step.path)
            print(f"Order {order['order_id']}: {order['item']}, card {order['card']}\n")
            print(f"  {way}")
            print(f"  => {info.status}: {info.result or info.error}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Process four orders, each with another end.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
