# What other compiled modules use of _speedups/results.pyx.


# The codes of durable_trio/_snapshot/records.py, which is a room further up.
cdef enum:
    LEFT = -1
    OK = 0
    ERROR = 1
    CANCELLED = 2
    TIMED_OUT = 3
    NEVER_STARTED = 4


cdef class Collector:
    cdef tuple _keys
    cdef list _values
    cdef signed char* _statuses
    cdef Py_ssize_t _need
    cdef bint _fail_fast
    cdef readonly Py_ssize_t ok_count, error_count, left, first_error

    cdef int put(self, Py_ssize_t index, int status, object value) except -1
    cdef int check(self, Py_ssize_t index) except -1
    cdef int is_ok(self, Py_ssize_t index, object value) except -1
    cdef bint has_need(self) noexcept
    cdef bint lacks_need(self) noexcept
    cdef bint is_lost(self) noexcept
    cdef bint is_sealed(self) noexcept
