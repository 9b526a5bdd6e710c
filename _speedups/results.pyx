# cython: language_level=3, boundscheck=False, wraparound=False
"""What became of a parallel block's branches, as their outcomes come in.

The rules of a block's end (the first error, a quorum reached or out of reach) are here in one place, as
plain counting: an outcome costs two assignments and the block never looks through its branches again.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc

from durable_trio._values import Err, Ok

__all__ = ["Collector"]

cdef object new_tuple = tuple.__new__


@cython.final
@cython.freelist(64)
@cython.no_gc_clear  # a cycle goes through the list of values, which breaks it
cdef class Collector:
    """The outcomes of one parallel block's branches, and what follows from them for the block.

    Args:
        keys: the branches' result keys, in the order in which they are declared.
        need: how many Ok branches are enough; 0: all branches are waited for.
        fail_fast: whether an error (or, with ``need``, that it is out of reach) ends the block and fails it.

    Attributes:
        ok_count: branches that are Ok.
        error_count: branches that ended in any other way.
        left: branches without an outcome.
        first_error: the first branch, in time, that failed or timed out, or -1. One that was cancelled or
            never started is a consequence, and no error of its own.
    """

    def __cinit__(self, tuple keys not None, Py_ssize_t need=0, bint fail_fast=True):
        cdef Py_ssize_t i, count = len(keys)
        self._statuses = <signed char*>PyMem_Malloc(count or 1)
        if self._statuses == NULL:
            raise MemoryError
        for i in range(count):
            self._statuses[i] = LEFT
        self._keys = keys
        self._values = [None] * count
        self._need = need
        self._fail_fast = fail_fast
        self.ok_count = self.error_count = 0
        self.left = count
        self.first_error = -1

    def __dealloc__(self):
        PyMem_Free(self._statuses)

    def ok(self, Py_ssize_t index, value):
        """Branch ``index`` succeeded, with this data.

        Raises:
            RuntimeError: it has an outcome already.
        """
        self.is_ok(index, value)

    cdef int is_ok(self, Py_ssize_t index, object value) except -1:
        self.put(index, OK, value)
        self.ok_count += 1
        return 0

    def error(self, Py_ssize_t index, reason, int status=ERROR):
        """Branch ``index`` ended in another way, for this reason.

        Args:
            index: the branch.
            reason: why.
            status: ERROR (1), CANCELLED (2), TIMED_OUT (3) or NEVER_STARTED (4) of the journal's records.

        Raises:
            RuntimeError: it has an outcome already.
            ValueError: there is no such status.
        """
        if not ERROR <= status <= NEVER_STARTED:
            raise ValueError(f"{status} is the status of no error; it is one of {ERROR} to {NEVER_STARTED}")
        self.put(index, status, reason)
        self.error_count += 1
        if self.first_error < 0 and (status == ERROR or status == TIMED_OUT):
            self.first_error = index

    cdef int put(self, Py_ssize_t index, int status, object value) except -1:
        self.check(index)
        if self._statuses[index] != LEFT:
            raise RuntimeError(f"branch {self._keys[index]!r} has an outcome already")
        self._statuses[index] = status
        self._values[index] = value
        self.left -= 1
        return 0

    cdef int check(self, Py_ssize_t index) except -1:
        if not 0 <= index < len(self._keys):
            raise IndexError(f"the block has {len(self._keys)} branches, and none with index {index}")
        return 0

    def status(self, Py_ssize_t index):
        """The status code of branch ``index``, or -1 while it has no outcome."""
        self.check(index)
        return self._statuses[index]

    @property
    def is_settled(self):
        """Whether every branch has an outcome."""
        return self.left == 0

    @property
    def need_reached(self):
        """Whether as many branches are Ok as are needed; False if no number was set."""
        return self.has_need()

    @property
    def need_impossible(self):
        """Whether too few branches are Ok or left; False if no number was set."""
        return self.lacks_need()

    @property
    def must_stop(self):
        """Whether the block's fate is sealed, and what is left is to be cancelled."""
        return self.is_sealed()

    @property
    def has_failed(self):
        """Whether the block fails the run: never without ``fail_fast``."""
        return self.is_lost()

    cdef bint is_sealed(self) noexcept:
        return self.has_need() or self.is_lost()

    cdef bint has_need(self) noexcept:
        return self._need > 0 and self.ok_count >= self._need

    cdef bint lacks_need(self) noexcept:
        return self.ok_count + self.left < self._need

    cdef bint is_lost(self) noexcept:
        if not self._fail_fast:
            return False
        return self.lacks_need() if self._need > 0 else self.first_error >= 0

    def merge(self):
        """The tagged results by key, in the order in which the branches are declared.

        Raises:
            RuntimeError: a branch has no outcome yet.
        """
        cdef Py_ssize_t i
        cdef dict merged = {}
        if self.left:
            raise RuntimeError(f"{self.left} of {len(self._keys)} branches have no outcome yet")
        for i in range(len(self._keys)):
            if self._statuses[i] == OK:
                merged[self._keys[i]] = new_tuple(Ok, ("ok", self._values[i]))
            else:
                merged[self._keys[i]] = new_tuple(Err, ("error", self._values[i]))
        return merged
