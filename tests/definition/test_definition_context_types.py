"""What a step's annotation says about the context it is to be given.

This file's annotations are strings (the import below), as in most of the files that people write.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._errors import DefinitionError

if TYPE_CHECKING:
    import typing as typed
    from typing import Any as Context  # stands for a mapping that is imported for the type checker alone
    from typing import NamedTuple as Invoice

T = TypeVar("T")


class Order(msgspec.Struct):
    id: int


@dataclass
class Parcel:
    id: int


class Box(msgspec.Struct, Generic[T]):
    item: T


class Plain:
    pass


def convert_of(fn):
    wf = Workflow("orders")
    wf.step(fn, name="step")
    return compile_plan(wf).nodes[0].convert


def as_struct(ctx: Order): ...
def as_dataclass(ctx: Parcel): ...
def as_generic(ctx: Box[int]): ...
def as_annotated(ctx: Annotated[Order, "note"]): ...
def as_later(ctx: Later): ...
def as_positional_only(ctx: Order, /, more=None): ...
def with_unknown_return(ctx: Order) -> Invoice: ...


class Method:
    def __call__(self, ctx: Order): ...
    def method(self, ctx: Order): ...


@functools.wraps(as_struct)
def wrapper(*args):
    return as_struct(*args)


def bound(prefix: str, ctx: Order): ...


class Later(msgspec.Struct):
    id: int


@pytest.mark.parametrize(
    ("fn", "wanted"),
    [
        (as_struct, Order),
        (as_dataclass, Parcel),
        (as_generic, Box[int]),
        (as_annotated, Order),
        (as_later, Later),
        (as_positional_only, Order),
        (with_unknown_return, Order),
        (Method(), Order),
        (Method().method, Order),
        (wrapper, Order),
        (functools.partial(bound, "prefix"), Order),
    ],
)
def test_a_struct_or_a_dataclass_is_what_the_context_is_turned_into(fn, wanted):
    assert convert_of(fn) == wanted


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [(Order, Order), (Box[int], Box[int]), (dict, None), (Plain, None), (Order(1), None)],
)
def test_an_annotation_need_not_be_a_string(annotation, wanted):
    def fn(ctx): ...

    fn.__annotations__["ctx"] = annotation
    assert convert_of(fn) == wanted


def as_mapping(ctx: Mapping[str, Any]): ...
def as_dict(ctx: dict): ...
def as_any(ctx: Any): ...
def as_plain(ctx: Plain): ...
def as_optional(ctx: Order | None): ...
def as_many(*ctx: Order): ...
def not_annotated(ctx): ...
def as_unknown_mapping(ctx: Context): ...
def as_unknown_dotted_mapping(ctx: typed.MutableMapping): ...
def as_unknown_expression(ctx: typed.Mapping[str, Invoice]): ...


@pytest.mark.parametrize(
    "fn",
    [
        as_mapping,
        as_dict,
        as_any,
        as_plain,
        as_optional,
        as_many,
        not_annotated,
        as_unknown_mapping,
        as_unknown_dotted_mapping,
        as_unknown_expression,
        len,
    ],
)
def test_anything_else_gets_the_context_as_it_is(fn):
    assert convert_of(fn) is None


def test_a_class_that_is_local_to_a_function_is_found():
    wf = Workflow("orders")

    class Local(msgspec.Struct):
        id: int

    @wf.step
    async def first(ctx: Local): ...

    with wf.parallel():

        @wf.step
        async def second(ctx: Local): ...

    plan = compile_plan(wf)
    assert plan.by_path["first"].convert is Local
    assert plan.by_path["parallel_second/second"].convert is Local


def as_invoice(ctx: Invoice): ...
def as_dotted_invoice(ctx: typed.Invoice): ...


@pytest.mark.parametrize(
    ("fn", "text", "root"),
    [(as_invoice, "Invoice", "Invoice"), (as_dotted_invoice, "typed.Invoice", "typed")],
)
def test_a_name_that_nobody_knows_is_an_error_when_the_workflow_is_compiled(fn, text, root):
    wf = Workflow("orders")
    wf.step(fn)
    with pytest.raises(DefinitionError) as caught:
        compile_plan(wf)
    message = str(caught.value)
    assert message.startswith(
        f"workflow 'orders', step '{fn.__name__}': the annotation '{text}' of the context in"
    )
    assert f"define or import '{root}' at the top level of the module" in message


def test_it_can_be_defined_until_then():
    namespace = {}
    exec("from __future__ import annotations\ndef soon(ctx: Soon): ...", namespace)
    wf = Workflow("orders")
    wf.step(namespace["soon"])
    with pytest.raises(DefinitionError, match="'Soon' of the context"):
        compile_plan(wf)
    namespace["Soon"] = Order
    assert compile_plan(wf).nodes[0].convert is Order
