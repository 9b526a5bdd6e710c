"""The engine: starts runs, keeps them going, and answers for them.

Its tasks live in nurseries of its own, which ``open_engine`` (``lifetime.py``) opens and closes. All its
state is touched by the Trio thread alone, so that what has no await in between is atomic. What its methods do
is in files of their own; most of the lines here are what the users of the class read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from contextvars import Context as ContextVars
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import trio

from durable_trio._definition.plan import Plan
from durable_trio._definition.workflow import Durability, Workflow
from durable_trio._engine import (  # noqa: F401 - handlers
    cancelling,
    chain,
    choice,
    forgetting,
    items,
    messages,
    parallel,
    steering,
    step,
)
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.admission import Admission
from durable_trio._engine.asking import pending_inputs
from durable_trio._engine.committer import Committer
from durable_trio._engine.handle import Run
from durable_trio._engine.ids import KeySource
from durable_trio._engine.live import with_live_steps
from durable_trio._engine.postoffice import PostOffice
from durable_trio._engine.reader import Reader, name_of
from durable_trio._engine.recovery import load_journal
from durable_trio._engine.requests import Requests
from durable_trio._engine.run import RunState
from durable_trio._engine.starting import enter
from durable_trio._engine.step import make_stepper
from durable_trio._engine.stragglers import Stragglers
from durable_trio._engine.timers import Timers
from durable_trio._engine.waits import past_sleep
from durable_trio._engine.worker import Workers
from durable_trio._errors import DefinitionError, EngineClosed, RunNotFound
from durable_trio._info import STATUS_CODES, PendingInput, RunInfo, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.view import run_info
from durable_trio._speedups.context import thaw
from durable_trio._store.base import Store


class Engine:
    """Runs workflows on one database. Made by ``open_engine``, and closed when its block is left."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        lenient: Codec,
        registered: Mapping[Workflow, Plan],
        numbers: Mapping[str, int],
        *,
        durability: Durability,
        max_running: int,
        queues: Mapping[str, int],
        now: Callable[[], float],
        cancel_grace: float,
        clean: ContextVars,
    ) -> None:
        self.store = store
        self.codec = codec
        self.plans = {(plan.workflow, plan.version): plan for plan in registered.values()}
        self.numbers = numbers
        self.durability = durability
        self.now = now
        # Of a clock that is not the system's, Trio's is the other half.
        self.monotonic = time.perf_counter if now is time.time else trio.current_time
        self.committer = Committer(store, self.fail)
        self.stepper = make_stepper(codec, now, self.monotonic, self.committer)
        # To show a run, what is not known here need not be understood.
        self.reader = Reader(store, lenient)
        self.admission = Admission(max_running)
        self.stragglers = Stragglers(cancel_grace)
        self.limiter = trio.CapacityLimiter(40)  # for the steps that are plain functions
        # For the bodies of the steps that belong to a queue.
        self.queues = {name: trio.CapacityLimiter(limit) for name, limit in queues.items()}
        self.unlimited = trio.CapacityLimiter(math.inf)  # for their threads: they have a place by then
        self.live: dict[str, RunState] = {}  # by id: the runs that have not ended
        self.retried: set[bytes] = set()  # keys of runs that were: what is known of their end is not the last
        self.steering = trio.Lock()  # one act at a time: each is on disk before the next one looks
        self.touched: set[bytes] = set()  # keys of runs to whose journals an act is being written
        self.starting: set[bytes] = set()  # keys of runs that wait for their turn, and are not on disk yet
        self.going: set[bytes] = set()  # the keys of the runs whose deletion is handed over
        self.closing = False  # the runs' tasks are being cancelled: they are suspended
        self.abandoned = False  # no run of it ends here any more
        self.failure: BaseException | None = None
        self.users: trio.CancelScope  # around the body of open_engine's block
        self.keys = KeySource(now, store.last_run())
        self.workers = Workers(self, clean)
        self.timers = Timers(self)
        self.post = PostOffice(self)
        self.requests = Requests(self) if store.shared else None
        # What else there is to do for a park: the worker calls this.
        self.park = self.post.park
        self.ring = self.post.ring
        self.registered = registered

    @property
    def bodies(self) -> int:
        """How many bodies have been entered and have not come back."""
        return self.stepper.bodies

    @property
    def draining(self) -> bool:
        """No body is entered any more."""
        return self.stepper.draining

    @draining.setter
    def draining(self, value: bool) -> None:
        self.stepper.draining = value

    # -- starting ------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow | str,
        input: Any = None,  # noqa: A002 - the contract's name
        *,
        id: str | None = None,  # noqa: A002 - the contract's name
        at: datetime | None = None,
        queue: str = "default",
        priority: int = 0,
    ) -> Run:
        """Start a run; it is on disk before this returns.

        The same ``id`` again gives the run that exists, whatever its state and also after a restart
        (``run.created`` is then False). When ``max_running`` runs are under way, the run is ``pending``
        until its turn: the queues take turns, and in a queue the higher priority goes first.

        Args:
            workflow: a workflow that is registered with this engine, or its name.
            input: the run's first context: a mapping, or what the workflow's ``input`` type asks for.
            id: 1 to 255 bytes of text that name this run; by default a new UUID.
            at: an aware instant before which the run does not begin; until then it is ``waiting``.
            queue: the queue in which the run waits for its turn.
            priority: higher goes first.

        Raises:
            DefinitionError: the workflow is not registered with this engine.
            InputError: the input does not fit, or the id belongs to a run of another workflow.
            SnapshotError: the input cannot be stored; names the path and the type.
            StoreError: the record could not be written.

        A cancellation while this waits does not undo the start.
        """
        run, created = enter(self, workflow, input, id, queue, priority, at)
        await self.committer.durable()
        self.post.settle_down(run)
        return Run(self, run, created=created)

    async def run(
        self,
        workflow: Workflow | str,
        input: Any = None,  # noqa: A002
        *,
        id: str | None = None,  # noqa: A002
        queue: str = "default",
        priority: int = 0,
    ) -> dict[str, Any]:
        """``start`` and ``Run.result`` in one. Raises what either raises.

        If this is cancelled, the run goes on.
        """
        run, created = enter(self, workflow, input, id, queue, priority)
        if created:
            await run.settled()
            if run.ended is not None and run.ended.status == "completed":
                result: dict[str, Any] = thaw(run.ended.value)
                return result  # as Run.result would, which has more ways to end
        return await Run(self, run, created=created).result()

    def plan_of(self, workflow: Workflow | str) -> Plan:
        """The registered plan.

        Raises:
            DefinitionError: there is none.
        """
        if isinstance(workflow, str):
            found = [plan for (name, _), plan in self.plans.items() if name == workflow]
            if found:
                return found[-1]
            name = repr(workflow)
        elif isinstance(workflow, Workflow):
            plan = self.registered.get(workflow)
            if plan is not None:
                return plan
            if (workflow.name, workflow.version) in self.plans:
                raise DefinitionError(
                    f"this is another Workflow object than the one named {workflow.name!r} (version "
                    f"{workflow.version!r}) that is registered with this engine: start the one given in "
                    "open_engine(..., workflows=[...]), or pass its name"
                )
            name = f"{workflow.name!r} (version {workflow.version!r})"
        else:
            raise DefinitionError(
                f"expected a Workflow or the name of one, not {type(workflow).__name__}: {workflow!r:.80}"
            )
        known = ", ".join(sorted(f"{name} (version {version!r})" for name, version in self.plans)) or "none"
        raise DefinitionError(
            f"workflow {name} is not registered with this engine, which knows: {known}; "
            "give it in open_engine(..., workflows=[...])"
        )

    def admit(self) -> None:
        """Give free places to the runs whose turn it is."""
        while not self.draining and (run := self.admission.next()) is not None:
            self.take_up(run)

    def await_start(self, run: RunState) -> None:
        """Let a run that was queued not begin before its start is on disk."""
        self.starting.add(run.key)
        self.committer.when_durable(partial(self.starting.discard, run.key))

    def take_up(self, run: RunState) -> None:
        """Let a run that has a place begin, or go on from its journal."""
        if run.status != "compensating":
            self._go_on(run)
        else:
            # It may have been cancelled just now, and all that its steps did must be in what is read.
            self.committer.when_durable(partial(self._go_on_later, run))

    def _go_on(self, run: RunState) -> bool:
        if run.stopped or run.status == "waiting":
            # Cancelled while it waited, and its end is on its way; or paused, and set aside already.
            self.admission.leave()
            return False
        if run.key in self.touched or run.key in self.starting:
            # What is read must be all that there is; and no body may run for what a crash would take back.
            self.committer.when_durable(partial(self._go_on_later, run))
            return True
        if run.seq and run.journal is None and not load_journal(self, run):
            self.admission.leave()
            return False
        if run.journal is not None and run.journal.cancel is not None:
            cancelling.cancel_children(run, compensate=run.journal.cancel.compensate)
        run.status = "running" if run.compensating is None else "compensating"
        over = past_sleep(run)
        self.committer.put(run, over or (), STATUS_CODES[run.status], post=run.dropped_timer())
        if over is None:
            self.workers.take(run)
        else:
            # Its successor waits for that record, for which a task is not needed.
            self.committer.when_durable(run.begin)
        return True

    def _go_on_later(self, run: RunState) -> None:
        if not self._go_on(run):
            self.admit()

    # -- what the runs' tasks report -----------------------------------------------------------------

    def ended(self, run: RunState) -> None:
        """A run's end is on disk."""
        if ARMED:
            failpoint("end.durable")
        ending = run.ended = run.ending
        assert ending is not None
        run.status = ending.status
        run.journal = None
        self.live.pop(run.id, None)
        run.wake()

    def left(self) -> None:
        """No task works for this run any more: its end is handed over, or it cannot be."""
        self.admission.leave()
        self.admit()

    def fail(self, error: BaseException) -> None:
        """Stop, because of something that no step may swallow; ``open_engine`` raises it."""
        if self.failure is None:
            self.failure = error
        self.suspend()
        self.users.cancel(reason="the engine has failed")

    def suspend(self) -> None:
        """Cancel the tasks of all runs. What they have handed over is still written."""
        self.draining = self.closing = True
        self.stragglers.watch([scope for run in self.live.values() for scope in run.scopes])
        self.workers.nursery.cancel_scope.cancel(reason="the engine is closing")

    def abandon(self) -> None:
        """Tell those who wait for a run, now or later, that it will not end here."""
        self.abandoned = True
        for run in [*self.live.values(), *self.post.held()]:
            run.wake()

    async def drain(self) -> None:
        """Enter no step any more, and wait until those that are under way have come to their end.

        Call it to shut down without cancelling anything; then leave the engine's block. Runs that have
        not ended stay resumable. Cancelling this ends the waiting, not the draining. A body that waits inside
        for an event or a child is under way: give this a grace period (``trio.move_on_after``).
        """
        self.draining = True
        if self.bodies:
            await self.stepper.drained.wait()
        else:
            await trio.lowlevel.checkpoint()

    def check_open(self) -> None:
        """Raise why nothing can be asked of this engine any more, if that is so."""
        if isinstance(self.failure, Exception):
            raise self.failure
        if self.draining:
            raise EngineClosed(
                "this engine is closing or closed; open the database again with open_engine"
            ) from self.failure

    # -- control -------------------------------------------------------------------------------------

    async def cancel(self, run_id: str, reason: Any = None, *, compensate: bool = False) -> bool:
        """Cancel a run: its steps are cancelled, and whatever happens, it does not complete.

        So are the runs that it has started, if they are still under way, in the same manner.

        Args:
            run_id: the run's id.
            reason: any storable value; the run's ``error``.
            compensate: before the run ends, undo what its steps did, as if it had failed. If a run is
                cancelled more than once, the first time decides.

        Returns:
            True if it took effect, False if the run had ended or was ``compensating`` already, which goes
            on. Either way that is on disk. The steps may still be on their way out; ``Run.wait`` waits for
            the end.

        Raises:
            RunNotFound: there is no such run.
            RunBlocked: its steps cannot be undone now; it can be cancelled without that.
            SnapshotError: the reason cannot be stored.
        """
        return await cancelling.cancel(self, run_id, reason, compensate=compensate)

    async def retry(self, run_id: str, from_step: str | None = None, *, visit: int | None = None) -> Run:
        """Let a failed run go on, from the step that failed or from an earlier one; that is on disk then.

        From the failed step: what succeeded is not run again, also in a block that failed. What did not is
        run again, with the same idempotency keys and attempts counted from 1.

        From a step that is named: that step (or block) gets the context that it was given before, and all of
        it, and all that comes after it, runs again, as further visits with idempotency keys and children of
        their own. What was recorded of it is superseded, and stays readable in ``RunInfo.steps``.

        Args:
            run_id: the run's id.
            from_step: a step or block at the top level that the run has come to.
            visit: which visit of it, if there were several; by default the last one.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has not failed, or has no record of that step; names those that it has.
            DefinitionError: its workflow is not registered with this engine.
            RunBlocked: its workflow was changed, so that what is recorded does not fit. Nothing is recorded.
        """
        return await steering.retry(self, run_id, from_step, visit)

    async def fork(
        self,
        run_id: str,
        from_step: str,
        *,
        id: str | None = None,  # noqa: A002 - the contract's name
        visit: int | None = None,
    ) -> Run:
        """Start a new run from a recorded point of another one, which goes on untouched; it is on disk then.

        The new run takes over what the other has recorded before that step, and goes on with the context
        that the step was given. It has its own id, idempotency keys, children, mailbox and timeouts. What it
        has taken over it does not undo: that is the other run's.

        Args:
            run_id: a run in any state.
            from_step: a step or block at the top level that it has come to.
            id: as of ``start``: the same ``id`` again gives the run that exists.
            visit: which visit of the step, if there were several; by default the last one.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has no record of that step (names those that it has), or the id belongs to a run
                that is no fork of it.
            DefinitionError: its workflow is not registered with this engine.
            RunBlocked: its workflow was changed, so that what is recorded does not fit.
        """
        return await steering.fork(self, run_id, from_step, id, visit)

    async def pause(self, run_id: str) -> bool:
        """Start no step of a run any more until it is resumed, whatever restarts come; that is on disk then.

        What is in a body goes on to its end and is recorded. What comes for the run meanwhile is kept: its
        mailbox takes events and answers, and what falls due is found when it is resumed. Timeouts go on.
        A paused run is ``running`` while something is in a body, and then ``waiting``; ``RunInfo.paused``
        says the rest. It can be cancelled. Its children are runs of their own, and are not paused with it.

        Returns:
            True if it took effect, False if it was paused already.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has ended, or is about to.
            RunBlocked: it cannot go on anyway.
        """
        return await steering.pause(self, run_id)

    async def resume(self, run_id: str) -> bool:
        """Let a paused run go on; that is on disk then.

        Returns:
            True if it took effect, False if it was not paused.

        Raises:
            RunNotFound, InputError, RunBlocked: as ``pause``.
        """
        return await steering.resume(self, run_id)

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has not ended; cancel it first.
        """
        await forgetting.delete(self, run_id)

    async def prune(
        self,
        older_than: float | timedelta | datetime,
        statuses: RunStatus | Collection[RunStatus] = forgetting.ENDED,
    ) -> int:
        """Delete the runs that ended longer ago than this.

        Args:
            older_than: an age (seconds or a timedelta), or an aware instant.
            statuses: of the runs with these (ended) statuses only.

        Returns:
            How many runs were deleted. A cancellation leaves what is deleted by then deleted.
        """
        return await forgetting.prune(self, older_than, statuses)

    # -- messages ------------------------------------------------------------------------------------

    async def send_event(self, run_id: str, name: str, payload: Any = None) -> None:
        """Send an event to a run; it is on disk when this returns.

        It is kept until a wait for this name takes it; events of one name are taken in the order in which
        they were sent, each by exactly one wait.

        Raises:
            RunNotFound: there is no such run.
            InputError: the run has ended, or the name is no text.
            RunBlocked: the run cannot go on now.
            SnapshotError: the payload cannot be stored.
        """
        await messages.send_event(self, run_id, name, payload)

    async def provide_input(self, run_id: str, name: str, value: Any) -> None:
        """Answer what a run asks a person; the answer is on disk when this returns.

        It is checked against what was asked for. An answer to an input that the run's definition declares
        may come before the run asks.

        Raises:
            RunNotFound: there is no such run.
            InputError: the run has ended, asks for nothing of that name, or the answer does not fit; names
                the field or the choice. Nothing is recorded.
            RunBlocked: the run cannot go on now.
            SnapshotError: the answer cannot be stored.
        """
        await messages.provide_input(self, run_id, name, value)

    async def pending_inputs(
        self, run_id: str | None = None, workflow: Workflow | str | None = None, limit: int = 100
    ) -> list[PendingInput]:
        """What runs ask of people now, newest runs first.

        Args:
            run_id: of this run only.
            workflow: of the runs of this workflow only.
            limit: at most so many. Runs are looked through until there are so many, each with its journal.

        Raises:
            InputError: a filter is of the wrong type.
            RunNotFound: there is no such run.
        """
        self.check_open()
        name = name_of(workflow)
        await self.committer.durable()
        return await self.reader.call(pending_inputs, self.reader, run_id, name, limit)

    # -- questions -----------------------------------------------------------------------------------

    async def get(self, run_id: str) -> RunInfo:
        """Everything about one run: what is recorded of it, and the steps under way.

        Raises:
            RunNotFound: there is no such run.
            StoreCorrupt: its record is damaged.
        """
        await self._caught_up()
        info = await self.reader.call(self.reader.get, run_id)
        self._look_at(info)
        run = self.live.get(run_id)
        return info if run is None else with_live_steps(info, run)

    async def _caught_up(self) -> None:
        """Let what has happened so far reach the store that is about to be read."""
        if not self.abandoned and self.failure is None:
            await self.committer.durable()

    def stored_info(self, run_id: str) -> RunInfo:
        """What is recorded of a run, in the types that were recorded.

        Raises:
            UnknownType: one of them is not registered with this engine.
        """
        stored = self.reader.load(run_id)
        header = self.codec.decode_header(stored.header)
        return run_info(header, self.codec.decode_rows(stored.rows), stored.status, with_steps=False)

    async def list(
        self,
        status: RunStatus | Collection[RunStatus] | None = None,
        workflow: Workflow | str | None = None,
        parent: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[RunInfo]:
        """Runs, newest first, without their steps.

        Args:
            status: with this status, or one of these, only.
            workflow: of this workflow only (any version).
            parent: started by this run only.
            limit: at most so many.
            after: the last id of the page before.

        Raises:
            InputError: a filter is of the wrong type, or there is no such status.
            RunNotFound: there is no run ``parent`` or ``after``.
        """
        name = name_of(workflow)
        await self._caught_up()
        infos = await self.reader.call(self.reader.list, status, name, parent, limit, after)
        return [self._look_at(info) for info in infos]

    def _look_at(self, info: RunInfo) -> RunInfo:
        """A run that waits and could not go on is found to be blocked when somebody looks at it."""
        if info.status != "waiting" or (info.workflow, info.version) in self.plans or self.draining:
            return info
        with suppress(RunNotFound):  # it was deleted meanwhile
            run = self.post.find(info.id)
            if run is not None and run.status == "blocked":
                return msgspec.structs.replace(info, status="blocked", error=run.reason)
        return info
