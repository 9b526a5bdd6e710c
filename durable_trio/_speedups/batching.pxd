# What other compiled modules use of _speedups/batching.pyx.


cdef class Ledger:
    cdef public object key, workflow_number, indexed
    cdef public long long seq


cdef class Intake:
    cdef public object append, bell, failure, flusher
    cdef public bint holds_off, closed

    cdef int puts(self, Ledger run, bytes record) except -1
    cdef bint takes(self, Ledger run, bytes record, object task) except -1
    cdef int rung(self) except -1
