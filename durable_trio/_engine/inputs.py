"""Checks of what a caller hands in, before anything is recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from durable_trio._definition.plan import Plan
from durable_trio._errors import InputError
from durable_trio._snapshot.codec import Codec
from durable_trio._speedups.context import settle

_NOTHING: dict[str, Any] = {}


def frozen_input(codec: Codec, plan: Plan, value: Any) -> tuple[dict[str, Any], bool]:
    """The first context of a run, frozen, and whether it must be wired before it is encoded.

    Raises:
        InputError: it is no mapping, or does not fit the workflow's ``input`` type; names the field.
        SnapshotError: it cannot be stored.
    """
    if plan.input_type is not None:
        value = _validated(plan, {} if value is None else value)
    elif value is None:
        value = _NOTHING
    elif type(value) is not dict and not isinstance(value, Mapping):
        raise InputError(
            f"the input of workflow {plan.workflow!r} must be a mapping, which becomes the first step's "
            f'context, not {type(value).__name__}: {value!r:.80}; wrap it, as in {{"value": ...}}'
        )
    base, _, _, _, special = settle(_NOTHING, value, codec.user_types, codec.resolve, "input")
    return base, special


def _validated(plan: Plan, value: Any) -> Mapping[str, Any]:
    """The input as a mapping that fits the type: as given, with the type's defaults filled in."""
    wanted: Any = plan.input_type
    if isinstance(value, wanted):
        value = _plain(value)
    elif not isinstance(value, Mapping):
        raise InputError(
            f"the input of workflow {plan.workflow!r} must be a mapping or a {wanted.__qualname__}, not "
            f"{type(value).__name__}: {value!r:.80}"
        )
    try:
        fitted = msgspec.convert(dict(value), wanted)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the input of workflow {plan.workflow!r} does not fit {wanted.__qualname__}: {error}"
        ) from None
    names = (
        wanted.__struct_fields__
        if isinstance(fitted, msgspec.Struct)
        else [field.name for field in dataclasses.fields(fitted)]
    )
    defaults = {name: _plain(getattr(fitted, name)) for name in names if name not in value}
    return {**value, **defaults}


def _plain(value: Any) -> Any:
    """A Struct or dataclass as a dict, at any depth of dicts, lists and tuples; anything else as it is."""
    if isinstance(value, msgspec.Struct):
        return {name: _plain(item) for name, item in msgspec.structs.asdict(value).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    return value


def check_name(name: object, what: str) -> None:
    """Check the name of an event or an input."""
    if not isinstance(name, str) or not name or len(name) > 255:
        raise InputError(f"{what} is a text of 1 to 255 characters, not {name!r:.80}")


def instant(at: object) -> float:
    """An aware datetime in seconds since the epoch."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InputError(
            f"at= is an aware datetime, such as datetime.now(UTC) + timedelta(days=1), not {at!r:.80}"
        )
    return at.timestamp()


def check_queue(queue: object, priority: object) -> None:
    """Check where a run wants to wait for its turn."""
    if not isinstance(queue, str) or not queue or len(queue) > 255:
        raise InputError(f"queue is a name of 1 to 255 characters, not {queue!r:.80}")
    if isinstance(priority, bool) or not isinstance(priority, int) or not -(2**31) <= priority < 2**31:
        raise InputError(f"priority is an int of 32 bits (higher goes first), not {priority!r:.80}")


def instant_before(older_than: float | timedelta | datetime, now: float) -> float:
    """The instant that an age or an aware datetime means, in seconds since the epoch."""
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None:
            raise InputError(
                f"older_than is {older_than!r}, which has no time zone; say datetime.now(timezone.utc) - ..."
            )
        return older_than.timestamp()
    if isinstance(older_than, timedelta):
        older_than = older_than.total_seconds()
    if isinstance(older_than, bool) or not isinstance(older_than, (int, float)) or not older_than >= 0:
        raise InputError(
            f"older_than is an age (seconds, or a timedelta) or an aware datetime, not {older_than!r:.80}"
        )
    return now - older_than
