"""What every store promises; runs over each of them."""

from __future__ import annotations

import pytest

from durable_trio._errors import InputError, StoreCorrupt, StoreError
from durable_trio._store.base import Stored, Write


def key(number: int) -> bytes:
    return number.to_bytes(16)


def runs(page):
    return [int.from_bytes(stored.run) for stored in page]


def test_a_new_store_is_empty(store):
    assert store.last_run() is None
    assert store.batch_number() == 0
    assert store.load(key(1)) is None
    assert store.find(b"nobody") is None
    assert store.page(limit=10) == []
    assert store.keys({1, 2, 3}, limit=10) == []
    assert store.counts() == {}
    assert store.workflow_names() == {}
    assert store.outline(b"none") is None
    assert store.statistics().runs == 0


def test_a_run_comes_back_as_it_was_written(store):
    store.commit([Write(key(7), header=b"\0head", alias=b"order-7", row=b"first", workflow=3, new=2)])
    store.commit([Write(key(7), seq=1, row=b"", workflow=3)])
    store.commit([Write(key(7), seq=2, row=b"\xff" * 10_000, workflow=3, old=2, new=16)])
    assert store.load(key(7)) == Stored(key(7), b"\0head", [b"first", b"", b"\xff" * 10_000], 16, 3)
    assert store.load(key(7), with_rows=False) == Stored(key(7), b"\0head", [], 16, 3)
    assert store.find(b"order-7") == key(7)
    assert store.last_run() == key(7)


def test_rows_of_neighbours_are_kept_apart(store):
    # The keys of rows are the run's and four bytes: here one run's key is the other's plus one.
    low, high = b"\0" * 15 + b"\xff", b"\0" * 14 + b"\1\0"
    store.commit(
        [
            Write(low, header=b"low", row=b"low 0", workflow=1, new=2),
            Write(high, header=b"high", row=b"high 0", workflow=1, new=2),
        ]
    )
    for seq in range(1, 300):
        store.commit([Write(low, seq=seq, row=b"low %d" % seq)])
    assert store.load(low).rows == [b"low %d" % seq for seq in range(300)]
    assert store.load(high).rows == [b"high 0"]


def test_every_commit_counts_and_an_empty_one_is_none(store, new_run):
    assert [store.commit([new_run(n)]) for n in (1, 2, 3)] == [1, 2, 3]
    assert store.commit([]) == 3
    assert store.batch_number() == 3


def test_a_status_that_stays_is_left_alone(store, new_run):
    store.commit([new_run(1)])
    store.commit([Write(key(1), seq=1, row=b"r", workflow=1, old=2, new=2)])
    assert store.load(key(1)).status == 2
    assert store.keys({2}, limit=10) == [(key(1), 1, 2)]
    assert store.counts() == {(1, 2): 1}


def test_any_status_byte_and_workflow_number_is_found(store):
    odd = [(0, 0), (0, 255), (1, 0), (255, 17), (256, 1), (65535, 255)]
    store.commit(
        [
            Write(key(n), header=b"h", workflow=workflow, new=status)
            for n, (workflow, status) in enumerate(odd)
        ]
    )
    for n, (workflow, status) in enumerate(odd):
        stored = store.load(key(n))
        assert (stored.workflow, stored.status) == (workflow, status)
    assert store.counts() == dict.fromkeys(odd, 1)


@pytest.fixture
def many(store, new_run):
    """Runs 0 to 29: workflow n % 3, status 2 or 16 (n % 2), written out of order."""
    for n in sorted(range(30), key=lambda n: n * 7 % 30):
        store.commit([new_run(n, (2, 16)[n % 2], workflow=n % 3)])
    return store


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, range(29, -1, -1)),
        ({"workflow": 1}, range(28, -1, -3)),
        ({"statuses": {2}}, range(28, -1, -2)),
        ({"statuses": {2, 16}}, range(29, -1, -1)),
        ({"statuses": {16, 17}, "workflow": 2}, range(29, -1, -6)),
        ({"statuses": set()}, []),
        ({"workflow": 9}, []),
        ({"before": key(10)}, range(9, -1, -1)),
        ({"before": key(10), "workflow": 0}, range(9, -1, -3)),
        ({"before": key(0), "statuses": {2}}, []),
        ({"before": key(1000)}, range(29, -1, -1)),
        ({"before": key(1000), "statuses": {16}}, range(29, -1, -2)),
    ],
)
def test_pages_are_newest_first(many, asked, expected):
    assert runs(many.page(limit=100, **asked)) == list(expected)
    assert runs(many.page(limit=4, **asked)) == list(expected)[:4]
    for stored in many.page(limit=100, **asked):
        assert stored == many.load(stored.run)


def test_pages_join_without_a_gap(many):
    seen, before = [], None
    while page := many.page(statuses={2, 16}, before=before, limit=7):
        seen += runs(page)
        before = page[-1].run
    assert seen == list(range(29, -1, -1))


def test_keys_are_oldest_first_and_join_without_a_gap(many):
    assert many.keys({16}, limit=3) == [(key(1), 1, 16), (key(3), 0, 16), (key(5), 2, 16)]
    assert many.keys({16}, after=key(27), limit=9) == [(key(29), 2, 16)]
    assert many.keys({16}, after=key(29), limit=9) == []
    assert many.keys({3}, limit=9) == []
    seen, after = [], None
    while keys := many.keys({2, 16}, after=after, limit=7):
        seen += keys
        after = keys[-1][0]
    assert [int.from_bytes(run) for run, _, _ in seen] == list(range(30))


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_gives_nothing(many, limit):
    assert many.page(limit=limit) == []
    assert many.keys({2}, limit=limit) == []


def test_counts_follow_moves_and_deletions(many):
    many.commit(
        [
            Write(key(0), workflow=0, old=2, new=16),
            Write(key(2), workflow=2, old=2, new=5),
            Write(key(4), workflow=1, old=2, delete=True),
        ]
    )
    assert many.counts() == {(0, 2): 4, (0, 16): 6, (1, 2): 4, (1, 16): 5, (2, 2): 4, (2, 5): 1, (2, 16): 5}
    assert (many.count(2), many.count(16), many.count(5), many.count(9)) == (12, 16, 1, 0)
    assert many.statistics().runs == 29


def test_deletion_leaves_nothing_of_the_run_and_everything_of_others(store, new_run):
    store.commit([new_run(n, alias=f"run {n}") for n in (1, 2, 3)])
    store.commit([Write(key(2), seq=1, row=b"more")])
    store.commit([Write(key(2), alias=b"run 2", workflow=1, old=2, delete=True)])
    assert store.load(key(2)) is None
    assert store.find(b"run 2") is None
    assert store.keys({2}, limit=9) == [(key(1), 1, 2), (key(3), 1, 2)]
    assert runs(store.page(limit=9)) == [3, 1]
    assert store.load(key(1)).rows == [b"row 0 of 1"]
    assert store.load(key(3)).rows == [b"row 0 of 3"]
    assert store.statistics().rows == 2
    store.commit([Write(key(2), alias=b"run 2", workflow=1, old=2, delete=True)])  # gone is gone
    # Nothing of it is in the way of a new one.
    store.commit([new_run(2, alias="run 2")])
    assert store.load(key(2)).rows == [b"row 0 of 2"]


def test_a_deletion_spares_the_alias_of_another_run(store, new_run):
    store.commit([new_run(1, alias="a"), new_run(2)])
    store.commit([Write(key(2), alias=b"a", workflow=1, old=2, delete=True)])
    assert store.find(b"a") == key(1)


def test_an_alias_may_go_from_one_run_to_another_in_one_batch(store, new_run):
    store.commit([new_run(1, alias="a")])
    store.commit([new_run(2, alias="a"), Write(key(1), alias=b"a", workflow=1, old=2, delete=True)])
    assert store.find(b"a") == key(2)


BAD = {
    "short key": [Write(b"short", header=b"h", new=2)],
    "long key": [Write(b"x" * 17, header=b"h", new=2)],
    "twice the same run": [Write(key(5), header=b"h", new=2), Write(key(5), row=b"r")],
    "twice the same alias": [
        Write(key(5), header=b"h", alias=b"a", new=2),
        Write(key(6), header=b"h", alias=b"a", new=2),
    ],
    "empty alias": [Write(key(5), header=b"h", alias=b"", new=2)],
    "long alias": [Write(key(5), header=b"h", alias=b"a" * 512, new=2)],
    "status": [Write(key(5), header=b"h", new=256)],
    "negative status": [Write(key(1), workflow=1, old=2, new=-1)],
    "workflow": [Write(key(5), header=b"h", new=2, workflow=65536)],
    "sequence": [Write(key(1), row=b"r", seq=2**32)],
    "timer": [Write(key(1), timer=-1)],
    "late timer": [Write(key(1), timer=2**63)],
    "old timer": [Write(key(1), old_timer=-1)],
    "message number": [Write(key(1), messages=[(-1, b"m")])],
    "high message number": [Write(key(1), messages=[(2**64, b"m")])],
    "taken number": [Write(key(1), taken=[-1])],
    "two messages with one number": [Write(key(1), messages=[(7, b"m"), (7, b"n")])],
    "new without status": [Write(key(5), header=b"h")],
    "status without header": [Write(key(5), new=2)],
    "header with an old status": [Write(key(5), header=b"h", old=2, new=3)],
    "alias without header": [Write(key(1), row=b"r", seq=1, alias=b"b")],
    "run exists": [Write(key(1), header=b"h", new=2)],
    "same run again": [Write(key(1), header=b"header 1", row=b"r", seq=1, workflow=1, new=2)],
    "alias is taken": [Write(key(5), header=b"h", alias=b"taken", new=2)],
    "row exists": [Write(key(1), row=b"other")],
    "same row again": [Write(key(1), row=b"row 0 of 1")],
    "wrong old status": [Write(key(1), workflow=1, old=3, new=4)],
    "wrong workflow": [Write(key(1), workflow=2, old=2, new=4)],
    "status of nobody": [Write(key(9), workflow=1, old=2, new=4)],
}


@pytest.mark.parametrize("name", BAD)
def test_a_batch_that_does_not_fit_changes_nothing(store, new_run, name):
    store.commit([new_run(1, alias="taken")])
    good = [new_run(3), Write(key(4), header=b"h", alias=b"four", new=9)]
    with pytest.raises(InputError):
        store.commit([*good, *BAD[name]])
    assert runs(store.page(limit=9)) == [1]
    assert store.load(key(1)) == Stored(key(1), b"header 1", [b"row 0 of 1"], 2, 1)
    assert store.find(b"four") is None
    assert store.find(b"taken") == key(1)
    assert store.counts() == {(1, 2): 1}
    assert store.batch_number() == 1
    assert store.commit(good) == 2  # the store goes on


def test_an_alias_may_have_511_bytes(store):
    alias = "ä".encode() * 255 + b"!"
    store.commit([Write(key(1), header=b"h", alias=alias, new=2)])
    assert store.find(alias) == key(1)


@pytest.mark.parametrize("alias", [b"", b"a" * 512])
def test_looking_for_an_impossible_alias_is_refused(store, alias):
    with pytest.raises(InputError, match="1 to 511 bytes"):
        store.find(alias)


def test_a_missing_row_is_corruption_of_that_run_alone(store, new_run):
    store.commit([new_run(1), new_run(2), new_run(3)])
    store.commit([Write(key(2), seq=2, row=b"third")])
    with pytest.raises(StoreCorrupt, match=f"{key(2).hex()}.*row 1"):
        store.load(key(2))
    assert store.load(key(2), with_rows=False).header == b"header 2"
    page = store.page(limit=9)
    assert runs(page) == [3, 2, 1]
    assert [stored.error is None for stored in page] == [True, False, True]
    assert isinstance(page[1].error, StoreCorrupt)
    assert page[1].rows == []
    assert [int.from_bytes(run) for run, _, _ in store.keys({2}, limit=9)] == [1, 2, 3]


def test_workflow_numbers_are_given_once(store):
    first, second = store.workflow_number("order"), store.workflow_number("größer")
    assert first != second
    assert store.workflow_number("order") == first
    assert store.workflow_names() == {first: "order", second: "größer"}
    assert all(0 < number <= 65535 for number in (first, second))


@pytest.mark.parametrize("name", ["", "x" * 512])
def test_impossible_workflow_names_are_refused(store, name):
    with pytest.raises(InputError):
        store.workflow_number(name)
    assert store.workflow_names() == {}


def test_the_first_outline_stays(store):
    store.put_outline(b"print", b"one")
    store.put_outline(b"print", b"two")
    assert store.outline(b"print") == b"one"
    assert store.outline(b"other") is None


def test_statistics(store, new_run):
    store.commit([new_run(1), new_run(2)])
    store.commit([Write(key(1), seq=1, row=b"r")])
    found = store.statistics()
    assert (found.runs, found.rows, found.batch_number) == (2, 3, 2)
    assert found.path == store.path
    assert 0 <= found.used <= found.size <= found.map_size


def test_a_closed_store_says_so(store, new_run):
    store.commit([new_run(1)])
    store.close()
    store.close()
    for use in (
        lambda: store.commit([new_run(2)]),
        lambda: store.commit([]),
        lambda: store.find(b"a"),
        lambda: store.load(key(1)),
        lambda: store.page(limit=1),
        lambda: store.keys({2}, limit=1),
        store.counts,
        lambda: store.workflow_number("w"),
        store.workflow_names,
        lambda: store.put_outline(b"f", b"o"),
        lambda: store.outline(b"f"),
        store.last_run,
        store.batch_number,
        store.statistics,
    ):
        with pytest.raises(StoreError, match="closed"):
            use()
