"""Databases that earlier versions have left (``tests/data/databases``): their runs go on, or say why not.

The clock begins where that of the recording began, and moves when a test moves it.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest
import trio
import trio.testing
from recorded_workflows import RUNS, SHAPES, THREE_DAYS, build, build_all

from durable_trio import InputError, RunBlocked, open_engine
from durable_trio.testing import trio_clock

RECORDED = sorted((Path(__file__).parent.parent / "data" / "databases").glob("*.tar.xz"))
ENDED = ("completed", "failed", "cancelled", "compensated")

# What a run leaves under its steps' names, besides what its waits and blocks leave.
RESULTS = {
    "order-begins": {"validate", "ship", "notify"},
    "order-in-block": {"validate", "ship", "notify"},
    "order-ships": {"validate", "ship", "notify"},
    "order-done": {"validate", "ship", "notify"},
    "papers-in-case": {"read", "book", "store"},
    "papers-in-map": {"answer", "store"},
    "approval-event": {"prepare", "close"},
    "approval-input": {"prepare", "close"},
    "approval-sleeps": {"prepare", "close"},
    "family-waits": {"send", "talk", "sleep"},
}
FAILED = {
    "order-failed": ("failed", "ship failed"),
    "approval-cancelled": ("cancelled", "not needed"),
    "trip-compensating": ("compensated", "settle failed"),
    "trip-compensated": ("compensated", "settle failed"),
}


@pytest.fixture(params=RECORDED, ids=lambda path: path.name.partition(".")[0])
def recorded(request, tmp_path):
    """A copy of a recorded database."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "recorded.lmdb"


@pytest.fixture
def mock_clock():
    """It stands: an event must not come too late because a thread took its time."""
    return trio.testing.MockClock()


def opened(database, workflows):
    return open_engine(database, workflows=workflows, clock=trio_clock())


async def until(engine, run_id, *statuses):
    """Wait until a run has one of the statuses."""
    while (info := await engine.get(run_id)).status not in statuses:
        await trio.testing.wait_all_tasks_blocked()
    return info


async def answer(engine, run_id):
    """Give a run what it waits for, until it sleeps or has ended."""
    if run_id == "family-waits":
        (child,) = await engine.list(parent=run_id)
        await engine.send_event(child.id, "meeting", "at noon")
        await until(engine, child.id, "completed")
        await engine.send_event(run_id, "word", "well")
    if run_id == "approval-event":
        await engine.send_event(run_id, "call", {"early": False})
    if run_id in ("approval-event", "approval-input"):
        await engine.provide_input(run_id, "approval", True)


async def come_to_its_end(engine, run_id, clock):
    await answer(engine, run_id)
    if run_id.startswith("approval"):
        while (await engine.get(run_id)).status not in ENDED:
            await until(engine, run_id, "waiting", *ENDED)
            clock.jump(THREE_DAYS)
            await trio.testing.wait_all_tasks_blocked()
    return await until(engine, run_id, *ENDED)


def check_result(info, more=()):
    """What came out is what comes out of a run that nothing has interrupted."""
    assert info.status == "completed"
    result = info.result
    for name in RESULTS[info.id] - {"send", "talk"}:
        assert result[name] == "done"
    assert all(result[name] == "done" for name in more)
    if info.workflow == "order":
        ways = result["__results__"]
        assert ways["stock"].value == "done"
        assert ways["pay"].value["capture"] == ways["pay"].value["authorize"] == "done"
    if info.workflow == "papers":
        assert [page.value for page in result["__results__"]["pages"]] == ["done"] * 3
    if info.workflow == "approval":
        assert result["call"] == {"early": False}
        assert result["approval"] == "approved"
    if info.workflow == "family":
        assert result["send"].value["meeting"] == "at noon"
        assert result["talk"] == "well"


@pytest.mark.parametrize("run_id", RESULTS)
async def test_under_the_same_definition_a_run_goes_on_to_its_result(recorded, mock_clock, run_id):
    async with opened(recorded, build_all()) as engine:
        check_result(await come_to_its_end(engine, run_id, mock_clock))


@pytest.mark.parametrize("run_id", FAILED)
async def test_what_did_not_succeed_stays_what_it_was_or_becomes_that(recorded, mock_clock, run_id):
    async with opened(recorded, build_all()) as engine:
        info = await until(engine, run_id, *ENDED)
        assert (info.status, info.error) == FAILED[run_id]
        if run_id.startswith("trip"):
            assert [done.status for done in info.compensations] == ["ok"] * 3
            assert [done.path for done in info.compensations][-1] == "hotel"
        # The clocks of the recording and of this test agree.
        assert info.created_at.year == 2000


async def test_a_failed_run_can_be_retried(recorded, mock_clock):
    # "ship" fails again by its input; what came before is not run again.
    async with opened(recorded, build_all()) as engine:
        before = {(step.path, step.started_at) for step in (await engine.get("order-failed")).steps[:-1]}
        run = await engine.retry("order-failed")
        info = await run.wait()
        assert (info.status, info.error) == ("failed", "ship failed")
        assert before <= {(step.path, step.started_at) for step in info.steps}


async def test_everything_recorded_can_be_seen_and_is_as_it_was(recorded, mock_clock):
    async with opened(recorded, build_all()) as engine:
        assert RUNS.keys() <= {info.id for info in await engine.list(limit=1000)}
        for run_id, (workflow, given) in RUNS.items():
            info = await engine.get(run_id)
            assert (info.workflow, info.version) == (workflow, "1")
            assert info.input == {"pages": ["one", "two", "three"], **given}
        (asked,) = await engine.pending_inputs("approval-input")
        assert (asked.name, asked.kind, asked.path) == ("approval", "approval", "approved")


async def test_the_mailbox_and_the_due_times_are_kept(recorded, mock_clock):
    shape = [*SHAPES["approval"], "last<-never asked for"]
    async with opened(recorded, build_all(approval=shape)) as engine:
        mock_clock.jump(THREE_DAYS - 1)
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            assert (await engine.get("approval-sleeps")).status == "waiting"
        mock_clock.jump(1)
        info = await until(engine, "approval-sleeps", *ENDED)
        assert info.result["never asked for"] == "approval-sleeps"  # it was sent before


LONGER = {
    "order-begins": ["validate", "wrap", *SHAPES["order"][1:]],
    "order-in-block": [
        "validate",
        ("checks:", ["stock", ("pay>", ["authorize", "capture", "wrap"]), "weigh"]),
        "ship",
        "notify",
    ],
    "order-ships": [*SHAPES["order"][:2], "ship", "wrap", "notify", "weigh"],
    "papers-in-case": [
        ("kind?", {"invoice": ["read", "book", "wrap"], "letter": ["new", "answer"], "poem": ["weigh"]}),
        "pages[]",
        "store",
    ],
    "papers-in-map": [*SHAPES["papers"], "wrap"],
    "approval-input": [*SHAPES["approval"][:3], "wrap", "rest zzz", "close"],
    "approval-sleeps": [*SHAPES["approval"], "wrap"],
    "family-waits": [*SHAPES["family"], "wrap"],
}


@pytest.mark.parametrize("run_id", LONGER)
async def test_steps_may_be_added_after_the_point_that_was_reached(recorded, mock_clock, run_id):
    workflow = RUNS[run_id][0]
    async with opened(recorded, build_all(**{workflow: LONGER[run_id]})) as engine:
        info = await come_to_its_end(engine, run_id, mock_clock)
        top = not run_id.startswith(("order-in", "papers-in-case"))
        check_result(info, {"wrap"} if top or run_id == "papers-in-case" else ())
        assert "wrap" in {step.path.rpartition("/")[2] for step in info.steps}


# Run id, the changed definition, and what is said about it.
CHANGED = [
    (
        "order-ships",
        ["check", *SHAPES["order"][1:]],
        "step 'validate' is recorded, and the definition no longer has it",
    ),
    (
        "order-ships",
        ["validate", "wrap", *SHAPES["order"][1:]],
        "step 'wrap' is new and comes before block 'checks', which is recorded",
    ),
    (
        "order-ships",
        [SHAPES["order"][1], "validate", "ship", "notify"],
        "step 'validate' came before block 'checks', which is recorded, and now comes after it",
    ),
    (
        "order-ships",
        ["validate", "checks", "ship", "notify"],
        "sequence 'pay' is recorded, and the definition no longer has it",
    ),
    (
        "order-ships",
        ["validate", ("checks:", ["stock", ("pay>", ["authorize", "capture"]), "weigh"]), "ship"],
        "block 'checks' is recorded as finished, and has gained step 'weigh'",
    ),
    (
        "order-ships",
        ["validate", ("checks:", ["stock", ("pay>", ["authorize", "book"])]), "ship"],
        "step 'capture' is recorded, and the definition no longer has it",
    ),
    (
        "order-in-block",
        ["validate", "stock", ("checks:", [("pay>", ["authorize", "capture"])]), "ship"],
        "step 'stock' was inside block 'checks', and is now at the top level",
    ),
    (
        "order-in-block",
        ["validate", ("checks:", ["stock", ("pay:", ["authorize", "capture"])]), "ship"],
        "'pay' was a sequence, and is now a block",
    ),
    (
        "papers-in-case",
        [("kind?", {"bill": ["read", "book"], "letter": ["answer"]}), "pages[]", "store"],
        "branch 'kind' chose its case 'invoice', and no longer has it",
    ),
    (
        "papers-in-map",
        [SHAPES["papers"][0], ("pages:", ["one", "two"]), "store"],
        "'pages' was a map, and is now a block",
    ),
    (
        "approval-input",
        ["prepare", "called<-ring", "approved<-approval?", "rest zzz", "close"],
        "event wait 'called' was for the event 'call', and is now for 'ring'",
    ),
    (
        "approval-sleeps",
        ["prepare", "called<-call", "approved<-approval", "rest zzz", "close"],
        "'approved' was an input wait, and is now an event wait",
    ),
    ("trip-compensating", ["hotel!", ("tickets:", ["boat!"]), "settle"], "step 'train' is recorded"),
    ("family-waits", ["call()", "talk@"], "step 'send' is recorded, and the definition no longer has it"),
]


@pytest.mark.parametrize(("run_id", "shape", "message"), CHANGED)
async def test_a_definition_that_does_not_fit_blocks_the_run_and_loses_nothing(
    recorded, mock_clock, run_id, shape, message
):
    workflow, _ = RUNS[run_id]
    changed = build_all(**{workflow: shape})
    for _ in range(2):
        async with opened(recorded, changed) as engine:
            if run_id.startswith("approval"):  # it is looked at when it is woken
                await touch(engine, run_id, mock_clock)
            info = await until(engine, run_id, "blocked")
            assert message in info.error
            assert "register the old definition too, under its own version" in info.error
            with pytest.raises((RunBlocked, InputError), match="blocked"):
                await engine.send_event(run_id, "call")
            before = [step.path for step in info.steps]
    async with opened(recorded, build_all()) as engine:
        info = await come_to_its_end(engine, run_id, mock_clock)
        if run_id in RESULTS:
            check_result(info)
        else:
            assert (info.status, info.error) == FAILED[run_id]
        assert [step.path for step in info.steps][: len(before)] == before


async def touch(engine, run_id, clock):
    if (await engine.get(run_id)).status == "waiting":
        clock.jump(THREE_DAYS)
        if run_id == "approval-input":
            await engine.send_event(run_id, "anything")


async def test_each_version_goes_on_under_its_own(recorded, mock_clock):
    second = [build(name, ["only"], version="2") for name in SHAPES]
    async with opened(recorded, [*build_all(), *second]) as engine:
        for workflow in second:
            new = await engine.run(workflow, {})
            assert new == {"only": "done"}
        for run_id in RESULTS:
            info = await come_to_its_end(engine, run_id, mock_clock)
            assert info.version == "1"
            check_result(info)
        assert {info.version for info in await engine.list(limit=1000)} == {"1", "2"}


async def test_without_its_own_version_a_run_is_blocked(recorded, mock_clock):
    second = [build(name, version="2") for name in SHAPES]
    async with opened(recorded, second) as engine:
        info = await until(engine, "order-ships", "blocked")
        assert "was started by workflow 'order' version '1'" in info.error
        assert "only its versions '2'" in info.error
    async with opened(recorded, build_all()) as engine:
        check_result(await come_to_its_end(engine, "order-ships", mock_clock))


def test_there_is_something_recorded():
    assert RECORDED, "tests/data/databases is empty"
    readme = (RECORDED[0].parent / "README.md").read_text()
    assert re.findall(r"^\| `(.*?)`", readme, re.MULTILINE) == [path.name for path in RECORDED]
