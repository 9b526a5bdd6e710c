"""How a user's class is taken apart for storage, and put together again without running its code.

A stored object is its class's name and its fields by name. It is rebuilt the way ``pickle`` does it: an
empty instance whose fields are then set, so that ``__init__``, ``__post_init__`` and validators do not run
a second time on data that they have seen. A field that the stored object lacks gets the class's default,
which is how a class can gain fields while runs are under way.

msgspec gives no way to make an empty ``Struct`` (``object.__new__`` refuses, everything else runs
``__post_init__``), so one template per class is taken from the C allocator, once, and copied from then on.
A shape costs a few microseconds once per class; rebuilding costs about 0.15 µs per field.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import force_setattr

from durable_trio._errors import StoreError

_allocate: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.c_ssize_t)(
    ("PyType_GenericAlloc", ctypes.pythonapi)
)
MAX_FLAG_BITS: Final = 4096
_copy_struct: Final[Callable[[Any], Any]] = msgspec.Struct.__copy__  # type: ignore[attr-defined]


class UnknownType(StoreError):
    """A stored value's type is not known here; the value is intact, and can be read where it is known."""


class TypeChanged(UnknownType):
    """A stored value's type is known, but its fields or members no longer fit what is stored."""


class _Probe(msgspec.Struct):
    made: list[Any] = msgspec.field(default_factory=list)


# What msgspec wraps a default_factory in; it has no public name.
_Factory: Final[Any] = type(_Probe.__struct_defaults__[0])


def type_name(cls: type) -> str:
    """The name of a class on the wire: ``"package.module:Outer.Inner"``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def is_storable_kind(cls: type) -> bool:
    """Whether it is an enum, a Struct or a dataclass, whose fields are all that there is to it.

    A dataclass that is also an exception, a ``dict`` or the like is none: its base holds data of its own.
    """
    if issubclass(cls, enum.Enum | msgspec.Struct):
        return cls is not enum.Enum and cls is not msgspec.Struct
    return dataclasses.is_dataclass(cls) and not _has_builtin_base(cls)


def _has_builtin_base(cls: type) -> bool:
    # The same test that object.__new__ makes before it refuses a class as "not safe".
    return any(
        "__new__" in vars(base) and type(vars(base)["__new__"]) is type(object.__new__)
        for base in cls.__mro__
        if base is not object
    )


def field_names(cls: type[Any]) -> tuple[str, ...] | None:
    """The stored fields, in order; None for an enum."""
    if issubclass(cls, enum.Enum):
        return None
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    return tuple(field.name for field in dataclasses.fields(cls))


class EnumShape:
    """A member is stored by name, so that values may change; a flag by value, as it may have no name."""

    __slots__ = ("cls", "name")

    def __init__(self, cls: type[enum.Enum]) -> None:
        self.cls = cls
        self.name = type_name(cls)

    def take(self, member: enum.Enum) -> Any:
        return member.value if isinstance(member, enum.Flag) else member.name

    def build(self, stored: Any) -> enum.Enum:
        if issubclass(self.cls, enum.Flag):
            # The bound is against hostile bytes: enum takes a number apart bit by bit, in quadratic time.
            if isinstance(stored, int) and stored.bit_length() <= MAX_FLAG_BITS:
                with contextlib.suppress(ValueError):
                    member = self.cls(stored)
                    # A flag with the boundary EJECT answers with a plain int.
                    if isinstance(member, self.cls):
                        return member
        elif isinstance(stored, str) and stored in self.cls.__members__:
            return self.cls.__members__[stored]
        # In hexadecimal, as Python refuses to write a huge number in decimal.
        shown = f"{stored:#x}" if isinstance(stored, int) else repr(stored)
        raise TypeChanged(
            f"{self.name} has no member {shown:.80}, which is stored: give the class that member again"
        )


class ObjectShape:
    """A Struct or a dataclass: its fields, and what stands in for one that is not stored."""

    __slots__ = ("_defaults", "_template", "cls", "fields", "name")

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.name = type_name(cls)
        self.fields: tuple[str, ...] = field_names(cls) or ()
        self._template: Any = None
        if issubclass(cls, msgspec.Struct):
            self._template = _allocate(cls, 0)
            for field in self.fields:
                force_setattr(self._template, field, None)
            self._defaults = _struct_defaults(cls)
        else:
            self._defaults = _dataclass_defaults(cls)

    def build(self, stored: Mapping[str, Any]) -> Any:
        """Make an instance from the stored fields.

        Raises:
            TypeChanged: a stored field is gone from the class, or a new one has no default.
        """
        if self._template is not None:
            made = _copy_struct(self._template)
            set_field = force_setattr
        else:
            made = object.__new__(self.cls)
            set_field = object.__setattr__
        known = 0
        for field in self.fields:
            if field in stored:
                known += 1
                set_field(made, field, stored[field])
            else:
                set_field(made, field, self._default(field))
        if known != len(stored):
            gone = ", ".join(repr(field) for field in stored if field not in self.fields)
            raise TypeChanged(
                f"{self.name} has no field {gone}, which is stored: give the class that field again, "
                "or let the runs that hold such values end first"
            )
        return made

    def _default(self, field: str) -> Any:
        if field not in self._defaults:
            raise TypeChanged(
                f"{self.name} has a field {field!r} that the stored value lacks: give the field a default"
            )
        return self._defaults[field]()


def _struct_defaults(cls: type[msgspec.Struct]) -> dict[str, Callable[[], Any]]:
    # Not msgspec.structs.fields: that evaluates annotations, which may name what is not imported.
    defaults: dict[str, Callable[[], Any]] = {}
    values = cls.__struct_defaults__
    for field, value in zip(cls.__struct_fields__[-len(values) :] if values else (), values, strict=True):
        if value is msgspec.NODEFAULT:
            continue
        defaults[field] = value.factory if isinstance(value, _Factory) else _constant(value)
    return defaults


def _dataclass_defaults(cls: type) -> dict[str, Callable[[], Any]]:
    defaults: dict[str, Callable[[], Any]] = {}
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = _constant(field.default)
    return defaults


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value
