"""Seeded bugs, on top of those of ``tests/crash``: each breaks the engine in one way for one episode.

A bug that no episode finds fails its test. Of the last ones before those of steering, two were real: the
simulation found them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import trio

from durable_trio import DurableError
from durable_trio._engine import (
    children,
    committer,
    compensate,
    engine,
    forgetting,
    instep,
    parallel,
    postoffice,
    recovery,
    requests,
    steering,
    step,
    timers,
    waits,
)
from durable_trio._engine import run as run_module
from durable_trio._engine.calls import pack_error, pack_value
from durable_trio._engine.mailbox import Mailbox
from durable_trio._snapshot.records import Resumed
from durable_trio._snapshot.view import Journal
from durable_trio._store.base import Answer

Changes = list[tuple[Any, str, Any]]


class Bug(NamedTuple):
    """What is replaced by what, and the invariants of which any finds it."""

    changes: Callable[[], Changes]
    invariants: frozenset[int]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The engine is broken in this way."""
        changes = self.changes()
        before = [(target, name, getattr(target, name)) for target, name, _ in changes]
        for target, name, value in changes:
            setattr(target, name, value)
        try:
            yield
        finally:
            for target, name, value in before:
                setattr(target, name, value)


BUGS: dict[str, Bug] = {}


def _bug(*invariants: int) -> Callable[[Callable[[], Changes]], Callable[[], Changes]]:
    def register(function: Callable[[], Changes]) -> Callable[[], Changes]:
        BUGS[function.__name__] = Bug(function, frozenset(invariants))
        return function

    return register


@_bug(1, 5, 14)
def acknowledges_before_the_commit() -> Changes:
    async def durable(self: committer.Committer) -> None:
        self.soon()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def take(_self: committer.Committer, _run: Any, _record: bytes, _task: Any) -> bool:
        return False

    return [(committer.Committer, "durable", durable), (committer.Committer, "take", take)]


@_bug(25, 1)
def acknowledges_a_failed_commit() -> Changes:
    original = committer.Committer._landed

    def landed(self: committer.Committer, waiters: list[Any], _failure: BaseException | None) -> None:
        original(self, waiters, None)

    return [(committer.Committer, "_landed", landed)]


@_bug(13)
def fires_timers_early() -> Changes:
    original = waits.wait_until

    async def wait_until(run: Any, scope: Any, due: float, *, stay: bool = False) -> None:
        await original(run, scope, due - 0.5, stay=stay)

    return [(waits, "wait_until", wait_until), (instep, "wait_until", wait_until)]


@_bug(5)
def begins_before_it_is_recorded_that_a_sleep_is_over() -> Changes:
    def past_sleep(run: run_module.RunState) -> None:
        over = waits.past_sleep(run)
        if over is not None:
            run.put(over)

    return [(engine, "past_sleep", past_sleep)]


@_bug(2, 5, 13)
def does_not_record_that_a_sleep_is_over() -> Changes:
    def past_sleep(run: run_module.RunState) -> None:
        waits.past_sleep(run)

    return [(engine, "past_sleep", past_sleep)]


@_bug(13)
def begins_a_wait_again_after_a_crash() -> Changes:
    original = waits._recorded_wait

    def recorded_wait(*arguments: Any) -> None:
        original(*arguments)

    return [(waits, "_recorded_wait", recorded_wait)]


@_bug(13, 20)
def parks_without_a_timer() -> Changes:
    original = postoffice.PostOffice.park

    def park(self: Any, run: Any) -> None:
        run.wake_at = None
        original(self, run)

    return [(postoffice.PostOffice, "park", park)]


@_bug(14)
def drops_an_early_event() -> Changes:
    original = Mailbox.add

    def add(self: Mailbox, kind: int, name: str, letter: Any) -> None:
        if self.dues or self.waiting:
            original(self, kind, name, letter)

    def took(self: Any, *arguments: Any, post: Any = None, **more: Any) -> None:
        if post is not None and post.messages:
            post = None
        put(self, *arguments, post=post, **more)

    put = committer.Committer.put
    return [(Mailbox, "add", add), (committer.Committer, "put", took)]


@_bug(14)
def leaves_a_taken_event_in_the_mailbox() -> Changes:
    original = committer.Committer.put

    def put(self: Any, *arguments: Any, post: Any = None, **more: Any) -> None:
        if post is not None and post.taken:
            post = post._replace(taken=())
        original(self, *arguments, post=post, **more)

    return [(committer.Committer, "put", put)]


@_bug(14)
def takes_the_newest_event_first() -> Changes:
    def take(self: Mailbox, kind: int, name: str) -> Any:
        letters = self._letters.get((kind, name))
        return letters.pop() if letters else None

    return [(Mailbox, "take", take)]


@_bug(17)
def starts_a_child_anew_for_each_execution() -> Changes:
    class Random:
        UUID = uuid.UUID

        @staticmethod
        def uuid5(_namespace: Any, name: str) -> uuid.UUID:
            count[0] += 1
            return uuid.uuid5(uuid.NAMESPACE_OID, f"{name}{count[0]}")

    count = [0]
    return [(children, "uuid", Random)]


@_bug(18)
def undoes_in_the_order_of_completion() -> Changes:
    original = compensate._recorded

    def recorded(run: Any) -> Any:
        successes, outcomes = original(run)
        return successes[::-1], outcomes

    return [(compensate, "_recorded", recorded)]


@_bug(18)
def undoes_again_after_a_crash() -> Changes:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            self.compensated.clear()

    return [(compensate, "Journal", Forgetful)]


@_bug(4, 3, 9)
def runs_recorded_steps_again() -> Changes:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            for key in [key for key in self.done if "/" not in key[0]][-1:]:
                del self.done[key]

    return [(recovery, "Journal", Forgetful)]


@_bug(1, 19)
def forgets_a_cancellation() -> Changes:
    original = run_module.RunState.put

    def put(self: Any, record: bytes) -> None:
        if record[1] != 4:
            original(self, record)

    return [(run_module.RunState, "put", put)]


@_bug(20)
def recovers_nothing() -> Changes:
    from durable_trio._engine import lifetime

    async def recover(_engine: Any) -> None:
        await trio.lowlevel.checkpoint()

    return [(lifetime, "recover", recover)]


@_bug(8, 20, 3, 4)
def fires_timers_during_recovery() -> Changes:
    original = timers.Timers.__init__

    def init(self: Any, engine: Any) -> None:
        original(self, engine)
        self.begin()

    return [(timers.Timers, "__init__", init)]


@_bug(3, 2)
def leaves_a_block_under_way_whose_record_is_on_its_way() -> Changes:
    original = parallel.Block.complete

    async def complete(self: Any, scope: Any) -> Any:
        outcome = await original(self, scope)
        scope.path = self.node.path
        return outcome

    return [(parallel.Block, "complete", complete)]


# -- what is done to runs, and by whom -------------------------------------------------------------------


@_bug(4, 9, 3)
def enters_what_counts_when_a_run_is_retried() -> Changes:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            if self.retried is not None:
                for key in list(self.done)[:1]:
                    del self.done[key]

    return [(steering, "Journal", Forgetful)]


@_bug(5, 1)
def begins_a_retried_run_before_the_commit() -> Changes:
    original = committer.Committer.when_durable

    def when_durable(self: Any, callback: Callable[[], None]) -> None:
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, run_module.RunState) and owner.journal is not None:
            callback()
        else:
            original(self, callback)

    return [(committer.Committer, "when_durable", when_durable)]


@_bug(4, 2, 5)
def takes_too_little_over_into_a_fork() -> Changes:
    original = steering._before

    def before(journal: Journal, points: list[tuple[str, int]]) -> list[Any]:
        return original(journal, points[1:])

    return [(steering, "_before", before)]


@_bug(1)
def enters_steps_of_paused_runs() -> Changes:
    async def wait_to_enter(_run: run_module.RunState) -> None:
        await trio.lowlevel.checkpoint()

    return [(step, "_wait_to_enter", wait_to_enter)]


@_bug(1, 20)
def records_no_pause() -> Changes:
    def paused(at: float) -> Any:
        return Resumed(at)

    return [(steering, "Paused", paused)]


@_bug(1)
def deletes_nothing() -> Changes:
    return [(forgetting, "_forget", lambda _engine, _deletions: None)]


@_bug(14, 16)
def answers_a_request_behind_its_effect() -> Changes:
    def answer(self: requests.Requests, key: bytes, act: Any) -> None:
        engine = self._engine
        try:
            reply = pack_value(engine.codec, act())
        except DurableError as error:
            reply = pack_error(engine.codec, error)
        engine.committer.when_durable(lambda: engine.committer.put_answer(Answer(key, reply)))

    return [(requests.Requests, "_answer", answer)]


@_bug(1, 14)
def answers_a_request_before_the_commit() -> Changes:
    original = requests.Requests._answer

    def answer(self: requests.Requests, key: bytes, act: Any) -> None:
        store: Any = self._engine.store

        def told() -> Any:
            value = act()
            store.replied[key] = pack_value(self._engine.codec, value)
            return value

        original(self, key, told)

    return [(requests.Requests, "_answer", answer)]


@_bug(22)
def goes_on_under_a_definition_that_does_not_fit() -> Changes:
    return [(recovery, "difference_to", lambda *_arguments: None)]


@_bug(20)
def blocks_what_a_longer_definition_fits() -> Changes:
    original = recovery.difference_to

    def difference_to(engine: Any, header: Any, plan: Any, journal: Any) -> str | None:
        return (
            "it has grown"
            if header.fingerprint != plan.fingerprint
            else original(engine, header, plan, journal)
        )

    return [(recovery, "difference_to", difference_to)]
