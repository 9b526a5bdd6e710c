"""Runs a coroutine in the task of whoever awaits it, and tells when that suspends for the first time."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def eagerly(
    coroutine: Coroutine[Any, Any, T], suspends: Callable[[], None]
) -> Generator[Any, Any, T]:
    """Await a coroutine; call ``suspends`` just before it suspends for the first time, if it ever does.

    What Trio sends and throws at a suspended task is passed on.
    """
    try:
        trap = coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    suspends()
    while True:
        try:
            sent = yield trap
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's
            resume, argument = coroutine.throw, error
        else:
            resume, argument = coroutine.send, sent
        try:
            trap = resume(argument)
        except StopIteration as done:
            value = done.value
            return value
