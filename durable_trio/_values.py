"""The values that steps return and that blocks pass on.

``Ok`` and ``Err`` are tuples whose first item is a tag, so that a result can be matched by class
(``case Ok(data)``), by shape (``case ("ok", data)``), compared with a plain tuple, and stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")
E = TypeVar("E")


class Ok(tuple[Literal["ok"], T], Generic[T]):
    """A success: ``Ok(v) == ("ok", v)``, and ``.value`` is ``v``."""

    __slots__ = ()
    __match_args__ = ("value",)

    is_ok: Literal[True] = True

    def __new__(cls, value: T) -> Ok[T]:
        return tuple.__new__(cls, ("ok", value))

    def __getnewargs__(self) -> tuple[T]:
        return (self[1],)

    @property
    def value(self) -> T:
        """The data of the success."""
        return self[1]

    def __repr__(self) -> str:
        return f"Ok({self[1]!r})"


class Err(tuple[Literal["error"], E], Generic[E]):  # noqa: SLOT001 - ``retry`` needs a place
    """An error: ``Err(r) == ("error", r)``, and ``.reason`` is ``r``, any storable value, kept as given.

    Args:
        reason: what went wrong.
        retry: False says that trying again is pointless: the step's retry policy is passed over.
            It is an instruction to the engine, not part of the value: it is neither compared nor stored.
    """

    __match_args__ = ("reason",)

    is_ok: Literal[False] = False
    retry: bool = True

    def __new__(cls, reason: E, *, retry: bool = True) -> Err[E]:
        self = tuple.__new__(cls, ("error", reason))
        if not retry:
            self.retry = False
        return self

    def __getnewargs__(self) -> tuple[E]:
        return (self[1],)

    @property
    def reason(self) -> E:
        """What went wrong."""
        return self[1]

    def __repr__(self) -> str:
        return f"Err({self[1]!r})" if self.retry else f"Err({self[1]!r}, retry=False)"


class Failure(msgspec.Struct, frozen=True):
    """The record of an exception, so that a live run and a resumed one see the same value.

    Attributes:
        type: the exception's class name, qualified unless it is a builtin (``"ValueError"``,
            ``"httpx.ConnectError"``). ``"Cancelled"`` and ``"TimeoutError"`` are the engine's own.
        message: ``str(exception)``.
        traceback: the formatted traceback; empty where there was none.
        attempts: how often the step was tried.
    """

    type: str
    message: str
    traceback: str = ""
    attempts: int = 1

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Goto(msgspec.Struct, frozen=True):
    """Jump to the named top-level step or block, forward or backward, with this context."""

    step: str
    ctx: Mapping[str, Any] | None = None


class Finish(msgspec.Struct, frozen=True):
    """Complete the run now, with this context as its result."""

    ctx: Mapping[str, Any] | None = None
