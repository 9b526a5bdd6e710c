"""Everything this library raises on its own account.

DurableError
├── DefinitionError      a workflow is declared wrongly, or an engine is asked for one it does not know
├── InputError           an argument or an input does not fit (also a ValueError)
├── SnapshotError        a value cannot be stored; names its path and type
├── StoreError           the database cannot be used
│   ├── StoreLocked      another process owns it
│   ├── StoreCorrupt     its bytes are not what was written
│   └── StoreFull        no space is left for it
├── RunFailed            a run ended with an error
├── RunCancelled         a run was cancelled
├── RunBlocked           a run's definition is not registered, or no longer fits its record
├── RunNotFound          no run has this id
├── EngineClosed         the engine was left; its unfinished runs go on when the database is opened again
└── WaitTimeout          a wait ended without an answer

A message says what was wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DurableError(Exception):
    """The root of this library's errors."""


class DefinitionError(DurableError):
    """A workflow is declared wrongly, or is not registered with the engine that is asked to run it."""


class InputError(DurableError, ValueError):
    """An argument, or the input of a run, does not fit; nothing was recorded."""


class SnapshotError(DurableError):
    """A value cannot be stored.

    Attributes:
        path: where the value is, as an expression, such as ``ctx["user"]["socket"]``.
        type_name: the qualified name of its type.
    """

    def __init__(self, message: str, *, path: str = "", type_name: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.type_name = type_name


class StoreError(DurableError):
    """The database cannot be used, or a commit did not succeed; what was acknowledged before is safe."""


class StoreLocked(StoreError):
    """Another process, or another engine in this one, has this database open for writing."""


class StoreCorrupt(StoreError):
    """The bytes in the database are not what was written there."""


class StoreFull(StoreError):
    """There is no space left for the database; nothing acknowledged is lost."""


class RunFailed(DurableError):
    """A run ended with an error.

    Attributes:
        run_id: the run.
        error: the reason of the first error in time: what was given to ``Err``, or a ``Failure``.
        errors: every error of the run, step path to reason.
    """

    def __init__(self, run_id: str, error: Any, errors: Mapping[str, Any] | None = None) -> None:
        self.run_id = run_id
        self.error = error
        self.errors: dict[str, Any] = dict(errors or {})
        super().__init__(run_id, error, self.errors)

    def __str__(self) -> str:
        where = next(iter(self.errors), None)
        more = f" (and {len(self.errors) - 1} more, see .errors)" if len(self.errors) > 1 else ""
        at = f" at {where!r}" if where else ""
        return f"run {self.run_id!r} failed{at}: {self.error}{more}"


class RunCancelled(DurableError):
    """A run was cancelled.

    Attributes:
        run_id: the run.
        reason: what was given to ``cancel``, or None.
    """

    def __init__(self, run_id: str, reason: Any = None) -> None:
        self.run_id = run_id
        self.reason = reason
        super().__init__(run_id, reason)

    def __str__(self) -> str:
        return f"run {self.run_id!r} was cancelled" + ("" if self.reason is None else f": {self.reason}")


class RunBlocked(DurableError):
    """A run cannot go on, because no registered definition fits what is recorded of it; nothing is lost."""


class RunNotFound(DurableError):
    """No run has this id."""


class EngineClosed(DurableError):
    """The engine is closing or closed; unfinished runs go on when its database is opened again."""


class WaitTimeout(DurableError):
    """A wait reached its timeout and has no default."""


# Named as users import them, in tracebacks too.
for _class in (DurableError, *DurableError.__subclasses__(), *StoreError.__subclasses__()):
    _class.__module__ = "durable_trio"
