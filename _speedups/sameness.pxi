"""Whether two values are indistinguishable once stored: ``same``.

Stricter than ``==``: types, the order of dicts, the sign of zero, the digits of a Decimal and the zone of a
datetime count; nan is nan. Only code of builtin types runs, never a user's ``__eq__`` or ``__hash__``, and
what it is not sure of (a type that it does not know, nesting without end) is not the same.
"""

cdef extern from "Python.h":
    double PyFloat_AS_DOUBLE(PyObject* o)


cdef bint is_same(object a, object b, int depth) except -1:
    cdef PyTypeObject* kind = Py_TYPE(<PyObject*>a)
    if a is b:
        return True
    if kind != Py_TYPE(<PyObject*>b) or depth > THAW_DEPTH:
        return False
    if kind == &PyFloat_Type:
        return is_same_float(PyFloat_AS_DOUBLE(<PyObject*>a), PyFloat_AS_DOUBLE(<PyObject*>b))
    if kind == &PyUnicode_Type or kind == &PyLong_Type or kind == &PyBytes_Type:
        return PyObject_RichCompareBool(a, b, Py_EQ)
    if kind == &PyDict_Type:
        return is_same_dict(<dict>a, <dict>b, depth)
    if kind == &PyList_Type:
        return is_same_list(<list>a, <list>b, depth)
    if kind == &PyTuple_Type or kind == OK_TYPE or kind == ERR_TYPE:
        return is_same_tuple(<tuple>a, <tuple>b, depth)
    if kind == &PySet_Type or kind == &PyFrozenSet_Type:
        return is_same_set(a, b, depth)
    if kind == DATETIME_TYPE or kind == TIME_TYPE:
        return (
            is_same_zone(a.tzinfo, b.tzinfo)
            and a.fold == b.fold
            and a.replace(tzinfo=None) == b.replace(tzinfo=None)
        )
    if kind == DATE_TYPE or kind == TIMEDELTA_TYPE:
        return PyObject_RichCompareBool(a, b, Py_EQ)
    if kind == DECIMAL_TYPE or kind == UUID_TYPE:
        return str(a) == str(b)
    return is_same_instance(a, b, depth)


cdef inline bint is_same_float(double a, double b) noexcept:
    if a == b:
        return signbit(a) == signbit(b)
    return a != a and b != b


cdef bint is_same_zone(object a, object b) except -1:
    cdef PyTypeObject* kind = Py_TYPE(<PyObject*>a)
    if a is b:
        return True
    if kind != Py_TYPE(<PyObject*>b):
        return False
    if kind == TIMEZONE_TYPE:
        # What pickle would build it from: tells timezone(x) from timezone(x, "name").
        return a.__getinitargs__() == b.__getinitargs__()
    return kind == ZONE_INFO_TYPE and a.key is not None and a.key == b.key


cdef bint is_same_dict(dict a, dict b, int depth) except -1:
    cdef Py_ssize_t position_a = 0, position_b = 0
    cdef PyObject* key_a
    cdef PyObject* value_a
    cdef PyObject* key_b
    cdef PyObject* value_b
    if PyDict_Size(a) != PyDict_Size(b):
        return False
    while PyDict_Next(a, &position_a, &key_a, &value_a):
        if not PyDict_Next(b, &position_b, &key_b, &value_b):
            return False
        # They are taken hold of before anything runs that could let go of them.
        held_key_a, held_key_b = <object>key_a, <object>key_b
        held_a, held_b = <object>value_a, <object>value_b
        if not is_same(held_key_a, held_key_b, depth + 1) or not is_same(held_a, held_b, depth + 1):
            return False
    return True


cdef bint is_same_list(list a, list b, int depth) except -1:
    cdef Py_ssize_t i = 0
    if PyList_GET_SIZE(a) != PyList_GET_SIZE(b):
        return False
    while i < PyList_GET_SIZE(a) and i < PyList_GET_SIZE(b):
        held_a = <object>PyList_GET_ITEM(<PyObject*>a, i)
        held_b = <object>PyList_GET_ITEM(<PyObject*>b, i)
        if not is_same(held_a, held_b, depth + 1):
            return False
        i += 1
    return PyList_GET_SIZE(a) == PyList_GET_SIZE(b)


cdef bint is_same_tuple(tuple a, tuple b, int depth) except -1:
    cdef Py_ssize_t i
    if PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b):
        return False
    for i in range(PyTuple_GET_SIZE(a)):
        if not is_same(
            <object>PyTuple_GET_ITEM(<PyObject*>a, i), <object>PyTuple_GET_ITEM(<PyObject*>b, i), depth + 1
        ):
            return False
    return True


cdef bint is_same_instance(object a, object b, int depth) except -1:
    cdef object known = layout_of(type(a))
    cdef Layout layout
    # Members of an enum are the same only if identical.
    if known is None or (<Layout>known).fields is None:
        return False
    layout = <Layout>known
    for name in layout.fields:
        try:
            field_a, field_b = PyObject_GenericGetAttr(a, name), PyObject_GenericGetAttr(b, name)
        except AttributeError:
            return False
        if not is_same(field_a, field_b, depth + 1):
            return False
    # What freezing would refuse is not the same as what was once frozen.
    return stray_attribute(a, layout) is None and stray_attribute(b, layout) is None


cdef bint is_same_set(object a, object b, int depth) except -1:
    """Each element of one has its own counterpart in the other; found by a hash that is strict, too."""
    cdef list items_a = list(a), items_b = list(b)
    cdef dict found = {}
    if len(items_a) != len(items_b):
        return False
    for item in items_b:
        found.setdefault(strict_hash(item, depth + 1), []).append(item)
    for item in items_a:
        candidates = found.get(strict_hash(item, depth + 1), ())
        for i, candidate in enumerate(candidates):
            if is_same(item, candidate, depth + 1):
                del candidates[i]
                break
        else:
            return False
    return True


cdef Py_hash_t strict_hash(object value, int depth) except? -1:
    """Equal for values that are the same; what is hard to tell apart is left to is_same."""
    cdef PyTypeObject* kind = Py_TYPE(<PyObject*>value)
    cdef size_t mixed = <size_t>kind
    if depth > THAW_DEPTH:
        return 0
    if kind == &PyUnicode_Type or kind == &PyLong_Type or kind == &PyBytes_Type:
        return hash(value)
    if kind == &PyTuple_Type or kind == OK_TYPE or kind == ERR_TYPE:
        for item in <tuple>value:
            mixed = mixed * 1000003 ^ <size_t>strict_hash(item, depth + 1)
    elif kind == &PyFrozenSet_Type:
        for item in list(value):
            mixed ^= <size_t>strict_hash(item, depth + 1)
    elif kind == &PyFloat_Type or kind == DECIMAL_TYPE or kind == DATE_TYPE or kind == TIMEDELTA_TYPE:
        mixed = hash(str(value))
    elif kind == DATETIME_TYPE or kind == TIME_TYPE:
        mixed = hash(value.replace(tzinfo=None, fold=0))
    elif kind == UUID_TYPE:
        mixed = hash(str(value))
    elif value is not None and kind != &PyBool_Type:
        known = layout_of(type(value))
        if known is None or (<Layout>known).fields is None:
            return <Py_hash_t>(<size_t><PyObject*>value >> 4)
        for name in (<Layout>known).fields:
            try:
                item = PyObject_GenericGetAttr(value, name)
            except AttributeError:
                continue
            mixed = mixed * 1000003 ^ <size_t>strict_hash(item, depth + 1)
    return <Py_hash_t>mixed


def same(a, b):
    """Whether two values are indistinguishable in all that storing them keeps.

    Stricter than ``==``, see above. Runs no ``__eq__`` and no ``__hash__`` of a user's.
    """
    return bool(is_same(a, b, 0))
