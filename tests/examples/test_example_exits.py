"""Every way in which a run of an example can end, on a mock clock, in memory."""

from __future__ import annotations

import pytest
import trio
from example_helpers import ended, load, states, step_of

from durable_trio import Failure, open_engine, step_info
from durable_trio.testing import trio_clock

# -- onboarding --------------------------------------------------------------------------------------


async def test_onboarding_completes(mock_clock):
    info = await ended(load("onboarding").onboarding, {"name": " Ada "})
    assert info.result == {
        "user_id": "user-ada",
        "workspace": "https://example.com/user-ada",
        "plan": "free",
        "welcomed": "Welcome, Ada!",
    }


async def test_onboarding_runs_its_branches_side_by_side(mock_clock):
    info = await ended(load("onboarding").onboarding, {"name": "Ada"})
    assert list(states(info)) == [
        "create_user",
        "set_up/send_welcome_mail",
        "set_up/open_billing_account",
        "set_up/create_workspace",
        "set_up",
        "complete",
    ]
    assert (info.finished_at - info.created_at).total_seconds() == pytest.approx(
        0.3
    )  # the slowest of the three


@pytest.mark.parametrize("data", [{}, {"name": " "}])
async def test_onboarding_refuses_a_user_without_a_name(mock_clock, data):
    info = await ended(load("onboarding").onboarding, data)
    assert (info.status, info.error) == ("failed", "a user needs a name")
    assert states(info) == {"create_user": "error"}


@pytest.mark.parametrize(
    ("down", "mail", "billing", "workspace"),
    [
        ("mail", "error", "cancelled", "cancelled"),
        ("billing", "ok", "error", "cancelled"),
        ("workspaces", "ok", "ok", "error"),
    ],
)
async def test_onboarding_stops_at_an_outage_and_goes_on_after_it(mock_clock, down, mail, billing, workspace):
    module = load("onboarding")
    services = [module.mail, module.billing, module.workspaces]
    getattr(module, down).down = True
    async with open_engine(None, workflows=[module.onboarding], clock=trio_clock()) as engine:
        with trio.fail_after(3600):
            run = await engine.start(module.onboarding, {"name": "Ada"})
            info = await run.wait()
            assert info.status == "failed"
            assert info.error.message == f"{down} is down"
            assert states(info)["set_up/send_welcome_mail"] == mail
            assert states(info)["set_up/open_billing_account"] == billing
            assert states(info)["set_up/create_workspace"] == workspace
            assert "complete" not in states(info)
            assert [service.served for service in services] == [
                int(state == "ok") for state in (mail, billing, workspace)
            ]

            getattr(module, down).down = False
            again = await (await engine.retry(run.id)).wait()
            assert again.status == "completed"
            assert [service.served for service in services] == [1, 1, 1]


# -- dashboard ---------------------------------------------------------------------------------------

ALL_TILES = {
    "sales": {"today": 42, "yesterday": 37},
    "stock": {"lamps": 12, "chairs": 0},
    "visitors": {"online": 128},
}


async def test_dashboard_with_all_sources(mock_clock):
    info = await ended(load("dashboard").dashboard, {"user": "Ada"})
    assert info.result == {"user": "Ada", "tiles": ALL_TILES, "missing": {}}


@pytest.mark.parametrize(
    ("state", "why", "status"),
    [
        ("down", "no route to {}", "error"),
        ("closed", "no permission", "error"),
        ("slow", "took too long", "timed_out"),
    ],
)
@pytest.mark.parametrize("source", ["sales", "stock", "visitors"])
async def test_dashboard_with_a_gap(mock_clock, source, state, why, status):
    info = await ended(load("dashboard").dashboard, {"user": "Ada", source: state})
    assert info.status == "completed"
    assert info.result["missing"] == {source: why.format(source)}
    assert info.result["tiles"] == {key: value for key, value in ALL_TILES.items() if key != source}
    for other in ALL_TILES:
        assert states(info)[f"sources/{other}"] == (status if other == source else "ok")


async def test_dashboard_with_nothing_to_show(mock_clock):
    info = await ended(load("dashboard").dashboard, {"sales": "slow", "stock": "closed", "visitors": "down"})
    assert info.status == "failed"
    assert info.error == {
        "no source answered": {
            "sales": "took too long",
            "stock": "no permission",
            "visitors": "no route to visitors",
        }
    }


# -- order_processing --------------------------------------------------------------------------------


def way(info):
    return [step.path for step in info.steps if "/" not in step.path]


async def test_an_order_that_is_ready_is_fulfilled(mock_clock):
    order = {"order_id": 1, "item": "lamp", "card": "good"}
    info = await ended(load("order_processing").order_processing, order | {"note": "dropped by validate"})
    assert info.result == order | {"ready": True, "fulfilled": True}
    assert way(info) == ["validate", "checks", "fulfill_order"]


async def test_a_declined_card_is_not_asked_for_twice_and_leads_to_the_payment_issue(mock_clock):
    order = {"order_id": 2, "item": "lamp", "card": "declined"}
    info = await ended(load("order_processing").order_processing, order)
    assert info.result == order | {"needs_payment_retry": True}
    assert way(info) == ["validate", "checks", "handle_payment_issue"]
    assert step_of(info, "checks/authorize_payment").attempt == 1


@pytest.mark.parametrize("card", ["good", "declined", "unsure", "offline"])
async def test_what_is_out_of_stock_is_backordered_whatever_the_card(mock_clock, card):
    order = {"order_id": 3, "item": "chair", "card": card}
    info = await ended(load("order_processing").order_processing, order)
    assert info.result == order | {"backordered": True}
    assert way(info) == ["validate", "checks", "handle_backorder"]


async def test_an_order_that_the_bank_is_unsure_of_fails(mock_clock):
    info = await ended(
        load("order_processing").order_processing, {"order_id": 4, "item": "desk", "card": "unsure"}
    )
    assert (info.status, info.error) == ("failed", "order validation failed")
    assert way(info) == ["validate", "checks"]
    assert states(info)["checks/authorize_payment"] == "ok"


async def test_a_bank_that_cannot_be_reached_is_tried_five_times_and_fails_the_order(mock_clock):
    info = await ended(
        load("order_processing").order_processing, {"order_id": 5, "item": "lamp", "card": "offline"}
    )
    assert (info.status, info.error) == ("failed", "order validation failed")
    assert info.errors["checks/authorize_payment"].message == "the bank does not answer"
    assert step_of(info, "checks/authorize_payment").attempt == 5


async def test_an_incomplete_order_is_refused_before_anybody_is_asked(mock_clock):
    info = await ended(load("order_processing").order_processing, {"item": "lamp"})
    assert (info.status, info.error) == ("failed", "the order lacks: order_id, card")
    assert way(info) == ["validate"]


# -- notifications -----------------------------------------------------------------------------------


@pytest.mark.parametrize("down", [[], ["email"], ["sms"]])
async def test_a_notification_arrives_on_the_channels_that_are_up(mock_clock, down):
    module = load("notifications")
    info = await ended(module.notifications, {"user": "Ada", "text": "hello", "down": down})
    assert info.result == {
        "user": "Ada",
        "reached_by": [channel for channel in ("email", "sms") if channel not in down],
        "failed": {channel: f"ConnectionError: {channel} is down" for channel in down},
    }
    for provider in (module.email, module.sms):
        is_down = provider.name in down
        assert list(provider.sent.values()) == ([] if is_down else ["hello"])
        step = step_of(info, f"channels/send_{provider.name}")
        assert (step.status, step.attempt) == (("error", 2) if is_down else ("ok", 1))


async def test_a_notification_that_reaches_nobody_fails(mock_clock):
    module = load("notifications")
    info = await ended(module.notifications, {"user": "Ada", "text": "hello", "down": ["sms", "email"]})
    assert info.status == "failed"
    assert info.error == {
        "nobody was reached": {
            "email": "ConnectionError: email is down",
            "sms": "ConnectionError: sms is down",
        }
    }
    assert module.email.sent == module.sms.sent == {}


async def test_a_notification_whose_receipt_is_lost_is_not_sent_twice(mock_clock):
    module = load("notifications")
    attempts = []

    class Forgetful(module.Provider):
        async def send(self, key, text, *, down):
            receipt = await super().send(key, text, down=down)
            attempts.append((step_info().attempt, key))
            if len(attempts) == 1:
                raise ConnectionError("the line went dead after the message was sent")
            return receipt

    module.email = Forgetful("email")
    info = await ended(module.notifications, {"user": "Ada", "text": "hello"})
    assert info.result["reached_by"] == ["email", "sms"]
    assert [attempt for attempt, _ in attempts] == [1, 2]
    assert len(module.email.sent) == 1
    assert set(module.email.sent).isdisjoint(module.sms.sent)


# -- external_api ------------------------------------------------------------------------------------


@pytest.mark.parametrize("failures", range(5))
async def test_the_service_is_asked_until_it_answers_with_doubling_pauses(mock_clock, failures):
    info = await ended(
        load("external_api").external_api, {"amount": 200, "currency": "EUR", "failures": failures}
    )
    assert info.result == {"amount": 99.0, "currency": "EUR", "fee": 2.0}
    assert step_of(info, "gather/fetch_rate").attempt == failures + 1
    pauses = sum([0.05, 0.1, 0.2, 0.4][:failures])
    took = (info.finished_at - info.created_at).total_seconds()
    assert took == pytest.approx(pauses + 0.01 * (failures + 1), abs=1e-4)


async def test_the_local_step_does_not_wait_for_the_service(mock_clock):
    info = await ended(load("external_api").external_api, {"amount": 200, "currency": "EUR", "failures": 4})
    fee = step_of(info, "gather/compute_fee")
    assert (fee.started_at - info.created_at).total_seconds() + fee.duration == 0
    assert next(iter(states(info))) == "gather/compute_fee"


async def test_a_service_that_never_answers_fails_the_run_after_five_attempts(mock_clock):
    info = await ended(load("external_api").external_api, {"amount": 200, "currency": "EUR", "failures": 5})
    assert info.status == "failed"
    assert isinstance(info.error, Failure)
    assert (info.error.message, info.error.attempts) == ("503 Service Unavailable", 5)
    assert states(info)["gather/compute_fee"] == "ok"
    assert "convert" not in states(info)


async def test_what_the_service_does_not_know_is_asked_once(mock_clock):
    info = await ended(load("external_api").external_api, {"amount": 200, "currency": "XYZ"})
    assert (info.status, info.error) == ("failed", "404 Not Found: XYZ")
    assert step_of(info, "gather/fetch_rate").attempt == 1


# -- isolation ---------------------------------------------------------------------------------------


async def test_a_branchs_change_is_not_seen_by_another(mock_clock):
    given = {"cart": {"owner": "Ada", "items": ["lamp", "desk"]}, "coupon": "SPRING"}
    mine = {"cart": {"owner": "Ada", "items": ["lamp", "desk"]}, "coupon": "SPRING"}
    info = await ended(load("isolation").isolation, mine)
    assert info.result == {
        "after_the_block": given,
        "vandal": {"cart": {"owner": "a vandal", "items": []}, "graffiti": "was here"},
        "observer": given,
        "shopper": ["lamp", "desk", "chair"],
        "order": {"owner": "Ada", "items": ["lamp", "desk", "chair"]},
    }
    assert mine == given == info.input
    order = list(states(info))
    assert order.index("visitors/vandal") < order.index("visitors/observer")
