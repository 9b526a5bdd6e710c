# The docstrings are in _speedups/batching.pyx, where help() finds them.

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from typing_extensions import disjoint_base

__all__ = [
    "MAX_WORKFLOW",
    "RUN_KEY_LENGTH",
    "Answer",
    "Changes",
    "Entry",
    "Intake",
    "Ledger",
    "Write",
    "array_header",
    "check_key",
    "check_writes",
    "fits",
    "gather",
    "identity_of",
    "index_key",
    "pack_array",
    "seal",
    "timer_key",
    "unsealed",
    "wake",
]

RUN_KEY_LENGTH: Final = 16
MAX_WORKFLOW: Final = 0xFFFF

@final
class Write:
    run: bytes
    header: bytes | None
    alias: bytes | None
    seq: int
    row: bytes | None
    workflow: int
    old: int | None
    new: int | None
    delete: bool
    messages: Sequence[tuple[int, bytes]]
    taken: Sequence[int]
    timer: int | None
    old_timer: int | None
    def __init__(
        self,
        run: bytes,
        header: bytes | None = None,
        alias: bytes | None = None,
        seq: int = 0,
        row: bytes | None = None,
        workflow: int = 0,
        old: int | None = None,
        new: int | None = None,
        delete: bool = False,
        messages: Sequence[tuple[int, bytes]] = (),
        taken: Sequence[int] = (),
        timer: int | None = None,
        old_timer: int | None = None,
    ) -> None: ...

@final
class Answer:
    request: bytes
    reply: bytes | None
    def __init__(self, request: bytes, reply: bytes | None) -> None: ...

@final
class Changes:
    def __init__(self, writes: Iterable[Write]) -> None: ...
    @property
    def deletions(self) -> list[Write]: ...
    @property
    def runs(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def rows(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def aliases(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def entered(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def messages(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def timers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def left(self) -> list[bytes]: ...
    @property
    def taken(self) -> list[bytes]: ...
    @property
    def stopped(self) -> list[bytes]: ...
    @property
    def moves(self) -> dict[tuple[int, int], int]: ...

@disjoint_base
class Ledger:
    key: bytes
    workflow_number: int
    seq: int
    indexed: int | None
    def __init__(
        self, key: bytes, workflow_number: int, *, seq: int = 0, indexed: int | None = None
    ) -> None: ...

@final
class Entry:
    def __init__(
        self,
        run: Ledger,
        records: bytes | Sequence[bytes],
        status: int | None = None,
        header: bytes | None = None,
        alias: bytes | None = None,
        post: Any = None,
    ) -> None: ...

@disjoint_base
class Intake:
    append: Callable[[Any], None]
    bell: Any
    holds_off: bool
    closed: bool
    failure: BaseException | None
    flusher: Any
    def __init__(self) -> None: ...
    def put(
        self,
        run: Ledger,
        records: bytes | Sequence[bytes],
        status: int | None = None,
        header: bytes | None = None,
        alias: bytes | None = None,
        post: Any = None,
    ) -> None: ...
    def take(self, run: Ledger, record: bytes, task: Any) -> bool: ...
    def ring(self) -> None: ...

def wake(
    waiters: deque[Any],
    count: int,
    task_type: type[Any],
    reschedule: Callable[[Any, Any], None],
    awake: Any,
    on_failure: Callable[[BaseException], None],
) -> None: ...
def gather(
    queue: deque[Any], waiters: list[Any], stand_in: type, merge_posts: Callable[[Any, Any], Any]
) -> tuple[list[Write], list[Answer], dict[bytes, Entry]]: ...
def identity_of(path: bytes) -> tuple[int, int]: ...
def array_header(length: int) -> bytes: ...
def pack_array(items: Iterable[bytes]) -> bytes: ...
def check_writes(writes: Iterable[Write]) -> None: ...
def check_key(key: bytes, what: str) -> None: ...
def seal(key: bytes, payload: bytes) -> bytes: ...
def unsealed(key: bytes, value: bytes) -> bytes | None: ...
def fits(key: bytes, value: bytes) -> bool: ...
def index_key(workflow: int, status: int, run: bytes) -> bytes: ...
def timer_key(due: int, run: bytes) -> bytes: ...
