"""What steps are put into: the ``Workflow`` methods that open a block, and the one that declares a map."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

from durable_trio._definition.blocks import Gathering, Into, OnError, ParallelBlock, SequenceBlock
from durable_trio._definition.branches import BranchBlock
from durable_trio._definition.checks import check_flag, check_name, check_retry, check_text, check_timeout
from durable_trio._definition.declarations import Declarations, Leaf
from durable_trio._definition.functions import ContextHint, call_mode, caller, check_function, is_async
from durable_trio._definition.nodes import MapNode
from durable_trio._retry import Retry

MapT = TypeVar("MapT", bound=Callable[[Any, Any], Any])
Over = str | Callable[[Any], Any]


class Flow:
    """The part of ``Workflow`` that nests."""

    _declarations: Declarations

    def parallel(
        self,
        *,
        on_error: OnError | None = None,
        into: Into | None = None,
        name: str | None = None,
        limit: int | None = None,
        timeout: float | timedelta | None = None,
        need: int | None = None,
    ) -> ParallelBlock:
        """Open a block whose children run at the same time: ``with wf.parallel() as block:``.

        Each branch gets a copy of the context of its own. Without ``into`` the next step's context is the one
        from before the block, with the results under ``"__results__"``.

        Args:
            on_error: ``"fail_fast"`` (the default without ``into``): the first error cancels the other
                branches and fails the run. ``"complete_all"`` (the default with it): all run to their end.
            into: a function of the context and the results that decides how the run goes on; it may also be
                declared with ``@block.into``.
            name: unique in the workflow; by default ``"parallel_"`` and the name of the first branch.
            limit: how many branches run at once; None: all.
            timeout: seconds (or a timedelta) for the block; what is left then is cancelled.
            need: the block is done as soon as so many branches are ``Ok``; the others are cancelled.

        Raises:
            DefinitionError: an argument is not as described; at the end of the ``with``: the block is empty,
                or has fewer branches than it needs.
        """
        return ParallelBlock(
            self._declarations,
            on_error=on_error,
            into=into,
            name=name,
            limit=limit,
            timeout=timeout,
            need=need,
        )

    def sequence(self, name: str, returns: str | None = None) -> SequenceBlock:
        """Open a branch of more than one step, inside a parallel block: ``with wf.sequence("ship"):``.

        Its data is the context that its last step leaves.

        Args:
            name: unique in the workflow.
            returns: the key of its result; the name by default.

        Raises:
            DefinitionError: it stands outside a parallel block, its name or key is taken, or it is empty.
        """
        return SequenceBlock(self._declarations, name, returns=returns)

    def branch(self, on: Callable[[Any], Any], name: str | None = None) -> BranchBlock:
        """Open a choice: ``with wf.branch(on=fn) as kind:``, then ``with kind.case("invoice"):`` in its body.

        ``on`` is called with the context, and the case that has the value it returns is run; the other cases
        are not. What follows the block is run for every case. A value that is in no case, where there is no
        ``with kind.default():``, fails the run. The choice is recorded, and not taken again after a crash.

        Args:
            on: a quick function, plain (it is called on the loop) or ``async``.
            name: unique in the workflow; the function's name by default, and where that says nothing (a
                lambda's), ``"branch_"`` and the name of the first step.

        Raises:
            DefinitionError: an argument is not as described, or the name is taken; at the end of the
                ``with``: it has no case.
        """
        return BranchBlock(self._declarations, on, name=name)

    @overload
    def map(
        self,
        fn: MapT,
        /,
        *,
        over: Over,
        name: str | None = None,
        limit: int | None = None,
        on_error: OnError | None = None,
        into: Into | None = None,
        returns: str | None = None,
        need: int | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        inline: bool = False,
    ) -> MapT: ...

    @overload
    def map(
        self,
        fn: None = None,
        /,
        *,
        over: Over,
        name: str | None = None,
        limit: int | None = None,
        on_error: OnError | None = None,
        into: Into | None = None,
        returns: str | None = None,
        need: int | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        inline: bool = False,
    ) -> Callable[[MapT], MapT]: ...

    def map(
        self,
        fn: Callable[[Any, Any], Any] | None = None,
        /,
        *,
        over: Over,
        name: str | None = None,
        limit: int | None = None,
        on_error: OnError | None = None,
        into: Into | None = None,
        returns: str | None = None,
        need: int | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        inline: bool = False,
    ) -> Any:
        """Run a function for each item of a list: ``@wf.map(over="docs")`` or ``wf.map(fn, over="docs")``.

        Each item is a branch of its own, called as ``fn(ctx, item)`` and recorded under its index; the rules
        of a parallel block hold. The result is a list of ``Ok`` and ``Err`` in the order of the items.

        Args:
            fn: the function, as of ``step``; it comes back unchanged.
            over: the context's key of the items, or a function of the context, plain or ``async``, that
                returns them. It is asked once: after a crash the items are the same.
            name: unique in the workflow; the function's name by default.
            limit: how many items run at once; None: all.
            on_error: as of ``parallel``.
            into: as of ``parallel``; in the results that it gets, the list has the same key.
            returns: the key of the list, under ``"__results__"`` or, directly in a parallel block, in the
                results of that; the name by default.
            need: the map is done as soon as so many items are ``Ok``; the others are cancelled.
            retry: when a failed attempt at an item is followed by another; None: never.
            timeout: seconds (or a timedelta) for one attempt at one item.
            inline: as of ``step``.

        Raises:
            DefinitionError: the name is taken, or an option or the function is not as described.
        """

        def declare(fn: MapT) -> MapT:
            where, map_name = self._declarations.start("map", fn, name, ("ctx", "item"))
            if callable(over):
                check_function(over, f"{where}, over=", ("ctx",))
            else:
                check_text(over, where, "over= (a context's key, or a function of the context)")
            gathering = Gathering(where, on_error=on_error, into=into, limit=limit, need=need)
            node = MapNode(
                name=map_name,
                path="",
                key=map_name if returns is None else check_name(returns, where, "returns="),
                fn=fn,
                mode=call_mode(fn, where, inline=check_flag(inline, where, "inline=")),
                over=over,
                over_is_async=is_async(over),
                retry=check_retry(retry, where),
                timeout=check_timeout(timeout, where),
                **gathering.arguments(),
            )
            functions = [function for function in (fn, over, into) if callable(function)]
            hint = ContextHint(fn, caller())
            self._declarations.declare(Leaf("map", node, tuple(functions), hint), where)
            return fn

        return declare if fn is None else declare(fn)
