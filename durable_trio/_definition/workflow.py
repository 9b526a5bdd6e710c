"""``Workflow``: where a user declares steps; with ``flow.py`` blocks and maps, with ``waits.py`` waits.

The shape of the declarations is the shape of the program text: a decorator declares a step, a ``with`` opens
a block, and what stands inside belongs to it. A mistake raises ``DefinitionError`` at the line that makes it.
Declaring is done once, when a module is imported, by one thread; it costs some microseconds per step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeVar, get_args, overload

from durable_trio._definition.checks import (
    check_choice,
    check_count,
    check_flag,
    check_retry,
    check_text,
    check_timeout,
)
from durable_trio._definition.declarations import Declarations, Leaf
from durable_trio._definition.flow import Flow
from durable_trio._definition.functions import ContextHint, call_mode, caller, is_record_type, module_of
from durable_trio._definition.nodes import Handler, StepNode
from durable_trio._definition.waits import Waits
from durable_trio._errors import DefinitionError
from durable_trio._retry import Retry

Durability = Literal["sync", "async", "exit"]
StepT = TypeVar("StepT", bound=Callable[[Any], Any])
HandlerT = TypeVar("HandlerT", bound=Callable[[Any, Any], Any])


class Workflow(Flow, Waits):
    """A workflow: named steps and blocks, run from top to bottom.

    Args:
        name: under this name its runs are stored; unique among the workflows of an engine.
        version: shown with each run.
        timeout: seconds (or a timedelta) that a run may take in all, from its start; None: no bound.
        max_visits: more steps than this in one run fail it: a guard against a ``Goto`` that never ends.
        durability: ``"sync"``, ``"async"`` or ``"exit"``; None: as the engine is opened with.
        input: a msgspec.Struct or dataclass that the input of a run must fit; None: any mapping.

    Attributes:
        module: the name of the module that made it. Types of that module, and of the modules of its
            functions, may be stored in a context without being registered.

    Raises:
        DefinitionError: an argument is not as described.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "1",
        timeout: float | timedelta | None = None,
        max_visits: int = 10_000,
        durability: Durability | None = None,
        input: type[Any] | None = None,  # noqa: A002 - the contract's name
    ) -> None:
        self.name = check_text(name, "Workflow(...)", "its name")
        where = f"workflow {name!r}"
        self.version = check_text(version, where, "version=")
        self.timeout = check_timeout(timeout, where)
        self.max_visits = check_count(max_visits, where, "max_visits=")
        self.durability: Durability | None = (
            None
            if durability is None
            else check_choice(durability, get_args(Durability), where, "durability=")
        )
        if input is not None and not is_record_type(input):
            raise DefinitionError(
                f"{where}: input= must be a msgspec.Struct or a dataclass type, not {input!r}"
            )
        self.input = input
        self.module: str = caller().f_globals.get("__name__", "__main__")
        self._declarations = Declarations(name)

    @property
    def modules(self) -> tuple[str, ...]:
        """The module that made it, then those of its functions, each once."""
        functions = [fn for declaration in self._declarations.top for fn in declaration.functions()]
        functions += [handler.fn for handler in self._declarations.handlers.values()]
        found = [self.module, *(module_of(fn) for fn in functions)]
        return tuple(dict.fromkeys(module for module in found if module is not None))

    @overload
    def step(
        self,
        fn: StepT,
        /,
        *,
        name: str | None = None,
        returns: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        compensate: str | None = None,
        queue: str | None = None,
        inline: bool = False,
    ) -> StepT: ...

    @overload
    def step(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        returns: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        compensate: str | None = None,
        queue: str | None = None,
        inline: bool = False,
    ) -> Callable[[StepT], StepT]: ...

    def step(
        self,
        fn: Callable[[Any], Any] | None = None,
        /,
        *,
        name: str | None = None,
        returns: str | None = None,
        retry: Retry | None = None,
        timeout: float | timedelta | None = None,
        compensate: str | None = None,
        queue: str | None = None,
        inline: bool = False,
    ) -> Any:
        """Declare a step: as ``@wf.step``, ``@wf.step(...)`` or ``wf.step(fn, ...)``.

        The function is called with the context, and comes back unchanged. An ``async def`` runs as a Trio
        task, a plain ``def`` in a worker thread. If its parameter is annotated with a msgspec.Struct or a
        dataclass, the context is converted to it.

        Args:
            fn: the function; the same one may be several steps, under different names.
            name: unique in the workflow; the function's name by default.
            returns: in a parallel block, the key of its result; the step's name by default.
            retry: when a failed attempt is followed by another; None: never.
            timeout: seconds (or a timedelta) for one attempt, which is then cancelled. A worker thread
                cannot be interrupted: the attempt lasts until the function returns.
            compensate: the name of a handler, declared above with ``wf.compensation``.
            queue: the queue whose limit it obeys: ``open_engine(queues={"mail": 5})`` enters at most five
                bodies of the steps of the queue ``"mail"`` at the same time. It is not the queue of the run.
            inline: run a plain function on the loop, where it holds up everything else: for quick pure ones.

        Raises:
            DefinitionError: the name is taken, or an option or the function is not as described.
        """

        def declare(fn: StepT) -> StepT:
            sheet = self._declarations
            where, step_name = sheet.start("step", fn, name, ("ctx",))
            if returns is not None:
                sheet.check_returns(returns, where)
            mode = call_mode(fn, where, inline=check_flag(inline, where, "inline="))
            node = StepNode(
                name=step_name,
                path="",
                key=step_name if returns is None else returns,
                fn=fn,
                mode=mode,
                retry=check_retry(retry, where),
                timeout=check_timeout(timeout, where),
                compensate=None if compensate is None else self._known_handler(compensate, where),
                queue=None if queue is None else check_text(queue, where, "queue="),
                limited=queue is not None or mode == "thread",
            )
            sheet.declare(Leaf("step", node, (fn,), ContextHint(fn, caller())), where)
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def compensation(self, name: HandlerT, /, *, retry: Retry | None = None) -> HandlerT: ...

    @overload
    def compensation(self, name: str, fn: HandlerT, retry: Retry | None = None) -> HandlerT: ...

    @overload
    def compensation(
        self, name: str | None = None, fn: None = None, retry: Retry | None = None
    ) -> Callable[[HandlerT], HandlerT]: ...

    def compensation(self, name: Any = None, fn: Any = None, retry: Retry | None = None) -> Any:
        """Declare a handler that undoes a step: ``wf.compensation("refund", fn)`` or ``@wf.compensation``.

        It is called as ``fn(ctx, result)`` with the context its step was given and the data its step
        returned. It comes before the steps that name it (``step(compensate="refund")``).

        Args:
            name: unique among the handlers; the function's name by default.
            fn: the function; it comes back unchanged.
            retry: when a failed attempt is followed by another; None: never.

        Raises:
            DefinitionError: the name is taken, or an argument is not as described.
        """
        if fn is None and not isinstance(name, str):
            name, fn = None, name

        def declare(fn: HandlerT) -> HandlerT:
            where, handler_name = self._declarations.start("compensation", fn, name, ("ctx", "result"))
            handlers = self._declarations.handlers
            if handler_name in handlers:
                raise DefinitionError(
                    f"{where}: the workflow has a compensation of this name; choose another for this one"
                )
            handlers[handler_name] = Handler(
                name=handler_name,
                fn=fn,
                mode=call_mode(fn, where, inline=False),
                retry=check_retry(retry, where),
            )
            return fn

        return declare if fn is None else declare(fn)

    def _known_handler(self, compensate: object, where: str) -> str:
        handlers = self._declarations.handlers
        if isinstance(compensate, str) and compensate in handlers:
            return compensate
        if not isinstance(compensate, str):
            raise DefinitionError(
                f"{where}: compensate= takes the name of a compensation, not {compensate!r}"
            )
        known = ", ".join(repr(name) for name in handlers) or "none so far"
        raise DefinitionError(
            f"{where}: compensate={compensate!r} names no compensation (known: {known}); declare it above "
            f"this step, with wf.compensation({compensate!r}, fn)"
        )

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} version {self.version!r}, {len(self._declarations.names)} nodes>"
