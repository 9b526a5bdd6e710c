"""Waits inside a step: ``await sleep(...)``, ``await wait_for_event(...)`` and their kin.

The step's task waits, so that the run is not parked. After a restart the step's body starts again, and so
does a further attempt; waits that were answered then return at once what they returned before. A wait is
told apart by its kind, its name, and how many of that kind and name came before it in the body: a body may
branch on what it got, but must not ask in another order than the last time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Any

import msgspec
import trio

from durable_trio._context import StepScope, scope_of
from durable_trio._definition.checks import LONGEST_WAIT
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.committer import Post
from durable_trio._engine.inputs import check_name
from durable_trio._engine.mailbox import Letter
from durable_trio._engine.run import RunState
from durable_trio._engine.waits import receive, wait_until
from durable_trio._errors import InputError, WaitTimeout
from durable_trio._forms import InputSpec, check_answer, input_spec
from durable_trio._retry import seconds
from durable_trio._snapshot.records import (
    EVENT,
    EVENT_MESSAGE,
    INPUT,
    INPUT_MESSAGE,
    KIND_NAMES,
    SLEEP,
    Answered,
    Waiting,
)
from durable_trio._speedups.context import thaw


async def sleep(duration: float | timedelta) -> None:
    """Wait for so long, in a step; a restart does not extend it.

    Args:
        duration: seconds, or a timedelta.

    Raises:
        RuntimeError: outside a step.
    """
    scope = scope_of("sleep")
    due = scope.run.engine.now() + _length(duration, "sleep(...)")
    await _sleep(scope, due)


async def sleep_until(instant: datetime) -> None:
    """Wait for an aware instant, in a step.

    Raises:
        RuntimeError: outside a step.
        InputError: the datetime has no time zone.
    """
    scope = scope_of("sleep_until")
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise InputError(f"sleep_until takes an aware datetime, not {instant!r:.80}")
    await _sleep(scope, instant.timestamp())


async def wait_for_event(
    name: str,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Wait for an event, in a step, and return its payload.

    Args:
        name: of the event.
        timeout: seconds from when the wait begins, or a timedelta; None: no bound.
        default: what to return when the time is over.

    Raises:
        WaitTimeout: the time is over, and there is no default.
        RuntimeError: outside a step.
    """
    scope = scope_of("wait_for_event")
    return await _wait(scope, "wait_for_event", EVENT, name, timeout, default, None)


async def wait_for_any(
    names: Sequence[str],
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Wait for the first of several events, in a step; gives ``(name, payload)``.

    With a ``default``, that is what is returned when the time is over.
    """
    scope = scope_of("wait_for_any")
    names = _names(names, "wait_for_any")
    wait = _Wait(scope, EVENT, "any:" + "|".join(names), timeout, None)
    await trio.lowlevel.checkpoint()
    if wait.answered is None:
        letter, name = await _first(wait, names)
        wait.answer(None if letter is None else [name, letter.payload], letter)
    if wait.timed_out:
        return _default(wait, default)
    name, payload = wait.payload
    return name, payload


async def wait_for_all(
    names: Sequence[str],
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Wait for several events, in a step; gives ``{name: payload}``.

    With a ``default``, that is what is returned when the time is over before all have come. Those that have
    come by then are taken.
    """
    scope = scope_of("wait_for_all")
    names = _names(names, "wait_for_all")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:  # the mapping has a place for one of the two payloads
        raise InputError(
            f"wait_for_all: {twice!r} is in the list twice; name it once, and wait for the next one "
            f"with wait_for_event({twice!r})"
        )
    run: RunState = scope.run
    due = None
    if timeout is not None and timeout != math.inf:
        due = run.engine.now() + _length(timeout, "wait_for_all(timeout=...)")
    answers: dict[str, Any] = {}
    # All of them begin here, so that all are recorded with the due time that they share.
    waits = [_Wait(scope, EVENT, name, None, None, due=due) for name in names]
    for name, wait in zip(names, waits, strict=True):
        await wait.finish()
        if wait.timed_out:
            return _default(wait, default)
        answers[name] = wait.payload
    return answers


async def wait_for_input(
    name: str,
    kind: str = "text",
    prompt: str | None = None,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
    *,
    choices: Sequence[Any] | None = None,
    fields: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    """Ask a person, in a step, and return the answer, which fits what was asked.

    Args:
        name: what ``provide_input`` calls it.
        kind: ``"approval"``, ``"choice"``, ``"text"`` or ``"form"``.
        prompt: what the person reads.
        timeout: as of ``wait_for_event``.
        default: as of ``wait_for_event``.
        choices: of a choice: values, or mappings with ``value`` and ``label``.
        fields: of a form: mappings with ``name``, ``type``, ``options`` and ``required``.

    Raises:
        DefinitionError: the question is not well formed.
        WaitTimeout: the time is over, and there is no default.
        RuntimeError: outside a step.
    """
    return await _ask("wait_for_input", name, kind, prompt, timeout, default, choices=choices, fields=fields)


async def wait_for_approval(
    name: str,
    prompt: str | None = None,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Ask a person for an approval, in a step: ``"approved"`` or ``"rejected"``."""
    return await _ask("wait_for_approval", name, "approval", prompt, timeout, default)


async def wait_for_choice(
    name: str,
    choices: Sequence[Any],
    prompt: str | None = None,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Ask a person to choose, in a step: one of the choices' values."""
    return await _ask("wait_for_choice", name, "choice", prompt, timeout, default, choices=choices)


async def wait_for_text(
    name: str,
    prompt: str | None = None,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Ask a person for a text, in a step."""
    return await _ask("wait_for_text", name, "text", prompt, timeout, default)


async def wait_for_form(
    name: str,
    fields: Sequence[Mapping[str, Any]],
    prompt: str | None = None,
    timeout: float | timedelta | None = None,
    default: Any | EllipsisType = ...,
) -> Any:
    """Ask a person to fill a form, in a step: a dict of its fields."""
    return await _ask("wait_for_form", name, "form", prompt, timeout, default, fields=fields)


# -- one wait ----------------------------------------------------------------------------------------


class _Wait:
    """One wait of a step's body: what is recorded of it, and how it goes on."""

    def __init__(
        self,
        scope: StepScope,
        kind: int,
        name: str | None,
        timeout: float | timedelta | None,
        spec: InputSpec | None,
        *,
        due: float | None = None,
    ) -> None:
        run: RunState = scope.run
        engine = run.engine
        assert scope.path is not None
        waited = scope.waited
        if waited is None:
            waited = scope.waited = {}
        count = waited[kind, name] = waited.get((kind, name), 0) + 1
        # Two underscores: no node is called so.
        label = f"__{KIND_NAMES[kind]}:{name or ''}#{count}"
        self.run = run
        self.scope = scope
        self.kind = kind
        self.name = name
        self.key = (f"{scope.path}/{label}", scope.visit)
        self.answered = run.mailbox.answered.get(self.key)
        if self.answered is not None:
            return
        begun = run.mailbox.waiting.get(self.key)
        if begun is None:
            if timeout is not None and timeout != math.inf:
                due = engine.now() + _length(timeout, "timeout=")
            asked = None if spec is None else msgspec.to_builtins(spec)
            begun = Waiting(*self.key, kind, name, engine.now(), due, asked)
            run.mailbox.waiting[self.key] = begun
            run.put(engine.codec.encode(begun))
            if ARMED:
                failpoint("wait.put")
            engine.committer.soon()
        self.due = begun.due

    @property
    def timed_out(self) -> bool:
        assert self.answered is not None
        return self.answered.timed_out

    @property
    def payload(self) -> Any:
        assert self.answered is not None
        return thaw(self.answered.payload)

    async def finish(self) -> None:
        """Wait, unless this is answered already. Always a checkpoint."""
        await trio.lowlevel.checkpoint()
        if self.answered is not None:
            return
        message = EVENT_MESSAGE if self.kind == EVENT else INPUT_MESSAGE
        letter = await receive(self.run, self.scope, message, str(self.name), self.due, stay=True)
        self.answer(None if letter is None else letter.payload, letter)

    def answer(self, payload: Any, letter: Letter | None, *, timed_out: bool | None = None) -> None:
        """Record the answer, together with the letter that it took. No await lies before this."""
        engine = self.run.engine
        over = letter is None if timed_out is None else timed_out
        wire = engine.codec.wire(payload)
        record = Answered(*self.key, engine.now(), over, wire)
        post = None if letter is None else Post(taken=(letter.number,))
        engine.committer.put(self.run, (engine.codec.encode(record),), post=post)
        if ARMED:
            failpoint("wait.over")
        engine.committer.soon()
        record.payload = payload
        self.answered = self.run.mailbox.answered[self.key] = record
        self.run.mailbox.waiting.pop(self.key, None)


async def _sleep(scope: StepScope, due: float) -> None:
    wait = _Wait(scope, SLEEP, None, None, None, due=due)
    await trio.lowlevel.checkpoint()
    if wait.answered is None:
        await wait_until(wait.run, scope, wait.due, stay=True)
        wait.answer(None, None, timed_out=False)


async def _ask(
    caller: str,
    name: str,
    kind: str,
    prompt: str | None,
    timeout: float | timedelta | None,
    default: Any | EllipsisType,
    *,
    choices: Sequence[Any] | None = None,
    fields: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    scope = scope_of(caller)
    spec = input_spec(kind, prompt=prompt, choices=choices, fields=fields, where=f"{caller}({name!r})")
    return await _wait(scope, caller, INPUT, name, timeout, default, spec)


async def _wait(
    scope: StepScope,
    caller: str,
    kind: int,
    name: str,
    timeout: float | timedelta | None,
    default: Any,
    spec: InputSpec | None,
) -> Any:
    check_name(name, f"{caller}: the name of an event or input")
    if spec is not None and default is not ... and default is not None:
        default = check_answer(spec, default, what="default")
    wait = _Wait(scope, kind, name, timeout, spec)
    await wait.finish()
    return _default(wait, default) if wait.timed_out else wait.payload


async def _first(wait: _Wait, names: Sequence[str]) -> tuple[Letter | None, str]:
    run = wait.run
    while True:
        found = [(letter.number, name) for name in names if (letter := run.mailbox.peek(EVENT_MESSAGE, name))]
        if found:
            _, name = min(found)
            letter = run.mailbox.take(EVENT_MESSAGE, name)
            return letter, name
        left = 60.0 if wait.due is None else min(wait.due - run.engine.now(), 60.0)
        if left <= 0:
            return None, ""
        arrival = run.mailbox.arrival
        with run.idling(wait.scope, wait.due, stay=True), trio.move_on_after(left):
            await arrival.wait()


def _default(wait: _Wait, default: Any) -> Any:
    if default is ...:
        raise WaitTimeout(f"{wait.key[0]!r} was not answered in time")
    return default


def _length(value: float | timedelta, what: str) -> float:
    length = seconds(value, what)
    if length > LONGEST_WAIT:
        raise InputError(f"{what} may be 1000 years ({LONGEST_WAIT:.0f} seconds) at most, not {value!r}")
    return length


def _names(names: Sequence[str], caller: str) -> list[str]:
    if isinstance(names, str) or not names:
        raise InputError(f"{caller} takes a list of names of events, at least one, not {names!r:.80}")
    for name in names:
        check_name(name, f"{caller}: the name of an event or input")
    return list(names)
