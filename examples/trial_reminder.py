"""Trial reminder: a run that sleeps for days between its steps, told in a few seconds.

What it shows: ``sleep`` as a step, of a fixed length and of one that a function computes from the context. A
run that sleeps is parked: it holds no task and no memory. When it wakes is fixed when the sleep begins, and a
restart does not extend it. And how such a workflow is tried out: under Trio's ``MockClock``, which jumps
ahead whenever nothing else is to be done, with ``trio_clock()`` so that the engine's time jumps along. That
goes without threads only, so the database is in memory (``path=None``).

Run it::

    python examples/trial_reminder.py

It prints what happens on which day of three trials: of 14 days, of 30 days, and of 16 days with a
subscription on day 12. With a database and the system's clock, the same workflow takes the days it says.
"""

import argparse
from datetime import timedelta

import trio
from trio.testing import MockClock

from durable_trio import Err, Finish, Ok, Workflow, open_engine
from durable_trio.testing import trio_clock

DAY = 86400  # seconds
LAST_DAYS = timedelta(days=3)  # between the reminder and the end

subscribed = set()  # stands in for the billing service


def tell(text):
    print(f"day {trio.current_time() / DAY:4.1f}  {text}")


trial_reminder = Workflow("trial_reminder")


@trial_reminder.step
async def welcome(ctx):
    if timedelta(days=ctx["days"]) < LAST_DAYS:
        return Err("a trial takes three days at least")
    tell(f"{ctx['user']}: welcome, try it for {ctx['days']} days")
    return Ok(ctx)


def until_reminder(ctx):
    return timedelta(days=ctx["days"]) - LAST_DAYS


trial_reminder.sleep(until_reminder)


@trial_reminder.step
async def remind(ctx):
    if ctx["user"] in subscribed:
        return Finish(ctx | {"reminded": False, "end": "subscribed"})
    tell(f"{ctx['user']}: the trial is over in {LAST_DAYS.days} days")
    return Ok(ctx | {"reminded": True})


trial_reminder.sleep(LAST_DAYS, name="last_days")


@trial_reminder.step
async def close(ctx):
    end = "subscribed" if ctx["user"] in subscribed else "expired"
    tell(f"{ctx['user']}: {end}")
    return Ok(ctx | {"end": end})


async def main():
    async with open_engine(None, workflows=[trial_reminder], clock=trio_clock()) as engine:
        runs = [
            await engine.start(trial_reminder, {"user": user, "days": days}, id=f"trial-{user.lower()}")
            for user, days in [("Ada", 14), ("Grace", 30), ("Alan", 16)]
        ]
        await trio.sleep(12 * DAY)
        subscribed.add("Alan")
        tell("Alan subscribes")
        for run in runs:
            info = await run.wait()
            days = (info.finished_at - info.created_at) / timedelta(days=1)
            print(f"           {info.id}: {info.result['end']} after {days:.0f} days")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Thirty days of three trials, in a few seconds.").parse_args()
    trio.run(main, clock=MockClock(autojump_threshold=0))
