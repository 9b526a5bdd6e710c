"""How a step's function is called: as a task, in a worker thread, on the loop."""

from __future__ import annotations

import functools
import threading

import trio
from engine_helpers import Meeting, failed, result_of

from durable_trio import Ok, open_engine


async def test_an_async_step_runs_on_the_trio_thread(db, wf):
    seen = []

    @wf.step
    async def first(ctx):
        seen.append(threading.current_thread())
        await trio.lowlevel.checkpoint()

    await result_of(db, wf)
    assert seen == [threading.current_thread()]


async def test_a_plain_step_runs_in_a_worker_thread(db, wf):
    seen = []
    wf.step(lambda ctx: seen.append(threading.current_thread()), name="first")
    await result_of(db, wf)
    assert len(seen) == 1
    assert seen[0] is not threading.current_thread()


async def test_an_inline_step_runs_on_the_trio_thread(db, wf):
    seen = []
    wf.step(lambda ctx: seen.append(threading.current_thread()), name="first", inline=True)
    await result_of(db, wf)
    assert seen == [threading.current_thread()]


async def test_a_plain_step_does_not_block_the_loop(db, wf):
    in_thread = trio.Event()
    go_on = threading.Event()
    token = trio.lowlevel.current_trio_token()

    def block(ctx):
        token.run_sync_soon(in_thread.set)
        return {"released": go_on.wait(30)}

    with wf.parallel():
        wf.step(block, name="in_a_thread", returns="thread")

        @wf.step
        async def on_the_loop(ctx):
            await in_thread.wait()
            go_on.set()

    result = await result_of(db, wf)
    assert result["__results__"]["thread"] == Ok({"released": True})


async def test_plain_steps_of_several_branches_run_at_the_same_time(db, wf):
    barrier = threading.Barrier(3)
    with wf.parallel():
        for name in "abc":
            wf.step(lambda ctx: Ok(barrier.wait(30) >= 0), name=name)
    results = (await result_of(db, wf))["__results__"]
    assert results == {"a": Ok(True), "b": Ok(True), "c": Ok(True)}


async def test_a_plain_step_changes_its_context_in_place_like_any_other(db, wf):
    @wf.step
    def change(ctx):
        ctx["list"].append(2)

    assert await result_of(db, wf, {"list": [1]}) == {"list": [1, 2]}


async def test_a_plain_step_that_raises_is_a_failure(db, wf):
    @wf.step
    def charge(ctx):
        raise ValueError("in the thread")

    error = (await failed(db, wf)).error
    assert (error.type, error.message) == ("ValueError", "in the thread")
    assert "in the thread" in error.traceback


async def test_a_plain_step_may_call_back_into_trio(db, wf):
    @wf.step
    def first(ctx):
        return {"now": trio.from_thread.run_sync(threading.current_thread) is not threading.current_thread()}

    assert await result_of(db, wf) == {"now": True}


async def test_partials_and_methods_and_callable_objects_are_called_as_what_they_are(db, wf):
    class Charger:
        async def method(self, ctx):
            await trio.lowlevel.checkpoint()
            return ctx | {"method": True}

        async def __call__(self, ctx):
            await trio.lowlevel.checkpoint()
            return ctx | {"object": True}

    async def add(ctx, *, key):
        await trio.lowlevel.checkpoint()
        return ctx | {key: True}

    wf.step(functools.partial(add, key="partial"), name="partial")
    wf.step(Charger().method, name="method")
    wf.step(Charger(), name="object")
    assert await result_of(db, wf) == {"partial": True, "method": True, "object": True}


async def test_the_function_comes_back_and_can_be_called_by_itself(wf):
    @wf.step
    async def double(ctx):
        return Ok({"n": ctx["n"] * 2})

    assert await double({"n": 4}) == Ok({"n": 8})


async def test_a_step_may_open_nurseries_and_cancel_scopes_of_its_own(db, wf):
    @wf.step
    async def first(ctx):
        done = []

        async def child(n):
            await meeting()
            done.append(n)

        meeting = Meeting(2)
        with trio.move_on_after(0) as scope:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, 1)
            nursery.start_soon(child, 2)
        return {"done": sorted(done), "timed_out": scope.cancelled_caught}

    assert await result_of(db, wf) == {"done": [1, 2], "timed_out": True}


async def test_a_coroutine_that_another_run_awaits_is_refused_as_await_does(db, wf):
    """To go on with it would be to take the other run's task for this one's, cancel scopes and all."""

    async def fetch():
        for _ in range(20):
            with trio.move_on_after(60):
                await trio.lowlevel.checkpoint()
        return {"fetched": True}

    class Cached(functools.partial):
        def __call__(self, ctx):
            return shared

    async def first(ctx):
        raise AssertionError

    shared = fetch()
    cached = Cached(first)
    wf.step(cached, name="first")
    wf.step(lambda ctx: None, name="second", inline=True)
    async with open_engine(db, workflows=[wf]) as engine:
        runs = [await engine.start(wf) for _ in range(2)]
        infos = [await run.wait() for run in runs]
        assert sorted(info.status for info in infos) == ["completed", "failed"]
        (error,) = [info.error for info in infos if info.status == "failed"]
        assert error.type == "RuntimeError"
        assert "coroutine" in error.message
