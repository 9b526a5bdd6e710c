"""Cancels a run, together with the runs that it has started."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.ending import end, give_up
from durable_trio._engine.recovery import load_seq
from durable_trio._engine.run import Ending, RunState
from durable_trio._errors import RunBlocked, RunNotFound, StoreCorrupt
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES
from durable_trio._snapshot.records import CancelRequested

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine


async def cancel(engine: Engine, run_id: str, reason: Any, *, compensate: bool) -> bool:
    """See ``Engine.cancel``."""
    run = await cancellable(engine, run_id)
    took_effect = cancel_now(run, reason, compensate=compensate)
    await engine.committer.durable()
    return took_effect


async def cancellable(engine: Engine, run_id: str) -> RunState | None:
    """The run that is to be cancelled; None if it has ended. Cancel it with no await in between."""
    engine.check_open()
    run = await engine.post.unended(run_id)
    engine.check_open()
    return run


def cancel_now(run: RunState | None, reason: Any, *, compensate: bool = False) -> bool:
    """Hand over the cancellation of a run that has not ended, and of all that it has started and that is
    under way; False if it is too late for one.
    """
    # A child may be found ended by the step that called it.
    if (
        run is None
        or run.ending
        or run.status == "compensating"
        or STATUS_CODES[run.status] >= FIRST_ENDED_CODE
    ):
        return False
    if run.stopped:
        return True
    engine = run.engine
    frozen, _ = engine.codec.freeze(reason, "reason")
    load_seq(engine, run)
    family = [(run, frozen), *_descendants(engine, run)]
    undone = [_can_be_undone(member) if compensate else False for member, _ in family]
    # The run itself comes last: a crash in between must not leave an ended run with a live child.
    for (member, because), undo in reversed(list(zip(family, undone, strict=True))):
        _cancel_one(member, because, compensate=undo)
    return True


def cancel_children(run: RunState, *, compensate: bool) -> None:
    """Cancel what a cancelled run has started and a crash has left under way."""
    for child, because in reversed(_descendants(run.engine, run)):
        undo = compensate and child.status != "blocked" and child.seq > 0
        _cancel_one(child, because, compensate=undo)


def _descendants(engine: Engine, run: RunState) -> list[tuple[RunState, str]]:
    """The runs under way that a run has started, and theirs, parents first; each with why it is cancelled
    when the run is.
    """
    found = []
    because = f"run {run.id!r}, which started it, was cancelled"
    for child_id in sorted(run.children):
        # It is deleted, or cannot be read: there is nothing to cancel.
        with suppress(RunNotFound, StoreCorrupt):
            child = engine.post.find(child_id)
            if child is not None and not (child.ending or child.stopped or child.status == "compensating"):
                load_seq(engine, child)
                found += [(child, because), *_descendants(engine, child)]
    return found


def _can_be_undone(run: RunState) -> bool:
    """Whether a run has done what could be undone; raises RunBlocked if that cannot be now."""
    # What was never under way, here or before, has done nothing that could be undone.
    has_begun = run.at is not None or run.seq > 0 or run.status == "running"
    if has_begun and run.status == "blocked":
        raise RunBlocked(
            f"run {run.id!r} is blocked, and so its steps cannot be undone: {run.reason}. Register a "
            "definition that fits, or cancel it without compensate=True"
        )
    return has_begun


def _cancel_one(run: RunState, frozen: Any, *, compensate: bool) -> None:
    engine = run.engine
    engine.post.note(run.key)  # whoever holds it may have found it long ago
    run.stopped = True
    run.pause = None
    run.undoes = compensate
    run.reason = frozen
    run.put(engine.codec.encode(CancelRequested(engine.now(), engine.codec.wire(frozen), compensate)))
    if ARMED:
        failpoint("cancel.put")
    if run.scope is not None:
        engine.stragglers.watch(run.scopes)
        run.scope.cancel(reason=run.halt_cause)
    elif run.status in ("pending", "waiting", "blocked"):
        _end_idle(run, Ending("cancelled", frozen, {}))


def _end_idle(run: RunState, ending: Ending) -> None:
    """End a run that has no task; if its steps are to be undone, it gets one for that."""
    engine = run.engine
    parked = run.status == "waiting"
    if run.undoes:
        give_up(run, ending, [])
    else:
        end(run, ending, [])
    if parked and run.compensating is not None:
        engine.post.unpark(run)
        run.begun = True
        if engine.admission.enter(run):
            engine.take_up(run)
