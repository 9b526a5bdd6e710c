"""What runs ask of people: the questions can be listed, and only what fits is taken for an answer."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from waiting_helpers import START, Wall, reaches

from durable_trio import (
    InputError,
    RunFailed,
    RunNotFound,
    SnapshotError,
    Workflow,
    open_engine,
    wait_for_approval,
    wait_for_choice,
    wait_for_form,
    wait_for_input,
    wait_for_text,
)
from durable_trio.testing import trio_clock

CHOICES = ["red", {"value": 2, "label": "Two"}]
FIELDS = [
    {"name": "title"},
    {"name": "amount", "type": "number"},
    {"name": "urgent", "type": "boolean", "required": False},
    {"name": "size", "type": "select", "options": ["s", {"value": "l", "label": "Large"}]},
]
FORM = {"title": "Lunch", "amount": 7.5, "size": "l"}
KINDS = {
    "approval": (lambda: wait_for_approval("q", "Well?"), {}),
    "choice": (lambda: wait_for_choice("q", CHOICES, "Well?"), {"choices": CHOICES}),
    "text": (lambda: wait_for_text("q", "Well?"), {}),
    "form": (lambda: wait_for_form("q", FIELDS, "Well?"), {"fields": FIELDS}),
}


def asking(kind, place):
    """A workflow that asks one question, as a step or inside one; the answer is its result's ``q``."""
    ask, options = KINDS[kind]
    wf = Workflow("asks")
    if place == "node":
        wf.wait_for_input("q", kind=kind, prompt="Well?", **options)
    else:

        @wf.step(name="ask")
        async def step(ctx):
            return {"q": await ask()}

    return wf


async def asked(engine, run_id):
    """Look on until the run asks; gives the question."""
    while not (questions := await engine.pending_inputs(run_id)):
        await trio.lowlevel.checkpoint()
    (question,) = questions
    return question


GOOD = [
    ("approval", "approved", "approved"),
    ("approval", False, "rejected"),
    ("choice", "red", "red"),
    ("choice", 2, 2),
    ("text", "", ""),
    ("form", FORM, {"title": "Lunch", "amount": 7.5, "urgent": None, "size": "l"}),
]
BAD = [
    ("approval", "yes", ["'approved'", "'yes'"]),
    ("approval", 1, ["'rejected'"]),
    ("approval", None, ["'approved'"]),
    ("choice", "blue", ["'red'", "2", "'blue'"]),
    ("choice", True, ["'red'"]),
    ("text", 5, ["str", "5"]),
    ("form", "Lunch", ["title", "amount"]),
    ("form", {**FORM, "amount": "7"}, ["'amount'", "number"]),
    ("form", {**FORM, "amount": True}, ["'amount'"]),
    ("form", {**FORM, "urgent": 1}, ["'urgent'"]),
    ("form", {**FORM, "size": "m"}, ["'size'", "'s'", "'l'"]),
    ("form", {**FORM, "extra": 1}, ["'extra'"]),
    ("form", {"title": "x", "size": "s"}, ["'amount'", "missing"]),
    ("form", {}, ["'title'", "'amount'", "'size'"]),
]


@pytest.mark.parametrize("place", ["node", "step"])
@pytest.mark.parametrize(("kind", "answer", "got"), GOOD)
async def test_an_answer_that_fits(db, place, kind, answer, got):
    wf = asking(kind, place)
    async with open_engine(db, workflows=[wf]) as engine:
        run = await engine.start(wf, id="r")
        question = await asked(engine, "r")
        assert (question.run_id, question.workflow, question.name) == ("r", "asks", "q")
        assert (question.kind, question.prompt) == (kind, "Well?")
        assert [choice.label for choice in question.choices] == (["red", "Two"] if kind == "choice" else [])
        assert len(question.fields) == (4 if kind == "form" else 0)
        await engine.provide_input("r", "q", answer)
        assert await run.result() == {"q": got}
        assert await engine.pending_inputs("r") == await engine.pending_inputs() == []


@pytest.mark.parametrize("place", ["node", "step"])
@pytest.mark.parametrize(("kind", "answer", "words"), BAD)
async def test_an_answer_that_does_not_fit_is_refused_and_leaves_nothing(
    mock_clock, place, kind, answer, words
):
    wf = asking(kind, place)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await trio.sleep(1)
        with pytest.raises(InputError) as refused:
            await engine.provide_input("r", "q", answer)
        for word in ("'q'", *words):
            assert word in str(refused.value)
        await trio.sleep(1)
        assert len(await engine.pending_inputs("r")) == 1
        good = next(given for name, given, _ in GOOD if name == kind)
        await engine.provide_input("r", "q", good)
        assert (await run.wait()).status == "completed"


async def test_an_answer_may_come_before_a_declared_question(mock_clock):
    wf = Workflow("early")
    wf.sleep(100)
    wf.wait_for_choice("colour", ["red", "blue"])
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await trio.sleep(1)
        assert await engine.pending_inputs() == []
        with pytest.raises(InputError, match="'green'"):
            await engine.provide_input("r", "colour", "green")
        await engine.provide_input("r", "colour", "blue")
        assert await run.result() == {"colour": "blue"}
        assert 100 <= trio.current_time() < 101


async def test_an_answer_to_a_question_that_is_not_known_yet_is_refused(mock_clock):
    wf = asking("text", "step")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        with pytest.raises(InputError, match=r"'other'.*'q'"):
            await trio.sleep(1)
            await engine.provide_input("r", "other", "x")
        with pytest.raises(RunNotFound):
            await engine.provide_input("nobody", "q", "x")
        await engine.provide_input("r", "q", "x")
        await run.result()
        with pytest.raises(InputError, match="ended"):
            await engine.provide_input("r", "q", "x")


async def test_the_default_is_taken_when_the_time_is_over(mock_clock):
    wf = Workflow("defaults")
    wf.wait_for_approval("boss", timeout=10, default=False)

    @wf.step
    async def ask(ctx):
        return ctx | {
            "choice": await wait_for_choice("c", ["a", "b"], timeout=10, default="b"),
            "none": await wait_for_text("t", timeout=10, default=None),
            "approval": await wait_for_input("a", "approval", timeout=10, default=True),
        }

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        got = await engine.run(wf)
        assert got == {"boss": "rejected", "choice": "b", "none": None, "approval": "approved"}
        assert 40 <= trio.current_time() < 41


@pytest.mark.parametrize(
    "ask",
    [
        lambda: wait_for_choice("c", ["a"], timeout=10, default="b"),
        lambda: wait_for_choice("c", []),
        lambda: wait_for_input("c", "colour"),
        lambda: wait_for_input("c", "text", choices=["a"]),
        lambda: wait_for_form("c", [{"name": "x", "type": "date"}]),
        lambda: wait_for_text(""),
        lambda: wait_for_text("x" * 256),
    ],
)
async def test_a_question_that_makes_no_sense_is_an_error_of_the_step(mock_clock, ask):
    wf = Workflow("senseless")

    @wf.step
    async def step(ctx):
        await ask()

    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")
        await trio.sleep(1)
        assert run.status == "failed"
        assert (await engine.get("r")).error.type in (
            "durable_trio.DefinitionError",
            "durable_trio.InputError",
        )


async def test_a_question_is_listed_only_while_somebody_waits_for_the_answer(mock_clock):
    wf = Workflow("given up")

    def decide(ctx, results):
        return {"ok": [result.is_ok for result in results.values()]}

    with wf.parallel(name="block", into=decide):

        @wf.step(timeout=10)
        async def impatient(ctx):
            await wait_for_text("first")

        with wf.sequence("part"):
            wf.wait_for_text("second", timeout=20)

    with wf.parallel(name="race", need=1, into=decide):
        with wf.sequence("asks"):
            wf.wait_for_approval("third")
        wf.sleep(10)
    wf.wait_for_text("last")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        run = await engine.start(wf, id="r")

        async def names():
            await trio.sleep(1)
            shown = {path.rpartition("/")[2] for path in await waits()}
            questions = sorted(question.name for question in await engine.pending_inputs())
            assert all(any(name in path for path in shown) for name in questions)
            return questions

        async def waits():
            return [step.path for step in (await engine.get("r")).steps if step.status == "waiting"]

        assert await names() == ["first", "second"]
        await trio.sleep(12)
        assert await names() == ["second"]
        await trio.sleep(8)
        assert await names() == ["third"]
        await trio.sleep(12)
        assert await names() == ["last"]
        assert await waits() == ["wait_for_last"]
        with pytest.raises(InputError, match=r"'first'.*'last'"):
            await engine.provide_input("r", "first", "too late")
        assert await engine.cancel("r")
        await run.wait()
        assert await engine.pending_inputs("r") == []


async def test_a_question_is_found_behind_many_runs_that_ask_nothing(mock_clock):
    silent, wf = Workflow("silent"), asking("text", "node")
    silent.sleep(1000)
    async with open_engine(workflows=[wf, silent], clock=trio_clock()) as engine:
        await engine.start(wf, id="old")
        for _ in range(120):
            await engine.start(silent)
        await engine.start(wf, id="new")
        await trio.sleep(1)
        assert [question.run_id for question in await engine.pending_inputs(limit=200)] == ["new", "old"]
        assert [question.run_id for question in await engine.pending_inputs(limit=1)] == ["new"]
        assert [q.run_id for q in await engine.pending_inputs(workflow=wf)] == ["new", "old"]
        assert await engine.pending_inputs(workflow=silent) == []
        with pytest.raises(RunNotFound):
            await engine.pending_inputs("nobody")


async def test_a_restart_keeps_the_question_and_its_due_time(disk):
    wall, wf = Wall(), Workflow("kept")
    wf.wait_for_approval("boss", timeout=timedelta(days=1), default="rejected")
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        await engine.start(wf, id="in time")
        await engine.start(wf, id="late")
        for name in ("in time", "late"):
            await reaches(engine, name)
    wall.pass_(80_000)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        questions = await engine.pending_inputs()
        assert {question.run_id for question in questions} == {"in time", "late"}
        assert {question.since for question in questions} == {START}
        assert {question.due_at for question in questions} == {START + timedelta(days=1)}
        await engine.provide_input("in time", "boss", True)
        assert (await reaches(engine, "in time", "completed")).result == {"boss": "approved"}
    wall.pass_(6400)
    async with open_engine(disk, workflows=[wf], clock=wall) as engine:
        assert (await reaches(engine, "late", "completed")).result == {"boss": "rejected"}


async def test_what_cannot_be_stored_or_named_is_refused(mock_clock):
    wf = asking("text", "node")
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        await engine.start(wf, id="r")
        with pytest.raises(SnapshotError, match="payload"):
            await engine.send_event("r", "go", {"socket": object()})
        for name in ("", 5, "x" * 256):
            with pytest.raises(InputError, match="name"):
                await engine.send_event("r", name)
            with pytest.raises(InputError, match="name"):
                await engine.provide_input("r", name, "x")
        await engine.provide_input("r", "q", "x")


async def test_an_answer_that_never_comes_fails_the_run(mock_clock):
    wf = Workflow("fails")
    wf.wait_for_text("name", timeout=10)
    async with open_engine(workflows=[wf], clock=trio_clock()) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(wf)
        assert failed.value.error.type == "durable_trio.WaitTimeout"
        assert "'name'" in failed.value.error.message


async def test_the_limit_counts_questions(db):
    many, none = Workflow("many"), Workflow("none")

    @many.step
    async def ask(ctx):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(wait_for_text, f"q{number}")

    none.wait_for_event("go")
    async with open_engine(db, workflows=[many, none]) as engine:
        for _ in range(2):
            await engine.start(many)
        for _ in range(5):
            await engine.start(none)
        while len(await engine.pending_inputs()) < 6:
            await trio.lowlevel.checkpoint()
        for limit in (1, 2, 3, 4, 6):
            assert len(await engine.pending_inputs(limit=limit)) == limit
        with pytest.raises(InputError):
            await engine.pending_inputs(limit=0)
