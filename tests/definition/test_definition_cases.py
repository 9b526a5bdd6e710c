"""What values a case may have, and what is recorded of a choice."""

# ruff: noqa: SIM117 - a blamed ``with`` has a line of its own

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, StrEnum
from uuid import UUID

import pytest

from durable_trio._definition.plan import compile_plan


async def a(ctx): ...
async def b(ctx): ...


def kind(ctx): ...


class Colour(Enum):
    RED = 1


class Size(StrEnum):
    SMALL = "s"


class Right(Flag):
    READ = 1
    WRITE = 2


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


def in_body(fn):
    """A branch in whose body ``fn`` is called with it, and which has a case besides."""

    def declare(wf):
        with wf.branch(on=kind) as block:
            fn(block)
            with block.case("last"):
                wf.step(a)

    return declare


@pytest.mark.parametrize(
    ("values", "label"),
    [
        (("invoice",), "invoice"),
        (("receipt", "invoice"), "invoice|receipt"),
        (("application/pdf", "größe", "two words"), "application/pdf|größe|two words"),
        (("a\nb", "a\ud800"), "'a\\nb'|'a\\ud800'"),
        ((1,), "1"),
        (("1",), "'1'"),
        (("", "_x", "it's"), "\"it's\"|''|'_x'"),
        (("a|b",), "'a|b'"),
        (("a", "b"), "a|b"),
        (("default",), "'default'"),
        ((None, True, 1.5), "1.5|None|True"),
        (("None", "True", "False"), "'False'|'None'|'True'"),
        ((b"x", Decimal("1.50")), "Decimal('1.50')|b'x'"),
        ((Colour.RED, Size.SMALL), "Colour.RED|Size.SMALL"),
        ((Right.READ | Right.WRITE,), "Right.READ|WRITE"),
        ((("a", 1), ["b"], (Colour.RED,)), "(Colour.RED)|(a, 1)|[b]"),
        ((date(2024, 1, 2), time(6, 30), "2024-01-02"), "'2024-01-02'|06:30:00|2024-01-02"),
        (
            (datetime(2024, 1, 2, tzinfo=UTC),),
            "2024-01-02T00:00:00+00:00",
        ),
        ((timedelta(days=1),), "datetime.timedelta(days=1)"),
        ((UUID(int=1),), "UUID('00000000-0000-0000-0000-000000000001')"),
    ],
)
def test_what_is_recorded_of_a_choice(wf, values, label):
    with wf.branch(on=kind) as block, block.case(*values):
        wf.step(a)
    (clause,) = only(wf).clauses
    assert (clause.label, clause.values) == (label, values)


def test_values_that_look_alike_are_told_apart(wf):
    with wf.branch(on=kind) as block:
        for position, values in enumerate(
            [(1,), ("1",), ("a|b",), ("a", "b"), ("default",), (None,), ("None",)]
        ):
            with block.case(*values):
                wf.step(a, name=f"a{position}")
        with block.default():
            wf.step(b)
    labels = [clause.label for clause in only(wf).all_clauses()]
    assert len(set(labels)) == len(labels) == 8


@pytest.mark.parametrize(
    "value",
    [object(), {"a"}, frozenset("ab"), {"a": 1}, (1, {2}), kind, int, type("S", (str,), {})("x")],
    ids=lambda value: type(value).__name__,
)
def test_values_without_a_lasting_text_are_refused(wf, mistake, value):
    with mistake("case of branch 'kind': it takes values that have the same text in every process"):
        in_body(lambda block: block.case(value))(wf)  # <-


@pytest.mark.parametrize("value", [float("nan"), Decimal("nan"), Decimal("sNaN")])
def test_what_equals_nothing_is_refused(wf, mistake, value):
    with mistake("equals nothing, not even itself; leave it to default()"):
        in_body(lambda block: block.case(value))(wf)  # <-


def test_two_values_under_one_text_are_refused(wf, mistake):
    other = Enum("Colour", {"RED": 2}, qualname="Colour")
    with wf.branch(on=kind) as block:
        with block.case(Colour.RED):
            wf.step(a)
        with mistake("another case would be recorded under the same text, 'Colour.RED'"):
            with block.case(other.RED):  # <-
                raise AssertionError("the body must not run")
