# From the committer's queue to one Write per run. Part of batching.pyx.


cdef class Ledger:
    """What the committer keeps of a run: where its journal ends and how the index has it.

    ``seq`` and ``indexed`` belong to the writer; the rest does not change. ``seq`` is less than 0 while it is
    not known.
    """

    def __init__(self, key, workflow_number, *, long long seq=0, indexed=None):
        self.key = key
        self.workflow_number = workflow_number
        self.seq = seq
        self.indexed = indexed


@cython.final
@cython.freelist(256)
@cython.no_gc  # thousands are in the queue at a time, and nothing that one holds holds it
cdef class Entry:
    """What was handed over at once of what happened to a run.

    Args:
        run: its Ledger.
        records: one, or a sequence of them, which is not changed.
        status, header, alias: as of ``Write``.
        post: what ``Write`` has as messages, taken, timer and old_timer.
    """

    cdef object run, records, status, post
    cdef bytes header, alias
    cdef list joined  # the records of several entries, instead of ``records``

    def __init__(self, run, records, status=None, bytes header=None, bytes alias=None, post=None):
        self.run = run
        self.records = records
        self.status = status
        self.header = header
        self.alias = alias
        self.post = post


cdef class Intake:
    """Where records are handed over to the writer, one behind the other.

    Attributes:
        append: takes entries, and the tasks that wait for what is in front of them.
        bell: the lock by which the writer sleeps: it acquires it, and whoever has work for it releases it.
        holds_off: the writer is not to be woken now. It will be, when that is over.
        closed: nothing is taken by ``take``.
        failure: of a commit: nothing is accepted any more. None as long as there is none.
        flusher: the task that sees to it that what nobody waits for is committed soon, while it sleeps.
    """

    def put(self, run, records, status=None, bytes header=None, bytes alias=None, post=None):
        """Hand over what happened to a run. It reaches the disk after all that was put before it.

        Args:
            run, records, status, header, alias, post: as of ``Entry``.

        Raises:
            StoreError: a commit has failed.
        """
        if self.failure is not None:
            raise self.failure
        append = self.append
        append(Entry(run, records, status, header, alias, post))

    cdef int puts(self, Ledger run, bytes record) except -1:
        """``put`` of one record."""
        cdef Entry entry
        if self.failure is not None:
            raise self.failure
        entry = Entry.__new__(Entry)
        entry.run = run
        entry.records = record
        append = self.append
        append(entry)
        return 0

    def take(self, Ledger run not None, bytes record not None, task):
        """Hand over a record and the task that waits for it, and wake the writer; False if it is closed."""
        return self.takes(run, record, task)

    cdef bint takes(self, Ledger run, bytes record, object task) except -1:
        cdef Entry entry
        if self.closed:
            return False
        entry = Entry.__new__(Entry)
        entry.run = run
        entry.records = record
        append = self.append
        append(entry)
        append(task)
        self.rung()
        return True

    def ring(self):
        """Wake the writer, unless that is to wait."""
        self.rung()

    cdef int rung(self) except -1:
        # Only the Trio thread unlocks and only the writer locks, so the check cannot be overtaken; if it is
        # unlocked already, the writer has yet to look at the queue.
        if not self.holds_off and self.bell.locked():
            self.bell.release()
        return 0


def wake(waiters, Py_ssize_t count, task_type, reschedule, awake, on_failure):
    """Wake or call the first so many of a deque of waiters, or all that there are, and take them out.

    Args:
        waiters: tasks, and functions without an argument. What these raise is given to ``on_failure``, and
            does not stop the rest.
        task_type: of a task.
        reschedule: wakes a task, given ``awake``.
    """
    take = waiters.popleft
    for _ in range(min(count, <Py_ssize_t>len(waiters))):
        waiter = take()
        if isinstance(waiter, task_type):
            reschedule(waiter, awake)
            continue
        try:
            waiter()
        except BaseException as error:  # whatever it is
            on_failure(error)


def gather(queue, list waiters not None, type stand_in not None, merge_posts):
    """Take all that is in the queue now, and make of it what one transaction writes.

    Args:
        queue: a deque of entries, writes, answers, waiters, and lists of these that belong together.
        waiters: whatever is none of these is appended here, also if something is refused later.
        stand_in: the exact type of a Ledger that gives way to any other of the same run; among several of
            this type, to the one that came with records, which knows where the journal ends.
        merge_posts: makes one of two posts of a run.

    Returns:
        The writes, at most one per run of the entries, and these in key order; the answers; and what holds
        the entries' runs. Their ledgers are as they will be when the writes are on disk.
    """
    cdef dict groups = {}  # by run key, its first entry, with the others joined to it
    cdef list writes = []
    cdef list answers = []
    cdef Py_ssize_t count = len(queue)
    take = queue.popleft
    while count > 0:
        count -= 1
        item = take()
        if type(item) is Entry:
            join(groups, <Entry>item, stand_in, merge_posts)
        elif type(item) is Write:
            writes.append(item)
        elif type(item) is Answer:
            answers.append(item)
        elif isinstance(item, list):
            # Behind them are entries of this batch, too: what belongs together stays together.
            queue.extendleft(reversed(item))
            count += len(item)
        else:
            waiters.append(item)
    # In key order, in which most of what they come to is sorted, too: of keys alone that takes half the time.
    for key in sorted(groups):
        writes.append(write_of(key, <Entry>groups[key]))
    return writes, answers, groups


cdef int join(dict groups, Entry new, type stand_in, merge_posts) except -1:
    cdef Entry first
    cdef Py_ssize_t known = len(groups)
    if not isinstance(new.run, Ledger):
        raise TypeError(f"what happened to a run comes with its Ledger, not with a {type(new.run).__name__}")
    first = <Entry>groups.setdefault((<Ledger>new.run).key, new)
    if len(groups) > known:
        return 0  # it is the first of its run
    if first.joined is None:
        first.joined = [first.records] if PyBytes_CheckExact(first.records) else list(first.records)
    if PyBytes_CheckExact(new.records):
        first.joined.append(new.records)
    else:
        first.joined.extend(new.records)
    if new.status is not None:
        first.status = new.status
    # Whoever adds to a journal knows where it ends.
    if type(new.run) is not stand_in or (type(first.run) is stand_in and new.records):
        first.run = new.run
    if new.post is not None:
        first.post = new.post if first.post is None else merge_posts(first.post, new.post)
    return 0


cdef Write write_of(bytes key, Entry group):
    """The Write of all that happened to a run; its ledger moves on."""
    cdef Write write = Write.__new__(Write)
    cdef Ledger run = <Ledger>group.run  # ``join`` has looked
    write.run = key
    write.header = group.header
    write.alias = group.alias
    write.workflow = run.workflow_number
    write.old = run.indexed
    write.new = group.status
    write.row = row_of(group)
    if write.row is None:
        write.seq = 0
    else:
        write.seq = run.seq
        run.seq += 1
    if group.status is not None:
        run.indexed = group.status
    if group.post is None:
        write.messages = write.taken = ()
    else:
        write.messages, write.taken, write.timer, write.old_timer = group.post
    return write


cdef bytes row_of(Entry group):
    """The journal row; None if there is no record."""
    records = group.records if group.joined is None else group.joined
    if PyBytes_CheckExact(records):
        return behind(b"\x91", 1, <bytes>records)
    return array_of(records) if records else None


def pack_array(items):
    """Put encoded items side by side: the MessagePack array of them, such as a journal row of records."""
    return array_of(items)


cdef bytes array_of(items):
    cdef tuple parts = tuple(items)
    cdef bytes header = header_of(len(parts))
    cdef Py_ssize_t length = PyBytes_GET_SIZE(header)
    cdef bytes whole
    cdef char* place
    for part in parts:
        if not PyBytes_CheckExact(part):
            return header + b"".join(parts)  # which takes what else holds bytes, and refuses the rest
        length += PyBytes_GET_SIZE(part)
    whole = PyBytes_FromStringAndSize(NULL, length)
    place = put_bytes(PyBytes_AS_STRING(whole), header)
    for part in parts:
        place = put_bytes(place, <bytes>part)
    return whole


cdef inline char* put_bytes(char* place, bytes data) noexcept:
    memcpy(place, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return place + PyBytes_GET_SIZE(data)


def array_header(Py_ssize_t length):
    """The bytes that open a MessagePack array of so many items."""
    return header_of(length)


cdef bytes header_of(Py_ssize_t length):
    cdef char header[5]
    if length < 16:
        header[0] = <char>(0x90 | length)
        return header[:1]
    if length < 1 << 16:
        header[0] = <char>0xDC
        put_number(header + 1, length, 2)
        return header[:3]
    header[0] = <char>0xDD
    put_number(header + 1, length, 4)
    return header[:5]
