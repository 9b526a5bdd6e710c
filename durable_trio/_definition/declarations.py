"""What the ``with`` blocks and decorators of a workflow collect, until it is compiled.

A declaration is mutable and knows no path: an unnamed block is called after its first child, and ``into`` may
come after its block. ``Declarations`` is the sheet they are written on: it keeps the stack of open blocks
(each workflow its own, so one may be declared inside a block of another) and the names that are taken. A
block is added to the one around it when it ends; if its body raises, nothing of it is kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from durable_trio._definition.functions import ContextHint, caller, line_of
from durable_trio._definition.nodes import Handler, Node, StepNode
from durable_trio._errors import DefinitionError


class Declarations:
    """Everything declared for one workflow so far."""

    def __init__(self, workflow: str) -> None:
        self.workflow = workflow
        self.top: list[Declaration] = []
        self.open_blocks: list[Block] = []
        self.unopened: list[Block] = []  # made, and not (yet) used in a ``with``
        self.names: dict[str, str] = {}  # name to what has it, in the order of declaration
        self.handlers: dict[str, Handler] = {}
        self.plan: object = None  # what was compiled from it, if it was: it can no longer change then

    def where(self, what: str) -> str:
        """How a message about this begins."""
        return f"workflow {self.workflow!r}, {what}"

    @property
    def innermost(self) -> Block | None:
        return self.open_blocks[-1] if self.open_blocks else None

    def check_changeable(self, where: str) -> None:
        if self.plan is not None:
            raise DefinitionError(
                f"{where}: the workflow has been opened by an engine and can no longer change; declare "
                "everything before that, or make another Workflow"
            )

    def check_free(self, name: str, where: str, advice: str = "choose another with name=") -> None:
        owner = self.names.get(name)
        if owner is not None:
            raise DefinitionError(
                f"{where}: the name {name!r} is taken by the {owner}; names are unique in the whole "
                f"workflow, because records are found by them; {advice}"
            )

    def claim(self, declaration: Declaration, name: str) -> None:
        self.names[name] = f"{declaration.title} at {line_of(caller())}"

    def add(self, declaration: Declaration) -> None:
        """Put a finished declaration into the innermost open block, or at the top level."""
        block = self.innermost
        if block is None:
            self.top.append(declaration)
        else:
            block.children.append(declaration)

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
        name: its name; empty for a block that has not been given one yet.
        key: its key in the results of the parallel block around it.
    """

    __slots__ = ("key", "name")
    title: ClassVar[str]

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        self.key = key

    @abstractmethod
    def build(self, parent: str, where: Callable[[str], str]) -> Node:
        """The node, below the path ``parent`` (with its slash; empty at the top level)."""

    @abstractmethod
    def functions(self) -> Iterator[Callable[..., Any]]:
        """The user's functions in it, those of its children included."""


class StepDeclaration(Declaration):
    """A node that lacks only what is known at the end: its path and the type of its context."""

    __slots__ = ("hint", "node")
    title = "step"

    def __init__(self, node: StepNode, hint: ContextHint) -> None:
        super().__init__(node.name, node.key)
        self.node = node
        self.hint = hint

    def build(self, parent: str, where: Callable[[str], str]) -> Node:
        convert = self.hint.type(where(f"step {self.name!r}"), self.node.fn)
        return replace(self.node, path=parent + self.name, convert=convert)

    def functions(self) -> Iterator[Callable[..., Any]]:
        yield self.node.fn


class Block(Declaration):
    """A context manager: what is declared in its body belongs to it.

    It raises DefinitionError at the ``with`` line for what is known only at the end, such as an empty body.
    """

    __slots__ = ("_since", "_state", "children", "declarations", "line")

    def __init__(self, declarations: Declarations, name: str, key: str) -> None:
        super().__init__(name, key)
        self.declarations = declarations
        self.children: list[Declaration] = []
        self.line = line_of(caller())
        self._state: Literal["new", "open", "closed", "discarded"] = "new"
        self._since = (0, 0)

    @property
    def where(self) -> str:
        return self.declarations.where(
            f"{self.title} {self.name!r}" if self.name else f"{self.title} (unnamed)"
        )

    @abstractmethod
    def check_place(self, parent: Block | None) -> None:
        """Refuse to be opened inside ``parent`` (None: at the top level)."""

    @abstractmethod
    def check_key(self, key: str, where: str) -> None:
        """Refuse a child whose result would be called so."""

    def finish(self) -> None:
        """Check the whole body, and find a name if there is none yet."""
        if not self.children:
            raise DefinitionError(
                f"{self.where}: nothing is declared in it; declare its steps inside the `with`"
            )

    def check_alive(self, where: str) -> None:
        """Refuse a change that nobody would ever see."""
        self.declarations.check_changeable(where)
        if self._state == "new":
            raise DefinitionError(
                f"{where}: the block is not opened yet; write `with wf.parallel() as block:`"
            )
        if self._state == "discarded":
            raise DefinitionError(
                f"{where}: the body of the block raised, so the block is not part of the workflow"
            )

    def __enter__(self) -> Self:
        sheet = self.declarations
        if self in sheet.unopened:
            sheet.unopened.remove(self)
        sheet.check_changeable(self.where)
        if self._state != "new":
            raise DefinitionError(
                f"{self.where}: it was used in a `with` before; make a new block for each `with`"
            )
        parent = sheet.innermost
        self.check_place(parent)
        since = (len(sheet.names), len(sheet.handlers))
        if self.name:
            sheet.check_free(self.name, self.where)
            if parent is not None:
                parent.check_key(self.key, self.where)
            sheet.claim(self, self.name)
        self._since = since
        self._state = "open"
        sheet.open_blocks.append(self)
        return self

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
        sheet.open_blocks.pop()
        if exc is not None:
            self._discard()
            return
        try:
            self.finish()
        except DefinitionError:
            self._discard()
            raise
        self._state = "closed"
        sheet.add(self)

    def _discard(self) -> None:
        self.declarations.forget_since(*self._since)
        self._state = "discarded"

    def functions(self) -> Iterator[Callable[..., Any]]:
        for child in self.children:
            yield from child.functions()
