"""Seeded bugs of retries, forks, deletions and the requests of clients; see ``bugs``."""

from __future__ import annotations

from typing import Any

import trio

from durable_trio._engine import forgetting, requests, steering
from durable_trio._engine.calls import pack_value
from durable_trio._snapshot.journal import Journal
from durable_trio._store.base import Answer

from .faults import Fault
from .seeding import bug


@bug(3, 4, 9, scenario="steered", faults=())
def enters_what_counts_when_a_run_is_retried(_database: str) -> None:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            if self.retried is not None:
                del self.done[next(iter(self.done))]

    steering.Journal = Forgetful


@bug(2, 4, 5, scenario="steered", faults=())
def takes_too_little_over_into_a_fork(_database: str) -> None:
    original = steering._before
    steering._before = lambda journal, points: original(journal, points[1:])


@bug(1, scenario="steered", faults=(Fault("line", "retried:#1-5"),))
def says_that_a_run_goes_on_before_the_commit(_database: str) -> None:
    original = steering.retry_now

    def retry_now(engine: Any, *arguments: Any) -> Any:
        async def durable() -> None:
            del engine.committer.durable
            await trio.lowlevel.checkpoint()

        found = original(engine, *arguments)
        engine.committer.durable = durable  # the next to ask for it is who has asked for the retry
        return found

    steering.retry_now = retry_now


@bug(1, scenario="steered", faults=())
def deletes_nothing(_database: str) -> None:
    forgetting._forget = lambda _engine, _deletions: None


@bug(1, 14, 16, scenario="steered", faults=(Fault("failpoint", "client.told:#1-9"),))
def answers_a_request_before_its_effect(_database: str) -> None:
    def answer(self: requests.Requests, key: bytes, act: Any) -> None:
        engine = self._engine
        with engine.committer.together():
            engine.committer.put_answer(Answer(key, pack_value(engine.codec, ["made up", True])))
        engine.committer.when_durable(act)

    requests.Requests._answer = answer
