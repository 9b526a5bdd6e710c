"""The tasks that runs live in.

A worker takes one run after another: a task, its cancel scope and its clean context cost more than many a
step, and are as good for the next run. Only a cancellation uses a scope up.
"""

from __future__ import annotations

import contextvars
import math
from typing import TYPE_CHECKING, Any

import trio

from durable_trio._context import StepScope, current_scope
from durable_trio._engine.body import is_cancellation
from durable_trio._engine.compensate import compensate
from durable_trio._engine.recovery import block
from durable_trio._engine.run import NO_SCOPES, RunState
from durable_trio._engine.sleeping import AWAKE, asleep, sleep_request
from durable_trio._engine.walk import walk, walk_off
from durable_trio._errors import StoreError

if TYPE_CHECKING:
    from durable_trio._engine.engine import Engine


class Workers:
    """Finds a task for each run that may run.

    Args:
        engine: whose runs.
        clean: the context in which tasks are started: a starter's context variables would be gone after
            a restart, so that no run may see them.
    """

    def __init__(self, engine: Engine, clean: contextvars.Context) -> None:
        self._engine = engine
        self._clean = clean
        self._idle: list[_Worker] = []
        self.nursery: trio.Nursery  # set when the engine is opened

    def take(self, run: RunState) -> None:
        """Let a worker have this run, a new one if none is idle."""
        if self._engine.draining:
            return  # it stays as it is on disk, and goes on when the database is opened again
        if self._idle:
            self._idle.pop().wake(run)
        else:
            worker = _Worker(self._engine, self._idle, run)
            self._clean.run(self.nursery.start_soon, worker.work)


class _Worker:
    __slots__ = ("_engine", "_idle", "_request", "_run", "_scopes", "_task")

    def __init__(self, engine: Engine, idle: list[_Worker], run: RunState) -> None:
        self._engine = engine
        self._idle = idle
        self._run: RunState | None = run
        self._scopes: set[StepScope] = set()  # one for all of its runs: they come one after another
        self._request = sleep_request(self._abort)
        self._task: trio.lowlevel.Task

    def wake(self, run: RunState) -> None:
        self._run = run
        trio.lowlevel.reschedule(self._task, AWAKE)

    async def work(self) -> None:
        self._task = trio.lowlevel.current_task()
        scope = StepScope()
        current_scope.set(scope)
        scope.clean = contextvars.copy_context()
        while True:
            with trio.CancelScope() as cancellation:
                while not cancellation.cancel_called:
                    if self._run is None:
                        self._idle.append(self)
                        await asleep(self._request)
                    run = self._take(cancellation, scope)
                    try:
                        # Awaited here: each coroutine between a task and a body is gone through twice a step.
                        await (walk if run.compensating is None else compensate)(run, scope)
                    except BaseException as error:
                        if not self._is_of_run(run, error):
                            raise
                    finally:
                        halted = self._leave(run, cancellation, scope)
                    self._hand_on(run, scope, halted)
                    del run  # an idle worker must not keep the last one alive

    def _take(self, cancellation: trio.CancelScope, scope: StepScope) -> RunState:
        """Make the run that waits for this worker the one that it works for.

        A run whose steps are to be undone is taken once more: a cancellation of the run, or its timeout, may
        have used the scope up, and does not concern the compensations.
        """
        run, self._run = self._run, None
        assert run is not None
        run.scope = cancellation
        if run.deadline is not None and run.compensating is None:
            cancellation.deadline = trio.current_time() + max(run.deadline - run.engine.now(), 0.0)
        scope.run, scope.path = run, None
        self._scopes.add(scope)
        run.scopes = self._scopes
        run.busy = 1
        run.parking = False
        return run

    def _is_of_run(self, run: RunState, error: BaseException) -> bool:
        """Deal with what came out of a run; False for a cancellation of the engine."""
        engine = self._engine
        if isinstance(error, StoreError):
            # If the engine has failed, nothing can be recorded any more. If it has not, what was recorded
            # of this run does not make sense; the others go on.
            if engine.failure is None:
                block(run, str(error))
        elif not is_cancellation(error):
            engine.fail(error)
        else:
            return not engine.closing and (run.halted or run.parking)
        return True

    def _leave(self, run: RunState, cancellation: trio.CancelScope, scope: StepScope) -> bool:
        """The run has no task from here on; whether it was halted while it had."""
        halted = run.halted
        run.scope = None
        if run.deadline is not None:
            cancellation.deadline = math.inf
        self._scopes.discard(scope)
        run.scopes = NO_SCOPES
        scope.context = scope.run = None  # an idle worker keeps nothing alive
        self._engine.stragglers.discard(scope)
        return halted

    def _hand_on(self, run: RunState, scope: StepScope, halted: bool) -> None:
        """See to what becomes of a run that has been walked as far as it goes now."""
        engine = self._engine
        if not run.ending and run.status != "blocked" and engine.failure is None:
            if halted:
                try:
                    walk_off(run, scope)
                except StoreError as error:  # where it is, or what it has called, cannot be told
                    block(run, str(error))
            elif run.compensating is None:
                engine.park(run)
            if run.compensating is not None and not run.ending:
                self._run = run
                return
        engine.left()

    def _abort(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        self._idle.remove(self)
        return trio.lowlevel.Abort.SUCCEEDED
