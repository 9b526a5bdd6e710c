"""Random acts on several runs, with restarts and crashes in between; then all must end, and rightly."""

from __future__ import annotations

import random
import shutil
from contextlib import suppress
from functools import partial

import pytest
import trio
from engine_helpers import crash_image

from durable_trio import DurableError, Err, InputError, Ok, Workflow, open_engine, step_info

ENDED = ("completed", "cancelled")


class Model:
    """What the bodies have done, and what was acknowledged."""

    def __init__(self, rng):
        self.rng = rng
        self.results = {}  # (run, path, visit) to what was returned, once it is known to be recorded
        self.paused = {}  # run to whether a pause was acknowledged last
        self.finished = set()  # cancelled for sure
        self.broken = True
        self.entered_while_paused = []

    def workflow(self):
        wf = Workflow("orders")
        wf.step(self.body, name="a")
        with wf.parallel(name="block", limit=2):
            for name in "xyz":
                wf.step(self.body, name=name)
            wf.wait_for_event("go", timeout=1000, default=0)
        wf.step(self.body, name="b")
        wf.step(self.may_fail, name="c")
        return wf

    async def body(self, ctx):
        info = step_info()
        if self.paused.get(info.run_id):
            self.entered_while_paused.append((info.run_id, info.path))
        for _ in range(self.rng.randrange(4)):
            await trio.lowlevel.checkpoint()
        return Ok(ctx | {info.path.replace("/", "_"): info.visit})

    async def may_fail(self, ctx):
        await trio.lowlevel.checkpoint()
        return (
            Err("broken") if self.broken and self.rng.random() < 0.7 else Ok(ctx | {"c": step_info().visit})
        )


async def act(engine, model, runs, *, alone):
    rng = model.rng
    run_id = rng.choice(runs)
    kind = rng.choice(["pause", "resume", "retry", "rewind", "fork", "event", "cancel", "get", "tick"])
    with suppress(InputError):
        if kind == "pause":
            await engine.pause(run_id)
            await trio.testing.wait_all_tasks_blocked()
            model.paused[run_id] = alone  # else it may have been resumed since
        elif kind == "resume":
            model.paused[run_id] = False
            await engine.resume(run_id)
        elif kind == "retry":
            await engine.retry(run_id)
        elif kind == "rewind":
            await engine.retry(run_id, rng.choice(["a", "block", "b", "c"]))
        elif kind == "fork" and len(runs) < 12:
            fork = await engine.fork(run_id, rng.choice(["a", "block", "b", "c"]), id=f"f{len(runs)}")
            runs.append(fork.id)
        elif kind == "event":
            await engine.send_event(run_id, "go", 1)
        elif kind == "cancel" and rng.random() < 0.2:
            if await engine.cancel(run_id):
                model.finished.add(run_id)
        elif kind == "tick":
            await trio.testing.wait_all_tasks_blocked()


async def remember(engine, model, runs):
    """What is recorded never changes."""
    for run_id in runs:
        info = await engine.get(run_id)
        for step in info.steps:
            if step.status == "ok":
                key = (run_id, step.path, step.visit)
                assert model.results.setdefault(key, step.result) == step.result
        counted = [(step.path, step.visit) for step in info.steps if not step.superseded]
        assert len(counted) == len(set(counted))


@pytest.mark.parametrize("seed", range(25))
async def test_anyhow(tmp_path, seed):
    rng = random.Random(seed)
    model, runs, path = Model(rng), ["r0", "r1", "r2"], tmp_path / "db0"
    wf = model.workflow()
    for life in range(6):
        async with open_engine(path, workflows=[wf], max_running=rng.choice([1, 2, 100])) as engine:
            for run_id in runs[:3]:
                await engine.start(wf, id=run_id)
            for _ in range(rng.randrange(4, 14)):
                if rng.random() < 0.3:
                    async with trio.open_nursery() as nursery:
                        for _ in range(2):
                            nursery.start_soon(partial(act, engine, model, runs, alone=False))
                else:
                    await act(engine, model, runs, alone=True)
            await remember(engine, model, runs)
            following = tmp_path / f"db{life + 1}"
            if rng.random() < 0.5:
                # A crash: what has happened since the last commit is gone.
                crash_image(path, following)
        if not following.exists():
            shutil.move(path, following)
        path = following
    model.broken = False
    async with open_engine(path, workflows=[wf]) as engine:
        await remember(engine, model, runs)
        model.paused.clear()
        for run_id in runs:
            with suppress(DurableError):
                await engine.resume(run_id)
            with suppress(DurableError):
                await engine.send_event(run_id, "go", 1)
            info = await (await engine.start(wf, id=run_id)).wait()
            if info.status == "failed":
                info = await (await engine.retry(run_id)).wait()
            assert info.status in ENDED
            assert (info.status == "cancelled") == (run_id in model.finished)
            if info.status == "completed":
                assert set(info.result) == {"a", "b", "c", "__results__"}
                last = {step.path: step.visit for step in info.steps if not step.superseded}
                assert [info.result[name] for name in "abc"] == [last[name] for name in "abc"]
        await remember(engine, model, runs)
    assert model.entered_while_paused == []
