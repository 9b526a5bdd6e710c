# Tables in the order of their keys. Part of batching.pyx.

# A batch comes in the order in which its tasks ran, which is none. Python's own sort takes 150 instructions
# to compare two pairs, as it looks for the first difference between tuples of any kind; here it is known to
# be between keys, mostly between their first 16 bytes, and these are two numbers.
cdef struct Place:
    uint64_t high, low  # the first 16 bytes of the key, big-endian; behind its end, zeros
    PyObject* item  # borrowed from the list


cdef int sort_by_key(list table) except -1:
    """Put a list in order: of keys, or of tuples that begin with one. No Python code runs meanwhile."""
    cdef Py_ssize_t count = len(table)
    cdef Py_ssize_t i
    cdef bint in_order = True
    cdef Place* places
    cdef Place* found
    if count < 2:
        return 0
    places = <Place*>PyMem_Malloc(2 * count * sizeof(Place))
    if places == NULL:
        raise MemoryError
    for i in range(count):
        places[i] = place_of(PyList_GET_ITEM(table, i))
        in_order = in_order and (i == 0 or not is_before(&places[i], &places[i - 1]))
    if not in_order:
        found = merged(places, places + count, count)
        for i in range(count):
            # Counts no references: each is in the list once, as before.
            PyList_SET_ITEM(table, i, <object>found[i].item)
    PyMem_Free(places)
    return 0


cdef Place* merged(Place* places, Place* spare, Py_ssize_t count) noexcept:
    """Merge sort, from the bottom up. What is sorted is in one of both; it tells in which."""
    cdef Py_ssize_t width = 1
    cdef Py_ssize_t start, middle, end, left, right, to
    while width < count:
        start = 0
        while start < count:
            middle = min(start + width, count)
            end = min(middle + width, count)
            left, right = start, middle
            for to in range(start, end):
                if left < middle and (right == end or not is_before(&places[right], &places[left])):
                    spare[to] = places[left]
                    left += 1
                else:
                    spare[to] = places[right]
                    right += 1
            start = end
        places, spare = spare, places
        width *= 2
    return places


cdef inline Place place_of(PyObject* item) noexcept:
    cdef Place place
    cdef uint8_t start[16]
    cdef PyObject* key = key_of(item)
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(<object>key)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(<object>key)
    if length < 16:
        memset(start, 0, 16)
        memcpy(start, data, length)
        data = start
    place.high = number_at(data)
    place.low = number_at(data + 8)
    place.item = item
    return place


cdef inline PyObject* key_of(PyObject* item) noexcept:
    return item if PyBytes_CheckExact(<object>item) else PyTuple_GET_ITEM(<object>item, 0)


cdef inline uint64_t number_at(const uint8_t* data) noexcept:
    """The counterpart of ``put_number``, of eight bytes; one instruction and a swap for a compiler."""
    return (
        <uint64_t>data[0] << 56
        | <uint64_t>data[1] << 48
        | <uint64_t>data[2] << 40
        | <uint64_t>data[3] << 32
        | <uint64_t>data[4] << 24
        | <uint64_t>data[5] << 16
        | <uint64_t>data[6] << 8
        | <uint64_t>data[7]
    )


cdef inline bint is_before(const Place* one, const Place* other) noexcept:
    if one.high != other.high:
        return one.high < other.high
    if one.low != other.low:
        return one.low < other.low
    return is_lower(key_of(one.item), key_of(other.item))


cdef bint is_lower(PyObject* key, PyObject* other) noexcept:
    """As bytes compare."""
    cdef Py_ssize_t length = PyBytes_GET_SIZE(<object>key)
    cdef Py_ssize_t other_length = PyBytes_GET_SIZE(<object>other)
    cdef int found = memcmp(
        PyBytes_AS_STRING(<object>key), PyBytes_AS_STRING(<object>other), min(length, other_length)
    )
    return found < 0 or (found == 0 and length < other_length)
