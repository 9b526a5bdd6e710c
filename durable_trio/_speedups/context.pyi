# The docstrings are in _speedups/context.pyx, where help() finds them.

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from typing import Any, ClassVar, Final, Self, TypeVar, final, overload

import trio
from typing_extensions import disjoint_base

from durable_trio._speedups.batching import Intake, Ledger
from durable_trio._speedups.results import Collector

__all__ = [
    "MAX_DEPTH",
    "BlockBase",
    "Concluder",
    "Context",
    "Lane",
    "RunBase",
    "StepScope",
    "Stepper",
    "Stride",
    "apply_delta",
    "freeze",
    "same",
    "settle",
    "share",
    "thaw",
]

_T = TypeVar("_T")

MAX_DEPTH: Final = 100

@final
class Context(MutableMapping[str, Any]):
    @overload
    def __init__(self, mapping: Mapping[str, Any] = ..., /, **kwargs: Any) -> None: ...
    @overload
    def __init__(self, mapping: Iterable[tuple[str, Any]], /, **kwargs: Any) -> None: ...
    @staticmethod
    def over(base: dict[str, Any]) -> Context: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def __setitem__(self, key: str, value: Any, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    @overload
    def get(self, key: str, default: None = None, /) -> Any | None: ...
    @overload
    def get(self, key: str, default: Any, /) -> Any: ...
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

    def copy(self) -> Context: ...
    def assign(self, /, **kwargs: Any) -> Context: ...
    @property
    def results(self) -> dict[str, Any]: ...
    def to_dict(self) -> dict[str, Any]: ...

def share(base: dict[str, Any]) -> Context: ...
def freeze(
    value: Any,
    user_types: dict[type, tuple[str, ...] | None],
    resolve: Callable[[type], Any],
    where: str = "ctx",
) -> tuple[Any, bool]: ...
def thaw(value: _T) -> _T: ...
def same(a: Any, b: Any) -> bool: ...
def settle(
    base: dict[str, Any],
    value: Mapping[str, Any],
    user_types: dict[type, tuple[str, ...] | None],
    resolve: Callable[[type], Any],
    where: str = "ctx",
) -> tuple[dict[str, Any], dict[str, Any] | None, list[str] | None, bool, bool]: ...
def apply_delta(
    base: dict[str, Any], changed: dict[str, Any] | None, removed: Iterable[str] | None, replaced: bool
) -> dict[str, Any]: ...

@final
class Concluder:
    def __init__(self, codec: Any, outcome: type[Any], codes: tuple[int, ...]) -> None: ...
    def conclude(
        self,
        base: dict[str, Any],
        ctx: Context,
        value: Any,
        is_branch: bool,
        path: str,
        visit: int,
        attempt: int,
        started: float,
        duration: float,
    ) -> Any: ...

@disjoint_base
class RunBase(Ledger):
    at: str | None
    pause: trio.Event | None
    deadline: float | None
    stopped: bool
    parking: bool
    waits: bool
    scopes: set[StepScope]
    busy: int
    @property
    def halted(self) -> bool: ...

@final
class StepScope:
    run: Any
    path: str | None
    kind: int
    visit: int
    attempt: int
    started: float
    begun: float
    context: Context | None
    reason: Any
    due: float | None
    waits: bool
    watched: bool
    waited: dict[tuple[int, str | None], int] | None
    clean: Any
    def __init__(self, run: Any = None) -> None: ...
    def begin(self, path: str, kind: int, visit: int) -> None: ...

@final
class Stepper:
    @property
    def concluder(self) -> Concluder: ...
    bodies: int
    draining: bool
    @property
    def drained(self) -> Any: ...
    def __init__(
        self,
        concluder: Concluder,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        wait_to_enter: Callable[[Any], Awaitable[None]],
        uncancelled: Callable[[], Awaitable[None]],
        current_task: Callable[[], Any],
        tells: bool,
        intake: Intake,
        sleep: Any,
        awake: Any,
        restore: Callable[[StepScope], None],
        otherwise: Callable[..., Awaitable[Any]],
        run_node: Callable[..., Awaitable[Any]],
        branch: Any,
        failpoint: Callable[[str], None] | None,
        drained: Any,
    ) -> None: ...
    def enter(self, scope: StepScope, base: dict[str, Any], attempt: int) -> Context: ...
    def leave(self, scope: StepScope) -> None: ...
    def step(
        self, run: RunBase, scope: StepScope, node: Any, base: dict[str, Any], visit: int, place: Any
    ) -> Stride: ...
    def walk(
        self,
        run: RunBase,
        scope: StepScope,
        nodes: tuple[Any, ...],
        index: int,
        base: dict[str, Any],
        visits: dict[int, int],
        place: Any,
        then: Callable[..., Awaitable[Any] | None] | None = None,
    ) -> Stride: ...

@disjoint_base
class Machine(Coroutine[Any, Any, Any]):
    @property
    def cr_frame(self) -> Any: ...
    @property
    def cr_await(self) -> Any: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@final
class Stride(Machine):
    def close(self) -> None: ...

@disjoint_base
class BlockBase:
    open: dict[int, StepScope | None]
    errors: dict[str, Any]
    cause: Any
    damage: Any
    nursery: Any
    queue: Iterator[int]
    clean: Any
    overtaken: Collection[int]
    width: int
    tasks: int
    spread: bool
    @property
    def run(self) -> Any: ...
    @property
    def node(self) -> Any: ...
    @property
    def branches(self) -> Any: ...
    @property
    def place(self) -> Any: ...
    @property
    def timeout(self) -> Any: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def base(self) -> dict[str, Any]: ...
    @property
    def visit(self) -> int: ...
    @property
    def collector(self) -> Collector: ...
    @property
    def is_over(self) -> bool: ...
    def __init__(
        self,
        run: RunBase,
        node: Any,
        branches: Sequence[Any],
        keys: tuple[str, ...],
        base: dict[str, Any],
        visit: int,
        place: Any,
        timeout: float | None = None,
    ) -> None: ...
    def settle(self, index: int, outcome: Any) -> None: ...
    def leave(self) -> None: ...

@final
class Lane(Machine):
    def __init__(self, block: BlockBase, scope: StepScope, task: Any = None, index: int = -1) -> None: ...
