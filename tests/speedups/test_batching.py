"""From the committer's queue to sorted tables: what comes out, byte for byte, and what is refused."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import patient

from durable_trio._engine.committer import Ledger, Post
from durable_trio._errors import InputError
from durable_trio._speedups.batching import (
    Answer,
    Changes,
    Entry,
    Intake,
    Write,
    array_header,
    check_writes,
    fits,
    gather,
    identity_of,
    index_key,
    pack_array,
    seal,
    timer_key,
    unsealed,
)

LOW, HIGH = b"\x01" * 16, b"\xf0" * 16


# Keys that differ late, or in their length only.
beginnings = st.builds(
    lambda start, end: start + end,
    st.sampled_from([b"a" * 16, b"\0" * 15, b"\0" * 16]),
    st.binary(max_size=3),
)


class Live(Ledger):
    """A ledger that knows where its run's journal ends."""

    __slots__ = ("__weakref__",)


def refuse_merging(_first: Any, _second: Any) -> Any:
    raise AssertionError("there is one post only")


def gathered(
    *items: Any, merge: Callable[[Any, Any], Any] = refuse_merging
) -> tuple[list[Write], list[Answer], list[Any]]:
    queue, waiters = deque(items), list[Any]()
    writes, answers, _ = gather(queue, waiters, Ledger, merge)
    assert not queue
    return writes, answers, waiters


def sealed(key: bytes, payload: bytes) -> tuple[bytes, bytes]:
    return key, struct.pack(">BI", 1, zlib.crc32(payload, zlib.crc32(key))) + payload


# -- seals and arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [*range(20), 255, 2047, 2048, 2049, 5000, 70_001])
def test_a_seal_is_a_version_and_the_checksum_of_key_and_payload(length):
    payload = (bytes(range(256)) * (length // 256 + 1))[:length]
    for key in (b"", b"k", b"\xff" * 16, bytes(range(20)), b"a" * 511):
        value = seal(key, payload)
        assert (key, value) == sealed(key, payload)
        assert fits(key, value)
        assert unsealed(key, value) == payload
        for place in {0, 1, 4, 5, len(value) // 2, len(value) - 1} & set(range(len(value))):
            for bit in (1, 0x80):
                flipped = value[:place] + bytes([value[place] ^ bit]) + value[place + 1 :]
                assert not fits(key, flipped)
                assert unsealed(key, flipped) is None
        assert unsealed(key + b"k", value) is None
        assert unsealed(key, value + b"\0") is None


@pytest.mark.parametrize("value", [b"", b"\1", b"\1\0\0\0", bytes(5), b"\2\0\0\0\0"])
def test_what_is_no_sealed_value_is_told_apart(value):
    assert unsealed(b"", value) is None
    assert not fits(b"", value)


@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 65535, 65536])
def test_an_array_is_that_of_messagepack(length):
    items = [msgspec.msgpack.encode(number % 300) for number in range(length)]
    expected = msgspec.msgpack.encode([number % 300 for number in range(length)])
    assert pack_array(items) == pack_array(tuple(items)) == pack_array(iter(items)) == expected
    assert expected.startswith(array_header(length))


def test_keys_sort_by_their_numbers():
    assert index_key(0xABCD, 0xEF, LOW) == b"\xab\xcd\xef" + LOW
    assert timer_key(2**63 - 1, HIGH) == (2**63 - 1).to_bytes(8, "big") + HIGH


# -- the queue -----------------------------------------------------------------------------------------


def test_the_entries_of_a_run_become_one_write():
    run, other = Live(LOW, 7, seq=3, indexed=2), Live(HIGH, 9)
    writes, answers, waiters = gathered(
        Entry(run, b"\x01"),
        Entry(other, (), 1, b"header", b"alias", Post(timer=5)),
        Entry(run, (b"\x02", b"\x03"), 4),
        Entry(run, [b"\x04"]),
    )
    first, second = writes
    assert (first.run, first.workflow, first.seq, first.old, first.new) == (LOW, 7, 3, 2, 4)
    assert first.row == b"\x94\x01\x02\x03\x04"
    assert (first.header, first.alias, first.delete) == (None, None, False)
    assert (first.messages, first.taken, first.timer, first.old_timer) == ((), (), None, None)
    assert (second.run, second.header, second.alias, second.timer) == (HIGH, b"header", b"alias", 5)
    assert (second.row, second.seq, second.old, second.new) == (None, 0, None, 1)
    assert (run.seq, run.indexed, other.seq, other.indexed) == (4, 4, 0, 1)
    assert answers == waiters == []


@pytest.mark.parametrize("records", [b"", b"\xc0"])
def test_bytes_are_one_record(records):
    (write,), _, _ = gathered(Entry(Live(LOW, 1), records))
    assert write.row == b"\x91" + records


def test_what_an_entry_was_given_is_not_changed():
    records = [b"\x01"]
    gathered(Entry(run := Live(LOW, 1), records), Entry(run, b"\x02"))
    assert records == [b"\x01"]


def test_a_stand_in_gives_way_wherever_it_comes():
    for at in (0, 1):
        run, entries = Live(LOW, 7, seq=5), [Entry(Ledger(LOW, 0), ())]
        entries.insert(at, Entry(run, b"\x01"))
        (write,), _, _ = gathered(*entries)
        assert (write.workflow, write.seq, run.seq) == (7, 5, 6)
    (write,), _, _ = gathered(Entry(Ledger(LOW, 3), (), post=Post(old_timer=1)))
    assert (write.workflow, write.old_timer) == (3, 1)


def test_among_stand_ins_the_one_with_records_knows_where_the_journal_ends():
    for at in (0, 1):
        ledger = Ledger(LOW, 7, seq=5, indexed=6)
        entries = [Entry(Ledger(LOW, 0), (), post=Post(old_timer=1))]
        entries.insert(at, Entry(ledger, (b"\x01",)))
        (write,), _, _ = gathered(*entries)
        assert (write.workflow, write.seq, write.old, write.old_timer) == (7, 5, 6, 1)
        assert ledger.seq == 6


def test_posts_of_a_run_are_merged_in_order():
    run = Live(LOW, 1)
    posts = [Post(taken=(number,)) for number in range(3)]

    def merge(first: Post, second: Post) -> Post:
        return Post(taken=first.taken + second.taken)

    entries = [Entry(run, (), post=posts[0]), Entry(run, b"\x01")]
    entries += [Entry(run, (), post=post) for post in posts[1:]]
    (write,), _, _ = gathered(*entries, merge=merge)
    assert write.taken == (0, 1, 2)


def test_a_record_is_handed_over_before_the_task_that_waits_for_it():
    intake, run, queue = Intake(), Ledger(bytes(16), 1), deque()
    intake.append, intake.bell = queue.append, Lock()
    intake.bell.acquire()
    assert intake.take(run, b"a", "task")
    assert not intake.bell.locked()
    assert intake.take(run, b"b", "other")  # it has been rung for already
    waiters = []
    (write,), _, _ = gather(queue, waiters, Ledger, None)
    assert write.row == b"\x92ab"
    assert waiters == ["task", "other"]


def test_nobody_is_woken_while_that_is_to_wait():
    intake, queue = Intake(), deque()
    intake.append, intake.bell, intake.holds_off = queue.append, Lock(), True
    intake.bell.acquire()
    assert intake.take(Ledger(bytes(16), 1), b"a", "task")
    intake.ring()
    assert intake.bell.locked()
    intake.holds_off = False
    intake.ring()
    assert not intake.bell.locked()


def test_a_closed_intake_takes_nothing():
    intake, queue = Intake(), deque()
    intake.append, intake.closed = queue.append, True
    assert not intake.take(Ledger(bytes(16), 1), b"a", "task")
    assert not queue
    for record in (None, "a", 5):
        with pytest.raises(TypeError):
            intake.take(Ledger(bytes(16), 1), record, "task")


def test_what_belongs_together_is_taken_together_and_in_order():
    run = Live(LOW, 1)
    write, answer, woken = Write(HIGH, row=b"r"), Answer(b"request", None), object()
    together = [Entry(run, b"\x02"), write, [answer, Entry(run, b"\x03")]]
    writes, answers, waiters = gathered(Entry(run, b"\x01"), together, Entry(run, b"\x04"), woken)
    assert writes[0] is write
    assert writes[1].row == b"\x94\x01\x02\x03\x04"
    assert (answers, waiters) == ([answer], [woken])


def test_who_waits_is_known_also_if_an_entry_is_refused():
    waiters: list[Any] = []
    broken: Any = [3]
    with pytest.raises(TypeError):
        gather(deque([Entry(Live(LOW, 1), broken), len]), waiters, Ledger, refuse_merging)
    assert waiters == [len]


def test_runs_are_held_as_long_as_what_is_returned():
    run = Live(LOW, 1)
    gone = weakref.ref(run)
    queue = deque([Entry(run, b"\x01")])
    del run
    taken = gather(queue, [], Ledger, refuse_merging)
    assert gone() is not None
    del taken
    assert gone() is None


@pytest.mark.parametrize("name", ["indexed", "workflow_number", "more"])
def test_a_run_in_a_cycle_is_collected(name):
    class Cyclic(Live):
        __slots__ = ("more",)

    run = Cyclic(LOW, 1)
    setattr(run, name, [run])
    gone = weakref.ref(run)
    del run
    gc.collect()
    assert gone() is None


def test_a_ledger_without_a_number_is_refused():
    ledger = Ledger(LOW, 1)
    for value in ("1", None, 2**64):
        with pytest.raises((TypeError, OverflowError)):
            ledger.seq = value  # type: ignore[assignment]
    assert (ledger.key, ledger.workflow_number, ledger.seq, ledger.indexed) == (LOW, 1, 0, None)
    ledger.seq = -1
    (write,), _, _ = gathered(Entry(ledger, b"\x01"))
    with pytest.raises(InputError, match="row number -1 "):
        Changes([write])


# -- the tables ----------------------------------------------------------------------------------------


def test_each_table_is_sorted_and_sealed():
    changes = Changes(
        [
            Write(HIGH, b"head", b"alias", 0, b"row", 0x0102, None, 3, timer=9),
            Write(LOW, seq=258, row=b"", workflow=1, old=2, new=4, timer=8, old_timer=8),
            Write(b"\x02" * 16, workflow=1, old=2, new=4, old_timer=1, messages=[(300, b"m"), (1, b"n")]),
            Write(b"\x03" * 16, workflow=1, old=2, new=2, taken=[5, 1], messages=[(5, b"passes")]),
        ]
    )
    assert changes.runs == [sealed(HIGH, b"\x01\x02head")]
    assert changes.aliases == [sealed(b"alias", HIGH)]
    assert changes.rows == [sealed(LOW + b"\0\0\1\2", b""), sealed(HIGH + b"\0\0\0\0", b"row")]
    assert changes.entered == [
        sealed(key, b"") for key in (b"\0\1\4" + LOW, b"\0\1\4" + b"\x02" * 16, b"\1\2\3" + HIGH)
    ]
    assert changes.left == [b"\0\1\2" + LOW, b"\0\1\2" + b"\x02" * 16]
    assert changes.messages == [
        sealed(b"\x02" * 16 + bytes(6) + number, payload)
        for number, payload in ((b"\0\1", b"n"), (b"\1\x2c", b"m"))
    ]
    assert changes.taken == [b"\x03" * 16 + bytes(7) + b"\1"]
    assert changes.timers == [sealed(bytes(7) + b"\x08" + LOW, b""), sealed(bytes(7) + b"\x09" + HIGH, b"")]
    assert changes.stopped == [bytes(7) + b"\x01" + b"\x02" * 16]
    # The order is that of the state's pairs on disk.
    assert list(changes.moves.items()) == [((0x0102, 3), 1), ((1, 4), 2), ((1, 2), -2)]
    assert changes.deletions == []


@patient
@given(st.lists(st.binary(min_size=1, max_size=40) | beginnings, unique=True))
def test_tables_are_in_the_order_of_their_keys(keys):
    runs = [zlib.crc32(key).to_bytes(16, "big" if key[0] & 1 else "little") for key in keys]
    assume(len(set(runs)) == len(runs))
    changes = Changes(
        [
            Write(run, b"header", alias, new=1, timer=len(alias), messages=[(2, b""), (1, b"")])
            for run, alias in zip(runs, keys, strict=True)
        ]
    )
    assert [key for key, _ in changes.aliases] == sorted(keys)
    assert [key for key, _ in changes.runs] == sorted(runs)
    assert dict(changes.aliases) == dict(sealed(key, run) for key, run in zip(keys, runs, strict=True))
    for table in (changes.entered, changes.messages, changes.timers):
        assert table == sorted(table)
        assert len(set(table)) == len(table)
    changes = Changes([Write(run, old=len(run) % 3, new=4, taken=[3, 1], old_timer=7) for run in runs])
    for keys_only in (changes.left, changes.taken, changes.stopped):
        assert keys_only == sorted(keys_only)
    assert len(changes.taken) == 2 * len(runs)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 1000])
@pytest.mark.parametrize("order", [1, -1, 7])
def test_a_batch_of_any_length_is_sorted(count, order):
    runs = [number.to_bytes(16, "big") for number in range(count)]
    if order == 7:
        runs.sort(key=zlib.crc32)
    batch = [Write(run, row=b"r") for run in runs[:: order if order < 0 else 1]]
    assert [key for key, _ in Changes(batch).rows] == [run + bytes(4) for run in sorted(runs)]


def test_deletions_are_in_no_table():
    deletion = Write(LOW, b"header", b"alias", 1, b"row", 1, 2, 3, delete=True, timer=1)
    changes = Changes([deletion])
    assert changes.deletions == [deletion]
    assert changes.runs == changes.rows == changes.entered == changes.left == changes.timers == []
    assert changes.moves == {}


# -- hostile values ------------------------------------------------------------------------------------


class Fickle(Sequence[Any]):
    """Holds something else whenever it is looked into, and may change the Write that it is in."""

    def __init__(self, views: list[list[Any]], act: Callable[[], Any]) -> None:
        self._views = views
        self._act = act

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: Any) -> Any:
        return self._views[0][index]

    def __iter__(self) -> Any:
        self._act()
        return iter(self._views.pop(0) if len(self._views) > 1 else self._views[0])


def with_fickle(*views: list[Any], run: bytes = LOW) -> Write:
    """A Write whose messages are another view each time, and whose run is another one from the first on."""
    write = Write(LOW)
    write.messages = Fickle(list(views), lambda: setattr(write, "run", run))
    return write


def changed(**attributes: Any) -> Write:
    write = Write(LOW)
    for name, value in attributes.items():
        setattr(write, name, value)
    return write


HOSTILE: dict[str, Callable[[], Any]] = {
    "no writes": lambda: [None],
    "something else": lambda: [object()],
    "no iterable": lambda: 5,
    "never initialised": lambda: [Write.__new__(Write)],
    "a text as a number": lambda: [changed(seq="1")],
    "a float as a number": lambda: [changed(workflow=1.0)],
    "a status that is none": lambda: [changed(old=b"2", new=3)],
    "a timer that is none": lambda: [changed(timer="soon")],
    "messages that are none": lambda: [changed(messages=5)],
    "messages that are no pairs": lambda: [changed(messages=[1])],
    "a payload that is none": lambda: [changed(messages=[(1, "text")])],
    "a message number that is none": lambda: [changed(messages=[("1", b"m")])],
    "a number that becomes none": lambda: [with_fickle([(1, b"m")], [("1", b"m")])],
    "a number that becomes too large": lambda: [with_fickle([(1, b"m")], [(2**64, b"m")])],
    "a payload that becomes none": lambda: [with_fickle([(1, b"m")], [(1, None)])],
    "a run that becomes too short": lambda: [with_fickle([(1, b"m")], run=b"short")],
    "a sequence number too large for C": lambda: [changed(seq=2**200)],
    "a run without a key": lambda: [changed(run=None)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_value_passes_for_another(name):
    with pytest.raises((TypeError, OverflowError, ValueError, InputError)):
        Changes(HOSTILE[name]())


@pytest.mark.parametrize(
    "name", [name for name in HOSTILE if "becomes" not in name and "payload" not in name]
)
def test_the_check_by_itself_refuses_it_too(name):
    with pytest.raises((TypeError, InputError)):
        check_writes(HOSTILE[name]())


BROKEN: dict[str, Callable[[], Any]] = {
    "never initialised": lambda: Entry.__new__(Entry),
    "a run that is none": lambda: Entry(object(), b""),
    "a key that is none": lambda: Entry(Ledger("text", 1), b""),  # type: ignore[arg-type]
    "a key that has no hash": lambda: Entry(Ledger([], 1), b""),  # type: ignore[arg-type]
    "a journal's end that is none": lambda: Entry(Ledger(LOW, 1, seq="1"), b""),  # type: ignore[arg-type]
    "records that are none": lambda: Entry(Ledger(LOW, 1), 5),  # type: ignore[arg-type]
    "a post of another length": lambda: Entry(Ledger(LOW, 1), b"", post=(1, 2)),
    "a post that is none": lambda: Entry(Ledger(LOW, 1), b"", post=5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_entry_that_makes_no_write_is_refused(name):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        gathered(BROKEN[name]())


@pytest.mark.parametrize(
    "act",
    [
        lambda: Write(None),  # type: ignore[arg-type]
        lambda: Write("text"),  # type: ignore[arg-type]
        lambda: Write(LOW, header="text"),  # type: ignore[arg-type]
        lambda: Answer(None, None),  # type: ignore[arg-type]
        lambda: Entry(Ledger(LOW, 1), b"", header=5),  # type: ignore[arg-type]
        lambda: seal(None, b""),  # type: ignore[arg-type]
        lambda: seal(b"", bytearray()),  # type: ignore[arg-type]
        lambda: pack_array([b"", "text"]),  # type: ignore[list-item]
        lambda: gather([], [], Ledger, None),  # type: ignore[arg-type]
        lambda: gather(deque(), None, Ledger, refuse_merging),  # type: ignore[arg-type]
    ],
)
def test_what_has_another_type_is_refused(act):
    with pytest.raises((TypeError, AttributeError)):
        act()


@pytest.mark.parametrize(("workflow", "status"), [(-1, 0), (0x10000, 0), (0, -1), (0, 256), (2**64, 2**64)])
def test_numbers_that_do_not_fit_into_a_key_are_refused(workflow, status):
    with pytest.raises(OverflowError):
        index_key(workflow, status, LOW)


def test_keys_of_another_length_are_refused():
    for run in (b"", b"short", b"x" * 17):
        with pytest.raises(ValueError, match="run key"):
            timer_key(1, run)


def test_a_file_is_told_from_another_as_by_stat(tmp_path):
    for name in ("a", "\u00e4\udcff"):  # the second one is no UTF-8
        path = tmp_path / name
        with pytest.raises(FileNotFoundError) as caught:
            identity_of(os.fsencode(path))
        assert caught.value.strerror == os.strerror(errno.ENOENT)
        path.touch()
        found = path.stat()
        assert identity_of(os.fsencode(path)) == (found.st_dev, found.st_ino)
    found = Path("/dev/null").stat()
    assert identity_of(b"/dev/null") == (found.st_dev, found.st_ino)
    with pytest.raises(NotADirectoryError):
        identity_of(os.fsencode(path / "in it"))
    with pytest.raises(TypeError):
        identity_of(str(path))  # type: ignore[arg-type]


def test_a_queue_that_shrinks_ends_with_its_error():
    class Leaky(deque[Any]):
        def popleft(self) -> Any:
            self.clear()
            return super().popleft()

    with contextlib.suppress(IndexError):
        gather(Leaky([1, 2]), [], Ledger, refuse_merging)
        pytest.fail("nothing was there to be taken")
    gc.collect()
