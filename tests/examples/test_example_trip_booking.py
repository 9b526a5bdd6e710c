"""``trip_booking``: what is booked and what is cancelled, whatever goes wrong."""

from __future__ import annotations

import pytest
import trio
from example_helpers import ended, load, output_of, states

from durable_trio import open_engine


@pytest.fixture
def example():
    return load("trip_booking")


def left(example):
    """Who has what."""
    return {
        agency.what: list(agency.booked.values())
        for agency in (example.flights, example.hotels, example.cars)
    }


async def test_everything_is_booked(mock_clock, example):
    info = await ended(example.trip_booking, {"traveller": "Ada", "to": "Lisbon"})
    assert info.status == "completed"
    assert set(info.result["bookings"]) == {"flight", "hotel", "car"}
    assert left(example) == {"flight": ["Ada"], "hotel": ["Ada"], "car": ["Ada"]}
    assert info.compensations == []


@pytest.mark.parametrize(
    ("sold_out", "handlers"),
    [
        ("flight", []),
        ("hotel", ["cancel_car", "cancel_flight"]),
        ("car", ["cancel_hotel", "cancel_flight"]),
    ],
)
async def test_what_was_booked_is_cancelled(mock_clock, example, sold_out, handlers):
    info = await ended(example.trip_booking, {"traveller": "Ada", "to": "Oslo", "sold_out": sold_out})
    assert info.status == ("compensated" if handlers else "failed")
    assert info.error == f"no {sold_out} to be had in Oslo"
    assert [done.handler for done in info.compensations] == handlers
    assert left(example) == {"flight": [], "hotel": [], "car": []}


@pytest.mark.parametrize("unreachable", ["flight", "hotel"])
async def test_a_cancellation_that_fails_is_tried_again_and_stops_no_other(mock_clock, example, unreachable):
    data = {"traveller": "Ada", "to": "Oslo", "sold_out": "car", "unreachable": unreachable}
    info = await ended(example.trip_booking, data)
    assert (info.status, info.error) == ("compensation_failed", "no car to be had in Oslo")
    assert {done.handler: (done.status, done.attempt) for done in info.compensations} == {
        "cancel_hotel": ("ok", 1),
        "cancel_flight": ("ok", 1),
        f"cancel_{unreachable}": ("error", 3),
    }
    assert {what for what, names in left(example).items() if names} == {unreachable}


async def test_a_crash_neither_books_nor_cancels_twice(tmp_path, example):
    """The first life ends when the hotel has been cancelled, before that is recorded."""
    cancelled = trio.Event()
    cancel = example.hotels.cancel

    async def cancel_and_hang(ctx, booking):
        await cancel(ctx, booking)
        cancelled.set()
        await trio.sleep_forever()

    example.hotels.cancel = cancel_and_hang
    async with open_engine(tmp_path / "db", workflows=[example.trip_booking]) as engine:
        await engine.start(
            example.trip_booking, {"traveller": "Ada", "to": "Oslo", "sold_out": "car"}, id="r"
        )
        await cancelled.wait()
    example.hotels.cancel = cancel
    async with open_engine(tmp_path / "db", workflows=[example.trip_booking]) as engine:
        info = await (await engine.start(example.trip_booking, id="r")).wait()
    assert info.status == "compensated"
    assert states(info)["on_the_ground/book_hotel"] == "ok"
    assert left(example) == {"flight": [], "hotel": [], "car": []}
    assert [len(agency.cancelled) for agency in (example.flights, example.hotels, example.cars)] == [1, 1, 0]


@pytest.mark.slow
def test_the_story_tells_the_three_ends(tmp_path):
    text = output_of("trip_booking", cwd=tmp_path)
    ada, rest = text.split("Grace to Oslo: compensated\n")
    grace, alan = rest.split("Alan to Bergen: compensation_failed\n")
    assert ada.startswith("Ada to Lisbon: completed\n")
    assert "cancel_" not in ada
    assert grace.index("cancel_hotel: ok") < grace.index("cancel_flight: ok")
    assert "cancel_hotel: error after 3 attempts: ConnectionError: nobody answers the hotel's phone" in alan
    assert "cancel_flight: ok" in alan
    assert text.endswith("not cancelled: flight of Ada, hotel of Ada, hotel of Alan, car of Ada.\n")
