"""The workflows of ``model_flows.py`` as real ones. Each body does what the machine tells it at its gate."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from model import UNIT
from model_flows import (
    CHOICES,
    FLOWS,
    Branch,
    Child,
    Event,
    Flow,
    Input,
    Map,
    Node,
    Parallel,
    Sequence,
    Sleep,
    Step,
)

from durable_trio import (
    Err,
    Finish,
    Goto,
    Ok,
    Retry,
    Workflow,
    call_workflow,
    sleep,
    start_workflow,
    step_info,
    wait_for_event,
    wait_for_input,
)

# Called with a body's (run, path, visit, attempt); gives what the machine has chosen for it.
Arrive = Callable[..., Awaitable[tuple[str, Any]]]


def build(arrive: Arrive, enter: Callable[..., None]) -> dict[str, Workflow]:
    """All workflows; ``enter`` is told of each body that is entered, ``arrive`` waits at its gate."""
    return {name: _Builder(flow, arrive, enter).workflow for name, flow in FLOWS.items()}


class _Builder:
    def __init__(self, flow: Flow, arrive: Arrive, enter: Callable[..., None]) -> None:
        self._arrive = arrive
        self._enter = enter
        self._flow = flow
        timeout = None if flow.timeout is None else flow.timeout * UNIT
        self.workflow = Workflow(flow.name, timeout=timeout)
        for node in flow.nodes:
            self._declare(node, plain=False)

    def _declare(self, node: Node, *, plain: bool) -> None:
        wf = self.workflow
        match node:
            case Step():
                undo = None
                if node.undo:
                    undo = f"undo_{node.name}"
                    wf.compensation(undo, self._handler)
                retry = _retry(node.attempts, node.back_off)
                timeout = None if node.timeout is None else node.timeout * UNIT
                body = self._body(node, plain=plain)
                wf.step(body, name=node.name, retry=retry, timeout=timeout, compensate=undo)
            case Sleep():
                wf.sleep(node.seconds * UNIT, name=node.name)
            case Event():
                wf.wait_for_event(node.event, step=node.name, **_patience(node))
            case Input():
                choices = CHOICES if node.kind == "choice" else None
                wf.wait_for_input(
                    node.input, kind=node.kind, choices=choices, step=node.name, **_patience(node)
                )
            case Sequence():
                with wf.sequence(node.name):
                    self._declare_all(node.nodes)
            case Branch():
                with wf.branch(lambda ctx: ctx["kind"], name=node.name) as choice:
                    for value, nodes in node.cases.items():
                        with choice.case(value):
                            self._declare_all(nodes)
                    if node.default:
                        with choice.default():
                            self._declare_all(node.default)
            case Parallel():
                with wf.parallel(
                    on_error="complete_all" if node.complete_all else "fail_fast",
                    into=_into(node.name) if node.into else None,
                    name=node.name,
                    limit=node.limit,
                    timeout=None if node.timeout is None else node.timeout * UNIT,
                    need=node.need or None,
                ):
                    self._declare_all(node.branches, plain=True)
            case Map():
                wf.map(
                    self._item(node),
                    over="items",
                    name=node.name,
                    limit=node.limit,
                    on_error="complete_all" if node.complete_all else "fail_fast",
                    need=node.need or None,
                    retry=_retry(node.attempts, node.back_off),
                )

    def _declare_all(self, nodes: tuple[Node, ...], *, plain: bool = False) -> None:
        for node in nodes:
            self._declare(node, plain=plain)

    def _body(self, step: Step, *, plain: bool) -> Callable[[Any], Awaitable[Any]]:
        async def body(ctx: Any) -> Any:
            info = step_info()
            where = (ctx["tag"], info.path, info.visit, info.attempt)
            self._enter(where)
            got = [await _part(part, number, ctx, where) for number, part in enumerate(step.parts)]
            what, value = await self._arrive(where)
            return self._made(ctx, step.name, [value, *got], what, value, plain=plain)

        return body

    def _item(self, node: Map) -> Callable[[Any, Any], Awaitable[Any]]:
        async def body(ctx: Any, item: Any) -> Any:
            info = step_info()
            assert item == ctx["items"][int(info.path.rpartition("/")[2])]
            where = (ctx["tag"], info.path, info.visit, info.attempt)
            self._enter(where)
            what, value = await self._arrive(where)
            return self._made(ctx, node.name, [value], what, value, plain=True)

        return body

    def _made(self, ctx: Any, name: str, mine: Any, what: str, value: Any, *, plain: bool) -> Any:
        match what:
            case "ok":
                return Ok(mine) if plain else ctx | {name: mine}
            case "goto":
                nodes = self._flow.nodes
                return Goto(nodes[value % len(nodes)].name, ctx | {name: mine})
            case "finish":
                return Finish(ctx | {name: mine})
            case "raise":
                raise ValueError(value)
        return Err(value, retry=what != "fatal")

    async def _handler(self, ctx: Any, result: Any) -> Any:
        info = step_info()
        path = info.path.partition("/!")[0]
        where = (ctx["tag"], f"{path}/!undo", info.visit, info.attempt)
        self._enter(where)
        what, value = await self._arrive(where)
        return None if what in ("ok", "goto", "finish") else Err(value)


async def _part(part: Any, number: int, ctx: Any, where: tuple[str, str, int, int]) -> Any:
    match part:
        case Sleep():
            return await sleep(part.seconds * UNIT)
        case Event():
            return await wait_for_event(part.event, **_patience(part))
        case Input():
            choices = CHOICES if part.kind == "choice" else None
            return await wait_for_input(part.input, part.kind, choices=choices, **_patience(part))
        case Child():
            tag, path, visit, _ = where
            given = {"kind": ctx["kind"], "items": ctx["items"], "tag": f"{tag}>{path}:{visit}:{number}"}
            if part.call:
                return await call_workflow(part.flow, given)
            await start_workflow(part.flow, given)
    return None


def _patience(wait: Event | Input) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if wait.timeout is not None:
        given["timeout"] = wait.timeout * UNIT
    if wait.default is not None:
        given["default"] = wait.default
    return given


def _retry(attempts: int, back_off: int) -> Retry | None:
    if attempts == 1:
        return None
    seconds = back_off * UNIT
    return Retry(max_attempts=attempts, backoff="constant", base=seconds, max_backoff=seconds, jitter=False)


def _into(name: str) -> Callable[[Any, Any], Any]:
    def into(ctx: Any, results: Any) -> Any:
        good = sum(result.is_ok for result in results.values())
        return Ok(ctx | {name: good}) if good else Err("none")

    return into
