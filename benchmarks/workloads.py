"""Each workload, said once: the bodies, the workflow, and the same bodies on bare Trio.

A bare side is what one would write with Trio and no durability: the caller's task goes through the steps, and
a nursery runs the branches. The context is a dict that is copied for each branch and for nobody else.
``byhand.py`` adds durability to that, and no engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from durable_trio import Workflow

Body = Callable[[Any], Awaitable[dict[str, Any]]]
Context = dict[str, Any]

INPUT = {"user_id": 42, "name": "Ada", "email": "ada@example.com"}

# -- onboard: create → 3 branches → complete -----------------------------------------------------------


async def create(ctx: Any) -> Context:
    return {"user_id": ctx["user_id"], "created": True}


async def send_email(ctx: Any) -> Context:
    return {"email_sent": True}


async def update_crm(ctx: Any) -> Context:
    return {"crm_updated": True}


async def set_up_billing(ctx: Any) -> Context:
    return {"billing_ready": True}


async def complete(ctx: Any) -> Context:
    return {"user_id": ctx["user_id"], "status": "complete"}


BRANCHES: tuple[Body, ...] = (send_email, update_crm, set_up_billing)


def onboard_workflow(around: Callable[[Body], Body] = lambda body: body) -> Workflow:
    """create → 3 branches → complete. ``around`` makes something else of each body."""
    onboard = Workflow("onboard")
    onboard.step(around(create), name="create")
    with onboard.parallel(name="set_up"):
        for body in BRANCHES:
            onboard.step(around(body), name=body.__name__)
    onboard.step(around(complete), name="complete")
    return onboard


def onboard_bare(around: Callable[[Body], Body] = lambda body: body) -> Callable[[], Awaitable[Context]]:
    """The same on Trio alone: one task (the caller's) and a nursery for the branches."""
    first, last = around(create), around(complete)
    branches = [(body.__name__, around(body)) for body in BRANCHES]

    async def onboard() -> Context:
        ctx = await first(dict(INPUT))
        results: Context = {}

        async def branch(name: str, body: Body, ctx: Context) -> None:
            results[name] = await body(ctx)

        async with trio.open_nursery() as nursery:
            for name, body in branches:
                nursery.start_soon(branch, name, body, dict(ctx))
        return await last({**ctx, "__results__": results})

    return onboard


# -- chain: 10 steps, each of which passes one checkpoint -----------------------------------------------

CHAIN = 10


def link(number: int) -> Body:
    async def step(ctx: Any) -> Context:
        await trio.lowlevel.checkpoint()
        return {"step": number, "ok": True}

    return step


def chain_workflow(link: Callable[[int], Body] = link) -> Workflow:
    """Steps ``s0`` to ``s9``."""
    chain = Workflow("chain")
    for number in range(CHAIN):
        chain.step(link(number), name=f"s{number}")
    return chain


def chain_bare() -> Callable[[], Awaitable[Context]]:
    links = [link(number) for number in range(CHAIN)]

    async def chain() -> Context:
        ctx: Context = dict(INPUT)
        for body in links:
            ctx = await body(ctx)
        return ctx

    return chain


# -- wide: one block or one map of many branches --------------------------------------------------------


def wide_block(width: int) -> Workflow:
    wide = Workflow("wide_block")
    with wide.parallel(name="all"):
        for number in range(width):
            wide.step(send_email, name=f"b{number}")
    return wide


def wide_map(width: int) -> Workflow:
    wide = Workflow("wide_map")

    @wide.map(over=lambda _ctx: list(range(width)))
    async def notify(ctx: Any, item: Any) -> Context:
        return await send_email(ctx)

    return wide


async def wide_bare(width: int) -> Context:
    ctx = dict(INPUT)
    results: Context = {}

    async def branch(name: str, ctx: Context) -> None:
        results[name] = await send_email(ctx)

    async with trio.open_nursery() as nursery:
        for number in range(width):
            nursery.start_soon(branch, f"b{number}", dict(ctx))
    return {**ctx, "__results__": results}


# -- big context ----------------------------------------------------------------------------------------

CHANGES = 100
_DOCUMENT = 719  # bytes of one of the documents below, as MessagePack
READERS = 1000


def big_context(size: int) -> Context:
    """Nested data of about so many bytes, as MessagePack: documents with texts, numbers and lists."""
    documents = {}
    for number in range(max(1, size // _DOCUMENT)):
        documents[f"doc_{number}"] = {
            "title": f"Document {number}",
            "pages": number % 50,
            "words": [f"word-{word}" for word in range(80)],
            "meta": {"rank": number / 7, "seen": False, "authors": ["Ada", "Grace"]},
        }
    return {"documents": documents, "counter": 0, "owner": "Ada", "plan": "team"}


async def count_up(ctx: Any) -> Any:
    """One small key of a large context changes."""
    ctx["counter"] += 1
    return ctx


async def read_two(ctx: Any) -> Context:
    return {"name": ctx["owner"] + ctx["plan"]}


def changing_workflow() -> Workflow:
    """CHANGES steps that change one key each."""
    changing = Workflow("changing")
    for number in range(CHANGES):
        changing.step(count_up, name=f"change_{number}")
    return changing


async def changing_bare(context: Context) -> Context:
    ctx: Context = dict(context)
    for _ in range(CHANGES):
        ctx = await count_up(ctx)
    return ctx


def reading_workflow() -> Workflow:
    """READERS branches that read two keys each."""
    reading = Workflow("reading")
    with reading.parallel(name="all", into=lambda ctx, _results: {"owner": ctx["owner"]}):
        for number in range(READERS):
            reading.step(read_two, name=f"r{number}")
    return reading


async def reading_bare(context: Context) -> Context:
    results: Context = {}

    async def branch(name: str, ctx: Context) -> None:
        results[name] = await read_two(ctx)

    async with trio.open_nursery() as nursery:
        for number in range(READERS):
            nursery.start_soon(branch, f"r{number}", dict(context))
    return {"owner": context["owner"]}


# -- parked ---------------------------------------------------------------------------------------------


def sleeping_workflow(on_wake: Callable[[], None] = lambda: None) -> Workflow:
    """Sleeps as long as its input says, and calls ``on_wake``."""
    sleeper = Workflow("sleeper")
    sleeper.sleep(lambda ctx: ctx["seconds"], name="nap")

    @sleeper.step
    async def awake(ctx: Any) -> Context:
        on_wake()
        return {"awake": True}

    return sleeper


def waking_workflow() -> Workflow:
    """The same without the sleep."""
    waker = Workflow("waker")

    @waker.step
    async def awake(ctx: Any) -> Context:
        return {"awake": True}

    return waker
