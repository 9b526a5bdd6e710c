"""What ``_speedups/context.pyx`` offers. That file says how it works; this one says what it promises."""

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, Final, TypeVar, final, overload

from typing_extensions import Self

__all__ = ["MAX_DEPTH", "Context", "apply_delta", "freeze", "same", "settle", "share", "thaw"]

T = TypeVar("T")
D = TypeVar("D")

MAX_DEPTH: Final = 100
"""How many containers of a frozen value may lie in each other."""

@final
class Context(MutableMapping[str, Any]):
    """The data of a run as a step sees it: a mapping, of which each step and each branch has its own.

    Whatever is changed in it, or deep in what it hands out, no other context sees. It is otherwise as a
    dict: ordered, equal to a dict with the same items, unhashable. ``ctx | other`` and ``copy`` are as
    shallow as a dict's; ``copy.deepcopy`` and ``pickle`` work.

    Args:
        mapping: a mapping, or an iterable of pairs; the values are taken as they are. Steps get their
            context from the engine; this is for tests.
        **kwargs: more items.
    """

    @overload
    def __init__(self, mapping: Mapping[str, Any] = ..., /, **kwargs: Any) -> None: ...
    @overload
    def __init__(self, mapping: Iterable[tuple[str, Any]], /, **kwargs: Any) -> None: ...
    @staticmethod
    def over(base: dict[str, Any]) -> Context:
        """A context over a frozen dict. Copies nothing; nobody may change the dict from now on."""

    def __getitem__(self, key: str, /) -> Any: ...
    def __setitem__(self, key: str, value: Any, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __iter__(self) -> Iterator[str]: ...
    def __reversed__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __or__(self, other: Mapping[str, Any], /) -> Context: ...
    def __ror__(self, other: Mapping[str, Any], /) -> dict[str, Any]: ...
    def __ior__(self, other: Mapping[str, Any] | Iterable[tuple[str, Any]], /) -> Self: ...
    def __copy__(self) -> Context: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Context: ...
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def copy(self) -> Context:
        """A new context with the same values, as shallow as ``dict.copy``."""

    def assign(self, /, **kwargs: Any) -> Context:
        """A new context with these keys set; this one stays as it is."""

    @property
    def results(self) -> dict[str, Any]:
        """The results of the last parallel block: ``ctx["__results__"]``, or an empty dict."""

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it, as ``dict(ctx)``: its containers are those that this context hands out."""

def share(base: dict[str, Any]) -> Context:
    """A context over a frozen dict. Copies nothing; nobody may change the dict from now on."""

def freeze(
    value: Any,
    user_types: dict[type, tuple[str, ...] | None],
    resolve: Callable[[type], Any],
    where: str = "ctx",
) -> tuple[Any, bool]:
    """Make a deep copy of a storable value that nobody else holds any mutable part of.

    Immutable values are shared. Something that is referenced twice becomes two. A ``Context`` becomes a
    dict, an ``Err`` loses its retry flag.

    Args:
        value: the value.
        user_types: the enums (None), Structs and dataclasses (their fields) that are known to be storable.
        resolve: is asked about a type that is missing there; answers with such an entry or with
            NotImplemented, or raises SnapshotError with advice.
        where: what the outermost value is called in messages.

    Returns:
        The copy, and whether it is special: holds anything that untyped MessagePack would not give back
        as it was.

    Raises:
        SnapshotError: something in it cannot be stored; its message and ``path`` say where.
    """

def thaw(value: T) -> T:
    """A deep copy of a frozen value, to be handed out; what is immutable is shared.

    Raises:
        TypeError: there is something in it that no frozen value holds.
        RecursionError: it is nested without end, and no frozen value.
    """

def same(a: Any, b: Any) -> bool:
    """Whether two values are indistinguishable in all that storing them keeps.

    Stricter than ``==``: types, the order of dicts, the sign of zero, the digits of a Decimal and the zone
    of a datetime count; nan is nan. Runs no ``__eq__`` and no ``__hash__`` of a user's.
    """

def settle(
    base: dict[str, Any],
    value: Mapping[str, Any],
    user_types: dict[type, tuple[str, ...] | None],
    resolve: Callable[[type], Any],
    where: str = "ctx",
) -> tuple[dict[str, Any], dict[str, Any] | None, list[str] | None, bool, bool]:
    """Make of a returned mapping the next frozen base, and say what of it the journal has to write.

    Args:
        base: the frozen dict that the step's context lay over.
        value: what the step returned: its context, one made from it, or any other mapping.
        user_types: see ``freeze``.
        resolve: see ``freeze``.
        where: what the mapping is called in messages.

    Returns:
        ``(new_base, changed, removed, replaced, special)``: the next base, which is ``base`` itself if
        nothing changed; the keys that changed, frozen, or None; the keys that went, or None; whether
        ``changed`` is the whole of it; whether ``changed`` is special. ``apply_delta`` makes the same of
        ``base`` and the rest.

    Raises:
        SnapshotError: something in it cannot be stored, or a key is no str.
    """

def apply_delta(
    base: dict[str, Any], changed: dict[str, Any] | None, removed: Iterable[str] | None, replaced: bool
) -> dict[str, Any]:
    """The frozen context that follows from a base and what ``settle`` said of the step.

    A key that is in ``removed`` and in ``changed`` moves to the end.
    """
