"""External API: a flaky service is asked again, with longer and longer pauses, beside a quick local step.

What it shows: ``retry=Retry(...)`` of a step. The pauses before the attempts 2, 3, 4, ... are ``base``,
``2 * base``, ``4 * base``, ..., never more than ``max_backoff``; here without ``jitter``, so that the story
is the same each time. A branch that waits for its next attempt holds up nobody: the local step's result is
recorded long before. The number of the attempt and the time when the next is due are recorded too, so that
a restart neither starts counting again nor asks too early. What another attempt cannot mend is returned as
``Err(..., retry=False)``.

Run it::

    python examples/external_api.py [--db app.lmdb]
    durable-trio run examples/external_api.py:external_api \
        --input '{"amount": 100, "currency": "EUR", "failures": 2}' --db app.lmdb

``failures`` is how many requests fail before the service answers.

It prints, for three conversions, how each step ended and after how many attempts: the service fails twice
and then answers; it never answers; it is asked for what it does not know.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Retry, Workflow, open_engine, step_info

RATES = {"EUR": 0.5, "JPY": 150.0}


async def request_rate(currency, *, working):
    """Stands in for a service on the network, which is told whether it works."""
    await trio.sleep(0.01)
    if not working:
        raise ConnectionError("503 Service Unavailable")
    if currency not in RATES:
        return Err(f"404 Not Found: {currency}", retry=False)
    return Ok({"rate": RATES[currency]})


external_api = Workflow("external_api")

PATIENT = Retry(max_attempts=5, backoff="exponential", base=0.05, max_backoff=5.0, jitter=False)


with external_api.parallel(name="gather"):

    @external_api.step(returns="rate", retry=PATIENT, timeout=10)
    async def fetch_rate(ctx):
        # The attempt is known to the engine. A counter of our own would be gone after a restart.
        working = step_info().attempt > ctx.get("failures", 0)
        return await request_rate(ctx["currency"], working=working)

    @external_api.step(returns="fee", inline=True)  # pure and quick: it needs no thread
    def compute_fee(ctx):
        return Ok({"fee": max(1.0, ctx["amount"] * 0.01)})


@external_api.step
async def convert(ctx):
    rate = ctx.results["rate"].value["rate"]
    fee = ctx.results["fee"].value["fee"]
    return Ok({"amount": (ctx["amount"] - fee) * rate, "currency": ctx["currency"], "fee": fee})


async def main(db):
    conversions = [
        ("The service fails twice, then answers", {"amount": 200, "currency": "EUR", "failures": 2}),
        ("The service never answers", {"amount": 200, "currency": "JPY", "failures": 99}),
        ("The service does not know the currency", {"amount": 200, "currency": "XYZ"}),
    ]
    async with open_engine(db, workflows=[external_api]) as engine:
        for title, conversion in conversions:
            run = await engine.start(external_api, conversion)
            info = await run.wait()
            print(f"{title}:\n")
            for step in info.steps:
                ended = (step.started_at - info.created_at).total_seconds() + step.duration
                attempts = f"{step.attempt} attempt{'s' if step.attempt > 1 else ''}"
                if step.kind == "step":
                    print(f"  {step.path:<20} {step.status} at {ended:.2f} s, after {attempts}")
            print(f"  => {info.status}: {info.result or info.error}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask a flaky service, patiently.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
