"""Deep copies: into a frozen value (``freeze``, which validates) and out of one (``thaw``).

One walk serves both. Immutable values are shared. A list or dict is copied as a whole first, in C and
without running anybody's code, and then what it holds is replaced where it must be: so a container of
scalars costs one allocation and one scan, and what another thread or a key's ``__eq__`` does to the
original meanwhile is not noticed. There is no memo: what is referenced twice becomes two, as it would in
storage. The price of that is paid by values that refer to one part along exponentially many ways.

A struct without keys is all the state (``Job``); a refusal travels as ``refusal.Refused``.
"""

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    PyTypeObject* Py_TYPE(PyObject* o)
    PyObject* Py_None
    PyTypeObject PyUnicode_Type, PyLong_Type, PyBool_Type, PyFloat_Type, PyBytes_Type
    PyTypeObject PyDict_Type, PyList_Type, PyTuple_Type, PySet_Type, PyFrozenSet_Type
    int PyType_IsSubtype(PyTypeObject* a, PyTypeObject* b)
    int PyUnicode_KIND(PyObject* o)
    void* PyUnicode_DATA(PyObject* o)
    Py_ssize_t PyUnicode_GET_LENGTH(PyObject* o)
    long long PyLong_AsLongLongAndOverflow(PyObject* o, int* overflow) noexcept
    unsigned long long PyLong_AsUnsignedLongLong(PyObject* o) noexcept
    PyObject* PyErr_Occurred() noexcept
    void PyErr_Clear() noexcept
    PyObject* PyList_GET_ITEM(PyObject* o, Py_ssize_t i)
    PyObject* PyTuple_GET_ITEM(PyObject* o, Py_ssize_t i)
    object PyObject_GenericGetDict(object o, void* context)

# Of a frozen value: containers in containers. A reader of stored values recurses too, on a smaller stack.
cdef enum:
    FREEZE_DEPTH = 100
    # What was frozen may have been put into a block's results, a few levels further down.
    THAW_DEPTH = 400
    HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class statement made it
MAX_DEPTH = FREEZE_DEPTH

# Borrowed for as long as the module lives, which its global names see to.
cdef PyTypeObject* OK_TYPE = <PyTypeObject*>Ok
cdef PyTypeObject* ERR_TYPE = <PyTypeObject*>Err
cdef PyTypeObject* FAILURE_TYPE = <PyTypeObject*>Failure
cdef PyTypeObject* DATETIME_TYPE = <PyTypeObject*>datetime
cdef PyTypeObject* DATE_TYPE = <PyTypeObject*>date
cdef PyTypeObject* TIME_TYPE = <PyTypeObject*>time
cdef PyTypeObject* TIMEDELTA_TYPE = <PyTypeObject*>timedelta
cdef PyTypeObject* TIMEZONE_TYPE = <PyTypeObject*>timezone
cdef PyTypeObject* ZONE_INFO_TYPE = <PyTypeObject*>ZoneInfo
cdef PyTypeObject* DECIMAL_TYPE = <PyTypeObject*>Decimal
cdef PyTypeObject* UUID_TYPE = <PyTypeObject*>UUID
cdef PyTypeObject* ENUM_META = <PyTypeObject*>EnumMeta
cdef object struct_meta = type(msgspec.Struct)
cdef PyTypeObject* STRUCT_META = <PyTypeObject*>struct_meta

cdef object copy_struct = msgspec.Struct.__copy__
cdef object set_struct_field = msgspec.structs.force_setattr
cdef object new_object = object.__new__
cdef object new_tuple = tuple.__new__


cdef struct Job:
    PyObject* user_types  # a dict; NULL where a frozen value is copied, which needs no validation
    PyObject* resolve
    int max_depth
    bint special


cdef int ITEM = refusal.ITEM
cdef int ATTRIBUTE = refusal.ATTRIBUTE
cdef int ELEMENT = refusal.ELEMENT
cdef int KEY = refusal.KEY


# -- what needs no copy ------------------------------------------------------------------------------


cdef bint has_surrogates(PyObject* text) noexcept:
    """Whether a string has lone surrogates, which UTF-8 cannot carry. Allocates nothing."""
    cdef Py_ssize_t i, length = PyUnicode_GET_LENGTH(text)
    cdef int kind = PyUnicode_KIND(text)
    if kind == 2:
        for i in range(length):
            if ((<uint16_t*>PyUnicode_DATA(text))[i] & 0xF800) == 0xD800:
                return True
    elif kind == 4:
        for i in range(length):
            if ((<uint32_t*>PyUnicode_DATA(text))[i] & 0xFFFFF800) == 0xD800:
                return True
    return False


cdef bint is_beyond_64_bits(PyObject* number) noexcept:
    cdef int overflow = 0
    PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow <= 0:
        return overflow < 0
    PyLong_AsUnsignedLongLong(number)
    if PyErr_Occurred() == NULL:
        return False
    PyErr_Clear()
    return True


cdef inline bint is_plain(PyObject* value) noexcept:
    """Whether it is one of the immutable values that most data is made of.

    Looking one up in a dict that has only such keys runs nobody's code.
    """
    cdef PyTypeObject* kind = Py_TYPE(value)
    return (
        kind == &PyUnicode_Type
        or kind == &PyLong_Type
        or value == Py_None
        or kind == &PyBool_Type
        or kind == &PyFloat_Type
        or kind == &PyBytes_Type
    )


cdef inline bint is_atom(PyObject* value, Job* job) noexcept:
    """Whether a value is plain; notes if MessagePack cannot carry it as it is."""
    if not is_plain(value):
        return False
    if job.user_types != NULL and not job.special:
        if Py_TYPE(value) == &PyUnicode_Type:
            job.special = has_surrogates(value)
        elif Py_TYPE(value) == &PyLong_Type:
            job.special = is_beyond_64_bits(value)
    return True


# -- the walk ----------------------------------------------------------------------------------------


cdef object copied(object value, Job* job, int depth):
    """A deep copy of a value that lies inside so many containers."""
    cdef PyTypeObject* kind = Py_TYPE(<PyObject*>value)
    if is_atom(<PyObject*>value, job):
        return value
    if kind == &PyDict_Type:
        return copied_dict(<dict>value, job, depth)
    if kind == &PyList_Type:
        return copied_list(<list>value, job, depth)
    if kind == CONTEXT_TYPE and job.user_types != NULL:
        return copied_dict((<Context>value).raw(), job, depth)
    job.special = True
    if kind == &PyTuple_Type:
        return copied_tuple(<tuple>value, job, depth)
    if kind == OK_TYPE or kind == ERR_TYPE:
        return copied_result(<tuple>value, job, depth)
    if kind == DATETIME_TYPE or kind == TIME_TYPE:
        if job.user_types != NULL and not is_storable_zone(value.tzinfo):
            raise refusal.refused_zone(value)
        return value
    if kind == DECIMAL_TYPE or kind == UUID_TYPE or kind == DATE_TYPE or kind == TIMEDELTA_TYPE:
        return value
    if kind == &PySet_Type or kind == &PyFrozenSet_Type:
        return copied_set(value, job, depth)
    if kind == FAILURE_TYPE:
        return copied_instance(value, Failure.__struct_fields__, job, depth)
    return copied_user(value, job, depth)


cdef object copied_dict(dict value, Job* job, int depth):
    cdef dict copy
    cdef Py_ssize_t position = 0
    cdef PyObject* key_ref
    cdef PyObject* value_ref
    cdef bint all_atoms = True, builtin_hashes = True
    cdef object key = None, old, new
    if depth >= job.max_depth:
        raise too_deep(value, job)
    copy = PyDict_Copy(value)
    while PyDict_Next(copy, &position, &key_ref, &value_ref):
        if Py_TYPE(key_ref) != &PyUnicode_Type:
            job.special = True
            if not is_plain(key_ref):
                builtin_hashes = False
        is_atom(key_ref, job)
        if not is_atom(value_ref, job):
            all_atoms = False
    if not builtin_hashes:
        return rebuilt_dict(copy, job, depth)
    if all_atoms:
        return copy
    position = 0
    try:
        # Replacing the value of a key that is there does not disturb this, and nobody else has the copy.
        while PyDict_Next(copy, &position, &key_ref, &value_ref):
            if is_atom(value_ref, job):
                continue
            key = <object>key_ref
            old = <object>value_ref
            new = copied(old, job, depth + 1)
            if new is not old:
                PyDict_SetItem(copy, key, new)
    except BaseException as error:
        raise on_the_way_out(error, job, ITEM, key)
    return copy


cdef object rebuilt_dict(dict source, Job* job, int depth):
    """As copied_dict, for keys whose hash or __eq__ may run the user's code."""
    cdef dict result = {}
    cdef object key = None
    cdef int how = KEY
    try:
        for key, value in list(source.items()):
            how = KEY
            new_key = copied(key, job, depth + 1)
            how = ITEM
            result[new_key] = copied(value, job, depth + 1)
    except BaseException as error:
        raise on_the_way_out(error, job, how, key)
    if len(result) != len(source):
        raise refusal.refused_merge(source)
    return result


cdef object copied_list(list value, Job* job, int depth):
    cdef list copy
    cdef Py_ssize_t i = 0
    cdef object old, new
    if depth >= job.max_depth:
        raise too_deep(value, job)
    copy = PyList_GetSlice(value, 0, PY_SSIZE_T_MAX)
    while i < PyList_GET_SIZE(copy) and is_atom(PyList_GET_ITEM(<PyObject*>copy, i), job):
        i += 1
    if i == PyList_GET_SIZE(copy):
        return copy
    try:
        while i < PyList_GET_SIZE(copy):
            if not is_atom(PyList_GET_ITEM(<PyObject*>copy, i), job):
                old = <object>PyList_GET_ITEM(<PyObject*>copy, i)
                new = copied(old, job, depth + 1)
                if new is not old:
                    Py_INCREF(new)  # PyList_SetItem takes a reference over
                    PyList_SetItem(copy, i, new)
            i += 1
    except BaseException as error:
        raise on_the_way_out(error, job, ITEM, i)
    return copy


cdef object copied_tuple(tuple value, Job* job, int depth):
    cdef list items = None
    cdef Py_ssize_t i = 0
    cdef object old, new
    if depth >= job.max_depth:
        raise too_deep(value, job)
    try:
        while i < PyTuple_GET_SIZE(value):
            if not is_atom(PyTuple_GET_ITEM(<PyObject*>value, i), job):
                old = <object>PyTuple_GET_ITEM(<PyObject*>value, i)
                new = copied(old, job, depth + 1)
                if new is not old:
                    if items is None:
                        items = list(value)
                    items[i] = new
            i += 1
    except BaseException as error:
        raise on_the_way_out(error, job, ITEM, i)
    return value if items is None else tuple(items)


cdef object copied_set(object value, Job* job, int depth):
    """Of a set or frozenset. Copying a set whole reuses the stored hashes, and compares nothing."""
    cdef bint is_set = Py_TYPE(<PyObject*>value) == &PySet_Type
    cdef bint unchanged = True
    cdef object copy = set(value) if is_set else value
    cdef object old, new
    cdef list items = []
    if depth >= job.max_depth:
        raise too_deep(value, job)
    try:
        for old in list(copy):
            new = copied(old, job, depth + 1)
            unchanged = unchanged and new is old
            items.append(new)
        if not unchanged:
            copy = set(items) if is_set else frozenset(items)
    except BaseException as error:
        raise on_the_way_out(error, job, ELEMENT, None)
    if len(copy) != len(items):
        raise refusal.refused_merge(value)
    return copy


cdef object copied_result(tuple value, Job* job, int depth):
    """Of an Ok or an Err. An Err has attributes, so that it is never shared, and drops them."""
    cdef bint is_ok = Py_TYPE(<PyObject*>value) == OK_TYPE
    cdef object old, new
    if depth >= job.max_depth:
        raise too_deep(value, job)
    if PyTuple_GET_SIZE(value) != 2:
        raise TypeError(f"{type(value).__name__} holds one value")
    old = <object>PyTuple_GET_ITEM(<PyObject*>value, 1)
    try:
        new = copied(old, job, depth + 1)
    except BaseException as error:
        raise on_the_way_out(error, job, ATTRIBUTE, "value" if is_ok else "reason")
    if not is_ok:
        return new_tuple(Err, ("error", new))
    return value if new is old else new_tuple(Ok, ("ok", new))


cdef object copied_user(object value, Job* job, int depth):
    """Of an enum's member, a Struct or a dataclass; anything else is refused."""
    cdef type kind = type(value)
    cdef PyObject* known
    cdef object fields
    if job.user_types == NULL:
        layout = layout_of(kind)
        if layout is None:
            raise TypeError(f"a {refusal.type_name(kind)} is no part of a frozen value")
        fields = (<Layout>layout).fields
    else:
        known = PyDict_GetItemWithError(<object>job.user_types, kind)
        if known != NULL:
            fields = <object>known
        else:
            try:
                fields = (<object>job.resolve)(kind)
            except SnapshotError as error:
                raise refusal.refused_by(error, kind)
            if fields is NotImplemented:
                raise refusal.refused_type(value)
    return value if fields is None else copied_instance(value, fields, job, depth)


cdef object copied_instance(object value, tuple fields, Job* job, int depth):
    """Of a Struct or a dataclass, field by field: no ``__init__`` or ``__post_init__`` runs."""
    cdef object known_layout = layout_of(type(value))
    cdef Layout layout
    cdef object source = value, copy = None, old, new, stray
    cdef object name = None
    if depth >= job.max_depth:
        raise too_deep(value, job)
    if known_layout is None or (<Layout>known_layout).fields is None:
        raise refusal.refused_type(value)
    layout = <Layout>known_layout
    if job.user_types != NULL:
        stray = stray_attribute(value, layout)
        if stray is not None:
            raise refusal.refused_stray(value, stray)
    try:
        if not layout.is_struct:
            copy = new_object(type(value))
        elif not layout.is_immutable:
            for name in fields:  # copying a Struct that lacks a field would fail without naming it
                field_of(value, name, job)
            # All at once, and then from the copy, as another thread may set a field meanwhile.
            source = copy = copy_struct(value)
        for name in fields:
            old = field_of(source, name, job)
            new = copied(old, job, depth + 1)
            if not layout.is_struct:
                PyObject_GenericSetAttr(copy, name, new)
            elif new is not old:
                if copy is None:
                    copy = copy_struct(value)
                set_struct_field(copy, name, new)
    except BaseException as error:
        raise on_the_way_out(error, job, ATTRIBUTE, name)
    return value if copy is None else copy


cdef inline object field_of(object value, object name, Job* job):
    try:
        return PyObject_GenericGetAttr(value, name)
    except AttributeError:
        if job.user_types == NULL:
            raise
    raise refusal.refused_unset(value)


cdef bint is_storable_zone(object zone) except -1:
    cdef PyTypeObject* kind = Py_TYPE(<PyObject*>zone)
    if zone is None or kind == TIMEZONE_TYPE:
        return True
    return kind == ZONE_INFO_TYPE and zone.key is not None


cdef object too_deep(object value, Job* job):
    if job.user_types == NULL:
        return RecursionError("a frozen value is nested without end")
    return refusal.refused_depth(value, job.max_depth)


cdef object on_the_way_out(object error, Job* job, int how, object key):
    """What to raise in place of an error that comes out of a container's part."""
    if job.user_types == NULL or not isinstance(error, Exception) or isinstance(error, MemoryError):
        return error
    if not isinstance(error, refusal.Refused):
        cause = error
        error = refusal.refused_failing(cause)
        error.__cause__ = cause
    error.add(how, key)
    return error


# -- the user's classes ------------------------------------------------------------------------------


@cython.final
cdef class Layout:
    """What there is to an instance of a class; looked up once per class."""

    cdef tuple fields  # None for an enum, whose members are shared
    cdef frozenset names  # the fields, and what is computed from them and may be dropped
    cdef tuple other_slots  # slots that are no fields
    cdef bint is_struct, has_dict
    cdef bint is_immutable  # as far as its fields' values are
    cdef object reference


# By address, not by class: a metaclass may define __hash__ and __eq__. An entry goes with its class.
cdef dict LAYOUTS = {}


cdef object layout_of(type kind):
    """The class's Layout, or None if it is neither an enum, a Struct nor a dataclass."""
    cdef object address = PyLong_FromVoidPtr(<PyObject*>kind)
    cdef PyObject* known = PyDict_GetItemWithError(LAYOUTS, address)
    if known != NULL:
        return <object>known
    layout = Layout.__new__(Layout)
    if fill_layout(<Layout>layout, kind):
        (<Layout>layout).reference = weakref.ref(kind, lambda _: LAYOUTS.pop(address, None))
        LAYOUTS[address] = layout
        return layout
    return None


cdef bint fill_layout(Layout layout, type kind) except -1:
    cdef PyTypeObject* metaclass = Py_TYPE(<PyObject*>kind)
    if PyType_IsSubtype(metaclass, ENUM_META):
        return True
    layout.is_struct = PyType_IsSubtype(metaclass, STRUCT_META)
    if layout.is_struct:
        layout.fields = kind.__struct_fields__
    elif dataclasses.is_dataclass(kind):
        layout.fields = tuple([field.name for field in dataclasses.fields(kind)])
    else:
        return False
    layout.has_dict = kind.__dictoffset__ != 0
    names, slots = set(layout.fields), []
    for base in kind.__mro__:
        for name, member in base.__dict__.items():
            if isinstance(member, functools.cached_property):
                names.add(name)
            elif isinstance(member, MemberDescriptorType) and base.__flags__ & HEAP_TYPE:
                slots.append(name)
    layout.names = frozenset(names)
    layout.other_slots = tuple([name for name in slots if name not in names])
    layout.is_immutable = (
        layout.is_struct and kind.__struct_config__.frozen and not layout.has_dict and not layout.other_slots
    )
    return True


cdef object stray_attribute(object value, Layout layout):
    """The name of something that an instance holds beside its fields, or None."""
    if layout.has_dict:
        for name in list(PyObject_GenericGetDict(value, NULL)):
            if name not in layout.names:
                return name
    for name in layout.other_slots:
        try:
            PyObject_GenericGetAttr(value, name)
        except AttributeError:
            continue
        return name
    return None


# -- both directions ---------------------------------------------------------------------------------


cdef inline Job freezing(dict user_types, object resolve):
    cdef Job job
    job.user_types = <PyObject*>user_types
    job.resolve = <PyObject*>resolve
    job.max_depth = FREEZE_DEPTH
    job.special = False
    return job


cdef object as_snapshot_error(object error, str where):
    """What to raise to the caller of a function that freezes, in place of an error on its way out."""
    if isinstance(error, MemoryError):
        return error
    if not isinstance(error, refusal.Refused):
        cause = error
        error = refusal.refused_failing(cause)
        error.__cause__ = cause
    public = error.error(where)
    public.__cause__ = error.__cause__
    public.__suppress_context__ = True
    return public


def freeze(value, dict user_types not None, resolve, str where not None="ctx"):
    """Make a deep copy of a storable value that nobody else holds any mutable part of.

    Immutable values are shared. Something that is referenced twice becomes two. A ``Context`` becomes a
    dict, an ``Err`` loses its retry flag. What an instance of the user's remembers in a
    ``functools.cached_property`` is left out; anything else beside its fields is refused.

    Args:
        value: the value.
        user_types: the enums (None), Structs and dataclasses (their fields) that are known to be storable.
        resolve: is asked about a type that is missing there; answers with such an entry or with
            NotImplemented, or raises SnapshotError with advice.
        where: what the outermost value is called in messages.

    Returns:
        The copy, and whether it is special: holds anything that untyped MessagePack would not give back
        as it was.

    Raises:
        SnapshotError: something in it cannot be stored; its message and ``path`` say where.
    """
    cdef Job job = freezing(user_types, resolve)
    try:
        frozen = copied(value, &job, 0)
    except Exception as error:
        raise as_snapshot_error(error, where)
    return frozen, bool(job.special)


cdef inline object handed_out(object value):
    cdef Job job
    job.user_types = NULL
    job.resolve = NULL
    job.max_depth = THAW_DEPTH
    job.special = True
    return copied(value, &job, 0)


def thaw(value):
    """A deep copy of a frozen value, to be handed out; what is immutable is shared.

    Raises:
        TypeError: there is something in it that no frozen value holds.
        RecursionError: it is nested without end, and no frozen value.
    """
    return handed_out(value)
