"""Point 8 of parallel blocks: branches of several steps, and blocks within blocks."""

from __future__ import annotations

import trio
from engine_helpers import Meeting, failed, finish, result_of, states, step_of
from trio.testing import wait_all_tasks_blocked

from durable_trio import Err, Finish, Goto, Ok, Retry


async def test_a_sequence_is_one_branch_whose_data_is_what_its_last_step_leaves(db, wf):
    with wf.parallel(name="block"):
        with wf.sequence("ship", returns="shipping"):
            wf.step(lambda ctx: ctx | {"label": ctx["id"] + 1}, name="label", inline=True)
            wf.step(lambda ctx: {"sent": ctx["label"] * 2}, name="send", inline=True)
        wf.step(lambda ctx: Ok("mail"), name="mail", inline=True)
    info = await finish(db, wf, {"id": 1})
    assert info.result == {"id": 1, "__results__": {"shipping": Ok({"sent": 4}), "mail": Ok("mail")}}
    assert states(info) == {
        "block/ship/label": "ok",
        "block/ship/send": "ok",
        "block/ship": "ok",
        "block/mail": "ok",
        "block": "ok",
    }
    assert step_of(info, "block/ship").kind == "sequence"


async def test_a_sequence_has_its_name_as_key_by_default(db, wf):
    with wf.parallel(), wf.sequence("ship"):
        wf.step(lambda ctx: {"done": 1}, name="one", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"ship": Ok({"done": 1})}


async def test_a_sequence_that_changes_nothing_gives_the_context(db, wf):
    with wf.parallel(), wf.sequence("ship"):
        wf.step(lambda ctx: None, name="one", inline=True)
    assert (await result_of(db, wf, {"a": [1]}))["__results__"] == {"ship": Ok({"a": [1]})}


async def test_sequences_run_at_the_same_time_and_their_steps_one_after_the_other(db, wf):
    meeting = Meeting(2)
    order = []

    def declare(name):
        @wf.step(name=f"{name}1")
        async def one(ctx):
            await meeting()
            order.append(f"{name}1")

        @wf.step(name=f"{name}2")
        async def two(ctx):
            await meeting()
            order.append(f"{name}2")

    with wf.parallel():
        for name in "ab":
            with wf.sequence(name):
                declare(name)
    await result_of(db, wf)
    assert sorted(order[:2]) == ["a1", "b1"]
    assert sorted(order[2:]) == ["a2", "b2"]


async def test_sequences_do_not_see_each_others_changes(db, wf):
    meeting = Meeting(2)

    def declare(name):
        @wf.step(name=f"{name}1")
        async def one(ctx):
            ctx["deep"]["list"].append(name)
            await meeting()

        @wf.step(name=f"{name}2")
        async def two(ctx):
            await meeting()
            return {"list": ctx["deep"]["list"]}

    with wf.parallel():
        for name in "ab":
            with wf.sequence(name):
                declare(name)
    result = await result_of(db, wf, {"deep": {"list": []}})
    assert result["deep"] == {"list": []}
    assert result["__results__"] == {"a": Ok({"list": ["a"]}), "b": Ok({"list": ["b"]})}


async def test_an_error_in_a_sequence_is_its_result_and_its_later_steps_do_not_run(db, wf):
    entered = []
    with wf.parallel(on_error="complete_all", name="block"), wf.sequence("ship"):
        wf.step(lambda ctx: Err("no label"), name="label", inline=True)
        wf.step(lambda ctx: entered.append(1), name="send", inline=True)
    info = await finish(db, wf)
    assert info.result["__results__"] == {"ship": Err("no label")}
    assert entered == []
    assert states(info)["block/ship/label"] == "error"
    assert states(info)["block/ship"] == "error"


async def test_an_error_in_a_sequence_fails_a_fail_fast_block(db, wf):
    with wf.parallel(name="block"):
        with wf.sequence("ship"):
            wf.step(lambda ctx: None, name="label", inline=True)

            @wf.step
            async def send(ctx):
                await wait_all_tasks_blocked()
                return Err("lost")

        @wf.step
        async def waiting(ctx):
            await trio.sleep_forever()

    info = await finish(db, wf)
    assert info.error == "lost"
    assert "block/ship/send" in info.errors
    assert states(info)["block/waiting"] == "cancelled"


async def test_a_sequence_is_cancelled_in_its_middle(db, wf):
    entered = []
    began = trio.Event()
    with wf.parallel(name="block"):
        with wf.sequence("ship"):
            wf.step(lambda ctx: entered.append("label"), name="label", inline=True)

            @wf.step
            async def send(ctx):
                entered.append("send")
                began.set()
                await trio.sleep_forever()

            wf.step(lambda ctx: entered.append("after"), name="after", inline=True)

        @wf.step
        async def failing(ctx):
            await began.wait()
            return Err("no")

    info = await finish(db, wf)
    assert entered == ["label", "send"]
    assert states(info)["block/ship/label"] == "ok"
    assert states(info)["block/ship"] == "cancelled"


async def test_a_step_of_a_sequence_cannot_jump_or_finish(db, wf):
    with wf.parallel(on_error="complete_all"):
        with wf.sequence("a"):
            wf.step(lambda ctx: Goto("end", {}), name="jump", inline=True)
        with wf.sequence("b"):
            wf.step(lambda ctx: Finish({}), name="finish", inline=True)
    wf.step(lambda ctx: None, name="end", inline=True)
    results = (await result_of(db, wf))["__results__"]
    assert "Goto" in results["a"].reason.message
    assert "Finish" in results["b"].reason.message


async def test_a_step_of_a_sequence_leaves_a_mapping(db, wf):
    with wf.parallel(on_error="complete_all"), wf.sequence("a"):
        wf.step(lambda ctx: Ok(5), name="number", inline=True)
    results = (await result_of(db, wf))["__results__"]
    assert "5" in results["a"].reason.message


async def test_a_block_within_a_block_is_a_branch_that_leaves_its_context_and_results(db, wf):
    with wf.parallel(name="outer"):
        with wf.parallel(name="inner"):
            wf.step(lambda ctx: Ok(1), name="a", inline=True)
            wf.step(lambda ctx: Ok(2), name="b", inline=True)
        wf.step(lambda ctx: Ok(3), name="c", inline=True)
    info = await finish(db, wf, {"x": 1})
    inner = {"x": 1, "__results__": {"a": Ok(1), "b": Ok(2)}}
    assert info.result == {"x": 1, "__results__": {"inner": Ok(inner), "c": Ok(3)}}
    assert set(states(info)) == {"outer/inner/a", "outer/inner/b", "outer/inner", "outer/c", "outer"}


async def test_a_block_within_a_block_with_into_leaves_what_into_makes_of_it(db, wf):
    with wf.parallel():
        with wf.parallel(name="inner") as inner:
            wf.step(lambda ctx: Ok(1), name="a", inline=True)
            wf.step(lambda ctx: Err("b"), name="b", inline=True)
            inner.into(lambda ctx, results: {"a": results["a"].value, "b": results["b"].reason})
        wf.step(lambda ctx: Ok(3), name="c", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"inner": Ok({"a": 1, "b": "b"}), "c": Ok(3)}


async def test_the_into_of_an_inner_block_cannot_jump(db, wf):
    with wf.parallel(on_error="complete_all"), wf.parallel(name="inner") as inner:
        wf.step(lambda ctx: Ok(1), name="a", inline=True)
        inner.into(lambda ctx, results: Goto("end", {}))
    wf.step(lambda ctx: None, name="end", inline=True)
    outcome = (await result_of(db, wf))["__results__"]["inner"]
    assert type(outcome) is Err
    assert "Goto" in outcome.reason.message


async def test_an_inner_failure_cancels_the_inner_and_the_outer_siblings(db, wf):
    with wf.parallel(name="outer"):
        with wf.parallel(name="inner"):

            @wf.step
            async def failing(ctx):
                await wait_all_tasks_blocked()
                return Err("deep")

            @wf.step
            async def inner_sibling(ctx):
                await trio.sleep_forever()

        @wf.step
        async def outer_sibling(ctx):
            await trio.sleep_forever()

    info = await finish(db, wf)
    assert info.error == "deep"
    assert "outer/inner/failing" in info.errors
    found = states(info)
    assert found["outer/inner/failing"] == "error"
    assert found["outer/inner/inner_sibling"] == "cancelled"
    assert found["outer/inner"] == "error"
    assert found["outer/outer_sibling"] == "cancelled"
    assert found["outer"] == "error"


async def test_an_inner_failure_is_a_result_of_an_outer_block_that_completes_all(db, wf):
    with wf.parallel(on_error="complete_all"):
        with wf.parallel(name="inner"):
            wf.step(lambda ctx: Err("deep"), name="failing", inline=True)

        @wf.step
        async def sibling(ctx):
            await wait_all_tasks_blocked()
            return Ok("fine")

    results = (await result_of(db, wf))["__results__"]
    assert results == {"inner": Err("deep"), "sibling": Ok("fine")}


async def test_an_outer_failure_cancels_what_is_in_the_inner_block(db, wf):
    began = trio.Event()
    with wf.parallel(name="outer"):
        with wf.parallel(name="inner", on_error="complete_all"):

            @wf.step
            async def waiting(ctx):
                began.set()
                await trio.sleep_forever()

            wf.step(lambda ctx: Ok(1), name="quick", inline=True)

        @wf.step
        async def failing(ctx):
            await began.wait()
            await wait_all_tasks_blocked()
            return Err("no")

    info = await finish(db, wf)
    assert info.error == "no"
    assert states(info)["outer/inner/quick"] == "ok"
    assert states(info)["outer/inner"] == "cancelled"


async def test_three_levels_with_sequences_in_between(db, wf):
    with wf.parallel(name="top"):
        with wf.sequence("left"):
            wf.step(lambda ctx: {"n": ctx["n"] + 1}, name="l1", inline=True)
            with wf.parallel(name="middle") as middle:
                wf.step(lambda ctx: Ok(ctx["n"] * 10), name="m1", inline=True)
                with wf.sequence("chain"):
                    wf.step(lambda ctx: {"n": ctx["n"] + 1}, name="m2", inline=True)
                    with wf.parallel(name="bottom"):
                        wf.step(lambda ctx: Ok(ctx["n"] * 100), name="b1", inline=True)
                middle.into(
                    lambda ctx, results: {
                        "n": ctx["n"],
                        "m1": results["m1"].value,
                        "b1": results["chain"].value["__results__"]["b1"].value,
                    }
                )
            wf.step(lambda ctx: ctx | {"last": True}, name="l2", inline=True)
        wf.step(lambda ctx: Ok(ctx["n"]), name="right", inline=True)
    results = (await result_of(db, wf, {"n": 1}))["__results__"]
    assert results == {"left": Ok({"n": 2, "m1": 20, "b1": 300, "last": True}), "right": Ok(1)}


async def test_a_step_behind_a_block_in_a_sequence_reads_that_blocks_results(db, wf):
    with wf.parallel(), wf.sequence("chain"):
        with wf.parallel(name="inner"):
            wf.step(lambda ctx: Ok(1), name="a", inline=True)
        wf.step(lambda ctx: {"found": ctx.results["a"].value}, name="look", inline=True)
    assert (await result_of(db, wf))["__results__"] == {"chain": Ok({"found": 1})}


async def test_a_step_within_a_sequence_may_be_retried(db, wf):
    entered = []
    with wf.parallel(), wf.sequence("chain"):
        wf.step(lambda ctx: entered.append("one") or {"n": 1}, name="one", inline=True)

        @wf.step(retry=Retry(base=0))
        async def two(ctx):
            entered.append("two")
            if len(entered) < 3:
                raise OSError
            return {"n": ctx["n"] + 1}

    assert (await result_of(db, wf))["__results__"] == {"chain": Ok({"n": 2})}
    assert entered == ["one", "two", "two"]


async def test_the_same_error_fails_the_run_from_any_depth(db, wf):
    with wf.parallel(name="a"), wf.parallel(name="b"), wf.parallel(name="c"), wf.sequence("d"):
        wf.step(lambda ctx: Err({"deep": (1,)}), name="e", inline=True)
    error = await failed(db, wf)
    assert error.error == {"deep": (1,)}
    assert error.errors["a/b/c/d/e"] == {"deep": (1,)}
