"""Never run, only type-checked: what users of the decorators and blocks see.

``tests/definition/test_definition_typing.py`` gives it to mypy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import msgspec

from durable_trio._definition.blocks import ParallelBlock, SequenceBlock
from durable_trio._definition.branches import BranchBlock, ClauseBody
from durable_trio._definition.workflow import Workflow
from durable_trio._forms import InputSpec, check_answer, input_spec
from durable_trio._retry import Retry
from durable_trio._values import Err, Finish, Goto, Ok


class Order(msgspec.Struct):
    id: int


wf = Workflow("orders", version="2", timeout=timedelta(hours=1), durability="async", input=Order)


@wf.compensation
async def refund(ctx: dict[str, Any], result: dict[str, Any]) -> None: ...


@wf.compensation("release", retry=Retry())
def release_stock(ctx: dict[str, Any], result: dict[str, Any]) -> int:
    return 1


@wf.compensation(retry=Retry())
def undo(ctx: dict[str, Any], result: dict[str, Any]) -> str:
    return ""


assert_type(release_stock({}, {}), int)
assert_type(undo({}, {}), str)
assert_type(wf.compensation("other", release_stock)({}, {}), int)


@wf.step
async def bare(ctx: dict[str, int]) -> Ok[int] | Err[str]:
    return Ok(ctx["n"])


@wf.step(retry=Retry(max_attempts=2), timeout=30, compensate="refund", queue="payments")
def with_options(ctx: Order, flag: bool = False) -> Goto | Finish:
    return Finish({"id": ctx.id, "flag": flag})


async def uses() -> None:
    assert_type(await bare({"n": 1}), Ok[int] | Err[str])
    assert_type(with_options(Order(1), flag=True), Goto | Finish)


assert_type(wf.step(with_options, name="again", inline=True)(Order(1)), Goto | Finish)


def takes_nothing() -> None: ...


def takes_two(one: int, two: int) -> None: ...


wf.step(takes_nothing)  # type: ignore[type-var]  # a step is called with the context
wf.step(takes_two)  # type: ignore[type-var]
wf.step(bare, retry=3)  # type: ignore[call-overload]  # a Retry
wf.step(name=7)  # type: ignore[call-overload]
wf.step(bare, nam="x")  # type: ignore[call-overload]

with wf.parallel(on_error="complete_all", limit=2, timeout=timedelta(seconds=5), need=1) as block:
    assert_type(block, ParallelBlock)

    @block.into
    async def decide(ctx: dict[str, Any], results: dict[str, Any]) -> Ok[int]:
        return Ok(1)

    with wf.sequence("ship", returns="shipping") as sequence:
        assert_type(sequence, SequenceBlock)

decided: Callable[[dict[str, Any], dict[str, Any]], Awaitable[Ok[int]]] = decide

wf.parallel(on_error="ignore")  # type: ignore[arg-type]
wf.parallel(into=takes_nothing)  # type: ignore[arg-type]
block.into(takes_nothing)  # type: ignore[type-var]
Workflow("x", durability="fast")  # type: ignore[arg-type]


def kind_of(ctx: dict[str, Any]) -> str:
    return "invoice"


async def ask_kind(ctx: Order) -> str:
    return "invoice"


with wf.branch(on=kind_of) as kind:
    assert_type(kind, BranchBlock)

    with kind.case("invoice", 2, None) as case:
        assert_type(case, ClauseBody)
        wf.step(bare, name="in a case")

    with kind.default() as default:
        assert_type(default, ClauseBody)
        wf.step(bare, name="in the default")

wf.branch(ask_kind, name="other")
wf.branch(on="kind")  # type: ignore[arg-type]
wf.branch(on=takes_nothing)  # type: ignore[arg-type]
wf.branch()  # type: ignore[call-arg]


@wf.map(over="docs", limit=8, retry=Retry(), returns="vectors")
async def embed(ctx: dict[str, Any], doc: str) -> Ok[list[float]]:
    return Ok([0.0])


@wf.map(
    over=lambda ctx: ctx["docs"], into=decide, timeout=timedelta(minutes=1), on_error="complete_all", need=1
)
def count(ctx: Order, doc: str) -> int:
    return len(doc)


async def uses_maps() -> None:
    assert_type(await embed({}, "text"), Ok[list[float]])
    assert_type(count(Order(1), "text"), int)


assert_type(wf.map(count, over="docs", name="counts", inline=True)(Order(1), "x"), int)
wf.map(count)  # type: ignore[call-overload]  # over what?
wf.map(kind_of, over="docs")  # type: ignore[type-var]  # called with the context and the item
wf.map(count, over=7)  # type: ignore[call-overload]

wf.sleep(60)
wf.sleep(timedelta(days=3), name="trial")
wf.sleep(lambda ctx: ctx["delay"], name="delay")
wf.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
wf.sleep_until(ask_kind, name="deadline")
wf.sleep("3d")  # type: ignore[arg-type]
wf.sleep_until(60)  # type: ignore[arg-type]

wf.wait_for_event("paid")
wf.wait_for_event("paid", timeout=timedelta(days=1), default={"late": True}, returns="payment", step="again")
wf.wait_for_event("paid", 60)  # type: ignore[call-arg]  # timeout=

wf.wait_for_input("a", kind="choice", choices=["x", {"value": 1, "label": "One"}], default=None)
wf.wait_for_input("b", kind="number")  # type: ignore[arg-type]
wf.wait_for_approval("c", prompt="Sure?", timeout=60, default="rejected")
wf.wait_for_approval("d", default=True)
wf.wait_for_approval("e", default=1.5)  # type: ignore[arg-type]
wf.wait_for_choice("f", choices=("s", "m", "l"), default="m")
wf.wait_for_choice("g")  # type: ignore[call-arg]
wf.wait_for_text("h", default="")
wf.wait_for_form(
    "i", fields=[{"name": "n", "type": "select", "options": ["x"], "required": False}], default={}
)
wf.wait_for_form("j", fields=["n"])  # type: ignore[list-item]

assert_type(input_spec("text", where="here"), InputSpec)
assert_type(check_answer(InputSpec("text"), "yes", what="it"), Any)
