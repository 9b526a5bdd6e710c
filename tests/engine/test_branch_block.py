"""Branches: one clause runs, chosen once, wherever the block stands."""

from __future__ import annotations

from enum import Enum

import pytest
import trio
from engine_helpers import Hold, failed, finish, interrupt, result_of, resume, states, step_of
from waiting_helpers import Wall, noted, reaches

from durable_trio import Err, Finish, Goto, Ok, Retry, RunFailed, Workflow, open_engine
from durable_trio.testing import trio_clock


class Colour(Enum):
    RED = 1
    BLUE = 2


def kinds(on=lambda ctx: ctx["kind"], default=True, seen=None):
    """A workflow of one branch with two cases, of one and of two steps, and a step behind it."""
    wf, seen = Workflow("kinds"), [] if seen is None else seen
    with wf.branch(on=on, name="kind") as kind:
        with kind.case("invoice", "receipt"):
            noted(wf, "pay", seen)
            wf.step(lambda ctx: ctx | {"paid": True}, name="file", inline=True)
        with kind.case(None, 7, (1, "x"), Colour.RED):
            noted(wf, "odd", seen)
        if default:
            with kind.default():
                noted(wf, "other", seen)
    wf.step(lambda ctx: ctx | {"after": True}, name="after", inline=True)
    return wf, seen


@pytest.mark.parametrize(
    ("value", "ran"),
    [
        ("invoice", "pay"),
        ("receipt", "pay"),
        (None, "odd"),
        (7, "odd"),
        (7.0, "odd"),
        ((1, "x"), "odd"),
        (Colour.RED, "odd"),
        (Colour.BLUE, "other"),
        ("Invoice", "other"),
        ([1, "x"], "other"),
        ({"a": 1}, "other"),
    ],
)
async def test_only_the_matching_clause_runs_and_then_what_follows(db, value, ran):
    wf, seen = kinds()
    info = await finish(db, wf, {"kind": value}, types=[Colour])
    assert seen == [ran]
    paid = {"paid": True} if ran == "pay" else {}
    assert info.result == {"kind": value, **paid, "after": True}
    expected = {f"kind/{ran}": "ok", "kind": "ok", "after": "ok"}
    assert states(info) == expected | ({"kind/file": "ok"} if ran == "pay" else {})
    assert step_of(info, "kind").kind == "branch"


async def test_no_case_and_no_default_fails_and_shows_the_value(db):
    wf, seen = kinds(default=False)
    error = await failed(db, wf, {"kind": "letter"})
    for word in ("'kind'", "'letter'", "'invoice'", "'receipt'", "default"):
        assert word in error.error.message
    assert list(error.errors) == ["kind"]
    assert seen == []


async def test_a_question_that_raises_fails_the_run_there(db):
    wf, seen = kinds(on=lambda ctx: ctx["missing"])
    async with open_engine(db, workflows=[wf]) as engine:
        with pytest.raises(RunFailed) as caught:
            await engine.run(wf, id="r")
        assert (caught.value.error.type, list(caught.value.errors)) == ("KeyError", ["kind"])
        assert states(await engine.get("r")) == {"kind": "error"}
    assert seen == []


async def test_the_question_may_be_async_and_gets_a_copy(db):
    async def on(ctx):
        await trio.lowlevel.checkpoint()
        ctx["kind"] = "receipt"
        ctx["list"].append(1)
        return "invoice"

    wf, seen = kinds(on=on)
    result = await result_of(db, wf, {"kind": "x", "list": []})
    assert (seen, result) == (["pay"], {"kind": "x", "list": [], "paid": True, "after": True})


async def test_a_value_that_cannot_be_compared_is_the_question_s_error(db):
    class Odd:
        def __eq__(self, other):
            raise OSError("no comparison")

        __hash__ = None

    wf, _ = kinds(on=lambda ctx: Odd())
    error = await failed(db, wf)
    assert (error.error.type, error.error.message) == ("OSError", "no comparison")


@pytest.mark.parametrize("how", ["goto", "finish", "back"])
async def test_a_step_of_a_clause_at_the_top_may_jump(db, how):
    wf, seen = Workflow("jumps"), []
    noted(wf, "first", seen)
    with wf.branch(on=lambda ctx: ctx["how"], name="how") as block:
        with block.case("goto"):
            wf.step(lambda ctx: Goto("last", {"from": "clause"}), name="jump", inline=True)
            noted(wf, "never", seen)
        with block.case("finish"):
            wf.step(lambda ctx: Finish({"done": 1}), name="end", inline=True)
        with block.case("back"):
            wf.step(lambda ctx: Goto("first", {"how": "finish"}), name="back", inline=True)
    noted(wf, "skipped", seen)
    noted(wf, "last", seen)
    info = await finish(db, wf, {"how": how})
    if how == "goto":
        assert (seen, info.result) == (["first", "last"], {"from": "clause"})
    else:
        assert seen == ["first"] * (2 if how == "back" else 1)
        assert info.result == {"done": 1}
    if how == "back":
        assert [(step.path, step.visit) for step in info.steps if step.path == "how"] == [
            ("how", 1),
            ("how", 2),
        ]


async def test_in_a_parallel_block_a_clause_cannot_jump(db):
    wf = Workflow("inside")
    with (
        wf.parallel(name="block", into=lambda ctx, results: {"got": results["kind"]}),
        wf.branch(on=lambda ctx: 1, name="kind") as kind,
        kind.case(1),
    ):
        wf.step(lambda ctx: Finish({}), name="ends", inline=True)
    result = await result_of(db, wf)
    assert result["got"].reason.type == "durable_trio.DefinitionError"
    assert "Finish" in result["got"].reason.message


async def test_branches_nest_in_blocks_sequences_and_clauses(db):
    wf = Workflow("nested")
    with wf.parallel(name="block"):
        with wf.sequence("part"):
            wf.step(lambda ctx: {"n": 1}, name="one", inline=True)
            with wf.branch(on=lambda ctx: ctx["n"], name="inner") as inner:
                with inner.case(1):
                    with wf.branch(on=lambda ctx: "deep", name="deeper") as deeper, deeper.case("deep"):
                        wf.step(lambda ctx: ctx | {"deep": True}, name="bottom", inline=True)
                    wf.step(lambda ctx: ctx | {"up": True}, name="up", inline=True)
                with inner.default():
                    wf.step(lambda ctx: 1 / 0, name="wrong", inline=True)
            wf.step(lambda ctx: ctx | {"end": True}, name="end", inline=True)
        with wf.branch(on=lambda ctx: ctx["kind"], name="direct") as direct:
            with direct.case("a"), wf.parallel(name="below"):
                wf.step(lambda ctx: Ok(5), name="five", inline=True)
            with direct.default():
                wf.step(lambda ctx: Err("no"), name="no", inline=True)
    info = await finish(db, wf, {"kind": "a"})
    results = info.result["__results__"]
    assert results["part"] == Ok({"n": 1, "deep": True, "up": True, "end": True})
    assert results["direct"] == Ok({"kind": "a", "__results__": {"five": Ok(5)}})
    assert step_of(info, "block/part/inner/deeper/bottom").result == {"n": 1, "deep": True}
    assert info.context == info.result


async def test_a_clause_that_fails_in_a_block_is_that_branch_s_error(db):
    wf = Workflow("fails")
    with wf.parallel(name="block", into=lambda ctx, results: {"got": results}):
        with wf.branch(on=lambda ctx: 1, name="kind") as kind, kind.case(1):
            wf.step(lambda ctx: Err("told"), name="step", inline=True)
        wf.step(lambda ctx: Ok(1), name="fine", inline=True)
    info = await finish(db, wf)
    assert info.result["got"] == {"kind": Err("told"), "fine": Ok(1)}
    assert states(info)["block/kind"] == states(info)["block/kind/step"] == "error"


async def test_a_restart_in_the_middle_of_a_clause_does_not_choose_again(disk):
    asked, seen, hold = [], [], Hold()
    wf = Workflow("restart")

    def on(ctx):
        asked.append(1)
        return "a" if len(asked) == 1 else "b"

    with wf.branch(on=on, name="kind") as kind:
        with kind.case("a"):
            noted(wf, "first", seen)

            @wf.step
            async def second(ctx):
                await hold()
                return ctx | {"second": True}

            noted(wf, "third", seen)
        with kind.case("b"):
            noted(wf, "wrong", seen)
    await interrupt(disk, wf, hold.reached, {"n": 1})
    hold.let_go()
    info = await resume(disk, wf)
    assert info.result == info.context == {"n": 1, "second": True}
    assert (asked, seen, hold.entered) == ([1], ["first", "third"], 2)


async def test_a_restart_after_a_jump_in_a_clause_goes_where_it_led(disk):
    wf, seen, hold = Workflow("jumped"), [], Hold()
    with wf.branch(on=lambda ctx: 1, name="kind") as kind, kind.case(1):
        wf.step(lambda ctx: seen.append("jump") or Goto("target", {"n": 2}), name="jump", inline=True)
    noted(wf, "skipped", seen)

    @wf.step
    async def target(ctx):
        await hold()
        return ctx

    await interrupt(disk, wf, hold.reached)
    hold.let_go()
    assert (await resume(disk, wf)).result == {"n": 2}
    assert seen == ["jump"]


async def test_a_run_parked_in_a_clause_goes_on_there(disk):
    wall, wf, asked = Wall(), Workflow("parked"), []
    with wf.branch(on=lambda ctx: asked.append(1) or len(asked), name="kind") as kind:
        with kind.case(1):
            wf.sleep(100)
            wf.wait_for_event("go")
        with kind.default():
            wf.step(lambda ctx: 1 / 0, name="wrong", inline=True)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="r")
        await reaches(engine, "r")
    wall.pass_(101)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.send_event("r", "go", 1)
        assert (await reaches(engine, "r", "completed")).result == {"go": 1}
    assert asked == [1]


async def test_each_visit_chooses_for_itself(db):
    wf = Workflow("loop")
    with wf.branch(on=lambda ctx: ctx["n"] % 2, name="odd") as odd:
        with odd.case(0):
            wf.step(
                lambda ctx: {**ctx, "n": ctx["n"] + 1, "even": ctx.get("even", 0) + 1}, name="e", inline=True
            )
        with odd.case(1):
            wf.step(
                lambda ctx: {**ctx, "n": ctx["n"] + 1, "odd": ctx.get("odd", 0) + 1}, name="o", inline=True
            )
    wf.step(lambda ctx: Goto("odd", ctx) if ctx["n"] < 5 else Finish(ctx), name="again", inline=True)
    assert await result_of(db, wf, {"n": 0}) == {"n": 5, "even": 3, "odd": 2}


async def test_a_failed_clause_is_retried_without_choosing_again(mock_clock):
    asked, attempts = [], []
    wf = Workflow("retried")
    with wf.branch(on=lambda ctx: asked.append(1) or 1, name="kind") as kind, kind.case(1):

        @wf.step(retry=Retry(max_attempts=2, base=1))
        async def step(ctx):
            attempts.append(1)
            if len(attempts) < 4:
                raise OSError("again")

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        assert (await (await engine.start(wf, id="r")).wait()).status == "failed"
        run = await engine.retry("r")
        assert await run.result() == {}
    assert (len(asked), len(attempts)) == (1, 4)
