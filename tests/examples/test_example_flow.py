"""The examples of branches, waits, children and maps: as programs, and every way in which a run can end."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
import trio
from example_helpers import ended, load, output_of, states, step_of

from durable_trio import Goto, open_engine
from durable_trio.testing import trio_clock

pytestmark = pytest.mark.slow

DAY = 86400
STORIES = {
    "document_processing": [
        "a.txt: read -> kind_of/extract_amounts -> kind_of/book -> archive\n  => completed: booked 100 EUR\n",
        "b.txt: read -> kind_of/extract_amounts -> kind_of/book -> archive\n  => completed: booked 3 EUR\n",
        "c.txt: read -> kind_of/forward -> archive\n  => completed: forwarded to Ada\n",
        "d.txt: read -> kind_of/ask_a_person -> archive\n  => completed: put on somebody's desk\n",
        "e.txt: read\n  => failed: e.txt is empty\n",
    ],
    "expense_approval": [
        "Ada hands in a lamp for 80 EUR: waiting\n",
        "Alan hands in tea for 4 EUR: completed\n",
        "starts anew. It finds:\n\n  expense-ada: May this be paid? (approval 'manager')\n  expense-grace: ",
        "Not taken: the answer to 'manager' must be",
        "Ada: approved, 80 EUR are paid\nGrace: rejected, 0 EUR are paid\nAlan: approved, 4 EUR are paid\n",
    ],
    "trial_reminder": [
        "day 11.0  Ada: the trial is over in 3 days\nday 12.0  Alan subscribes\nday 14.0  Ada: expired\n",
        "day 27.0  Grace: the trial is over in 3 days\nday 30.0  Grace: expired\n",
        "trial-alan: subscribed after 13 days\n",
    ],
    "payment_flow": [
        "early: paid and delivered, and these steps are done: []\n",
        "late: packed, and waiting at wait_for_paid\n",
        "early => completed: {'order': 'early', 'receipt': 'R-1', 'delivered': True, 'place': 'the letter",
        "late => completed: {'order': 'late', 'receipt': 'R-2', 'delivered': True, 'place': 'the neighbour'}",
        "declined => failed: the payment was declined\n",
    ],
    "order_pipeline": [
        "Order 1 => completed: ",
        "Order 2 => failed: card declined\n  payment    failed: card declined\n  shipment   completed: ",
        "Order 3 => completed: {'order': 3, 'refund': 'R-3', 'why': 'no chair left'}\n",
        "  shipment   failed: no chair left\n",
    ],
    "thumbnails": [
        "  shrink/2   error\n  shrink/3   ok\n  => failed: {'c': 'FileNotFoundError'}\n",
        "  shrink/2   ok\n  shrink/3   ok\n  => completed: {'files': {'a': {'bytes': 7000, 'copy': ",
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_the_story_is_told_and_leaves_nothing_behind(name, tmp_path):
    text = output_of(name, cwd=tmp_path)
    position = 0
    for part in STORIES[name]:
        assert part in text[position:], f"{part!r} is not in {text[position:]!r}"
        position = text.index(part, position) + len(part)
    assert list(tmp_path.iterdir()) == []


def test_expenses_that_are_decided_are_not_asked_about_again(tmp_path):
    output_of("expense_approval", "--db", "app.lmdb", cwd=tmp_path)
    text = output_of("expense_approval", "--db", "app.lmdb", cwd=tmp_path)
    assert "May this be paid?" not in text
    assert text.count("takes nothing any more") == 3
    assert text.endswith("Grace: rejected, 0 EUR are paid\nAlan: approved, 4 EUR are paid\n")


async def ended_days_later(workflow, data):
    """As ``ended``, of a run that takes longer than that has patience for."""
    async with open_engine(workflows=[workflow], clock=trio_clock()) as engine:
        return await (await engine.start(workflow, data)).wait()


# -- document_processing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "way", "note"),
    [
        ("Invoice\nlamp 20", ["extract_amounts", "book"], "booked 20 EUR"),
        ("RECEIPT", ["extract_amounts", "book"], "booked 0 EUR"),
        ("letter to Grace", ["forward"], "forwarded to Grace"),
        ("invoices", ["ask_a_person"], "put on somebody's desk"),
    ],
)
async def test_a_document_goes_the_way_of_its_kind(mock_clock, text, way, note):
    info = await ended(load("document_processing").document_processing, {"name": "x", "text": text})
    assert info.result == {"name": "x", "note": note, "archived": True}
    assert [path for path in states(info) if "/" in path] == [f"kind_of/{name}" for name in way]


async def test_an_empty_document_fails_before_its_kind_is_asked_for(mock_clock):
    info = await ended(load("document_processing").document_processing, {"name": "x", "text": " \n"})
    assert (info.status, info.error) == ("failed", "x is empty")
    assert states(info) == {"read": "error"}


# -- expense_approval --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "recorded", "paid"),
    [
        (True, "approved", 80),
        ("approved", "approved", 80),
        (False, "rejected", 0),
        ("rejected", "rejected", 0),
    ],
)
async def test_the_manager_decides(mock_clock, answer, recorded, paid):
    workflow = load("expense_approval").expense_approval
    async with open_engine(workflows=[workflow], clock=trio_clock()) as engine:
        run = await engine.start(workflow, {"amount": 80})
        await trio.sleep(2 * DAY)
        assert run.status == "waiting"
        await engine.provide_input(run.id, "manager", answer)
        assert await run.result() == {"amount": 80, "manager": recorded, "paid": paid}


async def test_after_three_days_without_an_answer_nothing_is_paid(mock_clock):
    info = await ended_days_later(load("expense_approval").expense_approval, {"amount": 50})
    assert info.result == {"amount": 50, "manager": "rejected", "paid": 0}
    assert (info.finished_at - info.created_at) // timedelta(hours=1) == 72


async def test_small_amounts_are_paid_and_none_is_refused_without_a_question(mock_clock):
    module = load("expense_approval")
    assert isinstance(module.hand_in({"amount": 49}), Goto)
    info = await ended(module.expense_approval, {"amount": 49})
    assert info.result == {"amount": 49, "manager": "approved", "paid": 49}
    assert "wait_for_manager" not in states(info)
    info = await ended(module.expense_approval, {"amount": 0})
    assert (info.status, info.error) == ("failed", "an expense is more than nothing")


# -- trial_reminder ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subscribes", "ends", "reminded", "end"),
    [(None, 20, True, "expired"), (16, 17, False, "subscribed"), (18, 20, True, "subscribed")],
)
async def test_a_trial_of_twenty_days(mock_clock, subscribes, ends, reminded, end):
    module = load("trial_reminder")
    async with open_engine(workflows=[module.trial_reminder], clock=trio_clock()) as engine:
        run = await engine.start(module.trial_reminder, {"user": "Ada", "days": 20})
        if subscribes is not None:
            await trio.sleep(subscribes * DAY)
            assert run.status == "waiting"
            module.subscribed.add("Ada")
        info = await run.wait()
    assert info.result == {"user": "Ada", "days": 20, "reminded": reminded, "end": end}
    assert (info.finished_at - info.created_at).total_seconds() == pytest.approx(ends * DAY, abs=1)


async def test_a_trial_that_is_too_short_is_refused(mock_clock):
    info = await ended(load("trial_reminder").trial_reminder, {"user": "Ada", "days": 2})
    assert (info.status, info.error) == ("failed", "a trial takes three days at least")


# -- payment_flow ------------------------------------------------------------------------------------

CAPTURED = {"status": "captured", "receipt": "R-9"}


async def test_an_order_that_nobody_pays_fails_after_three_days(mock_clock):
    info = await ended_days_later(load("payment_flow").payment_flow, {"order": "x"})
    assert info.status == "failed"
    assert info.error.type == "durable_trio.WaitTimeout"
    assert states(info) == {"pack": "ok", "wait_for_paid": "timed_out"}
    assert (info.finished_at - info.created_at) // timedelta(hours=1) == 72


async def test_a_declined_payment_fails_the_order(mock_clock):
    workflow = load("payment_flow").payment_flow
    async with open_engine(workflows=[workflow], clock=trio_clock()) as engine:
        run = await engine.start(workflow, {"order": "x"})
        await engine.send_event(run.id, "paid", {"status": "declined"})
        info = await run.wait()
    assert (info.status, info.error) == ("failed", "the payment was declined")
    assert "deliver" not in states(info)


@pytest.mark.parametrize("days", [0, 13, 15])
async def test_a_delivery_is_waited_for_fourteen_days(mock_clock, days):
    workflow = load("payment_flow").payment_flow
    async with open_engine(workflows=[workflow], clock=trio_clock()) as engine:
        run = await engine.start(workflow, {"order": "x"})
        await engine.send_event(run.id, "paid", CAPTURED)
        await trio.sleep(days * DAY)
        if days < 14:
            await engine.send_event(run.id, "delivered", "here")
        result = await run.result()
    assert result["receipt"] == "R-9"
    if days < 14:
        assert result == {"order": "x", "receipt": "R-9", "delivered": True, "place": "here"}
    else:
        assert result["delivered"] is False
        assert result["ask_about"].startswith("parcel-")


# -- order_pipeline ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "item", "status", "outcome"),
    [
        ("good", "lamp", "completed", {"order": 7, "receipt": "R-7", "label": "lamp for order 7"}),
        ("good", "chair", "completed", {"order": 7, "refund": "R-7", "why": "no chair left"}),
        ("stolen", "lamp", "failed", "card declined"),
        ("stolen", "chair", "failed", "card declined"),
    ],
)
async def test_an_order_ends_as_its_children_do(mock_clock, card, item, status, outcome):
    module = load("order_pipeline")
    workflows = [module.order_pipeline, module.payment, module.shipment]
    async with open_engine(workflows=workflows, clock=trio_clock()) as engine:
        run = await engine.start(module.order_pipeline, {"order": 7, "card": card, "item": item})
        info = await run.wait()
        assert (info.status, info.result or info.error) == (status, outcome)
        (paid,) = await engine.list(workflow=module.payment)
        (shipped,) = await engine.list(workflow=module.shipment)
    assert paid.status == ("completed" if card == "good" else "failed")
    assert shipped.status == ("completed" if item == "lamp" else "failed")
    assert states(info)["children/pay"] == ("ok" if card == "good" else "error")


# -- thumbnails --------------------------------------------------------------------------------------


async def test_every_file_gets_its_copy_and_folders_none(tmp_path):
    folder, copies = tmp_path / "in", tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    for number in range(6):
        (folder / f"{number}.txt").write_bytes(b"ab" * number)
    module = load("thumbnails")
    async with open_engine(tmp_path / "db", workflows=[module.thumbnails]) as engine:
        result = await engine.run(module.thumbnails, {"folder": str(folder), "copies": str(copies)})
    assert [sizes["bytes"] for sizes in result["files"].values()] == [0, 2, 4, 6, 8, 10]
    assert sorted(path.name for path in copies.iterdir()) == [f"{number}.txt.gz" for number in range(6)]
    for number in range(6):
        assert gzip.decompress((copies / f"{number}.txt.gz").read_bytes()) == b"ab" * number


async def test_what_is_done_is_not_read_again_after_a_restart(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ac":
        (folder / name).write_text(name)
    (folder / "b").symlink_to("nowhere")
    module = load("thumbnails")
    data = {"folder": str(folder), "copies": str(tmp_path / "out")}
    async with open_engine(tmp_path / "db", workflows=[module.thumbnails]) as engine:
        run = await engine.start(module.thumbnails, data, id="r")
        info = await run.wait()
        assert (info.status, info.error) == ("failed", {"b": "FileNotFoundError"})
        assert step_of(info, "shrink/1").attempt == 2
    (folder / "b").unlink()
    for name in "abc":
        (folder / name).write_text(name * 10)
    async with open_engine(tmp_path / "db", workflows=[module.thumbnails]) as engine:
        result = await (await engine.retry("r")).result()
    assert [sizes["bytes"] for sizes in result["files"].values()] == [1, 10, 1]
