"""The map grows when it is full, whatever is going on."""

from __future__ import annotations

import resource
import threading

import pytest

from durable_trio._store.base import Write
from durable_trio._store.gate import Gate

SMALL = 1 << 17


def big(number, size=5_000):
    return Write(number.to_bytes(16), header=b"h", row=b"%d " % number * (size // 5), workflow=1, new=2)


def test_one_batch_may_need_many_doublings(opened):
    store = opened(map_size=SMALL)
    assert store.statistics().map_size == SMALL
    assert store.commit([big(n, 20_000) for n in range(200)]) == 1
    statistics = store.statistics()
    assert statistics.map_size >= 4 << 20
    assert statistics.map_size == SMALL * 2 ** (statistics.map_size // SMALL - 1).bit_length()
    assert [stored.rows for stored in store.page(limit=999)] == [
        [big(n, 20_000).row] for n in range(199, -1, -1)
    ]


def test_growth_is_remembered(opened):
    store = opened(map_size=SMALL)
    store.commit([big(n) for n in range(200)])
    grown = store.statistics().map_size
    store.close()
    assert opened(map_size=SMALL).statistics().map_size == grown


def test_a_map_size_may_be_odd(opened, new_run):
    store = opened(map_size=SMALL + 1)
    assert store.statistics().map_size == SMALL + resource.getpagesize()
    store.commit([new_run(1)])


@pytest.mark.parametrize("size", [1, 0])
def test_a_map_size_may_be_too_small_for_anything(opened, new_run, size):
    store = opened(map_size=size)
    store.commit([new_run(n) for n in range(500)])
    assert len(store.page(limit=999)) == 500


def test_names_and_outlines_grow_the_map_too(opened):
    store = opened(map_size=SMALL)
    for n in range(40):
        store.put_outline(b"%d" % n, b"x" * 10_000)
        assert store.workflow_number(f"workflow {n}" + "x" * 400) == n + 1
    assert all(store.outline(b"%d" % n) == b"x" * 10_000 for n in range(40))


def test_readers_read_on_while_the_map_grows_under_them(opened):
    store = opened(map_size=SMALL)
    store.commit([big(0, 50_000)])
    done = threading.Event()
    failures: list[BaseException] = []
    reads = [0] * 2

    def row_of(run: bytes) -> bytes:
        return big(int.from_bytes(run), 50_000).row

    def read(which: int) -> None:
        try:
            while not done.is_set():
                page = store.page(limit=20)
                assert page[-1].rows == [row_of(page[-1].run)]
                assert store.load(bytes(16)).rows == [row_of(bytes(16))]
                assert len(store.keys({2}, limit=1_000)) >= len(page)
                reads[which] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    batch = 0
    while not failures and (store.statistics().map_size < 16 * SMALL or min(reads) < 3):
        batch += 1
        store.commit([big(batch, 50_000)])
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store.keys({2}, limit=10_000)) == batch + 1


def test_a_map_that_cannot_grow_says_so(path, child):
    said = child(
        """
        import resource
        store = open_lmdb(path, map_size=1 << 20)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), resource.RLIM_INFINITY))
        number = acknowledged = 0
        try:
            while True:
                number += 1
                store.commit([new_run(number, row=b"x" * 100_000)])
                acknowledged = number
        except StoreError as error:
            say(f"{type(error).__name__} {error}")
        for use in (store.batch_number, lambda: store.commit([new_run(0)])):
            try:
                use()
            except StoreError as error:
                say(type(error).__name__)
        store.close()
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        store = open_lmdb(path)
        say(f"{acknowledged == store.batch_number() == len(store.page(limit=999))} {acknowledged > 5}")
        """,
        path,
    ).finish()
    first, *rest = said.splitlines()
    assert "cannot map" in first
    assert "ulimit -v" in first
    assert rest == ["StoreError", "StoreError", "True True"]


# -- the gate ------------------------------------------------------------------------------------------


def test_the_gate_closes_once_nobody_is_inside():
    gate = Gate()
    gate.enter()
    gate.enter()
    closed = threading.Event()

    def close():
        gate.close()
        closed.set()

    thread = threading.Thread(target=close)
    thread.start()
    gate.leave()
    assert not closed.is_set()
    gate.leave()
    thread.join()
    assert closed.is_set()
    entered = threading.Event()
    late = threading.Thread(target=lambda: (gate.enter(), entered.set()))
    late.start()
    assert not entered.is_set()
    gate.open()
    late.join()
    assert entered.is_set()


def test_the_gate_gives_up_in_time_and_is_open_then():
    gate = Gate()
    gate.enter()
    assert gate.close(timeout=0) is False
    gate.enter()
    gate.leave()
    gate.leave()
    assert gate.close(timeout=0) is True
    assert gate.close(timeout=0) is False
    gate.open()
    assert gate.close(timeout=0) is True
