"""What the ``with`` blocks and decorators of a workflow collect, until it is compiled.

A declaration is mutable and knows no path: an unnamed block is called after its first child, and ``into`` may
come after its block. ``Declarations`` is the sheet they are written on: it keeps the stack of open bodies
(each workflow its own, so one may be declared inside a block of another) and the names that are taken. What a
``with`` collects is added to what is around it when it ends; if its body raises, nothing of it is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from durable_trio._definition.checks import MAX_NAME, check_name
from durable_trio._definition.functions import ContextHint, caller, check_function, default_name, line_of
from durable_trio._definition.nodes import Handler, Node
from durable_trio._errors import DefinitionError


class Declarations:
    """Everything declared for one workflow so far."""

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.top: list[Declaration] = []
        self.open_bodies: list[Body] = []
        self.unopened: list[Body] = []  # made, and not (yet) used in a ``with``
        self.names: dict[str, str] = {}  # name to what has it, in the order of declaration
        self.handlers: dict[str, Handler] = {}
        self.plan: object = None  # what was compiled from it, if it was: it can no longer change then

    def where(self, what: str) -> str:
        """How a message about this begins."""
        return f"workflow {self.workflow!r}, {what}"

    @property
    def innermost(self) -> Body | None:
        return self.open_bodies[-1] if self.open_bodies else None

    def start(
        self, title: str, fn: Callable[..., Any], name: str | None, arguments: tuple[str, ...]
    ) -> tuple[str, str]:
        """The beginning of every declaration of a function: how its messages begin, and its name."""
        known = getattr(fn, "__name__", None) if name is None else name
        where = self.where(title if known is None else f"{title} {known!r}")
        self.check_changeable(where)
        check_function(fn, where, arguments)
        if name is None:
            name = default_name(fn, where)
        check_name(name, where)
        return self.where(f"{title} {name!r}"), name

    def check_changeable(self, where: str) -> None:
        if self.plan is not None:
            raise DefinitionError(
                f"{where}: the workflow has been opened by an engine and can no longer change; declare "
                "everything before that, or make another Workflow"
            )

    def check_returns(self, returns: object, where: str) -> None:
        """Refuse a result key where nobody would ever see it."""
        key = check_name(returns, where, "returns=")
        body = self.innermost
        if body is None or not body.collects:
            place = "at the top level" if body is None else f"inside the {body.called}"
            raise DefinitionError(
                f"{where}: returns={key!r} names a result of a parallel block, and this step is {place}; "
                "leave it out: a step passes its whole context on"
            )

    def check_free(self, name: str, where: str, advice: str = "choose another with name=") -> None:
        owner = self.names.get(name)
        if owner is not None:
            raise DefinitionError(
                f"{where}: the name {name!r} is taken by the {owner}; names are unique in the whole "
                f"workflow, because records are found by them; {advice}"
            )

    def claim(self, declaration: Declaration, where: str, advice: str = "choose another with name=") -> None:
        """Take its name, and its key in the results of the block around it; refuse if one is taken."""
        self.check_free(declaration.name, where, advice)
        if self.innermost is not None:
            self.innermost.check_key(declaration.key, where)
        self.names[declaration.name] = f"{declaration.title} at {line_of(caller())}"

    def declare(self, leaf: Leaf, where: str, advice: str = "choose another with name=") -> None:
        """Add what has no body of its own."""
        if self.innermost is not None:
            self.innermost.check_child(where)
        self.claim(leaf, where, advice)
        self.add(leaf)

    def add(self, declaration: Declaration) -> None:
        """Put a finished declaration into the innermost open body, or at the top level."""
        body = self.innermost
        if body is None:
            self.top.append(declaration)
        else:
            body.children.append(declaration)

    def forget_since(self, names: int, handlers: int) -> None:
        """Take back what was declared since there were so many names and handlers."""
        for name in list(self.names)[names:]:
            del self.names[name]
        for name in list(self.handlers)[handlers:]:
            del self.handlers[name]
        self.unopened.clear()  # what was made in the body that raised will not be opened any more


class Declaration(ABC):
    """Something that becomes a node.

    Attributes:
        title: what it is called in messages.
        name: its name; empty for a block that has not been given one yet.
        key: its key in the results of the parallel block around it.
    """

    __slots__ = ()
    title: str
    name: str
    key: str

    @abstractmethod
    def build(self, parent: str, where: Callable[[str], str]) -> Node:
        """The node, below the path ``parent`` (with its slash; empty at the top level)."""

    @abstractmethod
    def functions(self) -> Iterator[Any]:
        """The user's functions in it, those of its children included."""


class Leaf(Declaration):
    """A node that lacks only what is known at the end: its path, and the type of its context."""

    __slots__ = ("_functions", "hint", "key", "name", "node", "title")

    def __init__(
        self, title: str, node: Node, functions: tuple[Any, ...] = (), hint: ContextHint | None = None
    ) -> None:
        self.title = title
        self.name = node.name
        self.key = node.key
        self.node = node
        self.hint = hint
        self._functions = functions

    def build(self, parent: str, where: Callable[[str], str]) -> Node:
        known: dict[str, Any] = {"path": parent + self.name}
        if self.hint is not None:
            known["convert"] = self.hint.type(where(f"{self.title} {self.name!r}"))
        return replace(self.node, **known)

    def functions(self) -> Iterator[Any]:
        yield from self._functions


class Body(ABC):
    """A context manager: what is declared in its ``with`` belongs to it.

    It raises DefinitionError at the ``with`` line for what is known only at the end, such as an empty body.

    Attributes:
        name: what messages call it; empty if that is not known yet.
        line: where it was made.
        state: ``"discarded"`` if its body raised.
        collects: whether the results of what is declared in it are given to the user by their keys.
    """

    __slots__ = ("_since", "children", "declarations", "line", "name", "state")
    title: str
    collects: ClassVar[bool] = False

    def __init__(self, declarations: Declarations, name: str) -> None:
        self.name = name
        self.declarations = declarations
        self.children: list[Declaration] = []
        self.line = line_of(caller())
        self.state: Literal["new", "open", "closed", "discarded"] = "new"
        self._since = (0, 0)

    @property
    def called(self) -> str:
        return f"{self.title} {self.name!r}" if self.name else f"{self.title} (unnamed)"

    @property
    def where(self) -> str:
        """How a message about it begins."""
        return self.declarations.where(self.called)

    @abstractmethod
    def check_place(self, parent: Body | None) -> None:
        """Refuse to be opened inside ``parent`` (None: at the top level)."""

    def check_child(self, where: str) -> None:  # noqa: B027 - most take anything
        """Refuse what is declared directly in it."""

    def check_key(self, key: str, where: str) -> None:  # noqa: B027 - most do not collect results
        """Refuse a child whose result would be called so."""

    def finish(self) -> None:
        """Check the whole body, and find a name if there is none yet."""
        if not self.children:
            raise DefinitionError(
                f"{self.where}: nothing is declared in it; declare its steps inside the `with`"
            )

    @abstractmethod
    def add(self) -> None:
        """Become part of what is around it; called when it has ended well."""

    def check_alive(self, where: str, example: str) -> None:
        """Refuse a change that nobody would ever see."""
        self.declarations.check_changeable(where)
        if self.state == "new":
            raise DefinitionError(f"{where}: the {self.title} is not opened yet; write `{example}`")
        if self.state == "discarded":
            raise DefinitionError(
                f"{where}: the body of the {self.title} raised, so it is not part of the workflow"
            )

    def __enter__(self) -> Self:
        sheet = self.declarations
        if self in sheet.unopened:
            sheet.unopened.remove(self)
        sheet.check_changeable(self.where)
        if self.state != "new":
            raise DefinitionError(
                f"{self.where}: it was used in a `with` before; make another for each `with`"
            )
        self.check_place(sheet.innermost)
        since = (len(sheet.names), len(sheet.handlers))
        self.enter()
        self._since = since
        self.state = "open"
        sheet.open_bodies.append(self)
        return self

    def enter(self) -> None:  # noqa: B027 - a case has nothing to claim
        """Claim what there is to claim."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sheet = self.declarations
        if sheet.innermost is not self:
            raise DefinitionError(
                f"{self.where}: it ends while a block inside it is open; nest the `with` blocks"
            )
        sheet.open_bodies.pop()
        if exc is not None:
            self._discard()
            return
        try:
            self.finish()
        except DefinitionError:
            self._discard()
            raise
        self.state = "closed"
        self.add()

    def _discard(self) -> None:
        self.declarations.forget_since(*self._since)
        self.state = "discarded"

    def functions(self) -> Iterator[Any]:
        for child in self.children:
            yield from child.functions()


class Block(Body, Declaration):
    """A body that becomes a node."""

    __slots__ = ("key",)

    def __init__(self, declarations: Declarations, name: str, key: str) -> None:
        super().__init__(declarations, name)
        self.key = key

    def check_place(self, parent: Body | None) -> None:
        """It may stand wherever a step may."""
        if parent is not None:
            parent.check_child(self.where)

    def enter(self) -> None:
        if self.name:
            self.declarations.claim(self, self.where)

    def name_after(self, first: Declaration, prefix: str) -> None:
        """Take the name of the first thing declared in it, now that it has ended, if it has none."""
        if self.name:
            return
        advice = f"give the {self.title} a name= of its own"
        where = f"{self.where}, which is called after the first {first.title} in it"
        name = f"{prefix}{first.name}"
        if len(name) > MAX_NAME:
            raise DefinitionError(f"{where}: {name[:40]!r}... is longer than {MAX_NAME} characters; {advice}")
        self.name = self.key = name
        self.declarations.claim(self, where, advice)

    def add(self) -> None:
        self.declarations.add(self)
