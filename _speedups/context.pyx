# cython: language_level=3, boundscheck=False, wraparound=False
"""The context of a step: copy on write over a frozen base, and the way back to a frozen base.

A value is *frozen* when nobody but the engine holds any mutable part of it. ``freeze`` makes a frozen copy
of what a user returned, ``thaw`` a copy to hand out (copying.pxi). A ``Context`` lies over one frozen dict,
which any number of Contexts share and none ever changes: immutable values are read through; a container is
thawed into the context's own overlay when it is first handed out. ``settle`` makes of a returned mapping
the next base, and says what changed, which is all that the journal has to write (settling.pxi).

The idea is that of a persistent map with path copying, one level deep: contexts are small dicts, for which
a flat copy per *change* is cheaper than a tree. What it costs: a Context about 60 ns, a scalar read about
that of a dict, the first read of a container its deep copy, a step that changed one key a flat copy of the
dict of keys.

Everything relies on the GIL, and on never holding a borrowed reference while foreign code can run.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport (
    PyDict_Contains,
    PyDict_Copy,
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
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_SIZE
from libc.math cimport signbit
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from durable_trio._speedups.batching cimport Intake, Ledger
from durable_trio._speedups.results cimport ERROR, OK, TIMED_OUT, Collector

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

__all__ = [
    "MAX_DEPTH",
    "BlockBase",
    "Concluder",
    "Context",
    "Lane",
    "RunBase",
    "StepScope",
    "Stepper",
    "Stride",
    "apply_delta",
    "freeze",
    "same",
    "settle",
    "share",
    "thaw",
]

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
    """The data of a run as a step sees it: a mapping, of which each step and each branch has its own.

    Whatever is changed in it, or deep in what it hands out, no other context sees. It is otherwise as a
    dict: ordered, equal to a dict with the same items, unhashable. ``ctx | other`` and ``copy`` are as
    shallow as a dict's; ``copy.deepcopy`` and ``pickle`` work.

    Args:
        mapping: a mapping, or an iterable of pairs; the values are taken as they are. Steps get their
            context from the engine; this is for tests.
        **kwargs: more items.
    """

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
    # A key's __eq__ may come back here and change this context: what is looked into is held meanwhile.

    cdef bint is_inherited(self, object key) except -1:
        """Whether a key has its place in the order from the base."""
        cdef dict base = self._base
        cdef set removed = self._removed
        return PyDict_Contains(base, key) and (removed is None or key not in removed)

    cdef bint is_own(self, object key) except -1:
        """Whether a value was handed out or set here."""
        cdef dict overlay = self._overlay
        return overlay is not None and PyDict_Contains(overlay, key)

    cdef dict raw(self):
        """The values as they are, nothing handed out. Not to be changed: it may be the base itself."""
        return applied(self._base, self._overlay, self._removed)

    cdef list key_list(self):
        cdef dict base = self._base, overlay = self._overlay
        cdef set removed = self._removed
        cdef list keys = list(base) if removed is None else [key for key in base if key not in removed]
        if overlay is not None:
            keys += [key for key in list(overlay) if not self.is_inherited(key)]
        return keys

    cdef object value_of(self, object key):
        """The value, handed out, or MISSING."""
        cdef dict base = self._base, overlay = self._overlay
        cdef set removed = self._removed
        cdef PyObject* found
        cdef object value, copy
        if overlay is not None:
            found = PyDict_GetItemWithError(overlay, key)
            if found != NULL:
                return <object>found
        if removed is not None and key in removed:
            return MISSING
        found = PyDict_GetItemWithError(base, key)
        if found == NULL:
            return MISSING
        value = <object>found
        if is_plain(found):
            return value
        copy = handed_out(value)
        if copy is not value:
            self.put(key, copy)
        return copy

    cdef object as_inherited(self, object key):
        """The base's own key, where it has an equal one, as a dict keeps its key when a value is replaced.

        So the member of a StrEnum can be used where its text is the key.
        """
        cdef dict base = self._base
        if type(key) is not str and self.is_inherited(key):
            for name in base:
                if name == key:
                    return name
        return key

    cdef int put(self, object key, object value) except -1:
        cdef object own = self.as_inherited(key)
        cdef dict overlay = self._overlay
        if overlay is None:
            overlay = self._overlay = {}
        return PyDict_SetItem(overlay, own, value)

    cdef int drop(self, object key) except -1:
        """Remove a key that is there."""
        if self.is_inherited(key):
            own = self.as_inherited(key)
            if self._removed is None:
                self._removed = set()
            self._removed.add(own)
        if self.is_own(key):
            self._overlay.pop(key, None)
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
        return self.is_own(key) or self.is_inherited(key)

    def __len__(self):
        cdef Py_ssize_t length = PyDict_Size(self._base)
        if self._removed is not None:
            length -= len(self._removed)
        if self._overlay is not None:
            length += sum([not self.is_inherited(key) for key in list(self._overlay)])
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
        self.put(key, value)

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
            self.put(key, default)
            return default
        return value

    def update(self, other=(), /, **kwargs):
        cdef dict changes = dict(other, **kwargs), overlay
        cdef bint all_plain = True
        for key in changes:
            all_plain = all_plain and type(key) is str
        overlay = self._overlay
        if not all_plain:
            for key, value in changes.items():
                self.put(key, value)
        elif overlay is None:
            self._overlay = changes
        else:
            PyDict_Update(overlay, changes)

    def clear(self):
        self._overlay = None
        self._removed = set(self._base)

    # -- other contexts ----------------------------------------------------------------------------

    def __or__(self, other):
        if not isinstance(other, dict) and not isinstance(other, Mapping):  # the second is much slower
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


def share(dict base not None):
    """A context over a frozen dict, which nobody may change from now on. Copies nothing."""
    return shared(base)


cdef inline Context shared(dict base):
    cdef Context new = Context.__new__(Context)
    new._base = base
    return new


include "copying.pxi"
include "sameness.pxi"
include "settling.pxi"
include "concluding.pxi"
include "stepping.pxi"
include "branching.pxi"
