"""Seeded bugs: each breaks the engine in one way, while a test asks for it. The machine must find each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from durable_trio._engine import cancelling, compensate, postoffice, recovery, waits
from durable_trio._engine.committer import Post
from durable_trio._engine.engine import Engine
from durable_trio._engine.mailbox import Letter, Mailbox
from durable_trio._engine.postoffice import PostOffice

Plant = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """What plants it, what the machine says when it has found it, and the flows in which it shows."""

    plant: Plant
    says: str
    flows: tuple[str, ...]


BUGS: dict[str, Bug] = {}


def bug(says: str, *flows: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        BUGS[plant.__name__] = Bug(plant, says, flows)
        return plant

    return register


def _changed_journal(patch: pytest.MonkeyPatch, change: Callable[[Any], None]) -> None:
    """What a run that goes on reads from its journal."""
    go_on = recovery.go_on_from

    def broken(engine: Any, run: Any, journal: Any, *more: Any) -> None:
        change(journal)
        go_on(engine, run, journal, *more)

    patch.setattr(recovery, "go_on_from", broken)


@bug("mail of run|other bodies", "ask", "leaf")
def an_early_event_is_dropped(patch: pytest.MonkeyPatch) -> None:
    deliver = PostOffice.deliver

    def broken(self: PostOffice, run: Any, kind: int, name: str, payload: Any) -> None:
        if run.status != "running":
            deliver(self, run, kind, name, payload)

    patch.setattr(PostOffice, "deliver", broken)


@bug("mail of run|result of run|other bodies|neither before nor after", "leaf")
def the_newest_event_is_delivered_first(patch: pytest.MonkeyPatch) -> None:
    def broken(self: Mailbox, kind: int, name: str) -> Letter | None:
        letters = self._letters.get((kind, name))
        return letters.pop() if letters else None

    patch.setattr(Mailbox, "take", broken)


@bug("mail of run", "ask", "leaf")
def a_taken_event_stays_in_the_mailbox(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(waits, "Post", lambda taken: Post())


@bug("status of run|error of run|other bodies", "line", "ask")
def a_cancelled_run_goes_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cancelling, "_cancel_one", lambda run, because, *, compensate: None)


@bug("status of run|error of run|other bodies", "family")
def children_outlive_their_cancelled_parent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cancelling, "_descendants", lambda self, run: [])


@bug("other bodies|status of run|neither before nor after", "line")
def a_recorded_step_runs_again(patch: pytest.MonkeyPatch) -> None:
    def forget(journal: Any) -> None:
        if journal.done:
            journal.done.popitem()

    _changed_journal(patch, forget)


@bug("other bodies", "many")
def failed_attempts_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    _changed_journal(patch, lambda journal: journal.attempts.clear())


@bug("timers of run", "ask")
def a_parked_run_has_no_timer(patch: pytest.MonkeyPatch) -> None:
    park = PostOffice.park

    def broken(self: PostOffice, run: Any) -> None:
        run.wake_at = None
        park(self, run)

    patch.setattr(PostOffice, "park", broken)


@bug("timers of run|other bodies|status of run|questions of run", "ask", "leaf")
def a_restart_extends_a_wait(patch: pytest.MonkeyPatch) -> None:
    _changed_journal(patch, lambda journal: journal.waiting.clear())


@bug("timers of run|status of run|other bodies", "ask")
def a_timer_fires_early(patch: pytest.MonkeyPatch) -> None:
    milliseconds = postoffice.milliseconds
    patch.setattr(postoffice, "milliseconds", lambda due: milliseconds(due) - 1)


@bug("compensations of run|other bodies", "saga")
def steps_are_undone_in_the_order_they_were_done(patch: pytest.MonkeyPatch) -> None:
    recorded = compensate._recorded

    def broken(run: Any) -> Any:
        successes, outcomes = recorded(run)
        return successes[::-1], outcomes

    patch.setattr(compensate, "_recorded", broken)


@bug("neither before nor after|status of run|other bodies|error of run", "line", "ask")
def a_cancellation_is_acknowledged_before_it_is_on_disk(patch: pytest.MonkeyPatch) -> None:
    async def broken(self: Engine, run_id: str, reason: Any = None, *, compensate: bool = False) -> bool:
        run = await self.post.unended(run_id)
        return cancelling.cancel_now(run, reason, compensate=compensate)

    patch.setattr(Engine, "cancel", broken)
