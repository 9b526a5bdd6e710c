"""Trip booking, a saga: a flight, then a hotel and a car; when one cannot be had, the others are cancelled.

What it shows: a step names the handler that makes up for it (``compensate=``). When the run fails, the
handlers of the steps that succeeded run in the reverse order, those of parallel branches too. Each gets the
context that its step was given and what the step returned, here the booking. A handler that gives up does not
stop the others: the run is then ``compensation_failed``, and says which one it was.

Two things that a saga needs: ``step_info().idempotency_key`` is the same for every attempt of a step or a
handler, also after a crash, so that nothing is booked or cancelled twice. And the block lets both bookings
come to an end (it has an ``into``) before it fails: one that is cut off may have been made, and nobody would
know.

Run it::

    python examples/trip_booking.py [--db app.lmdb]
    durable-trio run examples/trip_booking.py:trip_booking \
        --input '{"traveller": "Ada", "to": "Lisbon"}' --db app.lmdb

``"sold_out": "car"`` in the input (or ``"flight"``, or ``"hotel"``) lets that booking fail, and
``"unreachable": "hotel"`` the cancellation of a hotel.

It prints what is left of three trips: one with all bookings, two without a car.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Retry, Workflow, open_engine, step_info


class Agency:
    """Stands in for a service that books and cancels, each key once. Some things are sold out."""

    def __init__(self, what, seconds):
        self.what = what
        self.seconds = seconds
        self.booked = {}  # key to traveller
        self.cancelled = set()  # keys of the cancellations

    async def book(self, ctx):
        await trio.sleep(self.seconds)
        if ctx.get("sold_out") == self.what:
            return Err(f"no {self.what} to be had in {ctx['to']}", retry=False)
        key = step_info().idempotency_key
        self.booked.setdefault(key, ctx["traveller"])
        return Ok({"booking": key})

    async def cancel(self, ctx, booking):
        await trio.sleep(self.seconds)
        if ctx.get("unreachable") == self.what:
            raise ConnectionError(f"nobody answers the {self.what}'s phone")
        self.booked.pop(booking, None)
        self.cancelled.add(step_info().idempotency_key)


flights = Agency("flight", 0.02)
hotels = Agency("hotel", 0.01)
cars = Agency("car", 0.03)


trip_booking = Workflow("trip_booking")
again = Retry(max_attempts=3, base=0.05)


@trip_booking.compensation(retry=again)
async def cancel_flight(ctx, result):
    await flights.cancel(ctx, result["flight"])


@trip_booking.compensation(retry=again)
async def cancel_hotel(ctx, result):
    await hotels.cancel(ctx, result["booking"])


@trip_booking.compensation(retry=again)
async def cancel_car(ctx, result):
    await cars.cancel(ctx, result["booking"])


@trip_booking.step(retry=again, compensate="cancel_flight")
async def book_flight(ctx):
    match await flights.book(ctx):
        case Ok(flight):
            return Ok(ctx | {"flight": flight["booking"]})
        case failed:
            return failed


with trip_booking.parallel(name="on_the_ground") as on_the_ground:

    @trip_booking.step(returns="hotel", retry=again, compensate="cancel_hotel")
    async def book_hotel(ctx):
        return await hotels.book(ctx)

    @trip_booking.step(returns="car", retry=again, compensate="cancel_car")
    async def book_car(ctx):
        return await cars.book(ctx)

    @on_the_ground.into
    def all_or_nothing(ctx, results):
        match results["hotel"], results["car"]:
            case Ok(hotel), Ok(car):
                return Ok(ctx | {"hotel": hotel["booking"], "car": car["booking"]})
            case (Err(reason), _) | (_, Err(reason)):
                return Err(reason)


@trip_booking.step
async def confirm(ctx):
    bookings = {what: ctx[what] for what in ("flight", "hotel", "car")}
    return Ok({"traveller": ctx["traveller"], "to": ctx["to"], "bookings": bookings})


async def main(db):
    trips = [
        {"traveller": "Ada", "to": "Lisbon"},
        {"traveller": "Grace", "to": "Oslo", "sold_out": "car"},
        {"traveller": "Alan", "to": "Bergen", "sold_out": "car", "unreachable": "hotel"},
    ]
    async with open_engine(db, workflows=[trip_booking]) as engine:
        for trip in trips:
            run = await engine.start(trip_booking, trip)
            info = await run.wait()
            print(f"{trip['traveller']} to {trip['to']}: {info.status}\n")
            for step in info.steps:
                print(f"  {step.path:<26} {step.status}")
            for undone in info.compensations:
                reason = f" after {undone.attempt} attempts: {undone.error}" if undone.error else ""
                print(f"  {undone.path:<26} {undone.handler}: {undone.status}{reason}")
            if info.error is not None:
                print(f"  => {info.error}")
            print()
    agencies = (flights, hotels, cars)
    left = [f"{agency.what} of {name}" for agency in agencies for name in agency.booked.values()]
    print(f"Booked by this program, and not cancelled: {', '.join(left)}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Book three trips, two of which come to nothing.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
