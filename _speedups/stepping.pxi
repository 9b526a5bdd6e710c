"""Steps on their way: where a task is (``StepScope``), what enters bodies (``Stepper``), and rows of nodes,
from the entry of a body to the record that is on disk (``Stride``): nearly all that runs do is this.
"""

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    bint PyCoro_CheckExact(object o)

    ctypedef enum PySendResult:
        PYGEN_RETURN
        PYGEN_ERROR
        PYGEN_NEXT

    PySendResult PyIter_Send(object awaited, object value, PyObject** result) except PYGEN_ERROR
    ctypedef PySendResult (*sendfunc)(PyObject* awaitable, PyObject* value, PyObject** result)

    ctypedef struct PyAsyncMethods:
        sendfunc am_send

    ctypedef struct TypeWithAsync "PyTypeObject":
        PyAsyncMethods* tp_as_async


@cython.auto_pickle(False)
cdef class RunBase(Ledger):
    """What is asked of a run at every step; the rest is in the engine's ``RunState``.

    Attributes:
        at: the path of the top-level node that is under way, or None.
        pause: an Event: no step starts until it is set. None: the run is not paused.
        deadline: when its workflow's timeout is over, seconds since the epoch, or None.
        stopped: it is cancelled: no step starts any more.
        halted: it is ``stopped``, or ``expired`` (which the engine says): no step starts any more.
        scopes: a set of the StepScopes that are under way, for those who ask.
        busy: how many of its tasks are not at a wait.
        parking: all of its tasks wait: they are being ended, and it will be woken.
        waits: whether a step's successor waits until the step is on disk.
    """

    cdef public object at, pause, deadline, scopes
    cdef public bint stopped, parking, waits
    cdef public Py_ssize_t busy

    @property
    def halted(self):
        return is_halted(self)


@cython.final
@cython.freelist(256)
@cython.auto_pickle(False)
cdef class StepScope:
    """Where a task is in its run. ``path`` is None between two steps.

    Args:
        run: the engine's RunState.

    Attributes:
        path, kind, visit: the node that the task is at.
        attempt: the number of the attempt that is under way; 0 before the first.
        started, begun: when that began, by the wall clock and by the monotonic one.
        context: what its body was given.
        reason: of the last failed attempt, frozen.
        due: until when the task waits, or None.
        waits: for something from outside, or for an instant.
        waited: how many waits of a kind and a name this attempt has made, or None.
        watched: it was cancelled, and whoever watches for those that do not end knows of it.
        clean: the task's contextvars.Context before any body ran in it, or None if no other one will.
    """

    cdef public object run
    cdef public str path
    cdef public Context context
    cdef public object due, reason, waited, clean
    cdef public double started, begun
    cdef public unsigned int kind, visit, attempt
    cdef public bint waits, watched

    def __init__(self, run=None):
        self.run = run
        self.visit = 1

    def begin(self, str path, unsigned int kind, unsigned int visit):
        """The task comes to a node with a body; the body is not entered yet."""
        self.begun_at(path, kind, visit)

    cdef inline void begun_at(self, str path, unsigned int kind, unsigned int visit) noexcept:
        self.path = path
        self.kind = kind
        self.visit = visit
        self.attempt = 0
        self.reason = None


@cython.final
@cython.auto_pickle(False)
cdef class Stepper:
    """Enters the bodies of one engine's steps.

    Args:
        concluder: makes the outcomes.
        now, monotonic: the clocks.
        wait_to_enter: given a run that is paused or halted, or of an engine that is draining, what is awaited
            before a body is entered.
        uncancelled: what is awaited otherwise: it passes unless the task is being cancelled.
        current_task: Trio's.
        tells: whether ``task._cancel_status.effectively_cancelled`` says if a task is being cancelled, so
            that nothing has to be awaited if it is not.
        intake: where a record is handed over, to wake its task when it is on disk.
        sleep: the trap by which a task sleeps until it is woken.
        awake: what it is woken with, unless it is an Outcome to be unwrapped.
        restore: forgets the context variables that a body has left in the task of the scope that it is given.
        otherwise: a coroutine function that makes an outcome of what is no plain success:
            ``(run, scope, node, base, place, ctx, value, error)``.
        run_node: given ``(run, scope, node, base, visit, place)``, what is awaited to run any node to its
            outcome.
        branch: the place of a branch.
        failpoint: called with the name of what is passed, or None.
        drained: an Event that is set when the last body comes back while the engine is draining.

    Attributes:
        concluder: the same.
        bodies: how many bodies have been entered and have not come back.
        draining: no body is entered any more.
    """

    cdef readonly Concluder concluder
    cdef Intake intake
    cdef object now, monotonic, wait_to_enter, uncancelled, current_task, sleep, awake, restore
    cdef object otherwise, run_node, branch, failpoint
    cdef bint tells
    cdef public Py_ssize_t bodies
    cdef public bint draining
    cdef readonly object drained

    def __init__(
        self,
        Concluder concluder not None,
        now,
        monotonic,
        wait_to_enter,
        uncancelled,
        current_task,
        bint tells,
        Intake intake not None,
        sleep,
        awake,
        restore,
        otherwise,
        run_node,
        branch,
        failpoint,
        drained,
    ):
        self.concluder = concluder
        self.now = now
        self.monotonic = monotonic
        self.wait_to_enter = wait_to_enter
        self.uncancelled = uncancelled
        self.current_task = current_task
        self.tells = tells
        self.intake = intake
        self.sleep = sleep
        self.awake = awake
        self.restore = restore
        self.otherwise = otherwise
        self.run_node = run_node
        self.branch = branch
        self.failpoint = failpoint
        self.drained = drained

    def enter(self, StepScope scope not None, dict base not None, unsigned int attempt):
        """The context for a body that is entered now. ``leave`` must follow, however the body ends."""
        return self.entered(scope, base, attempt)

    cdef Context entered(self, StepScope scope, dict base, unsigned int attempt):
        scope.attempt = attempt
        scope.started = self.now()
        scope.begun = self.monotonic()
        scope.waited = None  # an attempt asks from the beginning
        scope.context = shared(base)
        if self.failpoint is not None:
            self.failpoint("body.before")
        self.bodies += 1
        return scope.context

    def leave(self, StepScope scope not None):
        """A body is over, however it ended."""
        self.left(scope)

    cdef int left(self, StepScope scope) except -1:
        self.bodies -= 1
        if self.draining and self.bodies == 0:
            self.drained.set()
        # Contexts share structure, so that the comparison is one of pointers unless something was set.
        if scope.clean is not None and not is_equal(PyContext_CopyCurrent(), scope.clean):
            self.restore(scope)
        return 0

    def step(
        self,
        RunBase run not None,
        StepScope scope not None,
        node,
        dict base not None,
        unsigned int visit,
        place,
    ):
        """Awaited, runs a plain step of which nothing is recorded yet to its outcome.

        Raises:
            BaseException: what is no outcome: a cancellation, or no ``Exception``.
        """
        return self.stride(run, scope, node, base, visit, place)

    cdef Stride stride(
        self, RunBase run, StepScope scope, node, dict base, unsigned int visit, place
    ):
        cdef Stride stride = Stride.__new__(Stride)
        stride.stepper = self
        stride.run = run
        stride.scope = scope
        stride.base = base
        stride.node = node
        stride.visit = visit
        stride.place = place
        return stride

    def walk(
        self,
        RunBase run not None,
        StepScope scope not None,
        tuple nodes not None,
        Py_ssize_t index,
        dict base not None,
        dict visits not None,
        place,
        then=None,
    ):
        """Awaited, runs nodes at the top level from this one on, each when the one before is recorded.

        Nothing of them is recorded yet. It stops before any when the run is halted, and behind the first one
        whose outcome decides what comes next: that of the last node, an error, a jump.

        Args:
            nodes: of the top level.
            index: of the first one.
            base: the frozen context that it is given.
            visits: by index, how often the run has come to a node; kept up to date.
            place: that of the top level.
            then: called with ``(run, scope, visits, index, base, outcome)`` when that is over, to give what
                is awaited next, or None. So whoever has nothing to do but to go on needs no coroutine, whose
                frame would lie between the task and its steps.

        Returns:
            ``(index, base, outcome)``: where it has stopped; the context there; and what came of that node,
            not recorded yet, or None if the run was halted before it. With ``then``: what that comes to.

        Raises:
            BaseException: as of ``step``.
        """
        cdef Stride stride = Stride.__new__(Stride)
        stride.stepper = self
        stride.run = run
        stride.scope = scope
        stride.base = base
        stride.nodes = nodes
        stride.index = index
        stride.visits = visits
        stride.place = place
        stride.then = then
        return stride


cdef enum:
    NEW  # not awaited yet
    ENTERING  # awaits that a body may be entered
    IN_BODY
    JUDGING  # awaits an outcome of what was no plain success, or of what is no plain step
    RECORDING  # awaits that the outcome is on disk
    ASLEEP  # the same, without anything in between that sleeps for it
    IN_BRANCH
    RESTING  # lets other tasks have their turn
    FOLLOWED  # awaits what comes behind the row
    OVER


@cython.auto_pickle(False)
cdef class Machine:
    """An awaitable, as a coroutine is: what ``async def`` would make of a loop, written out.

    One call of C lies between what it awaits and who awaits it, where a coroutine would be a frame. With many
    runs in flight, each of these would be out of the cache by the time that it is needed.
    """

    cdef object awaited
    cdef int state

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        """As of a coroutine."""
        cdef bint has_ended = False
        came = self.go_on(value, None, &has_ended)
        if has_ended:
            raise StopIteration(came)
        return came

    def throw(self, kind, value=None, traceback=None):
        """As of a coroutine."""
        cdef bint has_ended = False
        error = kind
        if not isinstance(error, BaseException):
            error = value if isinstance(value, BaseException) else kind() if value is None else kind(value)
        if traceback is not None:
            error = error.with_traceback(traceback)
        came = self.go_on(None, error, &has_ended)
        if has_ended:
            raise StopIteration(came)
        return came

    def close(self):
        """As of a coroutine."""
        awaited = self.awaited
        self.end()
        if awaited is not None:
            awaited.close()

    # Trio and debuggers look at these to tell what a task is at: at what is awaited, as this has no frame.

    @property
    def cr_frame(self):
        return self.awaited.cr_frame

    @property
    def cr_await(self):
        return self.awaited.cr_await

    # -- inside ------------------------------------------------------------------------------------

    cdef object go_on(self, object sent, object thrown, bint* has_ended):
        """Go on with what was sent, or thrown: what is yielded then, or what it has come to."""
        raise NotImplementedError

    cdef object passed(self, object sent, object thrown, bint* is_done):
        """What the awaited object yields; or, when it is done, what it returns."""
        cdef object awaited = self.awaited
        cdef PyObject* result
        cdef PySendResult how
        if thrown is not None:
            try:
                return awaited.throw(thrown)
            except StopIteration as stop:
                is_done[0] = True
                return stop.value
        how = PyIter_Send(awaited, sent, &result)
        is_done[0] = how == PYGEN_RETURN
        came = <object>result
        Py_DECREF(came)  # it was given to us
        return came

    cdef void end(self) noexcept:
        self.state = OVER
        self.awaited = None


cdef PySendResult send_to_machine(PyObject* machine, PyObject* value, PyObject** result) except PYGEN_ERROR:
    """``send`` for who knows ``PyIter_Send``, as Python 3.11's ``await`` does: it returns without an
    exception.
    """
    cdef bint has_ended = False
    came = (<Machine>machine).go_on(<object>value, None, &has_ended)
    Py_INCREF(came)
    result[0] = <PyObject*>came
    return PYGEN_RETURN if has_ended else PYGEN_NEXT


@cython.final
@cython.auto_pickle(False)
cdef class Stride(Machine):
    """A plain step on its way, or a row of nodes: an awaitable, as a coroutine is.

    It is what ``async def`` would make of a loop over steps, written out: one object for a whole row of them,
    and one call of C between a body and its run's task, where coroutines would be four frames. With many runs
    in flight, each of these would be out of the cache by the time that it is needed.
    """

    cdef Stepper stepper
    cdef RunBase run
    cdef object node, place, task
    cdef StepScope scope
    cdef dict base
    cdef unsigned int visit
    cdef bint is_told_plainly  # who awaits the step takes a ``plain_success``, too
    # Of a row; of one step by itself, ``nodes`` is None.
    cdef tuple nodes
    cdef Py_ssize_t index
    cdef dict visits
    cdef object then

    def close(self):
        """As of a coroutine."""
        awaited = self.awaited
        was_in_body = self.state == IN_BODY
        self.end()
        try:
            if awaited is not None:
                awaited.close()
        finally:
            if was_in_body:
                self.stepper.left(self.scope)

    # -- inside ------------------------------------------------------------------------------------

    cdef object go_on(self, object sent, object thrown, bint* has_ended):
        try:
            if self.state == NEW:
                return self.begun(thrown, has_ended)
            if self.state == OVER:
                raise RuntimeError("these steps were awaited already")
            return self.moved_on(sent, thrown, has_ended)
        except BaseException:
            self.end()
            raise

    cdef object begun(self, object thrown, bint* has_ended):
        if thrown is not None:
            raise thrown
        self.task = self.stepper.current_task()  # a coroutine stays in its task
        if self.nodes is None:
            self.come_to_step(is_halted(self.run))
        elif not self.has_come_to_node():
            return self.over(None, has_ended)
        return self.moved_on(None, None, has_ended)

    cdef object moved_on(self, object sent, object thrown, bint* has_ended):
        cdef bint is_done
        cdef object came, outcome
        cdef bytes record
        # One turn of this is one thing that was awaited.
        while True:
            is_done = False
            if self.state == ASLEEP:
                if thrown is not None:
                    raise thrown
                if sent is not self.stepper.awake:
                    sent.unwrap()
                if not self.has_come_to_node():
                    return self.over(None, has_ended)
                sent = None
                continue
            if self.state == IN_BODY:
                outcome = self.moved_on_in_body(sent, thrown, &is_done)
                if not is_done:
                    return outcome  # a trap for Trio
                if outcome is None:
                    sent = thrown = None
                    continue
            else:
                came = self.passed(sent, thrown, &is_done)
                if not is_done:
                    return came
                sent = thrown = self.awaited = None
                if self.state == FOLLOWED:
                    return self.ended(came, has_ended)
                if self.state == ENTERING:
                    self.enter()
                    continue
                if self.state == RECORDING:
                    if self.stepper.failpoint is not None:
                        self.stepper.failpoint("step.durable")
                    if not self.has_come_to_node():
                        return self.over(None, has_ended)
                    continue
                outcome = came
            # The step has come to this.
            if type(outcome) is tuple and self.has_successor():
                self.base, record, _ = <tuple>outcome
            else:
                if type(outcome) is tuple and not self.is_told_plainly:
                    outcome = self.stepper.concluder.outcome_of(<tuple>outcome)
                if not self.has_successor() or not self.leads_on(outcome):
                    return self.over(outcome, has_ended)
                self.base = outcome.value
                record = outcome.record
            self.index += 1
            self.awaited = self.recorded(record)
            if self.awaited is None:
                self.state = ASLEEP
                return self.stepper.sleep
            self.state = RECORDING
            sent = thrown = None

    cdef object moved_on_in_body(self, object sent, object thrown, bint* is_done):
        """What the body yields; or, if it is done, a ``plain_success``, or None if an outcome is awaited."""
        cdef Stepper stepper = self.stepper
        cdef StepScope scope = self.scope
        cdef object value = None, error = None, outcome = None
        try:
            if self.awaited is None:
                value = self.node.fn(scope.context)
                self.awaited = unawaited(value) if PyCoro_CheckExact(value) else awaiting(value)
            value = self.passed(sent, thrown, is_done)
            if not is_done[0]:
                return value
            if stepper.failpoint is not None:
                stepper.failpoint("body.after")
        except BaseException as raised:
            error = raised
            is_done[0] = True
        self.awaited = None
        self.state = JUDGING  # so the body is left once, whatever comes
        stepper.left(scope)
        if error is None:
            outcome = stepper.concluder.plain_success(
                self.base,
                scope.context,
                value,
                self.place is stepper.branch,
                scope.path,
                self.visit,
                1,
                scope.started,
                <double>stepper.monotonic() - scope.begun,
            )
        if outcome is None:
            self.awaited = stepper.otherwise(
                self.run, scope, self.node, self.base, self.place, scope.context, value, error
            )
        else:
            scope.path = None
        return outcome

    cdef int come_to_step(self, bint is_halted) except -1:
        """Nothing but a cancellation, or a pause, stands between the task and the body from here on."""
        cdef Stepper stepper = self.stepper
        self.scope.begun_at(self.node.path, stepper.concluder.step, self.visit)
        cdef RunBase run = self.run
        self.state = ENTERING
        if stepper.draining or is_halted or run.pause is not None:
            self.awaited = stepper.wait_to_enter(run)
        elif stepper.tells and not self.task._cancel_status.effectively_cancelled:
            self.enter()
        else:
            self.awaited = stepper.uncancelled()
        return 0

    cdef int enter(self) except -1:
        self.state = IN_BODY
        self.stepper.entered(self.scope, self.base, 1)
        return 0

    # -- in a row ----------------------------------------------------------------------------------

    cdef bint has_come_to_node(self) except -1:
        """Come to the next node, unless the run is halted."""
        cdef object node = self.nodes[self.index]
        cdef RunBase run = self.run
        if is_halted(run):
            return False
        visits = self.visits.get(self.index, 0) + 1
        self.visits[self.index] = visits
        self.visit = visits
        self.node = node
        run.at = node.path
        if node.simple:
            self.come_to_step(False)
        else:
            self.awaited = self.stepper.run_node(run, self.scope, node, self.base, visits, self.place)
            self.state = JUDGING
        return True

    cdef object recorded(self, bytes record):
        """What is to be awaited until this is on disk; None if the task is queued, and only has to sleep.

        A node that has handed its record over itself leaves an empty one.
        """
        cdef Stepper stepper = self.stepper
        cdef RunBase run = self.run
        if not record:
            return run.recorded()
        if run.waits and not run.parking and stepper.failpoint is None:
            if stepper.intake.takes(run, record, self.task):
                return None
        return run.record(record)

    cdef bint has_successor(self) except -1:
        """Whether the next node may come next."""
        return (
            self.nodes is not None
            and self.index + 1 < PyTuple_GET_SIZE(self.nodes)
            and not self.run.stopped
        )

    cdef bint leads_on(self, outcome) except -1:
        """Whether an outcome is one that the next node follows."""
        return outcome.status == self.stepper.concluder.ok and outcome.next is None

    cdef object over(self, object outcome, bint* has_ended):
        """What the step, or the row, has come to; or what is yielded by that which follows it."""
        if self.nodes is None:
            return self.ended(outcome, has_ended)
        if self.then is None:
            return self.ended((self.index, self.base, outcome), has_ended)
        self.awaited = self.then(self.run, self.scope, self.visits, self.index, self.base, outcome)
        if self.awaited is None:
            return self.ended(None, has_ended)
        self.state = FOLLOWED
        self.base = self.node = None  # nothing is kept alive that is not needed any more
        return self.moved_on(None, None, has_ended)

    cdef object ended(self, object came, bint* has_ended):
        self.end()
        has_ended[0] = True
        return came


cdef inline bint is_halted(RunBase run) except -1:
    return run.stopped or (run.deadline is not None and run.expired)


(<TypeWithAsync*>Stride).tp_as_async.am_send = <sendfunc>send_to_machine


cdef object unawaited(coroutine):
    """The same coroutine, if nobody awaits it. To be sent to, it would take anybody's value for its own."""
    if coroutine.cr_await is not None:
        raise RuntimeError("coroutine is being awaited already")  # as ``await`` says it
    return coroutine


async def awaiting(awaitable):
    """Whatever can be awaited, as a coroutine."""
    return await awaitable


cdef bint is_equal(object a, object b) except -1:
    """False also if that cannot be told: a user's ``__eq__`` has raised."""
    try:
        return PyObject_RichCompareBool(a, b, Py_EQ)
    except Exception:
        return False
