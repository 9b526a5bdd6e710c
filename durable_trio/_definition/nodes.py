"""The tree that a run walks: frozen nodes, made once per workflow and shared by all of its runs.

A node knows its place by name alone: ``path`` is the parent's path, a slash and the name. Records are
found by it, so that a definition may be reordered and extended while runs are under way. What a kind of
node contributes to the outline (what records depend on) is said here too, next to its fields; a new kind
is a new class, and neither the compiler nor the comparison of outlines has to know it.

The engine reads these attributes for every step of every run: they are plain slots, never properties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from durable_trio._retry import Retry

Mode = Literal["async", "thread", "inline"]
Outline = dict[str, Any]


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Node:
    """What every node has.

    Attributes:
        name: unique in the workflow.
        path: stable name in a run's journal, such as ``"checks/authorize_payment"``.
        key: what its result is called in the results of the parallel block around it.
    """

    kind: ClassVar[str]

    name: str
    path: str
    key: str

    def children(self) -> tuple[Node, ...]:
        """The nodes directly inside this one."""
        return ()

    def outline(self) -> Outline:
        """What the meaning of this node's records depends on, as JSON-able data."""
        return {"kind": self.kind, "name": self.name, "key": self.key}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class StepNode(Node):
    """One function of the user's; called with one positional argument, the context.

    Attributes:
        fn: the function, as it was given to ``Workflow.step``.
        mode: ``"async"`` is awaited, ``"thread"`` is called in a worker thread, ``"inline"`` on the loop.
        retry: when a failed attempt is followed by another; None: never.
        timeout: seconds for one attempt, or None.
        compensate: the name of the handler that undoes it (a key of ``Plan.handlers``), or None.
        queue: the queue whose limits it obeys, or None.
        convert: the msgspec.Struct or dataclass that its context parameter is annotated with, or None.
    """

    kind = "step"

    fn: Callable[..., Any]
    mode: Mode
    retry: Retry | None = None
    timeout: float | None = None
    compensate: str | None = None
    queue: str | None = None
    convert: Any = None

    def outline(self) -> Outline:
        # Zero-argument super() does not work in a slotted dataclass: the decorator makes another class.
        return {**Node.outline(self), "compensate": self.compensate}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class ParallelNode(Node):
    """Branches that run at the same time.

    Attributes:
        branches: in declaration order.
        keys: their result keys, in the same order.
        fail_fast: whether the first error cancels the other branches.
        into: called with the context and the results when the block is done, or None.
        into_is_async: whether ``into`` is awaited.
        limit: how many branches run at once, or None for all.
        timeout: seconds for the whole block, or None.
        need: how many branches must be ``Ok`` for the block to be done; 0: it waits for all of them.
    """

    kind = "parallel"

    branches: tuple[Node, ...]
    keys: tuple[str, ...]
    fail_fast: bool
    into: Callable[[Any, Any], Any] | None = None
    into_is_async: bool = False
    limit: int | None = None
    timeout: float | None = None
    need: int = 0

    def children(self) -> tuple[Node, ...]:
        return self.branches

    def outline(self) -> Outline:
        return {
            **Node.outline(self),
            "fail_fast": self.fail_fast,
            "into": self.into is not None,
            "need": self.need,
            # Sorted: branches are told apart by name, and their order carries no meaning for a record.
            "nodes": [branch.outline() for branch in sorted(self.branches, key=lambda branch: branch.name)],
        }


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class SequenceNode(Node):
    """Several nodes, one after the other, as one branch of a parallel block."""

    kind = "sequence"

    nodes: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        return self.nodes

    def outline(self) -> Outline:
        return {**Node.outline(self), "nodes": [node.outline() for node in self.nodes]}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Handler:
    """A compensation: ``fn(ctx, result)`` undoes what a step did.

    Attributes:
        name: what ``step(compensate=...)`` calls it.
        fn: called with the context that the step was given and the data that it returned.
        mode: as of ``StepNode``.
        retry: when a failed attempt is followed by another; None: never.
    """

    name: str
    fn: Callable[..., Any]
    mode: Mode
    retry: Retry | None = None
