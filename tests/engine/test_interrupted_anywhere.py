"""One run of everything, interrupted or crashed at each of its bodies in turn: it must not make a difference.

The straight run tells how many bodies are entered. Then, for each n: a life that is left (or a disk image
that is taken) when the n-th body is entered, and a life that goes on from there. What the run leaves in the
end, its result, its errors and the state of every step, must be what the straight run left.
"""

from __future__ import annotations

import itertools

import pytest
import trio
from engine_helpers import crash_image, resume

from durable_trio import Err, Finish, Goto, Ok, Retry, Workflow, open_engine, step_info


class Probe:
    """Counts the bodies that are entered, and does something when the n-th is."""

    def __init__(self, at=0, action=None):
        self.entered = []
        self._at = at
        self._action = action

    async def __call__(self):
        info = step_info()
        self.entered.append((info.path, info.visit, info.attempt))
        if len(self.entered) == self._at:
            await self._action()


def everything(probe, *, fails):
    """Loops, attempts, nested blocks and sequences, errors that are results, and decisions."""
    wf = Workflow("everything")

    def declare(name, outcome, **options):
        @wf.step(name=name, **options)
        async def step(ctx):
            await probe[0]()
            return outcome(ctx)

    def flaky(ctx):
        if step_info().attempt < 3:
            raise OSError(f"attempt {step_info().attempt}")
        return ctx | {"flaky": (step_info().attempt,)}

    declare("begin", lambda ctx: {"n": 0, "log": [ctx["start"]], "set": {1}})
    declare("flaky", flaky, retry=Retry(max_attempts=3, base=0))
    with wf.parallel(name="outer", on_error="complete_all") as outer:
        declare("a", lambda ctx: Ok((ctx["n"], {"deep": [ctx["n"]]})), returns="first")
        declare("b", lambda ctx: Err({"code": ctx["n"]}))
        with wf.sequence("chain"):
            declare("c1", lambda ctx: ctx | {"log": [*ctx["log"], "c1"]})
            with wf.parallel(name="inner"):
                declare("i1", lambda ctx: Ok(len(ctx["log"])))
                declare("i2", flaky, retry=Retry(max_attempts=3, base=0))
            declare("c2", lambda ctx: ctx | {"sum": ctx.results["i1"].value})
        with wf.parallel(name="failing", limit=1):
            declare("f1", lambda ctx: Ok(b"fine"))
            with wf.sequence("f2"):
                declare("f3", lambda ctx: Err(("deep", ctx["n"])))
            declare("f4", lambda ctx: Ok("never entered"))

        @outer.into
        async def decide(ctx, results):
            await probe[0]()
            entry = [found.is_ok for found in results.values()]
            ctx["log"].append((entry, results["b"].reason, results["failing"].reason))
            ctx["n"] += 1
            if ctx["n"] < 2:
                return Goto("flaky", ctx)
            return Err("into says no") if fails else ctx

    declare("skip", lambda ctx: Goto("last", ctx))
    declare("skipped", lambda ctx: Err("never entered"))
    declare("last", lambda ctx: Finish(ctx | {"done": frozenset(ctx["set"])}))
    return wf


def end_of(info):
    """What must not depend on when the run was interrupted."""
    steps = {
        (step.path, step.visit): (step.kind, step.status, step.attempt, step.result, step.error)
        for step in info.steps
    }
    return {
        "status": info.status,
        "result": info.result,
        "context": info.context,
        "error": info.error,
        "errors": info.errors,
        "first error": next(iter(info.errors), None),
        "steps": steps,
    }


async def straight(path, fails):
    probe = Probe()
    wf = everything([probe], fails=fails)
    async with open_engine(path, workflows=[wf]) as engine:
        info = await (await engine.start(wf, {"start": "s"}, id="r")).wait()
    return end_of(info), sorted(probe.entered)


async def interrupted(path, n, fails):
    reached = trio.Event()

    async def stay():
        reached.set()
        await trio.sleep_forever()

    probe = [Probe(n, stay)]
    wf = everything(probe, fails=fails)
    async with open_engine(path, workflows=[wf]) as engine:
        await engine.start(wf, {"start": "s"}, id="r")
        await reached.wait()
    before, probe[0] = probe[0].entered, Probe()
    return end_of(await resume(path, wf)), before, probe[0].entered


async def crashed(path, n, fails):
    async def photograph():
        crash_image(path / "live", path / "image")

    probe = [Probe(n, photograph)]
    wf = everything(probe, fails=fails)
    async with open_engine(path / "live", workflows=[wf]) as engine:
        await (await engine.start(wf, {"start": "s"}, id="r")).wait()
    before, probe[0] = probe[0].entered[:n], Probe()
    return end_of(await resume(path / "image", wf)), before, probe[0].entered


async def check(tmp_path, life, fails):
    expected, bodies = await straight(tmp_path / "straight", fails)
    assert expected["status"] == ("failed" if fails else "completed")
    for n in itertools.count(1):
        if n > len(bodies):
            break
        path = tmp_path / str(n)
        path.mkdir()
        found, before, after = await life(path, n, fails)
        assert found == expected, f"interrupted at body {n}, {before[n - 1]}"
        assert set(before) | set(after) == set(bodies), f"interrupted at body {n}, {before[n - 1]}"
        again = sorted(set(before) & set(after))
        assert before[n - 1] in again
        # What ran at the same time, and a branch whose record was on its way to the disk, may run again.
        top = before[n - 1][0].partition("/")[0]
        assert {path.partition("/")[0] for path, _, _ in again} == {top}


@pytest.mark.slow
async def test_a_run_that_is_left_at_any_body_ends_as_if_it_had_not_been(tmp_path):
    await check(tmp_path, interrupted, fails=False)


@pytest.mark.slow
async def test_a_run_that_is_left_at_any_body_fails_as_if_it_had_not_been(tmp_path):
    await check(tmp_path, interrupted, fails=True)


@pytest.mark.slow
async def test_a_run_that_crashed_at_any_body_ends_as_if_it_had_not(tmp_path):
    await check(tmp_path, crashed, fails=False)


@pytest.mark.slow
async def test_a_run_that_crashed_at_any_body_fails_as_if_it_had_not(tmp_path):
    await check(tmp_path, crashed, fails=True)
