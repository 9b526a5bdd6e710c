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
from collections.abc import Awaitable, Coroutine, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
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
from durable_trio._engine.eager import eagerly
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
from durable_trio._speedups.context import Stride, thaw
from durable_trio._speedups.results import Collector
from durable_trio._values import Failure

_SIMPLE = (StepNode, SleepNode, EventNode, InputNode)  # branches with nothing inside
_IN_A_ROW = 64  # branches that a block runs in its own task before it lets others have their turn


@handles(ParallelNode)
def run_parallel(
    run: RunState, scope: StepScope, node: ParallelNode, base: dict[str, Any], visit: int, place: Place
) -> Coroutine[Any, Any, Outcome]:
    """Run a block to its outcome, when awaited."""
    return Block(run, node, node.branches, node.keys, base, visit, place, node.timeout).run(scope)


class Block:
    """One visit of a parallel block, or of a map.

    Args:
        run: whose.
        node: the block.
        branches: its branches, or one for each item.
        keys: their keys in the results.
        base: the frozen context that the block is given.
        visit: which visit this is.
        place: where the block stands.
        timeout: seconds for all of it.
    """

    def __init__(
        self,
        run: RunState,
        node: ParallelNode | MapNode,
        branches: Sequence[Node],
        keys: tuple[str, ...],
        base: dict[str, Any],
        visit: int,
        place: Place,
        timeout: float | None = None,
    ) -> None:
        self._run = run
        self._node = node
        self._branches = branches
        self._keys = keys
        self._timeout = timeout
        self._base = base
        self._visit = visit
        # A block that is itself a branch leaves a context, but cannot jump.
        self._is_branch = place is Place.BRANCH
        self._place = Place.CHAIN if self._is_branch else place
        self._collector = Collector(keys, node.need, node.fail_fast)
        # The branches without an outcome, each with its scope once it has begun.
        self._open: dict[int, StepScope | None] = {}
        self._errors: dict[str, Any] = {}  # path to reason, in the order of time
        self._cause: str | None = None  # why the rest is cancelled
        self._damage: StoreError | None = None  # what of the record a branch could not make sense of
        self._nursery: trio.Nursery | None = None
        self._queue: Iterator[int]
        self._width = len(branches)  # so many may run at once
        self._tasks = 0  # that run branches, the block's own among them
        self._spread = False  # the other branches have tasks, or never will
        self._clean: contextvars.Context  # in which those are started
        # Its time was over before it was taken up again: these were under way when the run was left.
        self._overtaken: frozenset[int] = frozenset()

    async def run(self, scope: StepScope) -> Outcome:
        run, node = self._run, self._node
        engine = run.engine
        started, begun = engine.now(), engine.monotonic()
        self._recall()
        if self._open and not self._collector.must_stop:
            try:
                await self._run_branches(scope)
            except BaseException as error:
                # Damage comes before a cancellation: the other tasks of the run count on its coming up.
                if self._damage is None or not body.is_cancellation(error):
                    raise
            finally:
                if self._timeout is not None:
                    run.mailbox.dues.pop(self, None)
            if self._damage is not None:
                raise self._damage
        if self._open and self._is_over:
            known = self._begun_before()
            status = TIMED_OUT if self._cause is None and not run.halted else CANCELLED
            for index in list(self._open):
                began = known.get(self._branches[index].path)
                has_begun = began is not None or index in self._overtaken
                self._put_unfinished(index, status if has_begun else NEVER_STARTED, began)
        if run.halted or self._open:
            await trio.sleep_forever()  # the run is cancelled, or suspended: that is delivered here
        if ARMED:
            failpoint("join")
        status, form, data, removed, value, next_ = OK, RESULTS, None, None, None, None
        errors: dict[str, Any] | None = None
        if self._collector.has_failed:
            status, form = ERROR, REASON
            errors = self._errors or {node.path: self._too_few()}
            value = next(iter(errors.values()))
            data = engine.codec.wire(value)
        elif node.into is None:
            form, data, value = self.passed_on()
        else:
            verdict = await self._decide(scope)
            status, form, data = verdict.status, verdict.form, verdict.data
            removed, value, next_ = verdict.removed, verdict.value, verdict.next
            if status != OK:
                errors = {node.path: value, **self._errors}
        duration = engine.monotonic() - begun
        done = Done(
            node.path, self._visit, KINDS[node.kind], status, 1, started, duration, form, data, removed, next_
        )
        encoded = engine.codec.encode(done)
        return Outcome(status, value, encoded, next_, form not in NO_CONTEXT, errors)

    def results(self) -> Any:
        """What ``into`` gets, frozen."""
        return self._collector.merge()

    def passed_on(self) -> tuple[int, Any, Any]:
        """What goes on without ``into``: the form of the record, its data, and the value."""
        assert isinstance(self._node, ParallelNode)
        return RESULTS, self._node.listing, {**self._base, RESULTS_KEY: self._collector.merge()}

    def _too_few(self) -> Failure:
        """The error of a block that needs more branches than there are."""
        node = self._node
        return Failure(
            type="ValueError",
            message=f"block {node.name!r} needs {node.need} results and has {len(self._keys)} branches",
        )

    def _recall(self) -> None:
        """Take over what was recorded before this process; open is what is left."""
        self._open = dict.fromkeys(range(len(self._branches)))
        journal = self._run.journal
        if journal is not None:
            indexes = {child.path: index for index, child in enumerate(self._branches)}
            # In the journal's order, so that the first error is the same one as without the crash. The times
            # in the records do not tell: the clock may have been set back in between.
            for path, visit in journal.done:
                index = indexes.get(path)
                if index is not None and visit == self._visit:
                    outcome = replayed(self._run, self._branches[index], self._base, visit)
                    assert outcome is not None
                    self._settle(index, outcome)
        self._check_stop()

    def _begun_before(self) -> dict[str, StepScope]:
        """By path, the open branches that had begun in an earlier life of the run: where they had come to, as
        far as it is recorded.
        """
        run = self._run
        journal = run.journal
        found: dict[str, StepScope] = {}
        if journal is None:
            return found
        inside = self._node.path + "/"
        paths = {self._branches[index].path for index in self._open}
        now, monotonic = run.engine.now(), run.engine.monotonic()
        tables: tuple[Mapping[Visit, Done | Answered | Attempt | Waiting], ...]
        tables = (journal.done, journal.answered, journal.attempts, journal.waiting)
        for (path, visit), record in ((key, table[key]) for table in tables for key in table):
            branch = inside + path.removeprefix(inside).partition("/")[0]
            if visit == self._visit and path.startswith(inside) and branch in paths:
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

    async def _run_branches(self, scope: StepScope) -> None:
        """Run them, in this task for as long as none of them suspends."""
        node = self._node
        todo = list(self._open)
        self._queue = iter(todo)
        self._width = node.limit or len(todo)
        self._tasks = 1  # this one's being busy passes on to its branches, and back from the last of them
        if len(todo) == 1 and self._timeout is None:
            self._spread = True  # over what there is to spread
            await self._run_here(scope)
            return
        self._clean = scope.clean
        self._run.busy += 1  # for those that have not begun: the run must not be parked without them
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            if self._timeout is not None:
                due = self._due(self._timeout)
                left = due - self._run.engine.now()
                nursery.cancel_scope.deadline = trio.current_time() + max(left, 0.0)
                if left <= 0:
                    self._overtaken = frozenset(todo[: self._width])
            await self._run_here(scope)
            self._run.engine.stragglers.discard(scope)
            if not self._spread:
                self._run.busy -= 1
            self._leave()

    async def _run_here(self, scope: StepScope) -> None:
        """Run one branch after another in the block's own task.

        A body that does not suspend cannot tell whether it has a task of its own, but for the time that one
        takes. As soon as a branch suspends, the others get theirs.
        """
        run = self._run
        task = trio.lowlevel.current_task()
        context = task.context  # replaced by whoever finds that a body has left context variables in it
        row = 0
        for index in self._queue:
            if self._is_over:
                return
            self._open[index] = scope
            scope.attempt = 0  # it has been another branch's
            awaited = run_node(run, scope, self._branches[index], self._base, self._visit, Place.BRANCH)
            try:
                outcome = awaited.begin() if type(awaited) is Stride else None
                if outcome is None:
                    outcome = await self._beside_others(awaited)
            except BaseException as error:  # noqa: BLE001 - nothing is lost: see there
                self._cut_off(index, scope, error)
                return
            self._ended(index, outcome)
            row += 1
            # Other tasks want their turn, too; and what replaces a task's context works from the next one on.
            if row == _IN_A_ROW or task.context is not context:
                run.engine.committer.soon()
                await trio.lowlevel.cancel_shielded_checkpoint()
                context = task.context
                row = 0

    def _beside_others(self, awaited: Coroutine[Any, Any, Outcome]) -> Awaitable[Outcome]:
        """A branch that is to be awaited; the others get their tasks when it suspends."""
        if type(awaited) is Stride:  # which has begun: it will be at once
            self._spread_out()
        elif not self._spread:
            return eagerly(awaited, self._spread_out)
        return awaited

    def _spread_out(self) -> None:
        """The block's own task is about to suspend: start tasks for as many other branches as may run."""
        if self._spread:
            return
        self._spread = True
        run, nursery = self._run, self._nursery
        assert nursery is not None
        others = list(islice(self._queue, self._width - 1))
        self._tasks += len(others)
        run.busy += len(others) - 1
        for index in others:
            self._clean.run(nursery.start_soon, self._branch, index)
        run.check_idle()
        run.engine.committer.soon()  # for the branches that have ended already

    def _due(self, timeout: float) -> float:
        """When the block's time is over: fixed when it begins, in whatever life of the run that was."""
        run, path = self._run, self._node.path
        begun = run.journal.waiting.get((path, self._visit)) if run.journal is not None else None
        if begun is None:
            engine = run.engine
            now = engine.now()
            begun = Waiting(path, self._visit, KINDS[self._node.kind], None, now, now + timeout)
            run.put(engine.codec.encode(begun))
            engine.committer.soon()
        assert begun.due is not None
        run.mailbox.dues[self] = begun.due  # so that a run that is parked is woken for it
        return begun.due

    async def _branch(self, index: int) -> None:
        """The task of one branch, from its start to its outcome, or its interruption. Never raises."""
        if self._is_over:
            self._leave()
            return
        run = self._run
        branch = self._branches[index]
        scope = StepScope(run)
        run.scopes.add(scope)
        current_scope.set(scope)
        if branch.__class__ is not StepNode or branch.retry is not None:
            scope.clean = contextvars.copy_context()  # more bodies may follow in this task
        self._open[index] = scope
        try:
            outcome = await run_node(run, scope, branch, self._base, self._visit, Place.BRANCH)
        except BaseException as error:  # noqa: BLE001 - nothing is lost: see there
            self._cut_off(index, scope, error)
        else:
            self._ended(index, outcome)
            following = None if self._is_over else next(self._queue, None)
            if following is not None:
                # Not this task again: a body may have left context variables in it.
                assert self._nursery is not None
                self._tasks += 1
                run.busy += 1
                self._clean.run(self._nursery.start_soon, self._branch, following)
        run.scopes.discard(scope)
        run.engine.stragglers.discard(scope)  # whoever cancelled it: this block, its run, or the engine's end
        # The task's context holds the scope: this would be a circle, for the garbage collector to find.
        scope.clean = None
        self._leave()

    @property
    def _is_over(self) -> bool:
        """No branch starts any more."""
        return (
            self._cause is not None
            or self._damage is not None
            or self._run.halted
            or (self._timeout is not None and self._has_timed_out)
        )

    def _ended(self, index: int, outcome: Outcome) -> None:
        """A branch has an outcome."""
        run = self._run
        if outcome.record:
            run.put(outcome.record)
        if ARMED:
            failpoint("branch.put")
        self._settle(index, outcome)
        if self._collector.must_stop:
            self._check_stop()
        if self._spread and self._open:
            # Nobody waits for this record before the block's end, but it shall not wait for that either.
            run.engine.committer.soon()

    def _cut_off(self, index: int, scope: StepScope, error: BaseException) -> None:
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
            self._run.engine.fail(error)
        scope.path = None

    def _break_off(self, damage: StoreError) -> None:
        """Get every branch out. Those without an outcome leave no record: they go on when the run does."""
        run = self._run
        if run.engine.failure is not None:
            return  # nothing can be recorded any more, and every task is being cancelled
        run.blocking = True
        self._damage = self._damage or damage
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel(reason="the run is being blocked")
            run.engine.stragglers.watch([scope for scope in self._open.values() if scope is not None])

    def _leave(self) -> None:
        """A branch's task is done; what it has for being busy goes back to the block with the last one."""
        self._tasks -= 1
        if self._tasks:
            self._run.busy -= 1
            self._run.check_idle()

    @property
    def _has_timed_out(self) -> bool:
        nursery = self._nursery
        return nursery is not None and self._timeout is not None and nursery.cancel_scope.cancel_called

    def _settle(self, index: int, outcome: Outcome) -> None:
        self._open.pop(index, None)  # a recalled branch was never there
        if outcome.status == OK:
            self._collector.ok(index, outcome.value)
        else:
            self._collector.error(index, outcome.value, outcome.status)
            if outcome.status in (ERROR, TIMED_OUT):
                self._errors.update(outcome.errors or {})

    def _check_stop(self) -> None:
        """Cancel the rest if this block's fate is sealed."""
        collector = self._collector
        if self._cause is not None or not collector.must_stop:
            return
        node = self._node
        if collector.need_reached:
            self._cause = f"block {node.name!r} has the {node.need} results that it needs"
        elif collector.need_impossible:
            self._cause = f"block {node.name!r} can no longer get the {node.need} results that it needs"
        else:
            self._cause = f"branch {self._branches[collector.first_error].path!r} failed"
        scopes = [scope for scope in self._open.values() if scope is not None]
        if scopes:
            assert self._nursery is not None
            self._nursery.cancel_scope.cancel(reason=self._cause)
            self._run.engine.stragglers.watch(scopes)

    # -- branches without a result of their own ------------------------------------------------------

    def _interrupted(self, index: int, scope: StepScope) -> None:
        """Record why a branch was cancelled; if it was only suspended, record nothing."""
        run = self._run
        if self._damage is not None:
            return  # it was only suspended, whatever else has happened since
        if self._cause is not None or run.halted:
            self._put_unfinished(index, CANCELLED, scope)
        elif self._has_timed_out:
            self._put_unfinished(index, TIMED_OUT, scope)
        if self._open:
            run.engine.committer.soon()

    def _put_unfinished(self, index: int, status: int, scope: StepScope | None) -> None:
        run, node = self._run, self._node
        child = self._branches[index]
        abandon(run, child.path)
        if scope is not None and not scope.attempt and isinstance(child, _SIMPLE):
            status, scope = NEVER_STARTED, None  # it had its turn; its body, or its wait, was not entered
        attempt = scope.attempt if scope is not None else 0
        if self._cause is None and not run.halted:
            assert self._timeout is not None
            kind, message = "TimeoutError", f"block {node.name!r} took longer than {self._timeout:g} s"
        else:
            kind, message = "Cancelled", self._cause or run.halt_cause
        failure = Failure(type=kind, message=message, attempts=attempt)
        engine = run.engine
        started = scope.started if scope is not None else 0.0
        duration = engine.monotonic() - scope.begun if scope is not None else 0.0
        record = Done(
            child.path,
            self._visit,
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
        self._settle(index, Outcome(status, failure, encoded, errors={child.path: failure}))

    # -- the end -------------------------------------------------------------------------------------

    async def _decide(self, scope: StepScope) -> body.Verdict:
        """Ask ``into``, once what it sees is on disk."""
        run, node = self._run, self._node
        await run.recorded()
        await may_enter(run)
        scope.path = node.path
        scope.kind = KINDS[node.kind]
        scope.visit = self._visit
        scope.attempt = 1
        if ARMED:
            failpoint("into.before")
        results = thaw(self.results())
        what = f"into of block {node.name!r}"
        call = partial(body.call_into, node, results)
        verdict = await run_body(run, scope, self._base, what, self._place, call)
        scope.path = None
        if ARMED:
            failpoint("into.after")
        return verdict
