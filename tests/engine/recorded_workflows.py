"""The workflows of the recorded databases, as shapes that a test can change.

A node is its name and a mark: ``name`` is a step, ``name!`` one with a handler to undo it, ``name()`` one
that calls the workflow ``errand``, ``name@`` one that waits for the event ``word`` inside; ``name:`` is a
block, ``name>`` a sequence, ``name[]`` a map over ``ctx["pages"]``, ``name?`` a branch by ``ctx["kind"]``,
``name zzz`` a sleep of three days, ``name<-event`` and ``name<-input?`` are waits. What is recorded depends
on these shapes: they are added to, and never changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from durable_trio import Err, Ok, Workflow, call_workflow, step_info, wait_for_event

THREE_DAYS = 3 * 24 * 3600.0

Shape = Sequence[Any]  # of names, and of pairs of a name and what is inside

SHAPES: Mapping[str, Shape] = {
    "order": [
        "validate",
        ("checks:", ["stock", ("pay>", ["authorize", "capture"])]),
        "ship",
        "notify",
    ],
    "papers": [
        ("kind?", {"invoice": ["read", "book"], "letter": ["answer"]}),
        "pages[]",
        "store",
    ],
    "approval": ["prepare", "called<-call", "approved<-approval?", "rest zzz", "close"],
    "trip": ["hotel!", ("tickets:", ["train!", "boat!"]), "settle"],
    "errand": ["walk", "met<-meeting", "home"],
    "family": ["send()", "talk@", "sleep"],
}

# Run id to workflow and input. A run stands still where ``stop`` says as long as it is recorded, and fails
# where ``fail`` says.
RUNS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "order-begins": ("order", {"stop": ["validate"]}),
    "order-in-block": ("order", {"stop": ["checks/pay/capture"]}),
    "order-ships": ("order", {"stop": ["ship"]}),
    "order-done": ("order", {}),
    "order-failed": ("order", {"fail": ["ship"]}),
    "papers-in-case": ("papers", {"kind": "invoice", "stop": ["kind/book"]}),
    "papers-in-map": ("papers", {"kind": "letter", "stop": ["pages/1"]}),
    "approval-event": ("approval", {}),
    "approval-input": ("approval", {"event": "call"}),
    "approval-sleeps": ("approval", {"event": "call", "answer": "approval"}),
    "approval-cancelled": ("approval", {"cancel": True}),
    "trip-compensating": ("trip", {"fail": ["settle"], "stop": ["tickets/train/!undo_train"]}),
    "trip-compensated": ("trip", {"fail": ["settle"]}),
    "family-waits": ("family", {}),
}


def build(name: str, shape: Shape | None = None, *, version: str = "1", recording: bool = False) -> Workflow:
    """The workflow of this name; of another shape than the recorded one, if that is given."""
    workflow = Workflow(name, version=version)
    _declare_all(workflow, SHAPES[name] if shape is None else shape, recording=recording, place="top")
    return workflow


def build_all(*, recording: bool = False, **changed: Shape) -> list[Workflow]:
    """All workflows, some of them changed."""
    return [build(name, changed.get(name), recording=recording) for name in SHAPES]


def _declare_all(wf: Workflow, shape: Shape, *, recording: bool, place: str) -> None:
    for node in shape:
        name, inside = (node, None) if isinstance(node, str) else node
        _declare(wf, name, inside, recording=recording, place=place)


def _declare(  # noqa: C901 - one case per kind of node
    wf: Workflow, name: str, inside: Any, *, recording: bool, place: str
) -> None:
    async def body(ctx: Any, *_item: Any) -> Any:
        info = step_info()
        if recording and info.path in ctx.get("stop", ()):
            await trio.sleep_forever()
        if bare in ctx.get("fail", ()):
            return Err(f"{bare} failed")
        if name.endswith("()"):
            return ctx | {bare: await call_workflow("errand", {"from": info.run_id})}
        if name.endswith("@"):
            return ctx | {bare: await wait_for_event("word")}
        return Ok("done") if place == "branch" or name.endswith("[]") else ctx | {bare: "done"}

    bare = name.partition("<-")[0].rstrip("!@()[]:>? ").removesuffix(" zzz")
    if name.endswith(":"):
        with wf.parallel(name=bare):
            _declare_all(wf, inside, recording=recording, place="branch")
    elif name.endswith(">"):
        with wf.sequence(bare):
            _declare_all(wf, inside, recording=recording, place="chain")
    elif "<-" in name:
        awaited = name.partition("<-")[2]
        if awaited.endswith("?"):
            wf.wait_for_approval(awaited[:-1], step=bare)
        else:
            wf.wait_for_event(awaited, step=bare)
    elif name.endswith("?"):
        with wf.branch(lambda ctx: ctx["kind"], name=bare) as kind:
            for value, nodes in inside.items():
                with kind.case(value):
                    _declare_all(wf, nodes, recording=recording, place=place)
    elif name.endswith("[]"):
        wf.map(body, over="pages", name=bare, limit=1)
    elif name.endswith(" zzz"):
        wf.sleep(THREE_DAYS, name=bare)
    elif name.endswith("!"):

        async def undo(ctx: Any, _result: Any) -> None:
            if recording and step_info().path in ctx.get("stop", ()):
                await trio.sleep_forever()

        wf.compensation(f"undo_{bare}", undo)
        wf.step(body, name=bare, compensate=f"undo_{bare}")
    else:
        wf.step(body, name=bare)
