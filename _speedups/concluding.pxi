"""From what a step returned to its outcome and the record that says so, where that is a plain success."""

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    DONE_TAG = 1
    DONE_FIELDS = 12  # of the array that a Done is: its tag and its fields
    MOST_OF_NUMBERS = 48  # bytes: five numbers of up to 5, two of 9

cdef bytes NIL = b"\xc0"  # what MessagePack makes of None


@cython.final
@cython.auto_pickle(False)
cdef class Concluder:
    """Makes outcomes of what steps return.

    Args:
        codec: knows which values can be stored, and encodes them.
        outcome: the class ``Outcome``.
        codes: of ``OK``, of ``STEP``, and of the forms ``SAME``, ``DELTA``, ``REPLACED`` and ``VALUE``.
    """

    cdef dict user_types
    cdef object resolve, wire, encode, outcome, ok_code
    cdef unsigned int ok, step, same, delta, replaced, value

    def __init__(self, codec, outcome, tuple codes not None):
        self.user_types = codec.user_types
        self.resolve = codec.resolve
        self.wire = codec.wire
        self.encode = codec.encode
        self.outcome = outcome
        self.ok, self.step, self.same, self.delta, self.replaced, self.value = codes
        self.ok_code = codes[0]

    def conclude(
        self,
        dict base not None,
        Context ctx not None,
        value,
        bint is_branch,
        str path not None,
        visit,
        attempt,
        double started,
        double duration,
    ):
        """The outcome of a step that returned this.

        Args:
            base: the frozen context that it was given.
            ctx: that context as it was handed out.
            value: what it returned.
            is_branch: whether it may leave any value, and not only a context.
            path, visit, attempt, started, duration: for the record.

        Returns:
            The outcome; or None if it takes a longer look: an ``Err``, a jump, a mapping that is no dict,
            anything that a step must not return or that cannot be stored.
        """
        cdef tuple success = self.plain_success(
            base, ctx, value, is_branch, path, visit, attempt, started, duration
        )
        return None if success is None else self.outcome_of(success)

    cdef object outcome_of(self, tuple success):
        """The outcome, of what ``plain_success`` gave."""
        new, record, is_context = success
        return self.outcome(self.ok_code, new, record, None, is_context)

    cdef tuple plain_success(
        self,
        dict base,
        Context ctx,
        object value,
        bint is_branch,
        str path,
        unsigned int visit,
        unsigned int attempt,
        double started,
        double duration,
    ):
        """What ``conclude`` makes an outcome of: what the step leaves, the record, whether that is a context.

        In a row, nobody needs an outcome: it would be made, asked and forgotten at each step.
        """
        cdef Job job = freezing(self.user_types, self.resolve)
        cdef bint is_ok = type(value) is Ok and PyTuple_GET_SIZE(value) == 2
        cdef bint is_context, was_replaced, special
        cdef unsigned int form
        cdef object new, data, removed = None
        if is_ok:
            value = <object>PyTuple_GET_ITEM(<PyObject*>value, 1)
        elif value is None:
            value = ctx
        is_context = type(value) is Context or (type(value) is dict and not is_branch)
        if not is_context and not (
            is_branch
            and (type(value) is dict or (is_ok and (type(value) is list or is_plain(<PyObject*>value))))
        ):
            return None
        try:
            if is_context:
                new, data, removed, was_replaced, special = settled(base, value, &job)
                form = self.same if new is base else self.replaced if was_replaced else self.delta
            else:
                new = data = copied(value, &job, 0)
                form = self.value
                special = job.special
            if special:
                data = self.wire(data)
            record = self.record_of(path, visit, attempt, started, duration, form, data, removed)
            return new, record, is_context
        except Exception:
            return None  # the longer look says what it is

    cdef bytes record_of(
        self,
        str path,
        unsigned int visit,
        unsigned int attempt,
        double started,
        double duration,
        unsigned int form,
        object data,
        object removed,
    ):
        """What ``encode`` makes of the step's ``Done``, without one being made for it."""
        cdef unsigned char front[7]
        cdef unsigned char numbers[MOST_OF_NUMBERS]
        cdef unsigned char* end
        cdef Py_ssize_t path_size, front_size, numbers_size
        cdef const char* path_text = PyUnicode_AsUTF8AndSize(path, &path_size)
        cdef bytes data_bytes = NIL if data is None else self.encode(data)
        cdef bytes removed_bytes = NIL if removed is None else self.encode(removed)
        cdef bytes record
        cdef char* at
        front[0] = 0x90 | DONE_FIELDS
        front[1] = DONE_TAG
        front_size = put_text_header(front + 2, path_size) - front
        end = put_uint(numbers, visit)
        end = put_uint(end, self.step)
        end = put_uint(end, self.ok)
        end = put_uint(end, attempt)
        end = put_double(end, started)
        end = put_double(end, duration)
        end = put_uint(end, form)
        numbers_size = end - numbers
        record = PyBytes_FromStringAndSize(
            NULL,
            front_size
            + path_size
            + numbers_size
            + PyBytes_GET_SIZE(data_bytes)
            + PyBytes_GET_SIZE(removed_bytes)
            + 1,
        )
        at = PyBytes_AS_STRING(record)
        at = put_bytes(at, front, front_size)
        at = put_bytes(at, path_text, path_size)
        at = put_bytes(at, numbers, numbers_size)
        at = put_bytes(at, PyBytes_AS_STRING(data_bytes), PyBytes_GET_SIZE(data_bytes))
        at = put_bytes(at, PyBytes_AS_STRING(removed_bytes), PyBytes_GET_SIZE(removed_bytes))
        at[0] = PyBytes_AS_STRING(NIL)[0]  # no jump
        return record


# -- MessagePack ---------------------------------------------------------------------------------------


cdef inline char* put_bytes(char* at, const void* source, Py_ssize_t size) noexcept:
    memcpy(at, source, size)
    return at + size


cdef inline unsigned char* put_big_endian(unsigned char* at, uint64_t number, int width) noexcept:
    cdef int i
    for i in range(width - 1, -1, -1):
        at[i] = <unsigned char>(number & 0xFF)
        number >>= 8
    return at + width


cdef unsigned char* put_uint(unsigned char* at, uint32_t number) noexcept:
    if number < 1 << 7:
        at[0] = <unsigned char>number
        return at + 1
    if number < 1 << 8:
        at[0] = 0xCC
        return put_big_endian(at + 1, number, 1)
    if number < 1 << 16:
        at[0] = 0xCD
        return put_big_endian(at + 1, number, 2)
    at[0] = 0xCE
    return put_big_endian(at + 1, number, 4)


cdef unsigned char* put_double(unsigned char* at, double number) noexcept:
    cdef uint64_t bits
    memcpy(&bits, &number, 8)
    at[0] = 0xCB
    return put_big_endian(at + 1, bits, 8)


cdef unsigned char* put_text_header(unsigned char* at, Py_ssize_t size) noexcept:
    if size < 1 << 5:
        at[0] = <unsigned char>(0xA0 | size)
        return at + 1
    if size < 1 << 8:
        at[0] = 0xD9
        return put_big_endian(at + 1, size, 1)
    if size < 1 << 16:
        at[0] = 0xDA
        return put_big_endian(at + 1, size, 2)
    at[0] = 0xDB
    return put_big_endian(at + 1, size, 4)
