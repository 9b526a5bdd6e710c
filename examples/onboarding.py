"""Onboarding: one step, then three at the same time, then one more; and an outage in the middle.

What it shows: a workflow is functions, declared in the order in which they run. Each gets the context that
the one before has returned. The branches of a parallel block run at the same time; by default the first
error stops the others and fails the run. A failed run keeps what has succeeded, and ``engine.retry`` lets
it go on from there: nobody gets a second welcome mail because the billing service was down.

Run it::

    python examples/onboarding.py [--db app.lmdb]
    durable-trio run examples/onboarding.py:onboarding --input '{"name": "Ada"}' --db app.lmdb

It prints how two users are onboarded: Ada at once; Grace while billing is down, and again when it is back.
Run it twice with the same ``--db``: both are known then, and no step runs again. Kill it in between: what is
recorded stays, and the next time it goes on.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, open_engine


class Service:
    """Stands in for a service somewhere else: it takes its time, counts what it did, and may be down."""

    def __init__(self, name, seconds):
        self.name = name
        self.seconds = seconds
        self.down = False
        self.served = 0

    async def request(self, answer):
        await trio.sleep(self.seconds)
        if self.down:
            raise ConnectionError(f"{self.name} is down")
        self.served += 1
        return answer


mail = Service("mail", seconds=0.01)
billing = Service("billing", seconds=0.05)
workspaces = Service("workspaces", seconds=0.3)


onboarding = Workflow("onboarding")


@onboarding.step
async def create_user(ctx):
    name = ctx.get("name", "").strip()
    if not name:
        return Err("a user needs a name")
    return Ok({"name": name, "user_id": f"user-{name.lower()}"})


with onboarding.parallel(name="set_up"):

    @onboarding.step(returns="mail")
    async def send_welcome_mail(ctx):
        return Ok(await mail.request({"subject": f"Welcome, {ctx['name']}!"}))

    @onboarding.step(returns="workspace")
    async def create_workspace(ctx):
        return Ok(await workspaces.request({"url": f"https://example.com/{ctx['user_id']}"}))

    @onboarding.step(returns="billing")
    async def open_billing_account(ctx):
        return Ok(await billing.request({"account": f"{ctx['user_id']}-billing", "plan": "free"}))


@onboarding.step
async def complete(ctx):
    # All of them are Ok: an error would have failed the run before it came here.
    results = {key: result.value for key, result in ctx.results.items()}
    return Ok(
        {
            "user_id": ctx["user_id"],
            "workspace": results["workspace"]["url"],
            "plan": results["billing"]["plan"],
            "welcomed": results["mail"]["subject"],
        }
    )


def tell(title, info):
    print(f"{title}\n")
    for step in info.steps:
        print(f"  {step.path:<28} {step.status}{f' ({step.error})' if step.error else ''}")
    print(f"  => {info.status}: {info.result or info.error}\n")


async def main(db):
    async with open_engine(db, workflows=[onboarding]) as engine:
        # With an id of its own, a run is started once, however often this program is.
        run = await engine.start(onboarding, {"name": "Ada"}, id="onboarding-ada")
        tell("Ada signs up:" if run.created else "Ada is known:", await run.wait())

        billing.down = True
        run = await engine.start(onboarding, {"name": "Grace"}, id="onboarding-grace")
        info = await run.wait()
        tell("Grace signs up while billing is down:" if run.created else "Grace is known:", info)

        billing.down = False
        if info.status == "failed":
            run = await engine.retry(info.id)
            tell("Billing is back, and Grace's run goes on:", await run.wait())

    print(f"Sent by this program: {mail.served} mails, {billing.served} billing accounts opened.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Onboard two users, one of them in spite of an outage.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
