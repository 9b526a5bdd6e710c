"""The branches of a parallel block on their way: what each of them asks of the block (``BlockBase``), and one
task's way through branches (``Lane``).
"""

cdef enum:
    IN_A_ROW = 64  # branches that a block runs in its own task before it lets others have their turn


@cython.auto_pickle(False)
cdef class BlockBase:
    """One visit of a parallel block, or of a map: its branches. The rest is in the engine's ``Block``.

    Args:
        run: whose.
        node: the block.
        branches: its branches, or one for each item.
        keys: their keys in the results.
        base: the frozen context that the block is given.
        visit: which visit this is.
        place: where the block stands.
        timeout: seconds for all of it.

    Attributes:
        collector: what came of the branches.
        open: by index, the branches without an outcome, each with its scope once it has begun.
        errors: path to reason, in the order of time.
        cause: why the rest is cancelled.
        damage: what of the record a branch could not make sense of.
        nursery: of the branches' tasks, if there may be any.
        queue: the indexes of the branches that have not begun.
        width: so many may run at once.
        tasks: how many run branches, the block's own among them.
        spread: the other branches have tasks, or never will.
        clean: the contextvars.Context in which those are started.
        overtaken: the block's time was over before it was taken up again: these were under way when the run
            was left.
    """

    cdef readonly RunBase run
    cdef readonly object node, branches, place, timeout
    cdef readonly tuple keys
    cdef readonly dict base
    cdef readonly unsigned int visit
    cdef readonly Collector collector
    cdef Stepper stepper  # None: steps are to go the longer way
    cdef Intake intake
    cdef public dict open, errors
    cdef public object cause, damage, nursery, queue, clean, overtaken
    cdef public Py_ssize_t width, tasks
    cdef public bint spread

    def __init__(
        self,
        RunBase run not None,
        node,
        branches,
        tuple keys not None,
        dict base not None,
        unsigned int visit,
        place,
        timeout=None,
    ):
        engine = run.engine
        stepper = engine.stepper
        self.run = run
        self.stepper = stepper if type(stepper) is Stepper else None
        self.intake = engine.committer
        self.node = node
        self.branches = branches
        self.keys = keys
        self.base = base
        self.visit = visit
        self.place = place
        self.timeout = timeout
        self.collector = Collector(keys, node.need, node.fail_fast)
        self.open = {}
        self.errors = {}
        self.overtaken = ()
        self.width = len(keys)

    @property
    def is_over(self):
        """No branch starts any more."""
        return self.is_at_end()

    cdef bint is_at_end(self) except -1:
        return (
            self.cause is not None
            or self.damage is not None
            or is_halted(self.run)
            or (self.timeout is not None and self.has_timed_out)
        )

    def settle(self, Py_ssize_t index, outcome):
        """A branch has come to this, which is recorded."""
        self.settled(index, outcome)

    cdef int settled(self, Py_ssize_t index, object outcome) except -1:
        status = outcome.status
        self.open.pop(index, None)  # a recalled branch was never there
        if status == OK:
            self.collector.is_ok(index, outcome.value)
            return 0
        self.collector.error(index, outcome.value, status)
        if status == ERROR or status == TIMED_OUT:
            self.errors.update(outcome.errors or {})
        return 0

    cdef int ended(self, Py_ssize_t index, object came) except -1:
        """A branch has an outcome, or a ``plain_success``."""
        cdef Stepper stepper = self.stepper
        cdef bint is_plain = type(came) is tuple
        cdef object record = <object>PyTuple_GET_ITEM(<PyObject*>came, 1) if is_plain else came.record
        if stepper is None or stepper.failpoint is not None or self.run.parking:
            self.put(record)
        elif record:
            self.intake.puts(self.run, record)
        if is_plain:
            self.open.pop(index, None)
            self.collector.is_ok(index, <object>PyTuple_GET_ITEM(<PyObject*>came, 0))
        else:
            self.settled(index, came)
        if self.collector.is_sealed():
            self.check_stop()
        if self.spread and self.open:
            # Nobody waits for this record before the block's end, but it shall not wait for that either.
            self.soon()
        return 0

    cdef int soon(self) except -1:
        """As of the committer, which is not called if that is under way."""
        if self.intake.flusher is not None:
            self.intake.soon()
        return 0

    cdef int spread_out(self) except -1:
        """The block's own task is about to suspend: start tasks for as many other branches as may run."""
        cdef Py_ssize_t left
        if self.spread:
            return 0
        self.spread = True
        self.run.busy -= 1
        for left in range(self.width - 1):
            if not self.has_started_another():
                break
        self.looked_at()
        self.soon()  # for the branches that have ended already
        return 0

    cdef bint has_started_another(self) except -1:
        """Start a task for the next branch, if there is one."""
        index = next(self.queue, None)
        if index is None:
            return False
        self.tasks += 1
        self.run.busy += 1
        self.clean.run(self.nursery.start_soon, self.branch, index)
        return True

    def leave(self):
        """A branch's task is done; what it has for being busy goes back to the block with the last one."""
        self.left()

    cdef int left(self) except -1:
        self.tasks -= 1
        if self.tasks:
            self.run.busy -= 1
            self.looked_at()
        return 0

    cdef int looked_at(self) except -1:
        if self.run.busy == 0:
            self.run.check_idle()
        return 0


@cython.final
@cython.auto_pickle(False)
cdef class Lane(Machine):
    """One task's way through branches of a block, when awaited.

    The block's own task goes through one branch after another for as long as none of them suspends: a body
    that does not cannot tell whether it has a task of its own, but for the time that one takes. When one
    does, the others get tasks, each with a lane for its branch.

    A branch never raises into the nursery. What interrupts it is told to ``block.cut_off``.

    Args:
        block: whose branches.
        scope: the task's.
        task: Trio's, if it is the block's own.
        index: of the branch, otherwise.
    """

    cdef BlockBase block
    cdef StepScope scope
    cdef object task, context
    cdef Py_ssize_t index
    cdef int row

    def __init__(self, BlockBase block not None, StepScope scope not None, task=None, Py_ssize_t index=-1):
        self.block = block
        self.scope = scope
        self.task = task
        self.index = index

    # -- inside ------------------------------------------------------------------------------------

    cdef object go_on(self, object sent, object thrown, bint* has_ended):
        try:
            if self.state == NEW:
                if thrown is not None:
                    raise thrown
                if not self.has_set_out():
                    return self.over(has_ended)
            elif self.state == OVER:
                raise RuntimeError("these branches were awaited already")
            return self.moved_on(sent, thrown, has_ended)
        except BaseException:
            self.end()
            raise

    cdef bint has_set_out(self) except -1:
        cdef BlockBase block = self.block
        cdef StepScope scope = self.scope
        if self.task is not None:
            self.context = self.task.context  # replaced by who finds that a body left context variables in it
            return self.has_come_to_branch()
        if block.is_at_end():
            block.left()
            return False
        block.run.scopes.add(scope)
        branch = block.branches[self.index]
        if not branch.simple or branch.retry is not None:
            scope.clean = PyContext_CopyCurrent()  # more bodies may follow in this task
        self.begin(branch)
        return True

    cdef bint has_come_to_branch(self) except -1:
        """The block's own task begins the next branch, if there is one that may begin."""
        cdef BlockBase block = self.block
        index = next(block.queue, None)
        if index is None or block.is_at_end():
            return False
        self.index = index
        self.scope.attempt = 0  # it has been another branch's
        self.begin(block.branches[index])
        return True

    cdef int begin(self, branch) except -1:
        cdef BlockBase block = self.block
        cdef Stride stride
        block.open[self.index] = self.scope
        self.state = IN_BRANCH
        if block.stepper is not None and branch.simple and block.run.journal is None:
            stride = block.stepper.stride(
                block.run, self.scope, branch, block.base, block.visit, block.stepper.branch
            )
            stride.is_told_plainly = True
            self.awaited = stride
        else:
            self.awaited = block.run_branch(self.scope, branch)
        return 0

    cdef object moved_on(self, object sent, object thrown, bint* has_ended):
        cdef BlockBase block = self.block
        cdef bint is_done
        cdef object came
        # One turn of this is one thing that was awaited.
        while True:
            is_done = False
            if self.state == RESTING:
                came = self.passed(sent, thrown, &is_done)
                if not is_done:
                    return came
                self.context = self.task.context
                self.row = 0
            else:
                try:
                    came = self.passed_branch(sent, thrown, &is_done)
                except BaseException as error:
                    self.awaited = None
                    block.cut_off(self.index, self.scope, error)
                    if self.task is None:
                        self.left()
                    return self.over(has_ended)
                if not is_done:
                    block.spread_out()
                    return came
                self.awaited = None
                block.ended(self.index, came)
                if self.task is None:
                    if not block.is_at_end():
                        # Not this task again: a body may have left context variables in it.
                        block.has_started_another()
                    self.left()
                    return self.over(has_ended)
                self.row += 1
                # Other tasks want their turn, too; and what replaces a task's context works from the next one
                # on.
                if self.row == IN_A_ROW or self.task.context is not self.context:
                    self.awaited = block.rest()
                    self.state = RESTING
                    sent = thrown = None
                    continue
            sent = thrown = self.awaited = None
            if not self.has_come_to_branch():
                return self.over(has_ended)

    cdef object passed_branch(self, object sent, object thrown, bint* is_done):
        if type(self.awaited) is Stride:
            return (<Stride>self.awaited).go_on(sent, thrown, is_done)
        return self.passed(sent, thrown, is_done)

    cdef int left(self) except -1:
        """A branch's task is done."""
        cdef StepScope scope = self.scope
        cdef RunBase run = self.block.run
        run.scopes.discard(scope)
        if scope.watched:
            run.engine.stragglers.discard(scope)  # whoever cancelled it: this block, its run, or the engine
        # The task's context holds the scope: this would be a circle, for the garbage collector to find.
        scope.clean = None
        self.block.left()
        return 0

    cdef object over(self, bint* has_ended):
        self.end()
        has_ended[0] = True
        return None


(<TypeWithAsync*>Lane).tp_as_async.am_send = <sendfunc>send_to_machine
