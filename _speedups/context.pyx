# cython: language_level=3, boundscheck=False, wraparound=False
"""The context of a step: copy on write over a frozen base, and the way back to a frozen base.

A value is *frozen* when nobody but the engine holds any mutable part of it. ``freeze`` makes a frozen copy
of what a user returned, ``thaw`` a copy to hand out. A ``Context`` lies over one frozen dict, which any
number of Contexts share and none ever changes: immutable values are read through; a container is thawed
into the context's own overlay when it is first handed out. ``settle`` makes of a returned mapping the next
base, and says what changed, which is all that the journal has to write.

The idea is that of a persistent map with path copying, one level deep: contexts are small dicts, for which
a flat copy per *change* is cheaper than a tree. What it costs: a Context about 60 ns, a scalar read about
that of a dict, the first read of a container its deep copy, a step that changed one key a flat copy of the
dict of keys.

Everything relies on the GIL, and on never holding a borrowed reference while foreign code can run.
"""

cimport cython
from cpython.dict cimport (
    PyDict_Contains,
    PyDict_Copy,
    PyDict_DelItem,
    PyDict_GetItemWithError,
    PyDict_Next,
    PyDict_SetItem,
    PyDict_Size,
    PyDict_Update,
)
from cpython.list cimport PyList_GET_SIZE, PyList_GetSlice, PyList_SetItem
from cpython.long cimport PyLong_FromVoidPtr
from cpython.object cimport (
    Py_EQ,
    PyObject,
    PyObject_GenericGetAttr,
    PyObject_GenericSetAttr,
    PyObject_RichCompareBool,
    PyTypeObject,
)
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.math cimport signbit
from libc.stdint cimport uint16_t, uint32_t

import copy as copying
import dataclasses
import functools
import weakref
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import EnumMeta
from types import MemberDescriptorType
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from durable_trio._errors import SnapshotError
from durable_trio._speedups import refusal
from durable_trio._values import Err, Failure, Ok

__all__ = ["MAX_DEPTH", "Context", "apply_delta", "freeze", "same", "settle", "share", "thaw"]

cdef extern from "Python.h":
    int Py_ReprEnter(object o) except -1
    void Py_ReprLeave(object o)

cdef object MISSING = object()
cdef dict NOTHING = {}


@cython.final
@cython.freelist(256)
@cython.no_gc_clear  # a cycle goes through a dict, which breaks it; a Context is never without its base
@cython.collection_type("mapping")
cdef class Context:
    """The data of a run as a step sees it: a mapping, of which each step and branch has its own."""

    cdef dict _base  # frozen, shared, never changed
    cdef dict _overlay  # what was handed out or set here, or None
    cdef set _removed  # keys of the base that are gone here, or None; one that was set again stays in it

    def __cinit__(self):
        self._base = NOTHING

    def __init__(self, mapping=(), /, **kwargs):
        self._base = NOTHING
        self._overlay = dict(mapping, **kwargs)
        self._removed = None

    @staticmethod
    def over(dict base not None):
        """A context over a frozen dict, which nobody may change from now on."""
        return shared(base)

    # -- inside ------------------------------------------------------------------------------------

    cdef bint is_inherited(self, object key) except -1:
        """Whether a key has its place in the order from the base."""
        return PyDict_Contains(self._base, key) and (self._removed is None or key not in self._removed)

    cdef dict raw(self):
        """The values as they are, nothing handed out. Not to be changed: it may be the base itself."""
        return applied(self._base, self._overlay, self._removed)

    cdef list key_list(self):
        cdef list keys
        if self._removed is None:
            keys = list(self._base)
        else:
            keys = [key for key in self._base if key not in self._removed]
        if self._overlay is not None:
            keys += [key for key in list(self._overlay) if not self.is_inherited(key)]
        return keys

    cdef object value_of(self, object key):
        """The value, handed out, or MISSING."""
        cdef PyObject* found
        cdef object value, copy
        if self._overlay is not None:
            found = PyDict_GetItemWithError(self._overlay, key)
            if found != NULL:
                return <object>found
        if self._removed is not None and key in self._removed:
            return MISSING
        found = PyDict_GetItemWithError(self._base, key)
        if found == NULL:
            return MISSING
        if is_plain(found):
            return <object>found
        value = <object>found
        copy = handed_out(value)
        if copy is not value:
            if self._overlay is None:
                self._overlay = {}
            PyDict_SetItem(self._overlay, key, copy)
        return copy

    cdef int drop(self, object key) except -1:
        """Remove a key that is there."""
        if self.is_inherited(key):
            if self._removed is None:
                self._removed = set()
            self._removed.add(key)
        if self._overlay is not None and PyDict_Contains(self._overlay, key):
            PyDict_DelItem(self._overlay, key)
        return 0

    # -- reading -----------------------------------------------------------------------------------

    def __getitem__(self, key):
        value = self.value_of(key)
        if value is MISSING:
            raise KeyError(key)
        return value

    def get(self, key, default=None, /):
        value = self.value_of(key)
        return default if value is MISSING else value

    def __contains__(self, key):
        return (self._overlay is not None and PyDict_Contains(self._overlay, key)) or self.is_inherited(key)

    def __len__(self):
        cdef Py_ssize_t length = PyDict_Size(self._base)
        if self._removed is not None:
            length -= len(self._removed)
        if self._overlay is not None:
            for key in list(self._overlay):
                length += not self.is_inherited(key)
        return length

    def __iter__(self):
        return iter(self.key_list())

    def __reversed__(self):
        return reversed(self.key_list())

    def keys(self):
        return KeysView(self)

    def values(self):
        return ValuesView(self)

    def items(self):
        return ItemsView(self)

    @property
    def results(self):
        """The results of the last parallel block: ``ctx["__results__"]``, or an empty dict."""
        value = self.value_of("__results__")
        return {} if value is MISSING else value

    def to_dict(self):
        """A plain dict of it, as ``dict(ctx)``: its containers are those that this context hands out."""
        return {key: self.value_of(key) for key in self.key_list()}

    def __eq__(self, other):
        if isinstance(other, Context):
            return self.raw() == (<Context>other).raw()
        if isinstance(other, dict):
            return self.raw() == other
        if isinstance(other, Mapping):
            return self.raw() == dict(other)
        return NotImplemented

    __hash__ = None

    def __repr__(self):
        if Py_ReprEnter(self):
            return "Context({...})"
        try:
            return f"Context({self.raw()!r})"
        finally:
            Py_ReprLeave(self)

    # -- writing -----------------------------------------------------------------------------------

    def __setitem__(self, key, value):
        if self._overlay is None:
            self._overlay = {}
        PyDict_SetItem(self._overlay, key, value)

    def __delitem__(self, key):
        if key not in self:
            raise KeyError(key)
        self.drop(key)

    def pop(self, key, default=MISSING, /):
        value = self.value_of(key)
        if value is not MISSING:
            self.drop(key)
            return value
        if default is MISSING:
            raise KeyError(key)
        return default

    def popitem(self):
        """Remove the last key, and give it with its value."""
        keys = self.key_list()
        if not keys:
            raise KeyError("popitem(): the context is empty")
        key = keys[len(keys) - 1]
        return key, self.pop(key)

    def setdefault(self, key, default=None, /):
        value = self.value_of(key)
        if value is MISSING:
            self[key] = value = default
        return value

    def update(self, other=(), /, **kwargs):
        cdef dict changes = dict(other, **kwargs)
        if self._overlay is None:
            self._overlay = changes
        else:
            PyDict_Update(self._overlay, changes)

    def clear(self):
        self._overlay = None
        self._removed = set(self._base)

    # -- other contexts ----------------------------------------------------------------------------

    def __or__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        new = self.copy()
        new.update(other)
        return new

    def __ror__(self, other):
        if not isinstance(other, Mapping):
            return NotImplemented
        merged = dict(other)
        merged.update(self.to_dict())
        return merged

    def __ior__(self, other):
        self.update(other)
        return self

    def assign(self, /, **kwargs):
        """A new context with these keys set; this one stays as it is."""
        new = self.copy()
        new.update(kwargs)
        return new

    def copy(self):
        """A new context with the same values, as shallow as ``dict.copy``."""
        cdef Context new = shared(self._base)
        if self._overlay is not None:
            new._overlay = PyDict_Copy(self._overlay)
        if self._removed is not None:
            new._removed = set(self._removed)
        return new

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        cdef Context new = shared(self._base)
        memo[id(self)] = new
        new._overlay = copying.deepcopy(self._overlay, memo)
        new._removed = None if self._removed is None else set(self._removed)
        return new

    def __reduce__(self):
        return Context, (dict(self.raw()),)


MutableMapping.register(Context)

cdef PyTypeObject* CONTEXT_TYPE = <PyTypeObject*>Context

include "copying.pxi"
include "sameness.pxi"


def share(dict base not None):
    """A context over a frozen dict, which nobody may change from now on. Copies nothing."""
    return shared(base)


cdef inline Context shared(dict base):
    cdef Context new = Context.__new__(Context)
    new._base = base
    return new


# -- from a context to the next base -----------------------------------------------------------------


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
    """The frozen context that follows from a base and what ``settle`` said of the step."""
    if replaced:
        return {} if changed is None else changed
    return applied(base, changed, removed)


def settle(dict base not None, value, dict user_types not None, resolve, str where not None="ctx"):
    """Make of a returned mapping the next frozen base, and say what of it the journal has to write."""
    cdef Job job = freezing(user_types, resolve)
    try:
        if Py_TYPE(<PyObject*>value) != CONTEXT_TYPE:
            return settled_mapping(base, as_dict(value), &job)
        if (<Context>value)._base is base:
            return settled_overlay(<Context>value, &job)
        return settled_mapping(base, (<Context>value).raw(), &job)
    except Exception as error:
        raise as_snapshot_error(error, where)


cdef dict as_dict(object value):
    """A private dict of a mapping's items, so that nothing can change it while it is frozen."""
    if type(value) is dict:
        return PyDict_Copy(<dict>value)
    if isinstance(value, Mapping):
        return dict(value)
    raise refusal.refused_no_mapping(value)


cdef tuple settled_overlay(Context context, Job* job):
    """Of a context over this very base: only what was handed out or set can differ."""
    cdef dict base = context._base, changed = {}, overlay
    cdef list removed = None
    cdef Py_ssize_t position = 0
    cdef PyObject* key
    cdef PyObject* value
    if context._removed:
        removed = [name for name in base if name in context._removed]
    if context._overlay is not None:
        overlay = PyDict_Copy(context._overlay)
        while PyDict_Next(overlay, &position, &key, &value):
            # A key that was removed and set again has moved to the end: it counts as new.
            settle_item(changed, <object>key, <object>value, base, removed, job)
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


cdef int settle_item(dict changed, object key, object value, dict base, list removed, Job* job) except -1:
    """Freeze one item into ``changed``, unless it is what the base has under that key."""
    cdef PyObject* old
    if type(key) is not str:
        refused = refusal.refused_key(key)
        refused.add(ITEM, key)
        raise refused
    old = PyDict_GetItemWithError(base, key)
    try:
        if old != NULL and is_same(value, <object>old, 1) and (removed is None or key not in removed):
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
