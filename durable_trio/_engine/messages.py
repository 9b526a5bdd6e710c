"""What is sent to a run from outside: events, and the answers of people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from durable_trio._engine import inputs
from durable_trio._engine.asking import asked_for, declared
from durable_trio._errors import InputError
from durable_trio._forms import check_answer
from durable_trio._snapshot.records import EVENT_MESSAGE, INPUT_MESSAGE

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine


async def send_event(engine: Engine, run_id: str, name: str, payload: Any) -> None:
    """See ``Engine.send_event``."""
    deliver = await event_for(engine, run_id, name, payload)
    deliver()
    await engine.committer.durable()


async def event_for(engine: Engine, run_id: str, name: str, payload: Any) -> Callable[[], None]:
    """Check an event. What this gives hands it over, if it is called with no await in between."""
    engine.check_open()
    inputs.check_name(name, "an event's name")
    frozen, _ = engine.codec.freeze(payload, "payload")
    run = await engine.post.addressee(run_id)
    engine.check_open()
    return partial(engine.post.deliver, run, EVENT_MESSAGE, name, frozen)


async def provide_input(engine: Engine, run_id: str, name: str, value: Any) -> None:
    """See ``Engine.provide_input``."""
    deliver = await answer_for(engine, run_id, name, value)
    deliver()
    await engine.committer.durable()


async def answer_for(engine: Engine, run_id: str, name: str, value: Any) -> Callable[[], None]:
    """Check an answer. What this gives hands it over, if it is called with no await in between."""
    engine.check_open()
    inputs.check_name(name, "an input's name")
    run = await engine.post.addressee(run_id)
    await engine.committer.durable()  # what the run has asked for so far
    stored = await engine.reader.call(engine.reader.load, run_id)
    engine.check_open()
    asked = asked_for(engine.codec, stored)
    spec = asked.get(name) or declared(run.plan, name)
    if spec is None:
        known = ", ".join(map(repr, asked)) or "nothing"
        raise InputError(f"run {run_id!r} does not ask for an input {name!r}; it asks for: {known}")
    answer = check_answer(spec, value, what=f"the answer to {name!r}")
    frozen, _ = engine.codec.freeze(answer, "value")
    if run.ending:
        raise InputError(f"run {run_id!r} has ended: it takes nothing any more")
    return partial(engine.post.deliver, run, INPUT_MESSAGE, name, frozen)
