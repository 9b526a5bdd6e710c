"""The blocks of the contract's section 3: ``wf.parallel`` and, inside it, ``wf.sequence``.

``Gathering`` is what a parallel block and a map have in common: what they do with their results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, TypeVar, get_args

from durable_trio._definition.checks import (
    check_choice,
    check_count,
    check_name,
    check_timeout,
)
from durable_trio._definition.declarations import Block, Body, Declaration, Declarations
from durable_trio._definition.functions import check_function, is_async
from durable_trio._definition.nodes import ParallelNode, SequenceNode
from durable_trio._errors import DefinitionError

OnError = Literal["fail_fast", "complete_all"]
Into = Callable[[Any, Any], Any]
IntoT = TypeVar("IntoT", bound=Into)


class Gathering:
    """How the results of what runs at the same time are gathered, and when that is enough."""

    __slots__ = ("_limit", "_on_error", "into", "need")

    def __init__(
        self, where: str, *, on_error: OnError | None, into: Into | None, limit: int | None, need: int | None
    ) -> None:
        self._on_error = (
            None if on_error is None else check_choice(on_error, get_args(OnError), where, "on_error=")
        )
        self._limit = None if limit is None else check_count(limit, where, "limit=")
        self.need = 0 if need is None else check_count(need, where, "need=")
        self.into = into
        if into is not None:
            check_function(into, f"{where}, into=", ("ctx", "results"))

    def arguments(self) -> dict[str, Any]:
        """What the node is given of it."""
        fail_fast = self.into is None if self._on_error is None else self._on_error == "fail_fast"
        return {
            "fail_fast": fail_fast,
            "into": self.into,
            "into_is_async": is_async(self.into),
            "limit": self._limit,
            "need": self.need,
        }


class ParallelBlock(Block):
    """What ``wf.parallel()`` gives; its branches are declared in the body of its ``with``."""

    __slots__ = ("_by_key", "_gathering", "_timeout")
    title = "parallel block"
    collects = True

    def __init__(
        self,
        declarations: Declarations,
        *,
        on_error: OnError | None,
        into: Into | None,
        name: str | None,
        limit: int | None,
        timeout: float | timedelta | None,
        need: int | None,
    ) -> None:
        super().__init__(declarations, "", "")
        if name is not None:
            self.name = self.key = check_name(name, self.where)
        declarations.check_changeable(self.where)
        self._gathering = Gathering(self.where, on_error=on_error, into=into, limit=limit, need=need)
        self._timeout = check_timeout(timeout, self.where)
        self._by_key: dict[str, Declaration] = {}  # the children, as far as they have been looked at
        declarations.unopened.append(self)

    def into(self, fn: IntoT, /) -> IntoT:
        """Decorate the function that decides how the run goes on after the block.

        It is called as ``fn(ctx, results)`` with the context from before the block, unchanged, and a mapping
        of each branch's key to ``Ok(data)`` or ``Err(reason)``; it returns ``Ok(ctx)`` or a mapping,
        ``Err(reason)``, ``Goto(...)`` or ``Finish(...)``. It may be ``async``. It is cancelled with the run.

        Raises:
            DefinitionError: the block has one already, or the function cannot be called so.
        """
        where = f"{self.where}, into"
        self.check_alive(where, "with wf.parallel() as block:")
        if self._gathering.into is not None:
            raise DefinitionError(
                f"{where}: the block has one already; one function decides, so merge the two"
            )
        check_function(fn, where, ("ctx", "results"))
        self._gathering.into = fn
        return fn

    def check_key(self, key: str, where: str) -> None:
        for child in self.children[len(self._by_key) :]:
            self._by_key[child.key] = child
        taken = self._by_key.get(key)
        if taken is not None:
            raise DefinitionError(
                f"{where}: the result key {key!r} is taken by the {taken.title} {taken.name!r} of the same "
                "parallel block; choose another with returns= (or with name=, which is the default)"
            )

    def finish(self) -> None:
        super().finish()
        need = self._gathering.need
        if need > len(self.children):
            raise DefinitionError(
                f"{self.where}: need={need} can never be reached, it has {len(self.children)} "
                "branch(es); lower need= or declare more branches"
            )
        self.name_after(self.children[0], "parallel_")

    def build(self, parent: str, where: Callable[[str], str]) -> ParallelNode:
        path = parent + self.name
        return ParallelNode(
            name=self.name,
            path=path,
            key=self.key,
            branches=tuple(child.build(f"{path}/", where) for child in self.children),
            keys=tuple(child.key for child in self.children),
            timeout=self._timeout,
            **self._gathering.arguments(),
        )

    def functions(self) -> Iterator[Any]:
        yield from super().functions()
        if self._gathering.into is not None:
            yield self._gathering.into


class SequenceBlock(Block):
    """What ``wf.sequence()`` gives: its steps are one branch of the parallel block around it."""

    __slots__ = ()
    title = "sequence"

    def __init__(self, declarations: Declarations, name: str, *, returns: str | None) -> None:
        super().__init__(declarations, "", "")
        self.name = self.key = check_name(name, self.where)
        declarations.check_changeable(self.where)
        if returns is not None:
            self.key = check_name(returns, self.where, "returns=")
        declarations.unopened.append(self)

    def check_place(self, parent: Body | None) -> None:
        if not isinstance(parent, ParallelBlock):
            place = "at the top level" if parent is None else f"directly inside the {parent.called}"
            raise DefinitionError(
                f"{self.where}: a sequence is a branch of a parallel block, and this one is {place}; put "
                "it inside `with wf.parallel():`, or leave it out: steps follow one another anyway"
            )

    def build(self, parent: str, where: Callable[[str], str]) -> SequenceNode:
        path = parent + self.name
        nodes = tuple(child.build(f"{path}/", where) for child in self.children)
        return SequenceNode(name=self.name, path=path, key=self.key, nodes=nodes)
