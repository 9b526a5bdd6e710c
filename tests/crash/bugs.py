"""Seeded bugs of steps, blocks and commits (of all else: ``flow_bugs``).

Each breaks the engine in one way, and names the invariants by which the checker must find it.

They are planted in the worker after the fork, in every boot. A bug that is not found fails its test, so that
no check is trusted that was never seen to complain.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lmdb
import msgspec
import trio

from durable_trio._definition.nodes import StepNode
from durable_trio._engine import (
    body,
    committer,
    dispatch,
    engine,
    lifetime,
    parallel,
    recovery,
    run,
    step,
    walk,
)
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import STEP, Done
from durable_trio._store import environment
from durable_trio._store.seal import seal

from .faults import Fault
from .seeding import LINE, LongerWay, bug, no_short_intake, no_short_way, tag

_DONE, _CANCEL = 1, 4


# -- acknowledging and committing ------------------------------------------------------------------------


@bug(1, 5, scenario="tries")
def acknowledges_before_the_commit(_database: str) -> None:
    async def durable(self: committer.Committer) -> None:
        self.soon()
        await trio.lowlevel.cancel_shielded_checkpoint()

    committer.Committer.durable = durable
    no_short_intake()


@bug(1, faults=(Fault("line", "ack-result:#1-5"), LINE))
def tells_the_end_before_the_commit(_database: str) -> None:
    original = committer.Committer.when_durable

    def when_durable(self: committer.Committer, callback: Callable[[], None]) -> None:
        callback()
        original(self, lambda: None)

    committer.Committer.when_durable = when_durable


@bug(5, faults=(Fault("line", "#1-100"), LINE))
def starts_the_successor_before_the_commit(_database: str) -> None:
    async def recorded(_self: run.RunState) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()

    run.RunState.recorded = recorded
    no_short_intake()


@bug(25, 1, scenario="race", faults=(Fault("shim", "M:#21-26:e:5"),))
def acknowledges_a_failed_commit(_database: str) -> None:
    original = committer.Committer._landed

    def landed(self: committer.Committer, waiters: list[Any], _failure: BaseException | None) -> None:
        original(self, waiters, None)

    committer.Committer._landed = landed


@bug(
    1,
    5,
    23,
    scenario="tries",
    faults=(Fault("shim", "P:#1-60:l:#1-9999"), Fault("shim", "P:#1-60:l:#1-9999")),
)
def never_syncs(_database: str) -> None:
    real = lmdb.open

    class Unsynced:
        def __getattr__(self, name: str) -> Any:
            return getattr(lmdb, name)

        @staticmethod
        def open(*arguments: Any, **options: Any) -> lmdb.Environment:
            return real(*arguments, **options, sync=False)

    environment.lmdb = Unsynced()


# -- recovering ------------------------------------------------------------------------------------------


@bug(9)
def runs_recorded_branches_again(_database: str) -> None:
    def is_open_branch(journal: Journal, path: str, visit: int) -> bool:
        return "/" in path and (path.partition("/")[0], visit) not in journal.done

    _forget(lambda journal, done: is_open_branch(journal, done.path, done.visit))


@bug(4)
def runs_recorded_steps_again(_database: str) -> None:
    _forget(lambda _journal, done: "/" not in done.path and done.kind == STEP)


def _forget(which: Callable[[Journal, Done], bool]) -> None:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            for key in [key for key, done in self.done.items() if which(self, done)]:
                del self.done[key]

    recovery.Journal = Forgetful


@bug(7, scenario="tries")
def forgets_failed_attempts(_database: str) -> None:
    class Forgetful(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            self.attempts.clear()

    recovery.Journal = Forgetful


@bug(7, scenario="tries", faults=(Fault("line", "enter:#12-30"), Fault("line", "enter:#1-9")))
def forgets_when_attempts_are_due(_database: str) -> None:
    class Hasty(Journal):
        def __init__(self, records: Any) -> None:
            super().__init__(records)
            for attempt in self.attempts.values():
                attempt.due = 0.0

    recovery.Journal = Hasty


@bug(7, scenario="tries", faults=())
def does_not_back_off(_database: str) -> None:
    async def back_off(*_arguments: Any) -> None:
        await trio.lowlevel.checkpoint()

    step._back_off = back_off


@bug(20, scenario="race")
def recovers_nothing(_database: str) -> None:
    async def recover(_engine: Any) -> None:
        await trio.lowlevel.checkpoint()

    lifetime.recover = recover


@bug(3)
def rewrites_a_recorded_row(database: str) -> None:
    try:
        env = lmdb.open(database, max_dbs=16, create=False, lib_version=0, map_size=1 << 28)
    except lmdb.Error:
        return  # the first boot
    with env:
        table = env.open_db(b"journal", create=False)
        with env.begin(write=True, db=table) as txn:
            for key, value in txn.cursor():
                # A bit of the time at which the first step started: nobody would ever notice.
                changed = bytearray(value[5:])
                changed[changed.index(b"\xcb") + 8] ^= 1
                txn.put(bytes(key), seal(bytes(key), bytes(changed)))
                break


# -- steps and blocks ------------------------------------------------------------------------------------


@bug(6, scenario="tries", faults=())
def calls_a_body_twice(_database: str) -> None:
    no_short_way()
    original = dispatch._handlers[StepNode]

    def run_step(run: Any, scope: Any, node: Any, *arguments: Any) -> Any:
        async def twice(ctx: Any) -> Any:
            await node.fn(ctx)
            return await node.fn(ctx)

        return original(run, scope, dataclasses.replace(node, fn=twice), *arguments)

    dispatch._handlers[StepNode] = run_step


@bug(8, scenario="quorum", faults=())
def runs_a_branch_twice_at_once(_database: str) -> None:
    original = parallel.Block.branch

    async def branch(self: Any, index: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(original, self, index)
            nursery.start_soon(original, self, index)

    parallel.Block.branch = branch


@bug(3, 2, faults=())
def records_a_result_twice(_database: str) -> None:
    original = run.RunState.put

    def put(self: run.RunState, record: bytes) -> None:
        for copy in [record] * (1 + (tag(record) == _DONE)):
            original(self, copy)

    no_short_way()
    run.RunState.put = put


@bug(2, faults=())
def records_another_value(_database: str) -> None:
    class Unconcluded(LongerWay):
        concluder = SimpleNamespace(conclude=lambda *_returned: None)

    no_short_way(Unconcluded)
    original = body._branch_value
    body._branch_value = lambda codec, value: original(codec, {**value, "data": 0})


@bug(2, faults=())
def gives_a_step_another_context(_database: str) -> None:
    class Other(LongerWay):
        def enter(self, scope: Any, base: dict[str, Any], attempt: int) -> Any:
            return self.stepper.enter(scope, {**base, "left over": True}, attempt)

    no_short_way(Other)


@bug(10, scenario="race", faults=())
def starts_steps_in_a_cancelled_block(_database: str) -> None:
    async def may_enter(_run: Any) -> None:
        pass

    no_short_way()
    step.may_enter = parallel.may_enter = may_enter


@bug(10, scenario="race", faults=())
def loses_a_result_to_the_cancellation(_database: str) -> None:
    no_short_way()
    original = parallel.run_node

    async def run_node(*arguments: Any) -> Any:
        outcome = await original(*arguments)
        await trio.lowlevel.checkpoint()
        return outcome

    parallel.run_node = run_node


@bug(10, scenario="race", faults=())
def ends_a_block_before_its_branches(_database: str) -> None:
    recall, original = parallel.Block._recall, parallel.Block.complete

    async def complete(self: Any, scope: Any) -> Any:
        recall(self)
        if self.open and not self.collector.must_stop:
            await _run_branches_elsewhere(self)
        return await original(self, scope)

    parallel.Block._recall = lambda _self: None
    parallel.Block.complete = complete


async def _run_branches_elsewhere(block: Any) -> None:
    """As soon as one has failed, the block goes on without waiting for the others."""
    node = block.node
    over = trio.Event()

    async def branch(index: int) -> None:
        await block.branch(index)
        if block.cause is not None or not block.open:
            over.set()

    async def all_branches() -> None:
        block.spread = True
        block.tasks = len(block.open) + 1
        block.run.busy += len(block.open)
        block.queue = iter(())
        async with trio.open_nursery() as nursery:
            block.nursery = nursery
            for index in list(block.open):
                nursery.start_soon(branch, index)

    async def shielded() -> None:
        with trio.CancelScope(shield=True):
            await all_branches()

    if not node.fail_fast:
        await all_branches()
        return
    trio.lowlevel.spawn_system_task(shielded)
    await over.wait()


@bug(11, faults=())
def mixes_up_the_order_of_results(_database: str) -> None:
    original = parallel.thaw
    parallel.thaw = lambda results: dict(reversed(original(results).items()))


@bug(12, faults=())
def shows_into_what_is_not_recorded(_database: str) -> None:
    original = parallel.thaw

    def thaw(results: Any) -> Any:
        return {key: type(result)({"nonce": "made up"}) for key, result in original(results).items()}

    parallel.thaw = thaw


@bug(12, faults=(Fault("line", "into-enter:#1-9"), Fault("line", "into-enter:#1-9")))
def calls_into_before_the_commit(_database: str) -> None:
    original = parallel.Block._decide

    async def decide(self: Any, scope: Any) -> Any:
        self.run.waits = False
        try:
            return await original(self, scope)
        finally:
            self.run.waits = True

    parallel.Block._decide = decide


# -- endings ---------------------------------------------------------------------------------------------


@bug(1, 19, scenario="cancel", faults=(Fault("line", "ack-cancel:#1-7"),))
def forgets_a_cancellation(_database: str) -> None:
    original = run.RunState.put

    def put(self: run.RunState, record: bytes) -> None:
        if tag(record) != _CANCEL:
            original(self, record)

    run.RunState.put = put


@bug(19, 1, scenario="cancel", faults=())
def completes_a_cancelled_run(_database: str) -> None:
    async def cancel(self: engine.Engine, run_id: str, _reason: Any = None, **_options: Any) -> bool:
        await self.committer.durable()
        return run_id in self.live

    engine.Engine.cancel = cancel


@bug(19, scenario="tries", faults=())
def ends_a_run_twice(_database: str) -> None:
    original = walk.end

    def end(run: Any, ending: Any, records: list[bytes]) -> None:
        original(run, ending, records)
        original(run, msgspec.structs.replace(ending, status="failed"), [])

    walk.end = end


@bug(21, scenario="tries")
def leaves_the_index_behind(_database: str) -> None:
    original = committer.Committer.put

    def put(self: Any, run: Any, records: Any, status: Any = None, *new: Any, **named: Any) -> None:
        status = None if records and status is not None else status
        original(self, run, records, status, *new, **named)

    committer.Committer.put = put


@bug(22, faults=(Fault("line", "70"), Fault(before="changed")))
def is_blind_to_a_changed_definition(_database: str) -> None:
    recovery.difference_to = lambda *_arguments: None


@bug(23, faults=(Fault("line", "70"), Fault(before="damage:journal")))
def is_blind_to_damage(_database: str) -> None:
    original = engine.load_journal

    def load_journal(engine: Any, run: Any) -> bool:
        if not original(engine, run):
            run.journal, run.seq = None, 1000
        return True

    engine.load_journal = load_journal


@bug(24, faults=(Fault("sigterm", "#1-60"),))
def enters_steps_while_it_drains(_database: str) -> None:
    async def drain(_self: engine.Engine) -> None:
        await trio.sleep(0.05)

    engine.Engine.drain = drain


@bug(24, faults=(Fault("sigterm", "#1-60"),))
def leaves_without_a_last_commit(_database: str) -> None:
    original = committer.Committer.aclose

    async def aclose(self: committer.Committer) -> None:
        self._queue.clear()
        await original(self)

    committer.Committer.aclose = aclose
    committer.Committer.soon = lambda _self: None
