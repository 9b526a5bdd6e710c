"""The tree that a run walks: frozen nodes, made once per workflow and shared by all of its runs.

A node knows its place by name alone: ``path`` is the parent's path, a slash and the name. Records are
found by it, so that a definition may be reordered and extended while runs are under way. What a kind of
node contributes to the outline (what records depend on) is said here too, next to its fields; a new kind
is a new class, and the compiler does not have to know it.

The engine reads these attributes for every step of every run: they are plain slots, never properties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from durable_trio._forms import Choice, FormField, InputKind, InputSpec
from durable_trio._retry import Retry

Mode = Literal["async", "thread", "inline"]
Outline = dict[str, Any]


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class Node:
    """What every node has.

    Attributes:
        simple: of a step: nothing but its body stands between what it is given and what it leaves.
        name: unique in the workflow.
        path: stable name in a run's journal, such as ``"checks/authorize_payment"``.
        key: what its result is called in the results of the parallel block around it.
    """

    kind: ClassVar[str]
    simple: ClassVar[bool] = False

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
        queue: the queue whose limit it obeys (``open_engine(queues=...)``), or None.
        convert: the msgspec.Struct or dataclass that its context parameter is annotated with, or None.
        limited: it must get a place before its body is entered: of its queue's, or among the threads.
        plain: calling ``fn`` and awaiting what it returns is all there is to an attempt.
        simple: so it is, and it needs no place for that.
    """

    kind = "step"

    fn: Callable[..., Any]
    mode: Mode
    retry: Retry | None = None
    timeout: float | None = None
    compensate: str | None = None
    queue: str | None = None
    convert: Any = None
    limited: bool = False
    plain: bool = field(init=False, default=False)
    simple: bool = field(init=False, default=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        plain = self.mode == "async" and self.timeout is None and self.convert is None
        object.__setattr__(self, "plain", plain)
        object.__setattr__(self, "simple", plain and not self.limited)

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
        listing: each key with its branch's path, as the block's record has them.
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
    listing: list[list[str]] = field(init=False)

    def __post_init__(self) -> None:
        listing = [[key, branch.path] for key, branch in zip(self.keys, self.branches, strict=True)]
        object.__setattr__(self, "listing", listing)

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
class Clause:
    """The nodes that run, one after the other, for some of the values of a branch.

    Attributes:
        label: what is recorded when it is chosen: its values as text, in alphabetical order and separated by
            ``|`` (``"invoice|receipt"``), or ``"default"``. Unique in its branch.
        values: the clause is chosen for a value that equals one of these; empty for the default.
        nodes: in order; never empty. Their paths are below the branch's.
    """

    label: str
    values: tuple[Any, ...]
    nodes: tuple[Node, ...]

    def outline(self) -> Outline:
        return {"label": self.label, "nodes": [node.outline() for node in self.nodes]}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class BranchNode(Node):
    """One of several clauses, chosen at run time.

    Attributes:
        on: called with the context; the value that it returns chooses the clause.
        on_is_async: whether ``on`` is awaited.
        clauses: in declaration order, without the default; no value is in two of them.
        default: what runs for any other value; None: any other value fails the run.
    """

    kind = "branch"

    on: Callable[[Any], Any]
    on_is_async: bool
    clauses: tuple[Clause, ...]
    default: Clause | None = None

    def all_clauses(self) -> tuple[Clause, ...]:
        """The clauses, the default last."""
        return self.clauses if self.default is None else (*self.clauses, self.default)

    def children(self) -> tuple[Node, ...]:
        return tuple(node for clause in self.all_clauses() for node in clause.nodes)

    def outline(self) -> Outline:
        # Sorted: clauses are told apart by their labels, and no value is in two, so order has no meaning.
        clauses = sorted(self.all_clauses(), key=lambda clause: clause.label)
        return {**Node.outline(self), "clauses": [clause.outline() for clause in clauses]}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class MapNode(Node):
    """One function for each of the items of a list that is known at run time; one branch per item.

    An item's path is the map's, a slash and the item's index (``"embed/17"``). The result is a list of
    ``Ok`` and ``Err`` in the order of the items, under ``key``.

    Attributes:
        fn: the function, as it was given to ``Workflow.map``; called with the context and the item.
        mode, convert: as of ``StepNode``; ``convert`` is the type of the context, not of the item.
        over: the context's key of the items, or a function of the context that returns them.
        over_is_async: whether ``over`` is awaited.
        fail_fast, into, into_is_async, need: as of ``ParallelNode``.
        limit: how many items run at once, or None for all.
        retry: when a failed attempt at an item is followed by another; None: never.
        timeout: seconds for one attempt at one item, or None.
    """

    kind = "map"

    fn: Callable[..., Any]
    mode: Mode
    over: str | Callable[[Any], Any]
    over_is_async: bool
    fail_fast: bool
    into: Callable[[Any, Any], Any] | None = None
    into_is_async: bool = False
    limit: int | None = None
    need: int = 0
    retry: Retry | None = None
    timeout: float | None = None
    convert: Any = None

    def outline(self) -> Outline:
        return {
            **Node.outline(self),
            "fail_fast": self.fail_fast,
            "into": self.into is not None,
            "need": self.need,
        }


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class SleepNode(Node):
    """A wait for an instant; it leaves the context as it is.

    Exactly one of ``seconds``, ``until`` and ``fn`` is not None.

    Attributes:
        seconds: how long, from when the wait begins.
        until: the aware datetime at which it ends.
        fn: called with the context when the wait begins; returns one of the two.
        fn_is_async: whether ``fn`` is awaited.
        absolute: whether ``fn`` returns an aware datetime; if not, seconds or a timedelta.
    """

    kind = "sleep"

    seconds: float | None = None
    until: datetime | None = None
    fn: Callable[[Any], Any] | None = None
    fn_is_async: bool = False
    absolute: bool = False


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class EventNode(Node):
    """A wait for an event from outside. Its payload is added to the context under ``key``.

    Attributes:
        event: the event's name.
        timeout: seconds from when the wait begins, or None: no bound.
        default: the payload when the time is over, if ``has_default``; else that is an error.
    """

    kind = "event"

    event: str
    timeout: float | None = None
    default: Any = None
    has_default: bool = False

    def outline(self) -> Outline:
        return {**Node.outline(self), "event": self.event}


@dataclass(slots=True, frozen=True, eq=False, kw_only=True)
class InputNode(Node):
    """A wait for a person's answer, which is added to the context under ``key``.

    Attributes:
        input: the input's name.
        spec: what is asked; made for being recorded with the wait.
        input_kind, prompt, choices, fields: the parts of ``spec``.
        timeout: seconds from when the wait begins, or None: no bound.
        default: the answer when the time is over, if ``has_default``; else that is an error. It fits
            ``spec``, or is None.
    """

    kind = "input"

    input: str
    spec: InputSpec
    timeout: float | None = None
    default: Any = None
    has_default: bool = False

    def outline(self) -> Outline:
        return {**Node.outline(self), "input": self.input}

    # Properties for once: they are asked for when a wait begins, not at every step.
    @property
    def input_kind(self) -> InputKind:
        return self.spec.kind

    @property
    def prompt(self) -> str | None:
        return self.spec.prompt

    @property
    def choices(self) -> tuple[Choice, ...]:
        return self.spec.choices

    @property
    def fields(self) -> tuple[FormField, ...]:
        return self.spec.fields


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
