"""Each workload, said once: the bodies, the workflow, and the same bodies on bare Trio."""

from __future__ import annotations

from typing import Any

import trio

from durable_trio import Workflow

INPUT = {"user_id": 42, "name": "Ada", "email": "ada@example.com"}


async def create(ctx: Any) -> dict[str, Any]:
    return {"user_id": ctx["user_id"], "created": True}


async def send_email(ctx: Any) -> dict[str, Any]:
    return {"email_sent": True}


async def update_crm(ctx: Any) -> dict[str, Any]:
    return {"crm_updated": True}


async def set_up_billing(ctx: Any) -> dict[str, Any]:
    return {"billing_ready": True}


async def complete(ctx: Any) -> dict[str, Any]:
    return {"user_id": ctx["user_id"], "status": "complete"}


def onboard_workflow() -> Workflow:
    """create → 3 branches → complete."""
    onboard = Workflow("onboard")
    onboard.step(create)
    with onboard.parallel(name="set_up"):
        onboard.step(send_email)
        onboard.step(update_crm)
        onboard.step(set_up_billing)
    onboard.step(complete)
    return onboard


async def onboard_bare() -> dict[str, Any]:
    """The same bodies on Trio alone: one task (the caller's) and a nursery for the branches."""
    ctx = await create(dict(INPUT))
    results: dict[str, Any] = {}

    async def branch(body: Any, ctx: dict[str, Any]) -> None:
        results[body.__name__] = await body(ctx)

    async with trio.open_nursery() as nursery:
        for body in (send_email, update_crm, set_up_billing):
            nursery.start_soon(branch, body, dict(ctx))
    return await complete({**ctx, "__results__": results})
