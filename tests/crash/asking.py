"""What a body asks for in the middle of a step: waits, people, other runs; and what it got, line by line.

In a script these stand in front of the act, joined by ``+``: ``"sleep:5+event:paid:20+raise:1"``.

=================== ===========================================================================
sleep:5, until:5    sleeps for so many milliseconds
event:n             waits for event n
any:n|m, all:n|m    for the first of some events, for all of them
approval:n          asks a person; so do choice:n, text:n and form:n
call:kid            calls the run that the scenario has under that name; ``call:kid:ref``
start:kid           starts it, twice
=================== ===========================================================================

A wait may have a time, in milliseconds, and then a default too; with a ``!`` behind the time it has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from durable_trio import (
    WaitTimeout,
    call_workflow,
    sleep,
    sleep_until,
    start_workflow,
    wait_for_all,
    wait_for_any,
    wait_for_event,
    wait_for_input,
)

from .values import digest

if TYPE_CHECKING:
    from .bodies import RunSpec, Scene

CHOICES = (1, "two", {"value": 3.5, "label": "three and a half"})
FIELDS = (
    {"name": "who", "type": "text", "required": True},
    {"name": "count", "type": "number", "required": False},
    {"name": "size", "type": "select", "options": ["s", "l"], "required": False},
)
_QUESTIONS: dict[str, dict[str, Any]] = {
    "approval": {},
    "text": {},
    "choice": {"choices": CHOICES},
    "form": {"fields": FIELDS},
}
_DEFAULTS: dict[str, Any] = {
    "approval": "rejected",
    "text": "nothing",
    "choice": 1,
    "form": {"who": "nobody", "count": None, "size": None},
}


class Asker:
    """The questions of one execution of a body, counted as the engine counts them.

    Args:
        scene: whose.
        runs: what can be called, by name.
    """

    def __init__(self, scene: Scene, runs: dict[str, RunSpec]) -> None:
        self._scene = scene
        self._runs = runs
        self._counts: Counter[str] = Counter()

    async def ask(self, text: str) -> None:
        """Ask for one thing of a script."""
        what, _, rest = text.partition(":")
        name, _, bound = rest.partition(":")
        match what:
            case "sleep":
                length = int(name) / 1000
                await self._told([self._label("sleep", "")], None, lambda: _nothing(sleep(length)))
            case "until":
                instant = datetime.now(UTC) + timedelta(milliseconds=int(name))
                await self._told([self._label("sleep", "")], None, lambda: _nothing(sleep_until(instant)))
            case "event":
                await self._bounded(what, name, bound, lambda options: wait_for_event(name, **options))
            case "any" | "all":
                names = name.split("|")
                wait = wait_for_any if what == "any" else wait_for_all
                await self._bounded(what, name, bound, lambda options: wait(names, **options))
            case "call":
                await self._call(self._runs[name], bound)
            case "start":
                await self._start(self._runs[name])
            case _:
                question = _QUESTIONS[what]
                await self._bounded(
                    what, name, bound, lambda options: wait_for_input(name, what, **question, **options)
                )

    def _label(self, kind: str, name: str) -> str:
        key = f"__{kind}:{name}"
        self._counts[key] += 1
        return f"{key}#{self._counts[key]}"

    async def _bounded(self, what: str, name: str, bound: str, ask: Callable[..., Awaitable[Any]]) -> None:
        if what == "all":
            labels = [self._label("event", part) for part in name.split("|")]
        elif what in {"event", "any"}:
            labels = [self._label("event", f"any:{name}" if what == "any" else name)]
        else:
            labels = [self._label("input", name)]
        options: dict[str, Any] = {}
        if bound:
            options["timeout"] = int(bound.rstrip("!")) / 1000
            if not bound.endswith("!"):
                options["default"] = _DEFAULTS.get(what, {"default": labels[0]})
        await self._told(labels, options.get("default"), lambda: ask(options))

    async def _told(self, labels: list[str], default: Any, ask: Callable[[], Awaitable[Any]]) -> None:
        known = None if default is None else digest(default)
        for label in labels:
            self._scene.tell("wait", None, [label, known])
        try:
            got = await ask()
        except WaitTimeout:
            self._scene.tell("got", "timeout", [labels[-1], known])
            return
        if len(labels) > 1 and got != default:
            for label in labels:
                name = label.partition(":")[2].rpartition("#")[0]
                self._scene.tell("got", digest(got[name]), [label, known])
        elif labels[0].startswith("__event:any:") and got != default:
            self._scene.tell("got", digest(got[1]), [labels[0], known])
        elif len(labels) == 1:
            self._scene.tell("got", digest(got), [labels[0], known])

    async def _call(self, spec: RunSpec, how: str) -> None:
        ref, _, bound = how.partition(":")
        label = f"__child:{ref}" if ref else self._label("child", spec.workflow)
        self._scene.tell("wait", None, [label, None])
        timeout = int(bound) / 1000 if bound else None
        _, value = await call_workflow(spec.workflow, spec.input, ref=ref or None, timeout=timeout)
        self._scene.tell("got", digest(value), [label, None])

    async def _start(self, spec: RunSpec) -> None:
        for _ in range(2):
            self._scene.tell("child", await start_workflow(spec.workflow, spec.input, ref=spec.id), spec.id)


async def _nothing(wait: Awaitable[None]) -> None:
    await wait
