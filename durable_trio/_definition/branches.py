"""The branch of the contract's section 4: ``wf.branch`` and, inside it, ``kind.case`` and ``kind.default``.

A case is a body, not a node: its steps are nodes below the branch. What is recorded of a choice is the label
of the case, so a label has to be the same text in every process; that is why the values that a case may have
are those whose text is: none of the memory addresses and hash orders that other objects show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from durable_trio._definition.checks import check_name
from durable_trio._definition.declarations import Block, Body, Declarations
from durable_trio._definition.functions import check_function, is_async, own_name
from durable_trio._definition.nodes import BranchNode, Clause
from durable_trio._errors import DefinitionError

_DEFAULT = "default"
_TYPES = (type(None), bool, int, float, str, bytes, Decimal, UUID, date, datetime, time, timedelta)
# A str that cannot be taken for the text of another value stands in a label as it is, without quotes.
_WORD = re.compile(r"[^\W\d_][^|'\"\\]*")
_PLACES = {
    "new": "its branch is not opened yet",
    "closed": "its branch has ended",
    "discarded": "the body of its branch raised, so the branch is not part of the workflow",
}
_TAKEN_WORDS = frozenset({_DEFAULT, "None", "True", "False"})


class BranchBlock(Block):
    """What ``wf.branch(on=...)`` gives; its cases are opened in the body of its ``with``."""

    __slots__ = ("_clauses", "_on")
    title = "branch"

    def __init__(self, declarations: Declarations, on: Callable[[Any], Any], *, name: str | None) -> None:
        super().__init__(declarations, "", "")
        if name is not None:
            self.name = check_name(name, self.where)
        declarations.check_changeable(self.where)
        check_function(on, f"{self.where}, on=", ("ctx",))
        if name is None and (own := own_name(on)) is not None:
            self.name = check_name(own, self.where)
        self.key = self.name
        self._on = on
        self._clauses: list[ClauseBody] = []
        declarations.unopened.append(self)

    def case(self, *values: Any) -> ClauseBody:
        """Open what runs for these values: ``with kind.case("invoice", "receipt"):``.

        A value is compared with ``==``. It may be None, a bool, number, str, bytes, Decimal, UUID, date, time
        or timedelta, a member of an Enum, or a tuple or list of such.

        Raises:
            DefinitionError: there is no value, or one that cannot be told apart in records; at the ``with``:
                a value is in another case, or this is not the body of the branch; at its end: it is empty.
        """
        where = self.declarations.where(f"case of {self.called}")
        if not values:
            raise DefinitionError(
                f"{where}: it has no value; name at least one, or open `default()` for all others"
            )
        texts = [_text(value, where) for value in values]
        for position, value in enumerate(values):
            if any(value == other for other in values[:position]):
                raise DefinitionError(f"{where}: it has the value {value!r} twice; leave one out")
        # Sorted: in which order the values are written has no meaning for a record.
        return ClauseBody(self, "|".join(sorted(texts)), values)

    def default(self) -> ClauseBody:
        """Open what runs for any value that is in no case: ``with kind.default():``.

        Raises:
            DefinitionError: at the ``with``: there is one already, or this is not the body of the branch; at
                its end: it is empty.
        """
        return ClauseBody(self, _DEFAULT, ())

    def check_child(self, where: str) -> None:
        raise DefinitionError(
            f"{where}: it stands in the {self.called} outside of its cases, so it would never run; put it "
            "into a `with kind.case(...):`, or, if it is for every case, below the branch"
        )

    def check_clause(self, new: ClauseBody) -> None:
        """Refuse a clause that is chosen by what chooses another."""
        for clause in self._clauses:
            if clause.is_default and new.is_default:
                raise DefinitionError(f"{new.where}: the branch has a default already; merge the two")
            for value in new.values:
                if any(value == other for other in clause.values):
                    raise DefinitionError(
                        f"{new.where}: the value {value!r} is in the {clause.called} as well; leave it out "
                        "of one of them"
                    )
            if clause.name == new.name:
                raise DefinitionError(
                    f"{new.where}: another case would be recorded under the same text, {new.name!r}, though "
                    "their values differ; let on= return values that can be told apart by their text"
                )

    def add_clause(self, clause: ClauseBody) -> None:
        self._clauses.append(clause)

    def finish(self) -> None:
        if all(clause.is_default for clause in self._clauses):
            raise DefinitionError(
                f"{self.where}: it has no case; open at least one with `with kind.case(...):` in its body"
            )
        self.name_after(self._clauses[0].children[0], "branch_")

    def build(self, parent: str, where: Callable[[str], str]) -> BranchNode:
        path = parent + self.name
        clauses = [clause.build(f"{path}/", where) for clause in self._clauses]
        return BranchNode(
            name=self.name,
            path=path,
            key=self.key,
            on=self._on,
            on_is_async=is_async(self._on),
            clauses=tuple(clause for clause in clauses if clause.values),
            default=next((clause for clause in clauses if not clause.values), None),
        )

    def functions(self) -> Iterator[Any]:
        yield self._on
        for clause in self._clauses:
            yield from clause.functions()


class ClauseBody(Body):
    """What ``kind.case(...)`` and ``kind.default()`` give: its steps run if it is chosen."""

    __slots__ = ("_branch", "values")
    title = "case"

    def __init__(self, branch: BranchBlock, label: str, values: tuple[Any, ...]) -> None:
        super().__init__(branch.declarations, label)
        self._branch = branch
        self.values = values
        self.declarations.check_changeable(self.where)
        self.declarations.unopened.append(self)

    @property
    def is_default(self) -> bool:
        return not self.values

    @property
    def called(self) -> str:
        what = "default" if self.is_default else f"case {self.name!r}"
        return f"{what} of {self._branch.called}"

    def check_place(self, parent: Body | None) -> None:
        branch = self._branch
        if parent is branch:
            branch.check_clause(self)
            return
        if branch.state == "open" and parent is not None:
            place = f"it is inside the {parent.called}"
        else:
            place = _PLACES[branch.state]
        raise DefinitionError(
            f"{self.where}: {place}; a case stands directly in the body of `with wf.branch(...) as kind:`"
        )

    def finish(self) -> None:
        if not self.children:
            raise DefinitionError(
                f"{self.where}: nothing is declared in it; declare its steps inside the `with` (where there "
                "is nothing to do, one that returns None)"
            )

    def add(self) -> None:
        self._branch.add_clause(self)

    def build(self, parent: str, where: Callable[[str], str]) -> Clause:
        nodes = tuple(child.build(parent, where) for child in self.children)
        return Clause(label=self.name, values=self.values, nodes=nodes)


def _text(value: Any, where: str) -> str:
    """The value as it stands in a label."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if type(value) in {tuple, list}:
        listed = ", ".join(_text(item, where) for item in value)
        return f"({listed})" if type(value) is tuple else f"[{listed}]"
    if type(value) not in _TYPES:
        raise DefinitionError(
            f"{where}: it takes values that have the same text in every process (None, a bool, number, str, "
            "bytes, Decimal, UUID, date, time, timedelta, a member of an Enum, or a tuple or list of such), "
            f"not {value!r}; let on= return such a value"
        )
    if isinstance(value, (float, Decimal)) and Decimal(value).is_nan():
        raise DefinitionError(f"{where}: {value!r} equals nothing, not even itself; leave it to default()")
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    if (
        isinstance(value, str)
        and _WORD.fullmatch(value)
        and value.isprintable()
        and value not in _TAKEN_WORDS
    ):
        return value
    return repr(value)  # of a str, this is also the form without what cannot be stored
