"""Notifications: one message on two channels, one of which fails; the user has heard of it all the same.

What it shows: with ``on_error="complete_all"`` the failure of one branch neither stops the other nor fails
the run. Inside a step, ``parallel_ok`` and ``parallel_result`` read the results of the last block by their
names. ``step_info().idempotency_key`` is the same for every attempt of a step in a run, also after a crash: a
provider that is given it drops the message that it already has.

Run it::

    python examples/notifications.py [--db app.lmdb]
    durable-trio run examples/notifications.py:notifications \
        --input '{"user": "Ada", "text": "Your parcel is here", "down": ["sms"]}' --db app.lmdb

It prints who was reached on which channel: both are up, SMS is down, both are down.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import (
    Err,
    Ok,
    Retry,
    Workflow,
    open_engine,
    parallel_ok,
    parallel_result,
    parallel_results,
    step_info,
)


class Provider:
    """Stands in for a provider that sends messages, each key once. A message may say that it is down."""

    def __init__(self, name):
        self.name = name
        self.sent = {}  # key to text

    async def send(self, key, text, *, down):
        await trio.sleep(0.01)
        if self.name in down:
            raise ConnectionError(f"{self.name} is down")
        self.sent.setdefault(key, text)
        return Ok({"message": key})


email = Provider("email")
sms = Provider("sms")


notifications = Workflow("notifications")

with notifications.parallel(on_error="complete_all", name="channels"):

    @notifications.step(returns="email", retry=Retry(max_attempts=2, base=0.05))
    async def send_email(ctx):
        return await email.send(step_info().idempotency_key, ctx["text"], down=ctx.get("down", ()))

    @notifications.step(returns="sms", retry=Retry(max_attempts=2, base=0.05))
    async def send_sms(ctx):
        return await sms.send(step_info().idempotency_key, ctx["text"], down=ctx.get("down", ()))


@notifications.step
async def sum_up(ctx):
    reached = [channel for channel in parallel_results() if parallel_ok(channel)]
    failed = {
        channel: str(parallel_result(channel).reason)
        for channel in parallel_results()
        if not parallel_ok(channel)
    }
    if not reached:
        return Err({"nobody was reached": failed})
    return Ok({"user": ctx["user"], "reached_by": reached, "failed": failed})


async def main(db):
    messages = [
        {"user": "Ada", "text": "Your parcel is here", "down": []},
        {"user": "Grace", "text": "Your parcel is here", "down": ["sms"]},
        {"user": "Alan", "text": "Your parcel is here", "down": ["email", "sms"]},
    ]
    async with open_engine(db, workflows=[notifications]) as engine:
        for message in messages:
            run = await engine.start(notifications, message)
            info = await run.wait()
            print(f"To {message['user']}, with {' and '.join(message['down']) or 'nothing'} down:\n")
            for step in info.steps:
                if step.path.startswith("channels/"):
                    attempts = f"{step.attempt} attempt{'s' if step.attempt > 1 else ''}"
                    print(f"  {step.path:<22} {step.status} after {attempts}")
            print(f"  => {info.status}: {info.result or info.error}\n")
    print(f"Sent: {len(email.sent)} by email, {len(sms.sent)} by SMS.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send messages on two channels, which may be down.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
