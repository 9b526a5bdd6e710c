# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False
"""From what was handed to the committer to what goes into a transaction; the writer thread's share of a step.

``gather`` takes the committer's queue and makes one ``Write`` per run of it, as the run's ``Ledger`` says
(gathering.pxi). ``check_writes`` refuses a batch that no store could take; ``Changes`` checks it too, and
sorts it into tables of keys and sealed values, as LMDB takes them (sealing.pxi).

The writer thread shares the GIL with the Trio thread, so whatever it computes, a step waits for. What is here
is therefore written for few instructions, and knows nothing but keys, numbers and bytes. It holds the
GIL throughout, but for zlib's checksum of long payloads, and while ``identity_of`` waits for the file system.
It trusts no value: the attributes of a Write are changed from outside, so each key is measured and each
number converted where it is packed, checked or not.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.dict cimport PyDict_GetItemWithError
from cpython.exc cimport PyErr_Clear, PyErr_Occurred, PyErr_SetFromErrno
from cpython.long cimport PyLong_Check
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from zlib import crc32

from durable_trio._errors import InputError

cdef extern from "Python.h":
    # Declared without its exception, which is looked for, and dropped, where it is called.
    unsigned long long PyLong_AsUnsignedLongLong(object number) noexcept

__all__ = [
    "MAX_WORKFLOW",
    "RUN_KEY_LENGTH",
    "Answer",
    "Changes",
    "Entry",
    "Intake",
    "Ledger",
    "Write",
    "array_header",
    "check_key",
    "check_writes",
    "fits",
    "gather",
    "identity_of",
    "index_key",
    "pack_array",
    "seal",
    "timer_key",
    "unsealed",
    "wake",
]

cdef enum:
    RUN_LENGTH = 16
    KEY_LENGTH = 511  # LMDB's; every store keeps to it, so that data can be moved between stores
    HIGHEST_WORKFLOW = 0xFFFF
    HIGHEST_STATUS = 0xFF
    SEAL = 1  # the version byte
    SEAL_LENGTH = 5
    LONG = 2048  # bytes

cdef uint64_t HIGHEST_SEQ = 0xFFFF_FFFF
cdef uint64_t HIGHEST_MESSAGE = 0xFFFF_FFFF_FFFF_FFFF
cdef uint64_t HIGHEST_INSTANT = 0x7FFF_FFFF_FFFF_FFFF  # milliseconds since the epoch, in 8 bytes

cdef tuple NOTHING = ()

RUN_KEY_LENGTH = RUN_LENGTH
MAX_WORKFLOW = HIGHEST_WORKFLOW


@cython.final
@cython.freelist(256)
@cython.no_gc  # thousands in a batch, which no cycle goes through: messages and taken hold numbers and bytes
cdef class Write:
    """All that one commit does to one run.

    Attributes:
        run: the run's key, 16 bytes that sort by the time of its start (a UUIDv7).
        header: the header of a new run. The key must be unused.
        alias: the id that a user chose for a new run, 1 to 511 bytes of UTF-8. It must be unused. For a
            ``delete``, the alias that goes too (one that names another run by now stays).
        seq: the number of ``row`` in the run's journal, from 0. It must be unused.
        row: one journal row.
        workflow: the number of the run's workflow; needed with ``header``, ``new`` and ``delete``.
        old: the status byte under which the run is indexed now; None: not yet.
        new: the status byte from now on; None: as it is.
        messages: (number, payload) to put into the run's mailbox. A number must be unused.
        taken: the numbers of messages that leave the mailbox; one that is not there is passed over.
        timer: milliseconds since the epoch at which the run is due.
        old_timer: a timer of the run that goes; one that is not there is passed over.
        delete: forget the run: header, journal, mailbox, ``alias``, its index entry under ``old``, and the
            timer ``old_timer``.
            What is already gone is passed over. Nothing else of this Write is looked at.
    """

    cdef public bytes run, header, alias, row
    cdef public object seq, workflow, old, new, messages, taken, timer, old_timer
    cdef public bint delete

    def __init__(
        self,
        bytes run not None,
        bytes header=None,
        bytes alias=None,
        seq=0,
        bytes row=None,
        workflow=0,
        old=None,
        new=None,
        bint delete=False,
        messages=(),
        taken=(),
        timer=None,
        old_timer=None,
    ):
        self.run = run
        self.header = header
        self.alias = alias
        self.seq = seq
        self.row = row
        self.workflow = workflow
        self.old = old
        self.new = new
        self.delete = delete
        self.messages = messages
        self.taken = taken
        self.timer = timer
        self.old_timer = old_timer


@cython.final
@cython.no_gc
cdef class Answer:
    """The end of a request that another process has left; see ``_store/requests.py``.

    Attributes:
        request: its key; it goes, if it is still there.
        reply: what whoever left it is told, unless the request is gone. None: nobody is told anything, and
            what was said goes too.
    """

    cdef public bytes request, reply

    def __init__(self, bytes request not None, bytes reply):
        self.request = request
        self.reply = reply


def check_writes(writes):
    """Refuse a batch that no store could take, before anything is written.

    Raises:
        InputError: says which Write does not fit, and why.
    """
    cdef set runs = set()
    cdef set aliases = set()
    for write in writes:
        check_write(write, runs, aliases)


cdef int check_write(Write write, set runs, set aliases) except -1:
    """Refuse one, and what was in the batch already."""
    cdef bytes run, alias
    cdef bint is_new
    cdef Py_ssize_t known
    if write is None or write.run is None:
        raise TypeError("a batch consists of Writes, and each is about a run")
    run, alias = write.run, write.alias
    if PyBytes_GET_SIZE(run) != RUN_LENGTH:
        raise InputError(f"a run key has {RUN_LENGTH} bytes, not {len(run)}: {run!r}")
    known = len(runs)
    runs.add(run)
    if len(runs) == known:
        raise InputError(f"run {run.hex()} is twice in one batch: merge its writes into one")
    check_numbers(write, run)
    if write.delete:
        return 0
    is_new = write.header is not None
    if is_new != (write.new is not None and write.old is None) or (alias is not None and not is_new):
        raise InputError(
            f"run {run.hex()}: a new run has a header and a `new` status and no `old` one; any other run "
            "has no header and no alias, and changes its status from `old` to `new`"
        )
    if alias is not None:
        check_key(alias, "an alias")
        if alias in aliases:
            raise InputError(f"alias {alias!r} is twice in one batch")
        aliases.add(alias)
    return 0


cdef int check_numbers(Write write, bytes run) except -1:
    if not is_within(write.seq, HIGHEST_SEQ):
        raise InputError(f"row number {write.seq} of run {run.hex()} is not between 0 and {HIGHEST_SEQ}")
    if not is_within(write.workflow, HIGHEST_WORKFLOW):
        raise InputError(f"workflow number {write.workflow} is not between 0 and {HIGHEST_WORKFLOW}")
    if write.old is not None:
        check_status(write.old, run)
    if write.new is not None:
        check_status(write.new, run)
    if write.timer is not None:
        check_timer(write.timer, run)
    if write.old_timer is not None:
        check_timer(write.old_timer, run)
    if has_messages(write):
        check_messages(write, run)
    return 0


cdef inline bint has_messages(Write write) except -1:
    # Mostly, both are the one empty tuple that there is, which need not be asked.
    if write.messages is NOTHING and write.taken is NOTHING:
        return False
    return bool(write.messages) or bool(write.taken)


cdef int check_status(status, bytes run) except -1:
    if not is_within(status, HIGHEST_STATUS):
        raise InputError(f"status {status} of run {run.hex()} is not one byte")
    return 0


cdef int check_timer(due, bytes run) except -1:
    if not is_within(due, HIGHEST_INSTANT):
        raise InputError(
            f"a timer of run {run.hex()} is due {due} ms after 1970: give 0 to {HIGHEST_INSTANT}"
        )
    return 0


cdef int check_messages(Write write, bytes run) except -1:
    cdef list numbers = [number for number, _ in write.messages]
    for number in (*numbers, *write.taken):
        if not is_within(number, HIGHEST_MESSAGE):
            raise InputError(
                f"message number {number} of run {run.hex()} is not between 0 and {HIGHEST_MESSAGE}"
            )
    if len(set(numbers)) != len(numbers):
        raise InputError(f"run {run.hex()} is sent two messages with one number: {sorted(numbers)}")
    return 0


cdef bint is_within(number, uint64_t highest) except -1:
    """Whether an int is between 0 and ``highest``."""
    cdef uint64_t value
    if not PyLong_Check(number):
        raise TypeError(f"a number of a Write is an int, not {type(number).__name__}")
    value = PyLong_AsUnsignedLongLong(number)
    if value == HIGHEST_MESSAGE and PyErr_Occurred() != NULL:
        PyErr_Clear()  # it is negative, or has more than 64 bits
        return False
    return value <= highest


def check_key(bytes key not None, what):
    """Refuse what cannot be a key: nothing at all, or more than 511 bytes."""
    if not 0 < PyBytes_GET_SIZE(key) <= KEY_LENGTH:
        raise InputError(
            f"{what} has 1 to {KEY_LENGTH} bytes, not {len(key)}"
            + (f": {key[:40]!r}…" if key else "")
            + "; use a shorter one, or a hash of it"
        )


include "sealing.pxi"


@cython.final
cdef class Changes:
    """What a batch of writes changes, table by table: pairs of key and sealed value, or keys, each sorted.

    Args:
        writes: a sequence of Write.

    Attributes:
        deletions: the writes that delete their run, which are in nothing else here.
        runs, rows, aliases, entered, messages, timers: pairs to put; ``entered`` into the index.
        left, taken, stopped: keys to delete: from the index, of messages, of timers.
        moves: by (workflow, status), how many runs more or less there are.

    Raises:
        InputError: no store could take the batch; as ``check_writes``.
    """

    cdef readonly list deletions, runs, rows, aliases, entered, messages, timers, left, taken, stopped
    cdef dict _moves  # as ``moves``, by the range of the index

    def __init__(self, writes):
        cdef set runs = set()
        cdef set aliases = set()
        cdef list table
        self.deletions = []
        self.runs, self.rows, self.aliases = [], [], []
        self.entered, self.messages, self.timers = [], [], []
        self.left, self.taken, self.stopped = [], [], []
        self._moves = {}
        for write in writes:
            check_write(write, runs, aliases)
            if (<Write>write).delete:
                self.deletions.append(write)
            else:
                self.add(write)
        for table in (self.runs, self.rows, self.aliases, self.entered, self.messages, self.timers):
            # Mostly they are, as the writes are. To find that out, sorting takes five times as long.
            if not is_in_order(table):
                table.sort()
        for table in (self.left, self.taken, self.stopped):
            table.sort()

    @property
    def moves(self):
        return {(range_ >> 8, range_ & 0xFF): by for range_, by in self._moves.items()}

    cdef int add(self, Write write) except -1:
        cdef bytes key, run = write.run
        if write.header is not None:
            self.runs.append((run, sealed(run, number_and_header(write.workflow, write.header))))
        if write.alias is not None:
            self.aliases.append((write.alias, sealed(write.alias, run)))
        if write.row is not None:
            key = run_and_number(run, write.seq, 4)
            self.rows.append((key, sealed(key, write.row)))
        if has_messages(write):
            self.add_messages(write, run)
        if write.old_timer is not None and write.old_timer != write.timer:
            self.stopped.append(number_and_run(write.old_timer, 8, run))
        if write.timer is not None:
            key = number_and_run(write.timer, 8, run)
            self.timers.append((key, sealed(key, b"")))
        if write.new is not None:
            self.add_status(write, run)
        return 0

    cdef int add_status(self, Write write, bytes run) except -1:
        cdef bytes key
        cdef uint64_t left = 0
        cdef uint64_t entered = index_range(write.workflow, write.new)
        cdef bint is_indexed = write.old is not None
        if is_indexed:
            left = index_range(write.workflow, write.old)
            if left == entered:
                return 0
        key = number_and_run(entered, 3, run)
        self.entered.append((key, sealed(key, b"")))
        self.move(entered, 1)
        if is_indexed:
            self.left.append(number_and_run(left, 3, run))
            self.move(left, -1)
        return 0

    cdef int add_messages(self, Write write, bytes run) except -1:
        cdef bytes key
        cdef list messages = list(write.messages)
        cdef list taken = list(write.taken)
        # A message that comes and is taken in one batch never reaches the table.
        cdef set passing = {number for number, _ in messages}.intersection(taken)
        for number, payload in messages:
            if number not in passing:
                key = run_and_number(run, number, 8)
                self.messages.append((key, sealed(key, <bytes?>payload)))
        self.taken += [run_and_number(run, number, 8) for number in taken if number not in passing]
        return 0

    cdef int move(self, uint64_t range_, int by) except -1:
        cdef object key = range_
        found = PyDict_GetItemWithError(self._moves, key)
        self._moves[key] = by if found == NULL else <long>(<object>found) + by
        return 0


cdef bint is_in_order(list pairs) except -1:
    """Whether the keys of pairs of keys and values ascend."""
    cdef bytes key, before = b""
    cdef Py_ssize_t length, length_before
    cdef int comparison
    for pair in pairs:
        key = <bytes>(<tuple>pair)[0]
        length, length_before = PyBytes_GET_SIZE(key), PyBytes_GET_SIZE(before)
        comparison = memcmp(PyBytes_AS_STRING(before), PyBytes_AS_STRING(key), min(length, length_before))
        if comparison > 0 or (comparison == 0 and length < length_before):
            return False
        before = key
    return True


include "gathering.pxi"


cdef extern from *:
    """
    #include <fcntl.h>
    #include <sys/stat.h>
    #ifdef STATX_INO
    #include <sys/sysmacros.h>
    #endif

    static int read_identity(const char *path, unsigned long long *device, unsigned long long *inode)
    {
        struct stat found;
    #ifdef STATX_INO
        struct statx asked;
        if (statx(AT_FDCWD, path, 0, STATX_INO, &asked) == 0) {
            *device = makedev(asked.stx_dev_major, asked.stx_dev_minor);
            *inode = asked.stx_ino;
            return 0;
        }
        /* Some sandboxes refuse statx; and what is not there, stat does not find either. */
    #endif
        if (stat(path, &found) != 0)
            return -1;
        *device = found.st_dev;
        *inode = found.st_ino;
        return 0;
    }
    """
    int read_identity(const char* path, unsigned long long* device, unsigned long long* inode) noexcept nogil


def identity_of(bytes path not None):
    """Device and inode of a file, and nothing else.

    Where a file system keeps fine-grained times (Linux from 6.13 on), it gives a file a new time at the next
    write behind each ``stat``, which asks for it: 40 µs of a commit.

    Raises:
        OSError: it cannot be found.
    """
    cdef const char* name = path
    cdef unsigned long long device, inode
    cdef int failed
    with nogil:
        failed = read_identity(name, &device, &inode)
    if failed:
        PyErr_SetFromErrno(OSError)
    return device, inode
