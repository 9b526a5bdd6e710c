"""What a definition has to know of a user's function: how it is called, and what it wants as its context.

A function may come as ``async def``, as ``def``, as a ``functools.partial`` of either, as a method, or as an
object with a ``__call__``; all of them are asked here, once, when the function is declared.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from durable_trio._definition.nodes import Mode
from durable_trio._errors import DefinitionError

_ROOM = __name__.rpartition(".")[0]
# An annotation with one of these names asks for the context as it is, whether or not it can be resolved.
_MAPPING_NAMES = frozenset({"Any", "Context", "Mapping", "MutableMapping", "dict", "Dict", "object"})


def caller() -> types.FrameType:
    """The frame of the user's line that led here: the first one outside this room."""
    frame: types.FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect.stack() reads source files
    while frame is not None:
        if not frame.f_globals.get("__name__", "").startswith(_ROOM):
            return frame
        frame = frame.f_back
    raise RuntimeError("this room has no caller")  # pragma: no cover - a frame's outermost is never ours


def line_of(frame: types.FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _faces(fn: Any) -> tuple[Any, ...]:
    """The objects that may carry the mark of an async function or a generator, innermost last."""
    while True:
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif isinstance(fn, staticmethod):
            fn = fn.__func__
        else:
            break
    if inspect.isroutine(fn):
        return (fn,)
    return (fn, getattr(type(fn), "__call__", None))  # noqa: B004 - asked for its kind, not whether it exists


def describe(fn: Any) -> str:
    """The function as a message calls it."""
    name = getattr(fn, "__qualname__", None)
    return f"{name}()" if isinstance(name, str) else repr(fn)


def own_name(fn: Any) -> str | None:
    """The function's name; None where it has none that says anything."""
    name = getattr(_faces(fn)[0], "__name__", None)
    return name if isinstance(name, str) and name != "<lambda>" else None


def default_name(fn: Any, where: str) -> str:
    """The function's name, which must say something."""
    name = own_name(fn)
    if name is None:
        raise DefinitionError(f"{where}: {describe(fn)} has no name of its own; give it one with name=")
    return name


def module_of(fn: Any) -> str | None:
    module = getattr(_faces(fn)[-1], "__module__", None)
    return module if isinstance(module, str) else None


def is_async(fn: Any) -> bool:
    return any(inspect.iscoroutinefunction(face) for face in _faces(fn))


def check_function(fn: Any, where: str, arguments: tuple[str, ...]) -> None:
    """Refuse what cannot be called with these arguments to give one outcome."""
    listed = ", ".join(arguments)
    if isinstance(fn, type):
        raise DefinitionError(f"{where}: {fn.__qualname__} is a class; give a function that takes ({listed})")
    if not callable(fn):
        raise DefinitionError(f"{where}: {fn!r} is not a function; give one that takes ({listed})")
    for face in _faces(fn):
        if inspect.isasyncgenfunction(face):
            raise DefinitionError(
                f"{where}: {describe(fn)} is an async generator (it has a `yield`); one outcome is recorded, "
                "so collect the items and return them"
            )
        if inspect.isgeneratorfunction(face):
            raise DefinitionError(
                f"{where}: {describe(fn)} is a generator (it has a `yield`); one outcome is recorded, "
                "so collect the items and return them"
            )
    # What is called is the outermost function; one that it wraps may well take more.
    signature = _signature(fn, follow_wrapped=False)
    if signature is not None:
        try:
            signature.bind(*arguments)
        except TypeError as error:
            raise DefinitionError(
                f"{where}: {describe(fn)} is called with ({listed}), and its signature {signature} does not "
                f"fit ({error}); bind other arguments with functools.partial"
            ) from None


def call_mode(fn: Any, where: str, *, inline: bool) -> Mode:
    if is_async(fn):
        if inline:
            raise DefinitionError(
                f"{where}: inline=True is for plain functions, and {describe(fn)} is an `async def`, which "
                "runs on the loop anyway; leave inline out"
            )
        return "async"
    return "inline" if inline else "thread"


def _signature(fn: Any, *, follow_wrapped: bool) -> inspect.Signature | None:
    try:
        return inspect.signature(fn, follow_wrapped=follow_wrapped)
    except (TypeError, ValueError, NameError):
        # Functions written in C need not have one, and annotations may name what is not there.
        return None


def is_record_type(hint: Any) -> bool:
    """Whether it is a msgspec.Struct or a dataclass: the types a context can be turned into."""
    origin = typing.get_origin(hint) or hint
    return isinstance(origin, type) and (
        issubclass(origin, msgspec.Struct) or dataclasses.is_dataclass(origin)
    )


class ContextHint:
    """The annotation of a step's context parameter.

    It is looked up when the step is declared, because a class that is local to a function can only be found
    then; and again when the workflow is compiled, because a class may be written below the step.

    An annotation that cannot be resolved is an error if it is one name: it may stand for a record type, and
    a step that silently gets a mapping instead fails far from the cause. Names of mappings (``Context``,
    ``Mapping``, ``dict``, ...) are excepted, since they are often imported for the type checker alone; and so
    is any longer expression, since no such type is converted to.
    """

    __slots__ = ("_annotation", "_fn", "_namespace", "_type")

    def __init__(self, fn: Any, frame: types.FrameType) -> None:
        self._fn = fn
        self._type: Any = None
        self._annotation: str | None = None
        self._namespace: Mapping[str, Any] = {}
        signature = _signature(fn, follow_wrapped=True)
        first = next(iter(signature.parameters.values()), None) if signature else None
        if first is None or first.kind is first.VAR_POSITIONAL:
            return
        annotation = first.annotation
        if not isinstance(annotation, str):
            self._type = annotation if is_record_type(annotation) else None
            return
        self._namespace = getattr(inspect.unwrap(_faces(fn)[-1]), "__globals__", {})
        if not self._resolve(annotation, frame.f_locals):
            self._annotation = annotation

    def _resolve(self, annotation: str, names: Mapping[str, Any]) -> bool:
        holder = types.SimpleNamespace(__annotations__={"ctx": annotation})
        try:
            hint = typing.get_type_hints(holder, dict(self._namespace), dict(names))["ctx"]
        except Exception:  # noqa: BLE001 - an annotation is an expression: it may raise anything
            return False
        self._type = hint if is_record_type(hint) else None
        return True

    def type(self, where: str) -> Any:
        """The record type the step wants, or None for the context as it is."""
        text = self._annotation
        if text is None or self._resolve(text, {}):
            return self._type
        parts = text.split(".")
        if all(part.isidentifier() for part in parts) and parts[-1] not in _MAPPING_NAMES:
            raise DefinitionError(
                f"{where}: the annotation {text!r} of the context in {describe(self._fn)} cannot be "
                f"resolved, so nobody can tell what it wants to be given; define or import {parts[0]!r} at "
                "the top level of the module (not only under TYPE_CHECKING), or annotate it as a Mapping"
            )
        return None
