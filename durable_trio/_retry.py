"""When a failed step is tried again, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Literal, get_args

from durable_trio._errors import DefinitionError

Backoff = Literal["exponential", "linear", "constant"]
ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


def seconds(value: float | timedelta, what: str) -> float:
    """The duration in seconds; raises DefinitionError naming ``what`` if it is none, negative or nan."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise DefinitionError(
            f"{what} must be a duration, in seconds (a number, 0 or more) or as a timedelta, not {value!r}"
        )
    return float(value)


class Retry:
    """How often a step is tried, and how long to wait in between.

    Args:
        max_attempts: attempts in all, the first included; at least 1.
        backoff: the delay before attempt n+1 is ``base * 2**(n-1)`` (``"exponential"``), ``base * n``
            (``"linear"``) or ``base`` (``"constant"``).
        base: seconds (or a timedelta).
        max_backoff: no delay is longer, in seconds (or a timedelta).
        jitter: spread each delay evenly between half of it and all of it ("equal jitter": M. Brooker,
            "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that many runs that failed
            together do not come back together.
        retry_on: the exception types that are worth another attempt. An ``Err`` that a step returns is
            retried too, unless it is ``Err(reason, retry=False)``.
    """

    __slots__ = ("backoff", "base", "jitter", "max_attempts", "max_backoff", "retry_on")

    def __init__(
        self,
        max_attempts: int = 3,
        backoff: Backoff = "exponential",
        base: float | timedelta = 1.0,
        max_backoff: float | timedelta = 30.0,
        jitter: bool = True,
        retry_on: ExceptionTypes = Exception,
    ) -> None:
        if isinstance(max_attempts, bool) or not isinstance(max_attempts, int) or max_attempts < 1:
            raise DefinitionError(f"Retry(max_attempts=...) must be an int, 1 or more, not {max_attempts!r}")
        if backoff not in get_args(Backoff):
            raise DefinitionError(f"Retry(backoff=...) must be one of {get_args(Backoff)}, not {backoff!r}")
        types = retry_on if isinstance(retry_on, tuple) else (retry_on,)
        for item in types:
            if not (isinstance(item, type) and issubclass(item, Exception)):
                raise DefinitionError(
                    f"Retry(retry_on=...) takes exception types (subclasses of Exception), not {item!r}"
                )
        self.max_attempts = max_attempts
        self.backoff: Backoff = backoff
        self.base = seconds(base, "Retry(base=...)")
        self.max_backoff = seconds(max_backoff, "Retry(max_backoff=...)")
        self.jitter = bool(jitter)
        self.retry_on = types

    def delay(self, attempt: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
        """Seconds to wait after ``attempt`` (1 for the first) has failed."""
        if self.backoff == "exponential":
            # An exponent this large is past any max_backoff; without the bound the float overflows.
            delay = self.base * 2.0 ** min(attempt - 1, 1000) if self.base else 0.0
        elif self.backoff == "linear":
            delay = self.base * attempt
        else:
            delay = self.base
        delay = min(delay, self.max_backoff)
        return uniform(delay / 2, delay) if self.jitter else delay

    def covers(self, error: BaseException) -> bool:
        """Whether this exception is worth another attempt.

        A group is, if each exception in it is: a step with a nursery of its own raises groups.
        """
        if isinstance(error, self.retry_on):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(self.covers(inner) for inner in error.exceptions)
        return False

    def __repr__(self) -> str:
        return (
            f"Retry(max_attempts={self.max_attempts}, backoff={self.backoff!r}, base={self.base}, "
            f"max_backoff={self.max_backoff}, jitter={self.jitter})"
        )
