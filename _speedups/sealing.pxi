# Keys and values as they are stored. Part of batching.pyx.

# CRC-32 as zlib has it, eight bytes at a time (Kounavis and Berry, "A Systematic Approach to Building High
# Performance Software-based CRC Generators", 2005). Most of what is sealed has some hundred bytes, for which
# two calls of zlib through Python take five times as long; what is long, zlib sums up in half the time.
cdef uint32_t[8][256] CRC


cdef void fill_crc_table() noexcept:
    cdef uint32_t value
    cdef int byte, table
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB8_8320 if value & 1 else 0)
        CRC[0][byte] = value
    for table in range(1, 8):
        for byte in range(256):
            value = CRC[table - 1][byte]
            CRC[table][byte] = value >> 8 ^ CRC[0][value & 0xFF]


fill_crc_table()


cdef uint32_t crc(uint32_t value, const uint8_t* data, Py_ssize_t length) noexcept:
    """The checksum of more bytes; ``value`` is that of the bytes before them, or 0."""
    value = ~value
    while length >= 8:
        value = (
            CRC[7][data[0] ^ (value & 0xFF)]
            ^ CRC[6][data[1] ^ (value >> 8 & 0xFF)]
            ^ CRC[5][data[2] ^ (value >> 16 & 0xFF)]
            ^ CRC[4][data[3] ^ (value >> 24)]
            ^ CRC[3][data[4]]
            ^ CRC[2][data[5]]
            ^ CRC[1][data[6]]
            ^ CRC[0][data[7]]
        )
        data += 8
        length -= 8
    while length > 0:
        value = value >> 8 ^ CRC[0][data[0] ^ (value & 0xFF)]
        data += 1
        length -= 1
    return ~value


def seal(bytes key not None, bytes payload not None):
    """The value to store under ``key``; see ``_store/seal.py``."""
    return sealed(key, payload)


cdef bytes sealed(bytes key, bytes payload):
    cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
    cdef uint32_t checksum = checksum_of(key, payload, 0)
    cdef bytes value = PyBytes_FromStringAndSize(NULL, SEAL_LENGTH + length)
    cdef char* place = PyBytes_AS_STRING(value)
    place[0] = SEAL
    put_number(place + 1, checksum, 4)
    memcpy(place + SEAL_LENGTH, PyBytes_AS_STRING(payload), length)
    return value


def unsealed(bytes key not None, bytes value not None):
    """The payload of what ``seal`` made under this key; None if this is not what it made."""
    return value[SEAL_LENGTH:] if has_seal(key, value) else None


def fits(bytes key not None, bytes value not None):
    """Was this value sealed under this key?"""
    return has_seal(key, value)


cdef bint has_seal(bytes key, bytes value) except -1:
    cdef char found[4]
    if PyBytes_GET_SIZE(value) < SEAL_LENGTH or PyBytes_AS_STRING(value)[0] != SEAL:
        return False
    put_number(found, checksum_of(key, value, SEAL_LENGTH), 4)
    return memcmp(found, PyBytes_AS_STRING(value) + 1, 4) == 0


cdef uint32_t checksum_of(bytes key, bytes value, Py_ssize_t start) except? 0:
    """Of a key and what follows in a value from some place on."""
    cdef uint32_t checksum = crc(0, <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    cdef Py_ssize_t length = PyBytes_GET_SIZE(value) - start
    if length < LONG:
        return crc(checksum, <const uint8_t*>PyBytes_AS_STRING(value) + start, length)
    return crc32(value[start:], checksum)


def index_key(workflow, status, bytes run not None):
    """The key of a run in the index: its workflow's number (2 bytes), its status (1), the run."""
    return number_and_run(index_range(workflow, status), 3, run)


cdef inline uint64_t index_range(uint64_t workflow, uint64_t status) except? 0:
    """What the keys of the index begin with that have both, as a number of 3 bytes."""
    if workflow > HIGHEST_WORKFLOW or status > HIGHEST_STATUS:
        raise OverflowError(f"workflow {workflow} or status {status} does not fit into a key of the index")
    return workflow << 8 | status


def timer_key(due, bytes run not None):
    """The key of a timer: milliseconds since the epoch (8 bytes), the run."""
    return number_and_run(due, 8, run)


cdef bytes number_and_header(uint64_t workflow, bytes header):
    cdef char number[2]
    put_number(number, workflow, 2)
    return behind(number, 2, header)


cdef bytes behind(const char* start, Py_ssize_t width, bytes rest):
    """A few bytes, and what comes behind them."""
    cdef bytes whole = PyBytes_FromStringAndSize(NULL, width + PyBytes_GET_SIZE(rest))
    cdef char* place = PyBytes_AS_STRING(whole)
    memcpy(place, start, width)
    memcpy(place + width, PyBytes_AS_STRING(rest), PyBytes_GET_SIZE(rest))
    return whole


cdef bytes number_and_run(uint64_t number, int width, bytes run):
    cdef bytes key = PyBytes_FromStringAndSize(NULL, width + RUN_LENGTH)
    cdef char* place = PyBytes_AS_STRING(key)
    put_number(place, number, width)
    put_run(place + width, run)
    return key


cdef bytes run_and_number(bytes run, uint64_t number, int width):
    cdef bytes key = PyBytes_FromStringAndSize(NULL, RUN_LENGTH + width)
    cdef char* place = PyBytes_AS_STRING(key)
    put_run(place, run)
    put_number(place + RUN_LENGTH, number, width)
    return key


cdef inline int put_run(char* place, bytes run) except -1:
    if run is None or PyBytes_GET_SIZE(run) != RUN_LENGTH:
        raise ValueError(f"{run!r} is no run key")
    memcpy(place, PyBytes_AS_STRING(run), RUN_LENGTH)
    return 0


cdef inline void put_number(char* place, uint64_t number, int width) noexcept:
    """Big-endian, so that keys sort by it."""
    cdef int i
    for i in range(width - 1, -1, -1):
        place[i] = <char>(number & 0xFF)
        number >>= 8
