"""Damaged bytes: a typed error, for that run alone where it can be, and never a signal nor a wrong value."""

from __future__ import annotations

import collections
import os
import random
import sys

import lmdb
import pytest

from durable_trio._errors import StoreCorrupt
from durable_trio._store.base import Write
from durable_trio._store.datafile import check_data_file, verify_data_file
from durable_trio._store.lmdb import open_lmdb
from durable_trio._store.seal import fits, seal, unseal

# -- seals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256)) * 40])
def test_a_seal_comes_off(payload):
    assert unseal("journal", b"key", seal(b"key", payload)) == payload
    assert len(seal(b"key", payload)) == len(payload) + 5


def test_every_flipped_bit_is_noticed():
    key, sealed = b"k" * 20, seal(b"k" * 20, b"payload of some length")
    for bit in range(len(sealed) * 8):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreCorrupt, match="table 'journal'"):
            unseal("journal", key, bytes(damaged))
    for bit in range(len(key) * 8):
        damaged = bytearray(key)
        damaged[bit // 8] ^= 1 << bit % 8
        assert not fits(bytes(damaged), sealed)


@pytest.mark.parametrize("length", range(5))
def test_a_value_that_is_too_short_is_noticed(length):
    with pytest.raises(StoreCorrupt):
        unseal("journal", b"k" * 20, seal(b"k" * 20, b"")[:length])


@pytest.mark.parametrize(
    ("table", "key", "name"),
    [
        ("runs", b"\x0a" * 16, "run " + "0a" * 16),
        ("journal", b"\x0a" * 16 + b"\0\0\1\0", f"run {'0a' * 16}: row 256"),
        ("statuses", b"\0\1\2" + b"\x0a" * 16, "run " + "0a" * 16),
        ("messages", b"\x0a" * 16 + b"\0\0\0\0\0\0\1\0", f"run {'0a' * 16}: message 256"),
        ("aliases", b"order-7", "'aliases', key b'order-7'"),
    ],
)
def test_an_error_names_the_run_and_the_table(table, key, name):
    with pytest.raises(StoreCorrupt, match=name) as caught:
        unseal(table, key, b"")
    assert table in str(caught.value)


# -- one damaged value ---------------------------------------------------------------------------------


@pytest.fixture
def database(path):
    """Runs 1 to 5 with two rows each, and an alias."""
    store = open_lmdb(path)
    for n in range(1, 6):
        run = n.to_bytes(16)
        store.commit([Write(run, header=b"h", alias=b"alias %d" % n, row=b"first", workflow=1, new=2)])
        store.commit([Write(run, row=b"second", seq=1, workflow=1, old=2, new=3)])
    store.workflow_number("order")
    store.put_outline(b"print", b"outline")
    store.close()
    return path


def tamper(path, table, key, *, new_key=None, change=None):
    """Put another key, or another value, behind the store's back; None deletes."""
    env = lmdb.open(str(path), max_dbs=10)
    with env.begin(write=True, db=env.open_db(table.encode())) as txn:
        value = txn.pop(key)
        assert value is not None
        if new_key is not None:
            txn.put(new_key, value)
        elif change is not None:
            txn.put(key, change(value))
    env.close()


def flipped(value, byte=-1):
    damaged = bytearray(value)
    damaged[byte] ^= 4
    return bytes(damaged)


RUN = (3).to_bytes(16)
ROW = RUN + (1).to_bytes(4)
STATUS = b"\0\1\3" + RUN


@pytest.mark.parametrize(
    ("table", "key", "how"),
    [
        ("runs", RUN, {"change": flipped}),
        ("runs", RUN, {"change": lambda value: flipped(value, 0)}),
        ("runs", RUN, {"change": lambda _: b""}),
        ("runs", RUN, {}),
        ("runs", RUN, {"new_key": RUN[:15] + b"\x43"}),
        ("journal", ROW, {"change": flipped}),
        ("journal", ROW, {"change": lambda value: value[:-1]}),
        ("journal", RUN + bytes(4), {}),
        ("journal", RUN + bytes(4), {"new_key": RUN + b"\0\0\0\2"}),
        ("statuses", STATUS, {"change": flipped}),
        ("statuses", STATUS, {}),
        ("statuses", STATUS, {"new_key": b"\0\1\2" + RUN}),
        ("statuses", STATUS, {"new_key": b"\0\5\3" + RUN}),
    ],
)
def test_damage_concerns_one_run_only(database, opened, table, key, how):
    tamper(database, table, key, **how)
    store = opened()
    with pytest.raises(StoreCorrupt, match=RUN.hex()):
        store.load(RUN)
    for n in (1, 2, 4, 5):
        assert store.load(n.to_bytes(16)).rows == [b"first", b"second"]
    page = {stored.run: stored for stored in store.page(limit=9)}
    good = {run for run, stored in page.items() if stored.error is None}
    assert good == {n.to_bytes(16) for n in (1, 2, 4, 5)}
    for stored in page.values():
        if stored.error is not None:
            assert (stored.header, stored.rows) == (b"", [])
    together = store.load_small([n.to_bytes(16) for n in range(1, 6)], likely=3, size=99)
    assert {stored.run for stored in together if stored.error is None} == good
    assert [stored.rows for stored in together if stored.error is None] == [[b"first", b"second"]] * 4
    # Whatever an index lists is either whole or an error.
    for run, workflow, status in store.keys(set(range(256)), limit=99):
        if run in good:
            assert (store.load(run).workflow, store.load(run).status) == (workflow, status)
        else:
            with pytest.raises(StoreCorrupt):
                store.load(run)
    by_status = store.page(statuses=set(range(256)), limit=99)
    assert {stored.run for stored in by_status if stored.error is None} == good
    assert store.commit([Write((9).to_bytes(16), header=b"h", workflow=1, new=2)]) == 11


def positions(data, pattern):
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1)


def look(store, table, key):
    match table:
        case "runs":
            return store.load(key, with_rows=False)
        case "journal":
            [stored] = store.load_small([key[:16]], likely=3, size=99)
            if stored.error is not None:
                with pytest.raises(StoreCorrupt):
                    store.load(key[:16])
                raise stored.error
            return store.load(key[:16]).rows[1]
        case "aliases":
            return store.find(key)
        case "workflows":
            return store.workflow_number(key.decode())
        case "outlines":
            return store.outline(key)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("runs", RUN),
        ("journal", ROW),  # the last: what is left looks like a whole journal, and a step would run again
        ("aliases", b"alias 3"),
        ("workflows", b"order"),
        ("outlines", b"print"),
    ],
)
@pytest.mark.parametrize("verified", [False, True])
def test_a_flipped_key_does_not_pass_for_an_absent_one(database, monkeypatch, table, key, verified):
    if not verified:
        monkeypatch.setattr("durable_trio._store.lmdb._VERIFIED_SIZE", 0)
    whole = (database / "data.mdb").read_bytes()
    store = open_lmdb(database)
    assert look(store, table, key) is not None
    store.close()
    for bit in range(len(key) * 8):
        damaged = bytearray(whole)
        for at in positions(whole, key):  # old copies of the page, too
            damaged[at + bit // 8] ^= 1 << bit % 8
        (database / "data.mdb").write_bytes(damaged)
        try:
            store = open_lmdb(database)
        except StoreCorrupt:
            assert verified  # it brought the keys out of order
            continue
        try:
            with pytest.raises(StoreCorrupt):
                look(store, table, key)
        finally:
            store.close()


@pytest.mark.parametrize("table", ["aliases", "workflows", "outlines"])
def test_damage_to_the_values_of_other_tables(database, opened, table):
    key = {"aliases": b"alias 3", "workflows": b"order", "outlines": b"print"}[table]
    tamper(database, table, key, change=flipped)
    with pytest.raises(StoreCorrupt, match=table):
        look(opened(), table, key)


def test_damage_to_the_state(database):
    tamper(database, "meta", b"state", change=flipped)
    store = open_lmdb(database, readonly=True)
    with pytest.raises(StoreCorrupt, match="meta"):
        store.batch_number()
    store.close()


# -- the file ------------------------------------------------------------------------------------------


def test_a_file_that_lmdb_itself_left_short_is_whole(tmp_path):
    # LMDB does not write pages that one transaction took and gave back: a file may be shorter than its
    # last page number says, and often is.
    env = lmdb.open(str(tmp_path), map_size=1 << 28, sync=False)
    rng = random.Random(1)
    data = tmp_path / "data.mdb"
    short = []
    for n in range(200):
        with env.begin(write=True) as txn:
            keys = [rng.randbytes(16) for _ in range(rng.randrange(1, 400))]
            for key in keys:
                txn.put(key, b"x" * rng.choice([10, 200, 5000]))
            for key in keys[n % 3 :]:
                txn.delete(key)
        if data.stat().st_size < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:
            short.append(data.read_bytes())
        check_data_file(data)
    env.close()
    assert len(short) > 20
    # And what is cut off such a file is missed all the same.
    for content in short[::10]:
        data.write_bytes(content[:8192])  # both meta pages are whole
        with pytest.raises(StoreCorrupt, match="cut short"):
            check_data_file(data)


def test_a_file_that_is_short_and_has_a_deep_list_of_free_pages(tmp_path):
    env = lmdb.open(str(tmp_path), map_size=1 << 28, sync=False)
    data = tmp_path / "data.mdb"
    rng = random.Random(2)
    with env.begin(write=True) as txn:
        for n in range(40_000):
            txn.put(n.to_bytes(8), b"x" * 900)
    reader = env.begin()  # keeps LMDB from reusing: each transaction leaves a record of its own
    for n in rng.sample(range(40_000), 2_000):
        with env.begin(write=True) as txn:
            txn.delete(n.to_bytes(8))
    reader.abort()
    with env.begin(write=True) as txn:
        for n in range(3_000):
            txn.put(b"new" + n.to_bytes(8), b"x" * 3_000)
        for n in range(3_000):
            txn.delete(b"new" + n.to_bytes(8))
    check_data_file(data)
    env.close()
    size = data.stat().st_size
    os.truncate(data, size // 2)
    with pytest.raises(StoreCorrupt, match="cut short"):
        check_data_file(data)


@pytest.mark.parametrize("last_page", [2**40, 2**63])
def test_a_last_page_number_that_cannot_be_is_refused_at_once(database, last_page):
    data = database / "data.mdb"
    damaged = bytearray(data.read_bytes())
    for meta in (0, 4096):
        damaged[meta + 136 : meta + 144] = last_page.to_bytes(8, sys.byteorder)
    data.write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match="cut short"):
        open_lmdb(database, readonly=True)


def test_a_reader_does_not_map_a_damaged_tree(database):
    """LMDB would end the process: it believes what stands in a page."""
    data = database / "data.mdb"
    damaged = bytearray(data.read_bytes())
    for page in range(2 * 4096, len(damaged), 4096):
        damaged[page + 10 : page + 12] = b"\x08\x00"  # the page is a meta page, it says
    data.write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_lmdb(database, readonly=True)


def test_a_map_size_that_no_machine_has_is_damage(database):
    data = database / "data.mdb"
    damaged = bytearray(data.read_bytes())
    for meta in (0, 4096):
        damaged[meta + 32 : meta + 40] = b"\xff" * 8
    data.write_bytes(damaged)
    with pytest.raises(StoreCorrupt, match="asks for a map"):
        open_lmdb(database)


def test_a_truncated_file_is_refused_at_every_page(database, tmp_path):
    data = database / "data.mdb"
    whole = data.read_bytes()
    for size in {*range(0, len(whole), 4096), *range(0, 9000, 97), len(whole) - 1}:
        data.write_bytes(whole[:size])
        for readonly in (False, True):
            with pytest.raises(StoreCorrupt, match=r"data\.mdb"):
                open_lmdb(database, readonly=readonly)
    data.write_bytes(whole)
    open_lmdb(database).close()


def test_verification_finds_nothing_in_a_whole_file(database):
    assert verify_data_file(database / "data.mdb") == []
    (database / "data.mdb").write_bytes(b"hello" * 3000)
    assert len(verify_data_file(database / "data.mdb")) == 1


BATTERY = """
import random, shutil, signal
from pathlib import Path

def run_key(n):
    return n.to_bytes(16)

def make(path):
    store = open_lmdb(path, map_size=1 << 20)
    for start in range(0, 120, 40):
        store.commit([
            Write(run_key(n), b"h%d" % n * 9, b"a%d" % n, row=b"r%d" % n * 20, workflow=1 + n % 2, new=2)
            for n in range(start, start + 40)
        ])
    store.commit([
        Write(run_key(n), seq=1, row=b"s%d" % n * 5, workflow=1 + n % 2, old=2, new=16)
        for n in range(0, 120, 3)
    ])
    store.commit([Write(run_key(5), row=os.urandom(20_000), seq=1)])
    store.commit([
        Write(run_key(n), alias=b"a%d" % n, workflow=1 + n % 2, old=2, delete=True) for n in (1, 50, 100)
    ])
    truth = {stored.run: stored for stored in store.page(limit=1000)}
    store.close()
    return truth

def probe(path, truth):
    # What happens to somebody who uses a damaged database: "refused", "noticed", "fine" or what must not be.
    try:
        store = open_lmdb(path)
    except StoreError:
        return "refused"
    outcome = "fine"

    def attempt(use):
        nonlocal outcome
        try:
            return use()
        except (StoreError, InputError):
            outcome = "noticed"

    for stored in attempt(lambda: store.page(limit=1000)) or ():
        if stored.error:
            outcome = "noticed"
        elif stored != truth.get(stored.run):
            return f"WRONG {stored}"
    for run in truth:
        stored = attempt(lambda: store.load(run))
        if stored and stored != truth[run]:
            return f"WRONG {stored}"
    attempt(lambda: store.keys({2, 16}, limit=1000))
    attempt(lambda: store.page(statuses={2, 16}, limit=1000))
    attempt(store.counts)
    attempt(store.statistics)
    for n in (3, 4, 50):
        found = attempt(lambda: store.find(b"a%d" % n))
        if found not in (None, run_key(n)):
            return f"WRONG {found}"
    attempt(lambda: store.commit([
        Write(run_key(n), header=b"h" * 3000, row=b"r", workflow=1, new=2) for n in range(1000, 1050)]))
    attempt(lambda: store.commit([
        Write(run_key(n), row=b"s", seq=7, workflow=1 + n % 2, old=2, new=16) for n in range(2, 50, 3)]))
    store.close()
    return outcome

path = Path(path)
seed, count = int(sys.argv[2]), int(sys.argv[3])
rng = random.Random(seed)
truth = make(path)
whole = (path / "data.mdb").read_bytes()
pages = len(whole) // 4096
for _ in range(count):
    damaged = bytearray(whole)
    page = rng.randrange(pages)
    match rng.choice(["bit", "head", "zero", "swap", "cut"]):
        case "bit":
            at = rng.randrange(len(whole))
            damaged[at] ^= 1 << rng.randrange(8)
        case "head":
            at = page * 4096 + rng.randrange(40)
            damaged[at] ^= 1 << rng.randrange(8)
        case "zero":
            damaged[page * 4096 : page * 4096 + 4096] = bytes(4096)
        case "swap":
            other = rng.randrange(pages)
            damaged[page * 4096 : page * 4096 + 4096] = whole[other * 4096 : other * 4096 + 4096]
        case "cut":
            del damaged[rng.randrange(len(whole)) :]
    (path / "data.mdb").write_bytes(damaged)
    heard, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            outcome = probe(path, truth)
        except BaseException as error:
            outcome = f"ESCAPED {error!r}"
        os.write(said, outcome.encode())
        os._exit(0)
    os.close(said)
    with open(heard) as pipe:
        outcome = pipe.read()
    _, status = os.waitpid(pid, 0)
    say(outcome[:200] if status == 0 else f"SIGNAL {status}")
"""


def check_battery(child, path, seed, count):
    lines = child(BATTERY, path, seed, count).finish().splitlines()
    outcomes = collections.Counter(lines)
    assert set(outcomes) <= {"fine", "noticed", "refused"}, outcomes
    assert len(lines) == count
    assert outcomes["refused"] > count // 5
    assert outcomes["noticed"] > 0
    assert outcomes["fine"] > 0  # free pages, and the unused parts of others


@pytest.mark.slow
def test_no_damage_to_the_file_ends_the_process_or_passes_for_data(child, path):
    check_battery(child, path, seed=1, count=150)


@pytest.mark.slow
def test_more_damage_to_the_file(child, path):
    check_battery(child, path, seed=2, count=600)
