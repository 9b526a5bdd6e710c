"""Which of the user's types may be stored, and how a stored name finds its class again.

A class is known if it was registered (``open_engine(..., types=[...])``), or if it lives in the module of
a registered workflow, under the name that it carries. Looking a name up reads dictionaries of modules that
are already there: nothing is imported, no ``__getattr__`` is asked, and what is found must be an enum, a
Struct or a dataclass. So a database that somebody else has written can name nothing that the program does
not itself store.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from durable_trio._errors import DefinitionError, SnapshotError
from durable_trio._snapshot.shape import (
    EnumShape,
    ObjectShape,
    TypeChanged,
    UnknownType,
    field_names,
    is_storable_kind,
    type_name,
)
from durable_trio._values import Failure, Finish, Goto

__all__ = ["Opaque", "TypeChanged", "TypeRegistry", "UnknownType"]

Shape = EnumShape | ObjectShape
_INSTRUCTIONS = (Goto, Finish)  # Structs of this library that say what to do next, and hold no data


class Opaque(msgspec.Struct, frozen=True):
    """A stored value whose class is not known here, as a reader without the user's code sees it.

    Attributes:
        type: the class's name, ``"module:qualname"``.
        fields: its fields by name; an enum's member has ``member`` (its name), a flag ``value``.
    """

    type: str
    fields: dict[str, Any]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"<{self.type}({fields})>"

    def __hash__(self) -> int:
        # It may be the key of a dict; its fields may be unhashable, so equal ones share a bucket by type.
        return hash(self.type)


class TypeRegistry:
    """The user's types that an engine stores.

    Args:
        types: enums, Structs and dataclasses to register by themselves.
        modules: names of modules whose own enums, Structs and dataclasses are known too.
        opener: what a class must be given to so that it is known, for messages.
        lenient: unknown types decode to ``Opaque`` instead of raising ``UnknownType``; for readers that
            only show what is stored.

    Attributes:
        user_types: class to field names (None for an enum), of all that is known so far; ``resolve`` adds.

    Raises:
        DefinitionError: one of ``types`` is none of the three kinds, or two have the same name.
    """

    def __init__(
        self,
        types: Iterable[type] = (),
        modules: Iterable[str] = (),
        *,
        opener: str = "open_engine",
        lenient: bool = False,
    ) -> None:
        self._opener = opener
        self.user_types: dict[type, tuple[str, ...] | None] = {}
        self.modules = frozenset(modules)
        self.lenient = lenient
        self._by_type: dict[type, Shape] = {}
        self._by_name: dict[str, Shape] = {}
        for cls in types:
            self._register(cls)

    def _register(self, cls: type) -> None:
        if not isinstance(cls, type) or not is_storable_kind(cls):
            raise DefinitionError(
                f"types=[...] holds {cls!r}: only an Enum, a msgspec.Struct or a dataclass can be registered "
                "(a dataclass must not derive from a builtin such as dict or Exception)"
            )
        known = self._by_name.get(type_name(cls))
        if known is None:
            self._add(cls)
        elif known.cls is not cls:
            raise DefinitionError(
                f"types=[...] holds two types named {type_name(cls)}: stored values could not tell them "
                "apart; rename one"
            )

    def _add(self, cls: type) -> Shape:
        shape = EnumShape(cls) if (fields := field_names(cls)) is None else ObjectShape(cls)
        self._by_type[cls] = self._by_name[shape.name] = shape
        self.user_types[cls] = fields
        return shape

    def resolve(self, cls: type) -> Any:
        """Say how a type that is met in a value is stored: its field names, or None for an enum.

        Returns NotImplemented for a type that is none of the user's kinds.

        Raises:
            SnapshotError: it could be stored, but is not registered; the caller knows where it is.
        """
        if cls in self.user_types:
            return self.user_types[cls]
        if cls is Failure:
            return field_names(Failure)
        if not is_storable_kind(cls) or cls in _INSTRUCTIONS:
            return NotImplemented
        if self._lives_in_known_module(cls):
            self._add(cls)
            return self.user_types[cls]
        raise SnapshotError(_advice(cls, self._opener), type_name=f"{cls.__module__}.{cls.__qualname__}")

    def shape_of(self, cls: type) -> Shape:
        """The shape of a type that ``resolve`` has accepted, or accepts now."""
        shape = self._by_type.get(cls)
        if shape is None:
            if self.resolve(cls) is NotImplemented:
                name = f"{cls.__module__}.{cls.__qualname__}"
                raise SnapshotError(f"a {name} cannot be stored", type_name=name)
            shape = self._by_type[cls]
        return shape

    def find(self, name: str) -> Shape | None:
        """The shape of a stored name, or None if no known class has it.

        A name that a known module still holds for a class which moved elsewhere leads to that class, if
        the class is known where it is now.
        """
        shape = self._by_name.get(name)
        if shape is None:
            module, _, qualname = name.partition(":")
            cls = _look_up(module, qualname) if module in self.modules else None
            if cls is not None and (cls in self._by_type or self._lives_in_known_module(cls)):
                shape = self._by_name[name] = self._by_type.get(cls) or self._add(cls)
        return shape

    def _lives_in_known_module(self, cls: type) -> bool:
        return (
            cls.__module__ in self.modules
            and _look_up(cls.__module__, cls.__qualname__) is cls
            and is_storable_kind(cls)
        )


def _look_up(module: str, qualname: str) -> type | None:
    # Reads __dict__ only: getattr could run a module's __getattr__, which often imports.
    found: Any = None
    names: Mapping[str, Any] = vars(sys.modules[module]) if module in sys.modules else {}
    for part in qualname.split("."):
        found = names.get(part)
        if not isinstance(found, type):
            return None
        names = vars(found)
    return cast("type", found)


def _advice(cls: type, opener: str) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    return f"the type {name} is not registered: register it: {opener}(..., types=[{name}])"
