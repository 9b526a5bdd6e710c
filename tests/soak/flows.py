"""What the runs of a soak do. Each waits for something, and most are awaited by an event."""

from __future__ import annotations

from typing import Any

from durable_trio import Err, Ok, Workflow, call_workflow, sleep, wait_for_event

_LONG = 60.0  # seconds after which a run goes on without an event


async def begin(ctx: Any) -> Any:
    return ctx | {"begun": ctx["number"], "text": "x" * (ctx["number"] % 7 * 100)}


async def undo(ctx: Any, result: Any) -> None:
    pass


async def end(ctx: Any) -> Any:
    return Err("every twentieth fails") if ctx["number"] % 20 == 0 else ctx | {"ended": True}


def _order() -> Workflow:
    wf = Workflow("order")
    wf.compensation("undo", undo)
    wf.step(begin, compensate="undo")
    wf.wait_for_event("go", timeout=_LONG, default=None)
    wf.step(end)
    return wf


def _nap() -> Workflow:
    wf = Workflow("nap")
    wf.step(begin)
    wf.sleep(lambda ctx: ctx["seconds"], name="asleep")
    wf.step(end)
    return wf


def _block() -> Workflow:
    wf = Workflow("block")

    async def heard(ctx: Any) -> Any:
        return Ok(await wait_for_event("go", timeout=_LONG, default=None))

    async def slept(ctx: Any) -> Any:
        await sleep(ctx["seconds"])
        return Ok(ctx["number"])

    wf.step(begin)
    with wf.parallel(name="both", on_error="complete_all"):
        wf.step(heard)
        wf.step(slept)
    wf.step(end)
    return wf


ORDER, NAP, BLOCK = _order(), _nap(), _block()


def _parent() -> Workflow:
    wf = Workflow("parent")

    async def ask(ctx: Any) -> Any:
        await call_workflow(NAP, {"number": ctx["number"], "seconds": ctx["seconds"]})
        return ctx

    wf.step(ask)
    wf.wait_for_event("go", timeout=_LONG, default=None)
    return wf


PARENT = _parent()
WORKFLOWS = (ORDER, NAP, BLOCK, PARENT)
MIXTURE = (ORDER,) * 5 + (NAP,) * 2 + (BLOCK,) * 2 + (PARENT,)
