"""From what a step returned to its outcome and the record that says so, where that is a plain success."""


@cython.final
@cython.auto_pickle(False)
cdef class Concluder:
    """Makes outcomes of what steps return.

    Args:
        codec: knows which values can be stored, and encodes records.
        done: the class of the record, ``Done``.
        outcome: the class ``Outcome``.
        codes: of ``OK``, of ``STEP``, and of the forms ``SAME``, ``DELTA``, ``REPLACED`` and ``VALUE``.
    """

    cdef dict user_types
    cdef object resolve, wire, encode, done, outcome, ok, step, same, delta, replaced, value

    def __init__(self, codec, done, outcome, tuple codes not None):
        self.user_types = codec.user_types
        self.resolve = codec.resolve
        self.wire = codec.wire
        self.encode = codec.encode
        self.done = done
        self.outcome = outcome
        self.ok, self.step, self.same, self.delta, self.replaced, self.value = codes

    def conclude(
        self,
        dict base not None,
        Context ctx not None,
        value,
        bint is_branch,
        str path not None,
        visit,
        attempt,
        started,
        duration,
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
        cdef Job job = freezing(self.user_types, self.resolve)
        cdef bint is_ok = type(value) is Ok and PyTuple_GET_SIZE(value) == 2
        cdef bint is_context
        cdef object form, new, data, removed = None
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
            record = self.done(
                path, visit, self.step, self.ok, attempt, started, duration, form, data, removed
            )
            return self.outcome(self.ok, new, self.encode(record), None, is_context)
        except Exception:
            return None  # the longer look says what it is
