"""Calls a user's function, and turns what it returns or raises into a Verdict.

No exception of a user leaves this room as an exception. What passes through is a cancellation, and what
is no ``Exception`` at all (``KeyboardInterrupt``, ``SystemExit``), which stops the engine and is never
taken for a step's failure.
"""

from __future__ import annotations

import dataclasses
import enum
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from durable_trio._context import StepScope
from durable_trio._definition.nodes import Handler, MapNode, ParallelNode, StepNode
from durable_trio._errors import SnapshotError
from durable_trio._retry import Retry
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import DELTA, ERROR, FINISH, OK, REASON, REPLACED, SAME, TIMED_OUT, VALUE
from durable_trio._speedups.context import Context, settle, thaw
from durable_trio._values import Err, Failure, Finish, Goto, Ok

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine

_TRACEBACK_FRAMES = 30
# Where frames lie that are the engine's: the second is what compiled code calls its own.
_OURS = (str(Path(__file__).parent), "_speedups/")


class Place(enum.Enum):
    """Where a node stands, which decides what it may return."""

    TOP = enum.auto()  # a context, or a jump
    CHAIN = enum.auto()  # in a sequence: a context
    BRANCH = enum.auto()  # a branch by itself: any value


_ALLOWED = {
    Place.TOP: (
        "Ok(mapping), a mapping (the next step's context), None (the context as it is), Err(reason), "
        "Goto(step, ctx) or Finish(ctx)"
    ),
    Place.CHAIN: (
        "Ok(mapping), a mapping (the next step's context), None (the context as it is) or Err(reason)"
    ),
    Place.BRANCH: "Ok(any storable value), a mapping, None (the context as it is) or Err(reason)",
}


class Verdict(msgspec.Struct):
    """What came of one call: how it ended, what is stored of it, and what goes on from it.

    ``value`` is frozen: the context that the call leaves (``is_context``), a branch's data, or a reason.
    """

    status: int
    form: int
    data: Any  # the wire value of the record
    removed: list[Any] | None
    value: Any
    next: str | None = None
    is_context: bool = True
    error: BaseException | None = None  # what was raised, for the retry policy to look at
    retry: bool = False  # whether another attempt could help at all


def is_cancellation(error: BaseException) -> bool:
    """Whether this is Trio's cancellation and nothing else, alone or in a group."""
    if isinstance(error, trio.Cancelled):
        return True
    return isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None


def stray(what: str, error: BaseException) -> Exception:
    """What to judge instead of a cancellation that nothing around the body has asked for.

    A nursery takes it for its own and drops it: the run would stand still for ever, without a word.
    """
    told = RuntimeError(
        f"{what} raised trio.Cancelled, but nothing around it was cancelled: a Cancelled that was caught "
        "belongs to the cancel scope that it came from. Do not keep it and raise it elsewhere (with a result "
        "that tasks share, say); raise an error of your own instead"
    )
    told.__cause__ = error
    return told


async def call_step(engine: Engine, node: StepNode, ctx: Context) -> Any:
    """Call a step's function the way it is declared, with its timeout.

    Raises:
        AttemptTimedOut: it took too long.
    """
    if node.timeout is None:
        return await _call_step(engine, node, ctx)
    with trio.CancelScope(relative_deadline=node.timeout) as limit:
        return await _call_step(engine, node, ctx)
    assert limit.cancelled_caught
    raise AttemptTimedOut(node.timeout)


class AttemptTimedOut(Exception):
    """An attempt took longer than the step's timeout, in seconds."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout


async def _call_step(engine: Engine, node: StepNode, ctx: Context) -> Any:
    argument: Any = ctx
    if node.convert is not None:
        argument = _converted(node, ctx)
    if node.mode == "async":
        value = await node.fn(argument)
    elif node.mode == "thread":
        # A thread cannot be cancelled. Waiting for it keeps its result, and keeps it from running on
        # behind the back of a block that has ended.
        value = await trio.to_thread.run_sync(node.fn, argument, limiter=engine.unlimited)
    else:
        value = node.fn(argument)
    if value is None and argument is not ctx:
        return ctx | _fields(argument)
    return value


async def call_handler(engine: Engine, handler: Handler, result: Any, ctx: Context) -> Any:
    """Call a compensation the way it is declared, with a copy of what its step returned."""
    result = thaw(result)
    if handler.mode == "async":
        return await handler.fn(ctx, result)
    if handler.mode == "thread":
        return await trio.to_thread.run_sync(handler.fn, ctx, result, limiter=engine.unlimited)
    return handler.fn(ctx, result)


async def call_into(node: ParallelNode | MapNode, results: Any, ctx: Context) -> Any:
    """Call a block's ``into``."""
    assert node.into is not None
    value = node.into(ctx, results)
    return await value if node.into_is_async else value


async def call_plain(function: Callable[[Context], Any], is_async: bool, ctx: Context) -> Any:
    """Call a function that answers a question about the context, such as a branch's ``on``."""
    value = function(ctx)
    return await value if is_async else value


def restore_contextvars(scope: StepScope) -> None:
    """Forget the context variables that a body has set in this task.

    Otherwise the next step would see them, but not if a restart lay between. There is no way to unset a
    variable without its token; but a task's context can be replaced, from its next checkpoint on, and
    one always lies between two steps.
    """
    trio.lowlevel.current_task().context = scope.clean.copy()


# -- what was raised ---------------------------------------------------------------------------------


def raised(codec: Codec, what: str, error: BaseException, attempt: int) -> Verdict:
    """The verdict on what a body raised; ``what`` names it in messages.

    Raises:
        BaseException: the same error again, if it is not a failure: a cancellation, or no ``Exception``.
    """
    if not isinstance(error, Exception):
        if not isinstance(error, BaseExceptionGroup):
            raise error
        # Inside a cancelled scope a user's error arrives mixed with Cancelled.
        _, rest = error.split(trio.Cancelled)
        if not isinstance(rest, Exception):
            raise error
        error = rest
    if isinstance(error, _Refused):
        return _error(codec, error.failure(attempt))
    if isinstance(error, AttemptTimedOut):
        return timed_out(codec, what, error.timeout, attempt)
    return _error(codec, failure_of(error, attempt), error=error, retry=not isinstance(error, SnapshotError))


def failure_of(error: BaseException, attempt: int) -> Failure:
    """The record of a raised exception. Its traceback starts in the user's code."""
    try:
        message = "".join((str(error), ""))  # exactly a str: a user's __str__ may return a subclass
    except Exception as broken:  # noqa: BLE001 - a user's __str__
        message = f"(its message cannot be shown: {type(broken).__name__})"
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames, limit=-_TRACEBACK_FRAMES))
    except Exception:  # noqa: BLE001 - a user's __str__ or __repr__, deep in a chain
        text = ""
    return Failure(type=_type_name(type(error)), message=message, traceback=text, attempts=attempt)


def timed_out(codec: Codec, what: str, timeout: float, attempt: int) -> Verdict:
    """The verdict on what took too long."""
    failure = Failure(type="TimeoutError", message=f"{what} took longer than {timeout:g} s", attempts=attempt)
    return _error(codec, failure, status=TIMED_OUT, error=TimeoutError(), retry=True)


def worth_retrying(retry: Retry | None, verdict: Verdict, attempt: int) -> bool:
    """Whether the policy asks for another attempt after this verdict."""
    if retry is None or not verdict.retry or attempt >= retry.max_attempts:
        return False
    return verdict.error is None or retry.covers(verdict.error)


def _error(
    codec: Codec,
    reason: Any,
    *,
    status: int = ERROR,
    error: BaseException | None = None,
    retry: bool = False,
) -> Verdict:
    frozen, special = codec.freeze(reason, "reason")
    data = codec.wire(frozen) if special else frozen
    return Verdict(status, REASON, data, None, frozen, None, False, error, retry)


def _type_name(kind: type) -> str:
    module = kind.__module__
    if module == "builtins":
        return kind.__qualname__
    if module.startswith("durable_trio."):
        module = "durable_trio"  # where users import it from
    return f"{module}.{kind.__qualname__}"


def refused(codec: Codec, type_name: str, message: str) -> Verdict:
    """The verdict on what can never succeed."""
    return _error(codec, Failure(type=type_name, message=message))


class _Refused(Exception):
    """A step got or returned what it may not; trying again is pointless."""

    def __init__(self, type_name: str, message: str) -> None:
        self.type_name = type_name
        self.message = message

    def failure(self, attempt: int) -> Failure:
        return Failure(type=self.type_name, message=self.message, attempts=attempt)


# -- what was returned -------------------------------------------------------------------------------


def returned(
    codec: Codec,
    what: str,
    base: dict[str, Any],
    ctx: Context,
    value: Any,
    attempt: int,
    place: Place,
    targets: Mapping[str, int],
) -> Verdict:
    """The verdict on what a step, or an ``into``, returned.

    Args:
        codec: knows which values can be stored.
        what: names the function in messages: ``step 'charge'``.
        base: the frozen context that it was given.
        ctx: that context as it was handed out.
        value: what it returned.
        attempt: the number of this attempt.
        place: where the step stands, which decides what it may return.
        targets: where a Goto may lead.
    """
    try:
        kind = value.__class__
        if (kind is Ok or kind is Err) and len(value) != 2:
            raise _not_allowed(what, tuple(value), place)  # only tuple.__new__ makes such a one
        if kind is Ok:
            value = value[1]
            kind = value.__class__
            if place is Place.BRANCH and kind is not Context:
                return _branch_value(codec, value)
            if value is None or kind is Err or kind is Goto or kind is Finish:
                raise _not_allowed(what, Ok(value), place)
        if kind is dict or kind is Context:
            pass
        elif value is None:
            value = ctx
        elif kind is Err:
            return _error(codec, value[1], retry=value.retry)
        elif kind is Goto or kind is Finish:
            return _jump(codec, what, base, ctx, value, targets if place is Place.TOP else None)
        else:
            value = _mapping(what, value, place)
        if place is Place.BRANCH and value.__class__ is not Context:
            return _branch_value(codec, value)
        return _context(codec, base, value)
    except SnapshotError as error:
        message = f"{what} returned what cannot be stored: {error}"
        return _error(codec, Failure(type="durable_trio.SnapshotError", message=message, attempts=attempt))
    except _Refused as refused:
        return _error(codec, refused.failure(attempt))


def compensated(codec: Codec, what: str, value: Any, attempt: int) -> Verdict:
    """The verdict on what a compensation returned: an ``Err`` is a failure, anything else is ignored."""
    if not isinstance(value, Err):
        return Verdict(OK, SAME, None, None, None)
    try:
        return _error(codec, value.reason, retry=value.retry)
    except SnapshotError as error:
        message = f"{what} returned what cannot be stored: {error}"
        return _error(codec, Failure(type="durable_trio.SnapshotError", message=message, attempts=attempt))


def _context(codec: Codec, base: dict[str, Any], value: Any, next_: str | None = None) -> Verdict:
    new_base, changed, removed, replaced, special = settle(base, value, codec.user_types, codec.resolve)
    if special:
        changed = codec.wire(changed)
    form = SAME if new_base is base else REPLACED if replaced else DELTA
    return Verdict(OK, form, changed, removed, new_base, next_)


def _branch_value(codec: Codec, value: Any) -> Verdict:
    if value.__class__ is not dict and isinstance(value, Mapping) and not _is_record(value):
        value = dict(value)  # any mapping is data for a branch, as it is a context for a step
    frozen, special = codec.freeze(value, "result")
    data = codec.wire(frozen) if special else frozen
    return Verdict(OK, VALUE, data, None, frozen, None, False)


def _jump(
    codec: Codec,
    what: str,
    base: dict[str, Any],
    ctx: Context,
    jump: Goto | Finish,
    targets: Mapping[str, int] | None,
) -> Verdict:
    if targets is None:
        raise _Refused(
            "durable_trio.DefinitionError",
            f"{what} returned {type(jump).__name__}, but in a parallel block nothing can jump or finish "
            "the run; return Ok(...) or Err(...), and decide in the into of the block at the top level",
        )
    if isinstance(jump, Finish):
        target = FINISH
    elif jump.step in targets:
        target = jump.step
    else:
        raise _Refused(
            "durable_trio.DefinitionError",
            f"{what} returned Goto({jump.step!r}), but the workflow has no such step at its top level; "
            f"it has: {', '.join(targets)}",
        )
    value = ctx if jump.ctx is None else jump.ctx
    if value.__class__ is not dict and value.__class__ is not Context:
        value = _mapping(f"{what}: the context of its {type(jump).__name__}", value, Place.TOP)
    return _context(codec, base, value, target)


def _mapping(what: str, value: Any, place: Place) -> Mapping[str, Any]:
    """What a step may return in place of a dict: another mapping, a Struct or a dataclass."""
    if isinstance(value, Mapping):
        return value
    if _is_record(value) and not isinstance(value, (Failure, Goto, Finish)):
        return _fields(value)
    raise _not_allowed(what, value, place)


def _is_record(value: Any) -> bool:
    return isinstance(value, msgspec.Struct) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


def _not_allowed(what: str, value: Any, place: Place) -> _Refused:
    return _Refused("TypeError", f"{what} returned {shown(value)}; it may return {_ALLOWED[place]}")


def shown(value: Any) -> str:
    """A value for a message: short, with its type."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__
        text = "a value"
    return f"{text[:80]}{'…' if len(text) > 80 else ''} (a {type(value).__qualname__})"


# -- typed contexts ----------------------------------------------------------------------------------


def _converted(node: StepNode, ctx: Context) -> Any:
    try:
        return msgspec.convert(ctx.to_dict(), node.convert)
    except msgspec.ValidationError as error:
        wanted = getattr(node.convert, "__qualname__", node.convert)
        raise _Refused(
            "msgspec.ValidationError", f"step {node.name!r}: its context does not fit {wanted}: {error}"
        ) from None


def _fields(value: Any) -> dict[str, Any]:
    """One level of a Struct or dataclass as a dict."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
