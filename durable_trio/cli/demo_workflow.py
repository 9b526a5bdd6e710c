"""The workflow of ``durable-trio demo``: onboarding, with stand-ins for the services that it calls.

The stand-ins answer after a moment, and write into a log that a call has begun: the demo counts there how
often a step's code was entered, independently of what the database says. In the worker's first life some of
them do not answer at all, so that the kill meets those calls in the middle, whatever the machine is like.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import trio

from durable_trio import Context, Ok, Workflow, step_info

CUSTOMERS = ("ada", "grace", "linus")
STEPS = ("create_user", "send_welcome_mail", "create_workspace", "open_billing_account", "complete")
BRANCHES = STEPS[1:4]
STALLED = {  # in the first life, these do not answer
    ("ada", "open_billing_account"),
    ("grace", "create_workspace"),
    ("grace", "open_billing_account"),
    ("linus", "send_welcome_mail"),
    ("linus", "create_workspace"),
}
_ANSWERS_AFTER = 0.25  # seconds
_GIVES_UP_AFTER = 60.0  # seconds; only if nobody kills the worker


class Entry(msgspec.Struct):
    """One line of the log: a step's code was entered."""

    life: int
    customer: str
    step: str
    idempotency_key: str


class Services:
    """The outside world, as the steps of one worker process see it."""

    def __init__(self, log: Path, life: int) -> None:
        self._log = log
        self._life = life

    async def call(self, customer: str) -> None:
        """Do what the step that asks is for."""
        info = step_info()
        step = info.path.rpartition("/")[2]
        line = msgspec.json.encode(Entry(self._life, customer, step, info.idempotency_key)) + b"\n"
        fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(fd, line)  # in one piece: a kill leaves the whole line or none of it
        finally:
            os.close(fd)
        stalls = self._life == 1 and (customer, step) in STALLED
        await trio.sleep(_GIVES_UP_AFTER if stalls else _ANSWERS_AFTER)


def onboarding(services: Services) -> Workflow:
    """The workflow, calling these services."""
    workflow = Workflow("onboarding")

    @workflow.step
    async def create_user(ctx: Context) -> Any:
        await services.call(ctx["name"])
        return Ok({"name": ctx["name"], "user_id": f"user-{ctx['name']}"})

    with workflow.parallel(name="set_up"):

        @workflow.step(returns="mail")
        async def send_welcome_mail(ctx: Context) -> Any:
            await services.call(ctx["name"])
            return Ok(f"Welcome, {ctx['name'].title()}!")

        @workflow.step(returns="workspace")
        async def create_workspace(ctx: Context) -> Any:
            await services.call(ctx["name"])
            return Ok(f"https://example.com/{ctx['user_id']}")

        @workflow.step(returns="billing")
        async def open_billing_account(ctx: Context) -> Any:
            await services.call(ctx["name"])
            return Ok(f"{ctx['user_id']}-billing")

    @workflow.step
    async def complete(ctx: Context) -> Any:
        await services.call(ctx["name"])
        results = {key: result.value for key, result in ctx.results.items()}
        return Ok({"name": ctx["name"], "user_id": ctx["user_id"], **results})

    return workflow


def run_id(customer: str) -> str:
    """The id of the run that onboards this customer."""
    return f"onboard-{customer}"


def read_log(log: Path) -> list[Entry]:
    """Every line so far."""
    try:
        lines = log.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(line, type=Entry) for line in lines]
