"""A parallel block: a Trio nursery, and each branch on its own copy of the context.

A branch gets a task as soon as there is anything for it to wait beside: the block's own task goes through the
branches one after another until one of them suspends, and it is then that the others' tasks are started.

Fail-fast is the nursery's cancel scope, and the block ends when every branch is out: nothing of it runs
on behind its back. Each branch leaves its own record as soon as it has an outcome, so that a crash
costs only the branches without one; the records of those that never started, and the block's own,
follow together.

A branch task never raises. That it was interrupted from outside (the engine leaves, the run is
cancelled) shows in that it left no outcome; then the block's own task has been cancelled too. If what is
recorded does not make sense to a branch, the block raises that when every branch is out: so it comes up
through the blocks around to the worker, which blocks this run alone.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from durable_trio._context import StepScope, current_scope
from durable_trio._definition.nodes import (
    EventNode,
    InputNode,
    MapNode,
    Node,
    ParallelNode,
    SleepNode,
    StepNode,
)
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place
from durable_trio._engine.children import abandon
from durable_trio._engine.dispatch import KINDS, handles, run_node
from durable_trio._engine.replay import replayed
from durable_trio._engine.run import Outcome, RunState
from durable_trio._engine.step import may_enter, run_body
from durable_trio._errors import StoreError
from durable_trio._snapshot.journal import Visit
from durable_trio._snapshot.records import (
    CANCELLED,
    ERROR,
    NEVER_STARTED,
    OK,
    REASON,
    RESULTS,
    TIMED_OUT,
    Answered,
    Attempt,
    Done,
    Waiting,
)
from durable_trio._snapshot.view import NO_CONTEXT, RESULTS_KEY
from durable_trio._speedups.context import BlockBase, Lane, thaw
from durable_trio._values import Failure

_SIMPLE = (StepNode, SleepNode, EventNode, InputNode)  # branches with nothing inside


@handles(ParallelNode)
def run_parallel(
    run: RunState, scope: StepScope, node: ParallelNode, base: dict[str, Any], visit: int, place: Place
) -> Coroutine[Any, Any, Outcome]:
    """Run a block to its outcome, when awaited."""
    return Block(run, node, node.branches, node.keys, base, visit, place, node.timeout).complete(scope)


class Block(BlockBase):
    """One visit of a parallel block, or of a map."""

    __slots__ = ()

    run: RunState
    node: ParallelNode | MapNode
    branches: Sequence[Node]
    place: Place
    timeout: float | None
    cause: str | None
    damage: StoreError | None
    nursery: trio.Nursery | None

    async def complete(self, scope: StepScope) -> Outcome:
        """Run to the outcome."""
        run, node = self.run, self.node
        engine = run.engine
        started, begun = engine.now(), engine.monotonic()
        self._recall()
        if self.open and not self.collector.must_stop:
            # This task's being busy passes on to its branches, and back from the last of them.
            self.tasks = 1
            lane = Lane(self, scope, trio.lowlevel.current_task())
            try:
                if len(self.open) == 1 and self.timeout is None:
                    self.spread = True  # over what there is to spread
                    self.queue = iter(list(self.open))
                    await lane
                else:
                    async with trio.open_nursery() as nursery:
                        self._prepare(nursery, scope.clean)
                        await lane
                        self._join_in(scope)
            except BaseException as error:
                # Damage comes before a cancellation: the other tasks of the run count on its coming up.
                if self.damage is None or not body.is_cancellation(error):
                    raise
            finally:
                if self.timeout is not None:
                    run.mailbox.dues.pop(self, None)
            if self.damage is not None:
                raise self.damage
        if self.open and self.is_over:
            self._give_up_the_rest()
        if run.halted or self.open:
            await trio.sleep_forever()  # the run is cancelled, or suspended: that is delivered here
        if ARMED:
            failpoint("join")
        verdict = None
        if node.into is not None and not self.collector.has_failed:
            verdict = await self._decide(scope)
        return self._outcome(verdict, started, begun)

    def _outcome(self, verdict: body.Verdict | None, started: float, begun: float) -> Outcome:
        """What the block comes to when every branch has an outcome, by this verdict of ``into``."""
        node, engine = self.node, self.run.engine
        status, form, data, removed, value, next_ = OK, RESULTS, None, None, None, None
        errors: dict[str, Any] | None = None
        if verdict is not None:
            status, form, data = verdict.status, verdict.form, verdict.data
            removed, value, next_ = verdict.removed, verdict.value, verdict.next
            if status != OK:
                errors = {node.path: value, **self.errors}
        elif self.collector.has_failed:
            status, form = ERROR, REASON
            errors = self.errors or {node.path: self._too_few()}
            value = next(iter(errors.values()))
            data = engine.codec.wire(value)
        else:
            form, data, value = self.passed_on()
        duration = engine.monotonic() - begun
        done = Done(
            node.path, self.visit, KINDS[node.kind], status, 1, started, duration, form, data, removed, next_
        )
        encoded = engine.codec.encode(done)
        return Outcome(status, value, encoded, next_, form not in NO_CONTEXT, errors)

    @property
    def is_branch(self) -> bool:
        """It leaves a value, or a context, to a block around it, and cannot jump."""
        return self.place is Place.BRANCH

    def results(self) -> Any:
        """What ``into`` gets, frozen."""
        return self.collector.merge()

    def passed_on(self) -> tuple[int, Any, Any]:
        """What goes on without ``into``: the form of the record, its data, and the value."""
        assert isinstance(self.node, ParallelNode)
        return RESULTS, self.node.listing, {**self.base, RESULTS_KEY: self.collector.merge()}

    def _too_few(self) -> Failure:
        """The error of a block that needs more branches than there are."""
        node = self.node
        return Failure(
            type="ValueError",
            message=f"block {node.name!r} needs {node.need} results and has {len(self.keys)} branches",
        )

    def _recall(self) -> None:
        """Take over what was recorded before this process; open is what is left."""
        self.open = dict.fromkeys(range(len(self.branches)))
        journal = self.run.journal
        if journal is not None:
            indexes = {child.path: index for index, child in enumerate(self.branches)}
            # In the journal's order, so that the first error is the same one as without the crash. The times
            # in the records do not tell: the clock may have been set back in between.
            for path, visit in journal.done:
                index = indexes.get(path)
                if index is not None and visit == self.visit:
                    outcome = replayed(self.run, self.branches[index], self.base, visit)
                    assert outcome is not None
                    self.settle(index, outcome)
        self.check_stop()

    def _begun_before(self) -> dict[str, StepScope]:
        """By path, the open branches that had begun in an earlier life of the run: where they had come to, as
        far as it is recorded.
        """
        run = self.run
        journal = run.journal
        found: dict[str, StepScope] = {}
        if journal is None:
            return found
        inside = self.node.path + "/"
        paths = {self.branches[index].path for index in self.open}
        now, monotonic = run.engine.now(), run.engine.monotonic()
        tables: tuple[Mapping[Visit, Done | Answered | Attempt | Waiting], ...]
        tables = (journal.done, journal.answered, journal.attempts, journal.waiting)
        for (path, visit), record in ((key, table[key]) for table in tables for key in table):
            branch = inside + path.removeprefix(inside).partition("/")[0]
            if visit == self.visit and path.startswith(inside) and branch in paths:
                scope = found.get(branch)
                if scope is None:
                    scope = found[branch] = StepScope(run)
                    scope.attempt, scope.begun = 1, monotonic
                at = record.at if isinstance(record, Answered) else record.started
                if at:  # else it is a part that never started
                    scope.attempt = record.attempt if isinstance(record, Done | Attempt) else 1
                    scope.started, scope.begun = at, monotonic - max(now - at, 0.0)
        return found

    # -- the branches --------------------------------------------------------------------------------

    def _prepare(self, nursery: trio.Nursery, clean: contextvars.Context) -> None:
        """Branches may get tasks from now on."""
        todo = list(self.open)
        self.queue = iter(todo)
        self.width = self.node.limit or len(todo)
        self.nursery = nursery
        self.clean = clean
        self.run.busy += 1  # for those that have not begun: the run must not be parked without them
        if self.timeout is not None:
            due = self._due(self.timeout)
            left = due - self.run.engine.now()
            nursery.cancel_scope.deadline = trio.current_time() + max(left, 0.0)
            if left <= 0:
                self.overtaken = frozenset(todo[: self.width])

    def _join_in(self, scope: StepScope) -> None:
        """The block's own task waits for the others."""
        self.run.engine.stragglers.discard(scope)
        if not self.spread:
            self.run.busy -= 1
        self.leave()

    async def branch(self, index: int) -> None:
        """The task of one branch, from its start to its outcome, or its interruption."""
        scope = StepScope(self.run)
        current_scope.set(scope)
        await Lane(self, scope, index=index)

    def run_branch(self, scope: StepScope, branch: Node) -> Coroutine[Any, Any, Outcome]:
        """Run one to its outcome, when awaited."""
        return run_node(self.run, scope, branch, self.base, self.visit, Place.BRANCH)

    def put(self, record: bytes) -> None:
        """Hand a branch's record over, if it has not done so itself."""
        if record:
            self.run.put(record)
        if ARMED:
            failpoint("branch.put")

    def rest(self) -> Awaitable[None]:
        """Awaited, lets other tasks have their turn."""
        self.run.engine.committer.soon()
        return trio.lowlevel.cancel_shielded_checkpoint()  # noqa: ASYNC105 - the caller awaits it

    def _due(self, timeout: float) -> float:
        """When the block's time is over: fixed when it begins, in whatever life of the run that was."""
        run, path = self.run, self.node.path
        begun = run.journal.waiting.get((path, self.visit)) if run.journal is not None else None
        if begun is None:
            engine = run.engine
            now = engine.now()
            begun = Waiting(path, self.visit, KINDS[self.node.kind], None, now, now + timeout)
            run.put(engine.codec.encode(begun))
            engine.committer.soon()
        assert begun.due is not None
        run.mailbox.dues[self] = begun.due  # so that a run that is parked is woken for it
        return begun.due

    def cut_off(self, index: int, scope: StepScope, error: BaseException) -> None:
        """A branch was interrupted: by its block, its run or the engine; or what is recorded made no sense to
        it. The engine stops for any other error.
        """
        if body.is_cancellation(error):
            try:
                self._interrupted(index, scope)
            except StoreError as damage:  # of a run that it has called, and that is to be cancelled with it
                self._break_off(damage)
        elif isinstance(error, StoreError):
            self._break_off(error)
        else:
            self.run.engine.fail(error)
        scope.path = None

    def _break_off(self, damage: StoreError) -> None:
        """Get every branch out. Those without an outcome leave no record: they go on when the run does."""
        run = self.run
        if run.engine.failure is not None:
            return  # nothing can be recorded any more, and every task is being cancelled
        run.blocking = True
        self.damage = self.damage or damage
        if self.nursery is not None:
            self.nursery.cancel_scope.cancel(reason="the run is being blocked")
            run.engine.stragglers.watch([scope for scope in self.open.values() if scope is not None])

    @property
    def has_timed_out(self) -> bool:
        nursery = self.nursery
        return nursery is not None and self.timeout is not None and nursery.cancel_scope.cancel_called

    def check_stop(self) -> None:
        """Cancel the rest if this block's fate is sealed."""
        collector = self.collector
        if self.cause is not None or not collector.must_stop:
            return
        node = self.node
        if collector.need_reached:
            self.cause = f"block {node.name!r} has the {node.need} results that it needs"
        elif collector.need_impossible:
            self.cause = f"block {node.name!r} can no longer get the {node.need} results that it needs"
        else:
            self.cause = f"branch {self.branches[collector.first_error].path!r} failed"
        scopes = [scope for scope in self.open.values() if scope is not None]
        if scopes:
            assert self.nursery is not None
            self.nursery.cancel_scope.cancel(reason=self.cause)
            self.run.engine.stragglers.watch(scopes)

    # -- branches without a result of their own ------------------------------------------------------

    def _give_up_the_rest(self) -> None:
        """Record of the branches without an outcome that the block has ended without them."""
        known = self._begun_before()
        status = TIMED_OUT if self.cause is None and not self.run.halted else CANCELLED
        for index in list(self.open):
            began = known.get(self.branches[index].path)
            has_begun = began is not None or index in self.overtaken
            self._put_unfinished(index, status if has_begun else NEVER_STARTED, began)

    def _interrupted(self, index: int, scope: StepScope) -> None:
        """Record why a branch was cancelled; if it was only suspended, record nothing."""
        run = self.run
        if self.damage is not None:
            return  # it was only suspended, whatever else has happened since
        if self.cause is not None or run.halted:
            self._put_unfinished(index, CANCELLED, scope)
        elif self.has_timed_out:
            self._put_unfinished(index, TIMED_OUT, scope)
        if self.open:
            run.engine.committer.soon()

    def _put_unfinished(self, index: int, status: int, scope: StepScope | None) -> None:
        run, node = self.run, self.node
        child = self.branches[index]
        abandon(run, child.path)
        if scope is not None and not scope.attempt and isinstance(child, _SIMPLE):
            status, scope = NEVER_STARTED, None  # it had its turn; its body, or its wait, was not entered
        attempt = scope.attempt if scope is not None else 0
        if self.cause is None and not run.halted:
            assert self.timeout is not None
            kind, message = "TimeoutError", f"block {node.name!r} took longer than {self.timeout:g} s"
        else:
            kind, message = "Cancelled", self.cause or run.halt_cause
        failure = Failure(type=kind, message=message, attempts=attempt)
        engine = run.engine
        started = scope.started if scope is not None else 0.0
        duration = engine.monotonic() - scope.begun if scope is not None else 0.0
        record = Done(
            child.path,
            self.visit,
            KINDS[child.kind],
            status,
            attempt,
            started,
            duration,
            REASON,
            engine.codec.wire(failure),
        )
        encoded = engine.codec.encode(record)
        run.put(encoded)
        self.settle(index, Outcome(status, failure, encoded, errors={child.path: failure}))

    # -- the end -------------------------------------------------------------------------------------

    async def _decide(self, scope: StepScope) -> body.Verdict:
        """Ask ``into``, once what it sees is on disk."""
        run, node = self.run, self.node
        await run.recorded()
        await may_enter(run)
        scope.path = node.path
        scope.kind = KINDS[node.kind]
        scope.visit = self.visit
        scope.attempt = 1
        if ARMED:
            failpoint("into.before")
        results = thaw(self.results())
        what = f"into of block {node.name!r}"
        call = partial(body.call_into, node, results)
        # A block that is itself a branch leaves a context, but cannot jump.
        place = Place.CHAIN if self.is_branch else self.place
        verdict = await run_body(run, scope, self.base, what, place, call)
        scope.path = None
        if ARMED:
            failpoint("into.after")
        return verdict
