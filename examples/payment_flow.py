"""Payment flow: a run waits for news from the outside, which comes early, late, or not at all.

What it shows: ``wait_for_event`` as a step parks the run; its payload is in the context of the next step. The
same inside a step keeps the step's task, and leaves it to the body what to do with the answer; after a
restart the body starts again, and an answer that was there is there at once. An event that comes before
anybody waits for it is kept in the run's mailbox. Each is taken by one wait. Without a ``default``, a wait
whose time is over fails the run; with one, it goes on.

Run it::

    python examples/payment_flow.py [--db app.lmdb]

It prints three orders: one is paid before it is packed, one after, and the third card is declined.
"""

import argparse
import tempfile
from datetime import timedelta
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, open_engine, step_info, wait_for_event

payment_flow = Workflow("payment_flow")
packing = {}  # for each order, what its packing waits for: stands in for people who take their time


@payment_flow.step
async def pack(ctx):
    if ctx["order"] in packing:
        await packing[ctx["order"]].wait()
    return Ok(ctx | {"packed": True})


# The context's key is "paid", as the event is called. Nobody pays for three days: the run fails.
payment_flow.wait_for_event("paid", timeout=timedelta(days=3))


@payment_flow.step(inline=True)
def check_payment(ctx):
    if ctx["paid"]["status"] != "captured":
        return Err(f"the payment was {ctx['paid']['status']}")
    return Ok({"order": ctx["order"], "receipt": ctx["paid"]["receipt"]})


@payment_flow.step
async def deliver(ctx):
    # What comes before a wait is run again after a restart: the key tells the carrier that it is the same.
    parcel = f"parcel-{step_info().idempotency_key}"
    place = await wait_for_event("delivered", timeout=timedelta(days=14), default=None)
    if place is None:
        return Ok(ctx | {"delivered": False, "ask_about": parcel})
    return Ok(ctx | {"delivered": True, "place": place})


async def until(run, status):
    while run.status != status:  # noqa: ASYNC110 - a status is no event
        await trio.sleep(0.01)


async def main(db):
    async with open_engine(db, workflows=[payment_flow]) as engine:
        packing["early"] = trio.Event()
        early = await engine.start(payment_flow, {"order": "early"})
        await engine.send_event(early.id, "paid", {"status": "captured", "receipt": "R-1"})
        await engine.send_event(early.id, "delivered", "the letter box")
        steps = [step.path for step in (await engine.get(early.id)).steps if step.status == "ok"]
        print(f"early: paid and delivered, and these steps are done: {steps}")
        packing["early"].set()

        late = await engine.start(payment_flow, {"order": "late"})
        await until(late, "waiting")
        waits_for = (await engine.get(late.id)).steps[-1]
        print(f"late: packed, and {late.status} at {waits_for.path}")
        await engine.send_event(late.id, "paid", {"status": "captured", "receipt": "R-2"})
        await engine.send_event(late.id, "delivered", "the neighbour")

        declined = await engine.start(payment_flow, {"order": "declined"})
        await engine.send_event(declined.id, "paid", {"status": "declined"})

        print()
        for run in (early, late, declined):
            info = await run.wait()
            print(f"{info.input['order']} => {info.status}: {info.result or info.error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three orders, and when the news about them come.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
