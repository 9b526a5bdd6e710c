"""Never run, only type-checked: what users of the decorators and blocks see.

``tests/definition/test_definition_typing.py`` gives it to mypy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, assert_type

import msgspec

from durable_trio._definition.blocks import ParallelBlock, SequenceBlock
from durable_trio._definition.workflow import Workflow
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
