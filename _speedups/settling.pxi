"""From what a step returned to the next frozen base: ``settle``, and ``apply_delta``, which repeats it.

Only what a step can have changed is looked at: the overlay of its own context, or the values of a dict that
are not the base's. What is the same as before is shared with the base and not written again.
"""


cdef dict applied(dict base, dict changed, object removed):
    """The one place that says what a delta means; gives the base itself if there is nothing to do."""
    cdef dict new
    if not changed and not removed:
        return base
    new = PyDict_Copy(base)
    if removed:
        for key in removed:
            new.pop(key, None)
    if changed:
        PyDict_Update(new, changed)
    return new


def apply_delta(dict base not None, dict changed, removed, bint replaced):
    """The frozen context that follows from a base and what ``settle`` said of the step.

    Args:
        base: the frozen context before the step.
        changed: the keys that changed, frozen, or None.
        removed: the keys that went, or None. One that is in ``changed`` too moves to the end.
        replaced: whether ``changed`` is the whole of it.
    """
    if replaced:
        return {} if changed is None else changed
    return applied(base, changed, removed)


def settle(dict base not None, value, dict user_types not None, resolve, str where not None="ctx"):
    """Make of a returned mapping the next frozen base, and say what of it the journal has to write.

    Args:
        base: the frozen dict that the step's context lay over.
        value: what the step returned: its context, one made from it, or any other mapping.
        user_types: see ``freeze``.
        resolve: see ``freeze``.
        where: what the mapping is called in messages.

    Returns:
        ``(new_base, changed, removed, replaced, special)``: the next base, which is ``base`` itself if
        nothing changed; the keys that changed, frozen, or None; the keys that went, or None; whether
        ``changed`` is the whole of it; whether ``changed`` is special. ``apply_delta`` makes the same of
        ``base`` and the rest.

    Raises:
        SnapshotError: something in it cannot be stored, or a key is no str.
    """
    cdef Job job = freezing(user_types, resolve)
    try:
        return settled(base, value, &job)
    except Exception as error:
        raise as_snapshot_error(error, where)


cdef tuple settled(dict base, object value, Job* job):
    """What ``settle`` returns."""
    if Py_TYPE(<PyObject*>value) != CONTEXT_TYPE:
        return settled_mapping(base, as_dict(value), job)
    if (<Context>value)._base is base:
        return settled_overlay(<Context>value, job)
    return settled_mapping(base, (<Context>value).raw(), job)


cdef dict as_dict(object value):
    """A private dict of a mapping's items, so that nothing can change it while it is frozen."""
    if type(value) is dict:
        return PyDict_Copy(<dict>value)
    if isinstance(value, Mapping):
        return dict(value)
    raise refusal.refused_no_mapping(value)


cdef tuple settled_overlay(Context context, Job* job):
    """Of a context over this very base: only what was handed out or set can differ."""
    cdef dict base = context._base, overlay = context._overlay, changed = {}
    cdef set gone = context._removed
    cdef list removed = None
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    if gone:
        removed = [name for name in base if name in gone]
    if overlay is not None:
        overlay = PyDict_Copy(overlay)
        while PyDict_Next(overlay, &position, &key, &value):
            # A key that was removed and set again has moved to the end: it counts as new.
            settle_item(changed, <object>key, <object>value, base, gone, job)
    if not changed and not removed:
        return base, None, None, False, False
    return applied(base, changed, removed), changed or None, removed, False, bool(job.special)


cdef tuple settled_mapping(dict base, dict given, Job* job):
    """Of any other mapping, as a dict that nobody else changes."""
    cdef bint extends = begins_with(given, base)
    cdef dict changed = {}
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    while PyDict_Next(given, &position, &key, &value):
        settle_item(changed, <object>key, <object>value, base if extends else NOTHING, None, job)
    if not extends:
        return changed, changed, None, True, bool(job.special)
    if not changed:
        return base, None, None, False, False
    return applied(base, changed, None), changed, None, False, bool(job.special)


cdef int settle_item(dict changed, object key, object value, dict base, set gone, Job* job) except -1:
    """Freeze one item into ``changed``, unless it is what the base has under that key."""
    cdef PyObject* old
    if type(key) is not str:
        refused = refusal.refused_key(key)
        refused.add(ITEM, key)
        raise refused
    old = PyDict_GetItemWithError(base, key)
    try:
        if old != NULL and is_same(value, <object>old, 1) and (gone is None or key not in gone):
            return 0
        is_atom(<PyObject*>key, job)
        PyDict_SetItem(changed, key, copied(value, job, 1))
    except BaseException as error:
        raise on_the_way_out(error, job, ITEM, key)
    return 0


cdef bint begins_with(dict given, dict base) except -1:
    """Whether the first keys of one are the keys of the other, in its order."""
    cdef Py_ssize_t position = 0, base_position = 0
    cdef PyObject* key
    cdef PyObject* base_key
    if PyDict_Size(given) < PyDict_Size(base):
        return False
    while PyDict_Next(base, &base_position, &base_key, NULL):
        PyDict_Next(given, &position, &key, NULL)
        if key == base_key:
            continue
        if Py_TYPE(key) != &PyUnicode_Type or <str>key != <str>base_key:
            return False
    return True
