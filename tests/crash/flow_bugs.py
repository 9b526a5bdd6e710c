"""Seeded bugs of waits, messages, choices, children and compensations; see ``bugs``."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import msgspec
import trio

from durable_trio import _context
from durable_trio._definition.nodes import EventNode, StepNode
from durable_trio._engine import (
    body,
    cancelling,
    children,
    committer,
    compensate,
    engine,
    inputs,
    instep,
    mailbox,
    messages,
    postoffice,
    recovery,
    waits,
    walk,
)
from durable_trio._engine.mailbox import Letter
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import EVENT_MESSAGE, INPUT_MESSAGE, OK, REASON, TIMED_OUT
from durable_trio._values import Failure

from .faults import Fault
from .seeding import bug, tag

_CHILD, _FAILING = 11, 12


# -- events and answers ----------------------------------------------------------------------------------


@bug(14, scenario="story", faults=())
def drops_an_early_event(_database: str) -> None:
    original = postoffice.PostOffice.deliver

    def deliver(self: Any, run: Any, kind: int, name: str, payload: Any) -> None:
        is_awaited = any(waiting.name == name for waiting in run.mailbox.waiting.values())
        if is_awaited or run.status == "waiting" or kind != EVENT_MESSAGE:
            original(self, run, kind, name, payload)

    postoffice.PostOffice.deliver = deliver


@bug(14, scenario="crowd", faults=())
def delivers_an_event_twice(_database: str) -> None:
    """It stays in the mailbox, and is there again after the next restart."""
    original = committer.Committer.put

    def put(self: Any, *arguments: Any, post: Any = None, **options: Any) -> None:
        original(self, *arguments, post=post and post._replace(taken=()), **options)

    committer.Committer.put = put


@bug(14, scenario="story", faults=())
def gives_one_event_to_two_waits(_database: str) -> None:
    original = mailbox.Mailbox.take
    taken: dict[tuple[int, int, str], Letter] = {}

    def take(self: mailbox.Mailbox, kind: int, name: str) -> Letter | None:
        letter = original(self, kind, name)
        if letter is not None:
            taken[id(self), kind, name] = letter
        return letter or taken.pop((id(self), kind, name), None)

    mailbox.Mailbox.take = take


@bug(14, scenario="story", faults=())
def reorders_events(_database: str) -> None:
    def take(self: mailbox.Mailbox, kind: int, name: str) -> Letter | None:
        letters = self._letters.get((kind, name))
        return letters.pop() if letters else None

    mailbox.Mailbox.take = take


@bug(14, scenario="story", faults=(Fault("line", "ack-send:#1-20"), Fault("line", "ack-send:#1-9")))
def loses_an_input_in_a_crash(_database: str) -> None:
    original = postoffice.PostOffice.deliver

    def deliver(self: Any, run: Any, kind: int, name: str, payload: Any) -> None:
        if kind == INPUT_MESSAGE:
            self._number += 1
            run.mailbox.add(kind, name, Letter(self._number, payload))
        else:
            original(self, run, kind, name, payload)

    postoffice.PostOffice.deliver = deliver


@bug(14, scenario="crowd", faults=(Fault("line", "ack-send:#1-9"), Fault("line", "ack-send:#1-4")))
def acknowledges_an_event_before_the_commit(_database: str) -> None:
    async def send_event(self: engine.Engine, run_id: str, name: str, payload: Any = None) -> None:
        frozen, _ = self.codec.freeze(payload, "payload")
        self.post.deliver(await self.post.addressee(run_id), EVENT_MESSAGE, name, frozen)

    engine.Engine.send_event = send_event


@bug(14, scenario="story", faults=())
def takes_what_it_refuses(_database: str) -> None:
    """The answer to a question that is not asked is recorded, and refused all the same."""
    original = messages.check_answer

    def check_answer(*arguments: Any, **options: Any) -> Any:
        original(*arguments, **options)
        raise inputs.InputError("no")

    async def provide_input(self: engine.Engine, run_id: str, name: str, value: Any) -> None:
        run = await self.post.addressee(run_id)
        self.post.deliver(run, INPUT_MESSAGE, name, self.codec.freeze(value, "value")[0])
        await self.committer.durable()
        await genuine(self, run_id, name, value)

    genuine = engine.Engine.provide_input
    messages.check_answer = check_answer
    engine.Engine.provide_input = provide_input


# -- due times -------------------------------------------------------------------------------------------


@bug(13, scenario="crowd", faults=())
def fires_a_timer_early(_database: str) -> None:
    original = waits.wait_until

    async def wait_until(run: Any, scope: Any, due: float, **options: Any) -> None:
        await original(run, scope, due - 0.004, **options)

    waits.wait_until = instep.wait_until = wait_until


@bug(13, scenario="story", faults=())
def times_out_early(_database: str) -> None:
    original = waits.receive

    async def receive(run: Any, scope: Any, kind: int, name: str, due: float | None, **options: Any) -> Any:
        return await original(run, scope, kind, name, due and due - 0.004, **options)

    waits.receive = instep.receive = receive


@bug(13, scenario="story")
def extends_a_wait_on_restart(_database: str) -> None:
    original = waits._recorded_wait

    def recorded_wait(*arguments: Any) -> None:
        original(*arguments)

    waits._recorded_wait = recorded_wait


@bug(13, scenario="story", faults=(Fault("line", "wait:#1-20"), Fault("line", "wait:#1-9")))
def extends_a_wait_inside_a_step_on_restart(_database: str) -> None:
    original = recovery.go_on_from

    def go_on_from(engine: Any, run: Any, journal: Journal, *more: Any) -> None:
        original(engine, run, journal, *more)
        run.mailbox.waiting.clear()

    recovery.go_on_from = go_on_from


@bug(
    13,
    scenario="story",
    faults=(Fault("failpoint", "commit.end:#20-70"), Fault("failpoint", "commit.end:#9-40")),
)
def parks_past_the_due_time(_database: str) -> None:
    original = postoffice.PostOffice.park

    def park(self: Any, run: Any) -> None:
        if run.wake_at is not None:
            run.wake_at += 0.01
        original(self, run)

    postoffice.PostOffice.park = park


@bug(13, scenario="story", faults=())
def begins_a_run_before_its_time(_database: str) -> None:
    original = postoffice.PostOffice.schedule

    def schedule(self: Any, run: Any, at: float, *rest: Any) -> None:
        original(self, run, at - 1.0, *rest)  # far too early: a busy machine is late

    postoffice.PostOffice.schedule = schedule


@bug(15, scenario="story", faults=())
def loses_a_timeouts_default(_database: str) -> None:
    original = waits._over

    def over(run: Any, scope: Any, node: Any, waiting: Any, ending: Any, letter: Any) -> Any:
        if ending[0] == OK and letter is None and isinstance(node, EventNode):
            failure = Failure(type="durable_trio.WaitTimeout", message="it did not come")
            ending = (TIMED_OUT, REASON, run.engine.codec.wire(failure), None, failure)
        return original(run, scope, node, waiting, ending, letter)

    waits._over = over


@bug(15, scenario="story", faults=())
def raises_in_place_of_a_default(_database: str) -> None:
    original = instep._default
    instep._default = lambda wait, _default: original(wait, ...)


@bug(15, scenario="story", faults=(Fault("line", "got:#1-30"), Fault("line", "got:#1-9")))
def answers_a_wait_anew(_database: str) -> None:
    _forget("answered")


@bug(15, scenario="story", faults=())
def gives_another_answer_than_it_records(_database: str) -> None:
    original = instep._default
    instep._default = lambda wait, default: original(wait, default) if wait.timed_out else "made up"
    instep._Wait.payload = property(lambda wait: {"made": "up"} if wait.kind == 6 else "made up")


# -- choices ---------------------------------------------------------------------------------------------


def _forget(what: str) -> None:
    """A recovery that knows nothing of one kind of record."""

    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            getattr(self, what).clear()

    recovery.Journal = Forgetful


@bug(4, scenario="story", faults=(Fault("line", "enter:#20-40"), Fault("line", "enter:#1-20")))
def chooses_again(_database: str) -> None:
    _forget("chosen")


@bug(4, scenario="story", faults=(Fault("line", "item:#1-20"), Fault("line", "item:#1-9")))
def asks_for_the_items_again(_database: str) -> None:
    _forget("spread")


# Late enough that every run has come past a node at the top level: else the changed definition fits.
@bug(22, scenario="story", faults=(Fault("line", "#200-400"), Fault(before="changed")))
def is_blind_to_a_changed_wait(_database: str) -> None:
    recovery.difference_to = lambda *_arguments: None


# -- the same key twice ----------------------------------------------------------------------------------


@bug(16, scenario="crowd", faults=(Fault("line", "key:#1-4"), Fault("line", "key:#1-4")))
def changes_idempotency_keys(_database: str) -> None:
    _context.uuid = SimpleNamespace(uuid5=lambda *_name: uuid.uuid4(), UUID=uuid.UUID)


@bug(16, scenario="story", faults=())
def creates_a_run_that_exists(_database: str) -> None:
    original = engine.enter

    def enter(*arguments: Any, **options: Any) -> Any:
        found, _ = original(*arguments, **options)
        return found, True

    engine.enter = enter


# -- children --------------------------------------------------------------------------------------------


@bug(17, scenario="family", faults=())
def forgets_a_child_on_cancel(_database: str) -> None:
    cancelling._descendants = lambda *_arguments: []


@bug(17, scenario="family", faults=())
def leaves_a_called_child_behind(_database: str) -> None:
    original = children.cancel_now

    def cancel_now(run: Any, reason: Any, **options: Any) -> bool:
        return reason != "the step that called it was cancelled" and original(run, reason, **options)

    children.cancel_now = cancel_now


@bug(17, scenario="family", faults=())
def starts_a_child_twice(_database: str) -> None:
    children.uuid = SimpleNamespace(uuid5=lambda *_name: uuid.uuid4(), UUID=uuid.UUID)


@bug(17, scenario="family", faults=())
def does_not_record_a_child(_database: str) -> None:
    _leave_out(_CHILD)


@bug(17, scenario="family", faults=())
def tells_another_end_of_a_child(_database: str) -> None:
    original = children._answer

    def answer(run: Any, key: Any, outcome: tuple[str, Any]) -> Any:
        return original(run, key, ("ok", {"made": "up"}))

    children._answer = answer


# -- compensations ---------------------------------------------------------------------------------------


def _leave_out(kind: int) -> None:
    """Records of one kind are not written."""
    original = committer.Committer.put

    def put(self: Any, run: Any, records: Any, *rest: Any, **options: Any) -> None:
        several = [records] if isinstance(records, bytes) else records
        original(self, run, [record for record in several if tag(record) != kind], *rest, **options)

    committer.Committer.put = put


def _undo_other(change: Any) -> None:
    """``change`` sees what is to be undone, and the run, before it comes to that."""
    original = compensate._recorded

    def recorded(run: Any) -> Any:
        successes, outcomes = original(run)
        return change(run, successes), outcomes

    compensate._recorded = recorded


@bug(18, scenario="trip", faults=())
def compensates_twice(_database: str) -> None:
    _undo_other(lambda _run, successes: [success for success in successes for _ in range(2)])


@bug(18, scenario="trip", faults=(Fault("line", "undo-enter:#4-20"), Fault("line", "undo-enter:#2-9")))
def compensates_again_after_a_crash(_database: str) -> None:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            self.compensated.clear()

    compensate.Journal = Forgetful


@bug(18, scenario="trip", faults=())
def compensates_in_the_wrong_order(_database: str) -> None:
    _undo_other(lambda _run, successes: successes[::-1])


@bug(18, scenario="trip", faults=())
def skips_a_branchs_compensation(_database: str) -> None:
    _undo_other(lambda _run, successes: [success for success in successes if "/" not in success.path])


@bug(18, scenario="trip", faults=())
def compensates_what_has_not_succeeded(_database: str) -> None:
    def more(run: Any, successes: list[Any]) -> list[Any]:
        nodes = [node for node in run.plan.by_path.values() if isinstance(node, StepNode) and node.compensate]
        known = {success.path for success in successes}
        others = [
            compensate._Success(node.path, 1, run.plan.handlers[node.compensate], run.input, None)
            for node in nodes
            if node.path not in known
        ]
        return [*successes, *others]

    _undo_other(more)


@bug(18, scenario="trip", faults=())
def compensates_before_the_failure_is_recorded(_database: str) -> None:
    _leave_out(_FAILING)


@bug(18, scenario="trip", faults=(Fault("line", "undo-enter:#1-20"), Fault("line", "undo-enter:#1-9")))
def compensates_before_the_commit(_database: str) -> None:
    async def durable(_self: Any) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()

    original = compensate._undo

    async def undo(run: Any, scope: Any, success: Any) -> int:
        genuine, committer.Committer.durable = committer.Committer.durable, durable
        try:
            return await original(run, scope, success)
        finally:
            committer.Committer.durable = genuine

    compensate._undo = undo


@bug(18, scenario="trip", faults=())
def gives_a_compensation_another_result(_database: str) -> None:
    original = body.call_handler

    async def call_handler(engine: Any, handler: Any, _result: Any, ctx: Any) -> Any:
        return await original(engine, handler, {"made": "up"}, ctx)

    body.call_handler = call_handler


@bug(18, scenario="trip", faults=())
def ends_well_although_a_compensation_failed(_database: str) -> None:
    compensate.end = lambda run, ending, records: walk.end(
        run, msgspec.structs.replace(ending, status="compensated"), records
    )


@bug(18, scenario="trip", faults=())
def does_not_compensate_a_cancelled_run(_database: str) -> None:
    cancelling._can_be_undone = lambda _run: False
