"""A ``trio.Cancelled`` that a body kept and raises where nothing is cancelled, as a shared result would.

Trio's nurseries drop it, so without a judgement the run stands still for ever.
"""

from __future__ import annotations

import pytest
import trio
from engine_helpers import failed, finish

from durable_trio import Err, Failure, Ok


async def kept() -> trio.Cancelled:
    """A cancellation out of its scope."""
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            cancelled = error
            raise
    return cancelled


async def raise_bare(ctx):
    raise await kept()


async def raise_group(ctx):
    raise BaseExceptionGroup("several", [await kept()])


def check(reason, what):
    assert isinstance(reason, Failure)
    assert reason.type == "RuntimeError"
    assert f"{what} raised trio.Cancelled, but nothing around it was cancelled" in reason.message
    assert "trio.Cancelled: " in reason.traceback


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("fn", [raise_bare, raise_group])
async def test_a_stray_cancellation_is_a_failure_of_its_step(db, wf, fn, timeout):
    wf.step(fn, name="a", timeout=timeout)
    check((await failed(db, wf)).error, "step 'a'")


@pytest.mark.parametrize("first", [True, False])
async def test_a_stray_cancellation_in_a_branch_is_an_error_of_that_branch(db, wf, first):
    async def fine(ctx):
        return Ok(1)

    with wf.parallel(on_error="complete_all"):
        if first:
            wf.step(raise_bare, name="stray")
        wf.step(fine)
        if not first:
            wf.step(raise_bare, name="stray")
    results = (await finish(db, wf)).result["__results__"]
    assert results["fine"] == Ok(1)
    match results["stray"]:
        case Err(reason):
            check(reason, "step 'stray'")
        case other:
            pytest.fail(f"not an error: {other}")


async def test_a_stray_cancellation_in_into_fails_the_run(db, wf):
    async def decide(ctx, results):
        await raise_bare(ctx)

    with wf.parallel(into=decide, name="both"):
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
    check((await failed(db, wf)).error, "into of block 'both'")
