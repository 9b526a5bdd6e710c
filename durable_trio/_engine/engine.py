"""The engine: starts runs, keeps them going, and answers for them.

Its tasks live in nurseries of its own, which ``open_engine`` (``lifetime.py``) opens and closes. All its
state is touched by the Trio thread alone, so that what has no await in between is atomic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import Context as ContextVars
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import trio

from durable_trio._definition.plan import Plan
from durable_trio._definition.workflow import Durability, Workflow
from durable_trio._engine import chain, choice, inputs, items, parallel, step, waits  # noqa: F401 - handlers
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.admission import Admission
from durable_trio._engine.asking import asked_for, declared, pending_inputs
from durable_trio._engine.children import descendants
from durable_trio._engine.committer import Committer
from durable_trio._engine.handle import Run
from durable_trio._engine.ids import KeySource, check_id, id_of_key
from durable_trio._engine.live import with_live_steps
from durable_trio._engine.postoffice import PostOffice
from durable_trio._engine.reader import Reader, status_codes
from durable_trio._engine.recovery import go_on_from, load_journal, load_seq
from durable_trio._engine.run import Ending, RunState
from durable_trio._engine.stragglers import Stragglers
from durable_trio._engine.timers import Timers
from durable_trio._engine.walk import end, give_up
from durable_trio._engine.worker import Workers
from durable_trio._errors import DefinitionError, EngineClosed, InputError, RunBlocked, RunNotFound
from durable_trio._forms import check_answer
from durable_trio._info import FIRST_ENDED_CODE, STATUS_CODES, STATUS_NAMES, PendingInput, RunInfo, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import (
    EVENT_MESSAGE,
    INPUT_MESSAGE,
    CancelRequested,
    Header,
    Retried,
)
from durable_trio._snapshot.view import Journal, run_info
from durable_trio._speedups.context import thaw
from durable_trio._store.base import Store, Stored, Write

_ENDED: tuple[RunStatus, ...] = tuple(name for name, code in STATUS_CODES.items() if code >= FIRST_ENDED_CODE)
_UNDONE = ("compensating", "compensated", "compensation_failed")
_PRUNE_PAGE = 200


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
        self.monotonic = trio.lowlevel.current_clock().current_time
        self.committer = Committer(store, self.fail)
        # To show a run, what is not known here need not be understood.
        self.reader = Reader(store, lenient)
        self.admission = Admission(max_running)
        self.stragglers = Stragglers(cancel_grace)
        self.limiter = trio.CapacityLimiter(40)  # for the steps that are plain functions
        self.unlimited = trio.CapacityLimiter(math.inf)  # for their threads: they have a place by then
        self.live: dict[str, RunState] = {}  # by id: the runs that have not ended
        self.retried: set[bytes] = set()  # keys of runs that were: what is known of their end is not the last
        self._going: set[bytes] = set()  # the keys of the runs whose deletion is handed over
        self.bodies = 0  # how many bodies have been entered and have not come back
        self.draining = False  # no body is entered any more
        self.drained = trio.Event()
        self.closing = False  # the runs' tasks are being cancelled: they are suspended
        self.abandoned = False  # no run of it ends here any more
        self.failure: BaseException | None = None
        self.users: trio.CancelScope  # around the body of open_engine's block
        self._keys = KeySource(now, store.last_run())
        self.workers = Workers(self, clean)
        self.timers = Timers(self)
        self.post = PostOffice(self)
        # What else there is to do for a park: the worker calls this.
        self.park = self.post.park
        self.ring = self.post.ring
        self._registered = registered

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
        run, created = self._enter(workflow, input, id, queue, priority, at)
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
        run, created = self._enter(workflow, input, id, queue, priority)
        if created:
            await run.settled()
            if run.ended is not None and run.ended.status == "completed":
                result: dict[str, Any] = thaw(run.ended.value)
                return result  # as Run.result would, which has more ways to end
        return await Run(self, run, created=created).result()

    def _enter(
        self,
        workflow: Workflow | str,
        input: Any,  # noqa: A002
        id: str | None,  # noqa: A002
        queue: str,
        priority: int,
        at: datetime | None = None,
        parent: str | None = None,
    ) -> tuple[RunState, bool]:
        self._check_open()
        plan = self.plan_of(workflow)
        alias = None
        if id is not None:
            alias = check_id(id)
            known = self._existing(id)
            if known is not None:
                if known.header.workflow != plan.workflow:
                    raise InputError(
                        f"the id {id[:80]!r} belongs to a run of workflow {known.header.workflow!r}, so it "
                        f"cannot start one of {plan.workflow!r}; choose another id"
                    )
                return known, False
        inputs.check_queue(queue, priority)
        base, special = inputs.frozen_input(self.codec, plan, input)
        key = self._keys()
        run_id = id_of_key(key) if id is None else id
        due = None if at is None else inputs.instant(at)
        header = Header(
            run_id,
            plan.workflow,
            plan.version,
            plan.fingerprint,
            self.now(),
            base,
            queue,
            priority,
            parent,
            due,
        )
        run = RunState(self, plan, header, key, self.numbers[plan.workflow])
        if special:
            header.input = self.codec.wire(base)
        encoded = self.codec.encode(header)
        header.input = base
        if due is not None and due > self.now():
            self.live[run_id] = run
            self.post.schedule(run, due, encoded, alias)
            return run, True
        admitted = self.admission.enter(run)
        run.status = "running" if admitted else "pending"
        self.live[run_id] = run
        self.committer.put(run, (), STATUS_CODES[run.status], encoded, alias)
        if ARMED:
            failpoint("start.put")
        if not admitted:
            self.committer.soon()
        else:
            # In every mode: a body must not be entered for a run that a crash would take back, because
            # whoever asks for it again gets another run, with other idempotency keys.
            self.committer.when_durable(partial(self.workers.take, run))
        return run, True

    def check_startable(self, workflow: Workflow | str, input: Any) -> None:  # noqa: A002
        """Raise what starting this would raise; record nothing."""
        inputs.frozen_input(self.codec, self.plan_of(workflow), input)

    def start_child(self, parent: RunState, workflow: Workflow | str, input: Any, child_id: str) -> RunState:  # noqa: A002
        """Hand over the start of a run for a step of another one, or find it."""
        header = parent.header
        child, _ = self._enter(workflow, input, child_id, header.queue, header.priority, parent=parent.id)
        return child

    def _existing(self, run_id: str) -> RunState | None:
        run = self.live.get(run_id)
        if run is None:
            key = self.reader.find(run_id)
            if key is not None:
                try:
                    run = self.post.parked(key) or self.ended_run(run_id)
                except RunNotFound:
                    return None  # an id of the user's own that looks like one of ours
        return run

    def ended_run(self, run_id: str) -> RunState:
        """A run that has ended or is parked, as far as its handle needs it; the rest stays in the store."""
        stored = self.reader.load(run_id, with_rows=False)
        if stored.status < FIRST_ENDED_CODE:
            return self.post.recall(stored)
        header = self.codec.decode_header(stored.header)
        run = RunState(self, None, header, stored.run, stored.workflow, indexed=stored.status)
        run.status = STATUS_NAMES[stored.status]
        return run

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
            plan = self._registered.get(workflow)
            if plan is not None:
                return plan
            name = f"{workflow.name!r} (version {workflow.version!r})"
        else:
            raise DefinitionError(
                f"expected a Workflow or the name of one, not {type(workflow).__name__}: {workflow!r:.80}"
            )
        known = ", ".join(sorted({name for name, _ in self.plans})) or "none"
        raise DefinitionError(
            f"workflow {name} is not registered with this engine, which knows: {known}; "
            "give it in open_engine(..., workflows=[...])"
        )

    def admit(self) -> None:
        """Give free places to the runs whose turn it is."""
        while not self.draining and (run := self.admission.next()) is not None:
            self.take_up(run)

    def take_up(self, run: RunState) -> None:
        """Let a run that has a place begin, or go on from its journal."""
        if run.status != "compensating":
            self._go_on(run)
        else:
            # It may have been cancelled just now, and all that its steps did must be in what is read.
            self.committer.when_durable(partial(self._compensate, run))

    def _go_on(self, run: RunState) -> bool:
        if run.seq and run.journal is None and not load_journal(self, run):
            self.admission.leave()
            return False
        run.status = "running" if run.compensating is None else "compensating"
        self.committer.put(run, (), STATUS_CODES[run.status])
        self.workers.take(run)
        return True

    def _compensate(self, run: RunState) -> None:
        if not self._go_on(run):
            self.admit()

    # -- what the runs' tasks report -----------------------------------------------------------------

    def ended(self, run: RunState, ending: Ending) -> None:
        """A run's end is on disk."""
        if ARMED:
            failpoint("end.durable")
        run.ended = ending
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
        not ended stay resumable. Cancelling this ends the waiting, not the draining.
        """
        self.draining = True
        if self.bodies:
            await self.drained.wait()
        else:
            await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
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
        self._check_open()
        run = await self.post.unended(run_id)
        if run is None:
            return False
        self._check_open()
        took_effect = self.cancel_now(run, reason, compensate=compensate)
        await self.committer.durable()
        return took_effect

    def cancel_now(self, run: RunState, reason: Any, *, compensate: bool = False) -> bool:
        """Hand over the cancellation of a run that has not ended, and of all that it has started and that is
        under way; False if it is too late for one.
        """
        has_ended = STATUS_CODES[run.status] >= FIRST_ENDED_CODE  # a child may be found so by who called it
        if run.ending or has_ended or run.status == "compensating":
            return False
        if run.stopped:
            return True
        frozen, _ = self.codec.freeze(reason, "reason")
        load_seq(self, run)
        family = [(run, frozen), *descendants(self, run)]
        undone = [self._can_be_undone(member) if compensate else False for member, _ in family]
        # The run itself comes last: a crash in between must not leave an ended run with a live child.
        for (member, because), undo in reversed(list(zip(family, undone, strict=True))):
            self._cancel_one(member, because, compensate=undo)
        return True

    def _can_be_undone(self, run: RunState) -> bool:
        """Whether a run has done what could be undone; raises RunBlocked if that cannot be now."""
        # What was never under way, here or before, has done nothing that could be undone.
        has_begun = run.at is not None or run.seq > 0 or run.status == "running"
        if has_begun and run.status == "blocked":
            raise RunBlocked(
                f"run {run.id!r} is blocked, and so its steps cannot be undone: {run.reason}. Register a "
                "definition that fits, or cancel it without compensate=True"
            )
        return has_begun

    def _cancel_one(self, run: RunState, frozen: Any, *, compensate: bool) -> None:
        run.stopped = True
        run.undoes = compensate
        run.reason = frozen
        run.put(self.codec.encode(CancelRequested(self.now(), self.codec.wire(frozen), compensate)))
        if ARMED:
            failpoint("cancel.put")
        if run.scope is not None:
            self.stragglers.watch(run.scopes)
            run.scope.cancel(reason=run.halt_cause)
        elif run.status in ("pending", "waiting", "blocked"):
            self._end_idle(run, Ending("cancelled", frozen, {}))

    def _end_idle(self, run: RunState, ending: Ending) -> None:
        """End a run that has no task; if its steps are to be undone, it gets one for that."""
        parked = run.status == "waiting"
        if run.undoes:
            give_up(run, ending, [])
        else:
            end(run, ending, [])
        if parked and run.compensating is not None:
            self.post.unpark(run)
            run.begun = True
            if self.admission.enter(run):
                self.take_up(run)

    async def retry(self, run_id: str) -> Run:
        """Let a failed run go on from the step that failed. What succeeded is not run again.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has not failed.
        """
        self._check_open()
        known = self.live.get(run_id)
        stored = None if known is not None else self._stored(run_id)
        status = known.status if known is not None else STATUS_NAMES[stored.status] if stored else "running"
        if status != "failed" or stored is None:
            undone = ", and what its steps did is undone: start another" if status in _UNDONE else ""
            raise InputError(f"run {run_id!r} is {status}; only a failed run can be retried{undone}")
        header = self.codec.decode_header(stored.header)
        plan = self.plans.get((header.workflow, header.version))
        if plan is None:
            raise DefinitionError(
                f"run {run_id!r} belongs to workflow {header.workflow!r} version {header.version!r}, which "
                "is not registered with this engine; give it in open_engine(..., workflows=[...])"
            )
        run = RunState(
            self, plan, header, stored.run, stored.workflow, seq=len(stored.rows), indexed=stored.status
        )
        self.retried.add(stored.run)
        retried = Retried(self.now())
        go_on_from(self, run, Journal([*self.codec.decode_rows(stored.rows), retried]))
        run.begun = True
        admitted = self.admission.enter(run)
        run.status = "running" if admitted else "pending"
        self.live[run_id] = run
        self.committer.put(run, (self.codec.encode(retried),), STATUS_CODES[run.status])
        if admitted:
            self.workers.take(run)
        await self.committer.durable()
        return Run(self, run, created=False)

    async def delete(self, run_id: str) -> None:
        """Forget a run that has ended.

        Raises:
            RunNotFound: there is no such run.
            InputError: it has not ended; cancel it first.
        """
        self._check_open()
        if run_id in self.live:
            raise InputError(f"run {run_id!r} is {self.live[run_id].status}; cancel it before you delete it")
        stored = self._stored(run_id, with_rows=False)
        await self._forget([_deletion(stored.run, run_id, stored.workflow, stored.status)])

    def _stored(self, run_id: str, *, with_rows: bool = True) -> Stored:
        """A run that has ended, as it is stored now.

        It is read here and not in a thread: what is done with it then must not find it changed by a retry or
        a deletion that came in between.
        """
        stored = self.reader.load(run_id, with_rows=with_rows)
        if stored.run in self._going:
            raise RunNotFound(f"there is no run {run_id!r} any more: it is being deleted")
        return stored

    async def _forget(self, deletions: Sequence[Write]) -> None:
        keys = {write.run for write in deletions}
        self._going |= keys
        for write in deletions:
            self.committer.put_write(write)
        await self.committer.durable()
        self._going -= keys

    async def prune(
        self,
        older_than: float | timedelta | datetime,
        statuses: RunStatus | Collection[RunStatus] = _ENDED,
    ) -> int:
        """Delete the runs that ended longer ago than this.

        Args:
            older_than: an age (seconds or a timedelta), or an aware instant.
            statuses: of the runs with these (ended) statuses only.

        Returns:
            How many runs were deleted. A cancellation leaves what is deleted by then deleted.
        """
        self._check_open()
        limit = inputs.instant_before(older_than, self.now())
        codes = status_codes(statuses) or set()
        for code in codes:
            if code < FIRST_ENDED_CODE:
                raise InputError(
                    f"a run that is {STATUS_NAMES[code]} has not ended and cannot be pruned; statuses= "
                    f"takes: {', '.join(_ENDED)}"
                )
        deleted = 0
        after: bytes | None = None
        while True:
            page = await self.reader.call(self._old_runs, codes, after, limit)
            if page is None:
                return deleted
            after, old = page
            self._check_open()
            deletions = [write for write, run_id in old if self._is_as_read(write, run_id, limit)]
            await self._forget(deletions)
            deleted += len(deletions)

    def _is_as_read(self, write: Write, run_id: str, limit: float) -> bool:
        """Whether a run that was read in a thread was neither retried nor deleted since."""
        if run_id in self.live or write.run in self._going:
            return False
        retried = write.run in self.retried  # then it may have ended once more, just now
        stored = self.store.load(write.run, with_rows=retried)
        if stored is None or stored.status != write.old:
            return False
        return not retried or self._ended_before(stored, limit)

    def _ended_before(self, stored: Stored, limit: float) -> bool:
        finished = self.reader.info(stored, with_steps=False).finished_at
        return finished is not None and finished.timestamp() < limit

    def _old_runs(
        self, codes: Collection[int], after: bytes | None, limit: float
    ) -> tuple[bytes, list[tuple[Write, str]]] | None:
        keys = self.store.keys(codes, after=after, limit=_PRUNE_PAGE)
        if not keys:
            return None
        old = []
        for key, workflow, status in keys:
            stored = self.store.load(key)
            if stored is not None and self._ended_before(stored, limit):
                run_id = self.reader.codec.decode_header(stored.header).id
                old.append((_deletion(key, run_id, workflow, status), run_id))
        return keys[-1][0], old

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
        self._check_open()
        inputs.check_name(name, "an event's name")
        frozen, _ = self.codec.freeze(payload, "payload")
        run = await self.post.addressee(run_id)
        self._check_open()
        self.post.deliver(run, EVENT_MESSAGE, name, frozen)
        await self.committer.durable()

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
        self._check_open()
        inputs.check_name(name, "an input's name")
        run = await self.post.addressee(run_id)
        await self.committer.durable()  # what the run has asked for so far
        stored = await self.reader.call(self.reader.load, run_id)
        self._check_open()
        asked = asked_for(self.codec, stored)
        spec = asked.get(name) or declared(run.plan, name)
        if spec is None:
            known = ", ".join(map(repr, asked)) or "nothing"
            raise InputError(f"run {run_id!r} does not ask for an input {name!r}; it asks for: {known}")
        answer = check_answer(spec, value, what=f"the answer to {name!r}")
        frozen, _ = self.codec.freeze(answer, "value")
        if run.ending:
            raise InputError(f"run {run_id!r} has ended: it takes nothing any more")
        self.post.deliver(run, INPUT_MESSAGE, name, frozen)
        await self.committer.durable()

    async def pending_inputs(
        self, run_id: str | None = None, workflow: Workflow | str | None = None, limit: int = 100
    ) -> list[PendingInput]:
        """What runs ask of people now, newest runs first.

        Args:
            run_id: of this run only.
            workflow: of the runs of this workflow only.
            limit: look at so many waiting or running runs at most.
        """
        self._check_open()
        await self.committer.durable()
        name = workflow.name if isinstance(workflow, Workflow) else workflow
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
        """
        name = workflow.name if isinstance(workflow, Workflow) else workflow
        await self._caught_up()
        return await self.reader.call(self.reader.list, status, name, parent, limit, after)


def _deletion(key: bytes, run_id: str, workflow: int, status: int) -> Write:
    alias = None if id_of_key(key) == run_id else run_id.encode()
    return Write(key, alias=alias, workflow=workflow, old=status, delete=True)
