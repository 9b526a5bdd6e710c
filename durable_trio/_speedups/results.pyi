"""What ``_speedups/results.pyx`` offers."""

from typing import Any, final

from durable_trio._values import Err, Ok

__all__ = ["Collector"]

@final
class Collector:
    """The outcomes of one parallel block's branches, and what follows from them for the block.

    Args:
        keys: the branches' result keys, in the order in which they are declared.
        need: how many Ok branches are enough; 0: all branches are waited for.
        fail_fast: whether an error (or, with ``need``, that it is out of reach) ends the block and fails it.

    Attributes:
        ok_count: branches that are Ok.
        error_count: branches that ended in any other way.
        left: branches without an outcome.
        first_error: the first branch, in time, that failed or timed out, or -1. One that was cancelled or
            never started is a consequence, and no error of its own.
    """

    def __init__(self, keys: tuple[str, ...], need: int = 0, fail_fast: bool = True) -> None: ...
    @property
    def ok_count(self) -> int: ...
    @property
    def error_count(self) -> int: ...
    @property
    def left(self) -> int: ...
    @property
    def first_error(self) -> int: ...
    @property
    def is_settled(self) -> bool:
        """Whether every branch has an outcome."""

    @property
    def need_reached(self) -> bool:
        """Whether as many branches are Ok as are needed; False without ``need``."""

    @property
    def need_impossible(self) -> bool:
        """Whether too few branches are Ok or left to reach ``need``; False without it."""

    @property
    def must_stop(self) -> bool:
        """Whether the block's fate is sealed, so that what is left is to be cancelled."""

    @property
    def has_failed(self) -> bool:
        """Whether the block fails the run: never without ``fail_fast``."""

    def ok(self, index: int, value: Any) -> None:
        """Branch ``index`` succeeded, with this data.

        Raises:
            RuntimeError: it has an outcome already.
        """

    def error(self, index: int, reason: Any, status: int = 1) -> None:
        """Branch ``index`` ended in another way, for this reason.

        Args:
            index: the branch.
            reason: why.
            status: ERROR (1), CANCELLED (2), TIMED_OUT (3) or NEVER_STARTED (4) of the journal's records.

        Raises:
            RuntimeError: it has an outcome already.
            ValueError: there is no such status.
        """

    def status(self, index: int) -> int:
        """The status code of branch ``index``, or -1 while it has no outcome."""

    def merge(self) -> dict[str, Ok[Any] | Err[Any]]:
        """The tagged results by key, in declared order.

        Raises:
            RuntimeError: a branch has no outcome yet.
        """
