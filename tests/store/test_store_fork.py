"""A forked child: its parent's store says so, and it may open the database itself."""

from __future__ import annotations

import textwrap

import pytest

PRELUDE = """
import gc, signal

def forked(work):
    # Run in a child, which must end by itself; what it says goes to the same place.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status

def attempt(use):
    try:
        use()
    except StoreError as error:
        say(f"{type(error).__name__}: {error}")
    else:
        say("worked")
"""


def run(child, code, *arguments, then=""):
    return child(PRELUDE + textwrap.dedent(code) + then, *arguments).finish().splitlines()


def test_every_use_in_the_child_is_refused(path, child):
    said = run(
        child,
        """
        store = open_lmdb(path)
        store.commit([new_run(1)])
        reader = open_lmdb(path, readonly=True)

        def work():
            for use in (
                lambda: store.commit([new_run(2)]),
                lambda: store.find(b"a"),
                lambda: store.load(bytes(16)),
                lambda: store.page(limit=1),
                lambda: store.keys({2}, limit=1),
                store.counts,
                lambda: store.workflow_number("w"),
                store.workflow_names,
                lambda: store.put_outline(b"f", b"o"),
                store.last_run,
                store.batch_number,
                store.statistics,
                reader.batch_number,
            ):
                attempt(use)
            store.close()
            reader.close()

        forked(work)
        attempt(lambda: store.commit([new_run(2)]))
        attempt(reader.batch_number)
        """,
        path,
    )
    assert said[-2:] == ["worked", "worked"]
    assert len(said) == 15
    assert all("before this process was forked" in line and "in the child" in line for line in said[:-2])


def test_the_child_leaves_the_parents_lock_alone(path, child, opened):
    said = run(
        child,
        """
        store = open_lmdb(path)

        def work():
            store.close()
            attempt(lambda: open_lmdb(path))

        forked(work)
        forked(lambda: attempt(lambda: open_lmdb(path)))
        attempt(lambda: store.commit([new_run(1)]))
        """,
        path,
    )
    assert "StoreLocked" in said[0]
    assert "process" in said[0]
    assert "StoreLocked" in said[1]
    assert said[2] == "worked"
    assert opened().batch_number() == 1


def test_the_lock_ends_with_the_parent_although_the_child_lives(path, child, opened):
    owner = child(
        """
        store = open_lmdb(path)
        if os.fork() == 0:
            say("child lives")
            hear()
            os._exit(0)
        os.kill(os.getpid(), 9)
        """,
        path,
    )
    assert owner.hear() == "child lives"
    owner.process.wait()
    opened()


def test_the_child_may_open_the_database_itself(path, child):
    said = run(
        child,
        """
        store = open_lmdb(path)
        store.commit([new_run(1)])

        def work():
            reader = open_lmdb(path, readonly=True)
            say(str(len(reader.page(limit=9))))
            reader.close()

        forked(work)
        forked(lambda: forked(work))  # and its child
        store.commit([new_run(2)])
        store.close()

        def write():
            store = open_lmdb(path)
            store.commit([new_run(3)])
            store.close()

        forked(write)
        store = open_lmdb(path)
        say(str(len(store.page(limit=9))))
        """,
        path,
    )
    assert said == ["1", "1", "3"]


SNAPSHOT = """
# A reader keeps seeing what it saw, however much is rewritten, as long as it has its slot.
txn = store._environment._env.begin()
before = txn.get((1).to_bytes(16), db=store._tables.runs)
damaged = lingering = None
gc.collect()
for n in range(3, 100):
    store.commit([new_run(n)])
say(str(txn.get((1).to_bytes(16), db=store._tables.runs) == before))
"""


def test_the_child_frees_no_slot_of_the_parents_readers(path, child):
    said = run(
        child,
        """
        store = open_lmdb(path)
        store.commit([new_run(1)])
        reads = lambda: store.page(limit=1), lambda: store.load(bytes(16)), lambda: store.keys({2}, limit=1)
        for read in reads:
            read()
            forked(lambda: attempt(open_lmdb(path, readonly=True).batch_number))
        """,
        path,
        then=SNAPSHOT,
    )
    assert said == ["worked"] * 3 + ["True"]


DAMAGED = """
store = open_lmdb(path)
store.commit([new_run(1), new_run(2)])
store.commit([Write((2).to_bytes(16), seq=9, row=b"r")])
"""


def test_nor_one_of_a_page_with_an_error_in_it(path, child):
    said = run(
        child,
        DAMAGED
        + """
damaged = store.page(limit=9)
assert damaged[0].error is not None
forked(lambda: attempt(open_lmdb(path, readonly=True).batch_number))
""",
        path,
        then=SNAPSHOT,
    )
    assert said == ["worked", "True"]


def test_nor_one_that_an_error_still_holds(path, child):
    said = run(
        child,
        DAMAGED
        + """
try:
    store.load((2).to_bytes(16))
except StoreCorrupt as error:
    lingering = error
forked(lambda: attempt(lambda: open_lmdb(path, readonly=True)))
""",
        path,
        then=SNAPSHOT,
    )
    assert "already open in this process" in said[0]  # which is the price
    assert said[1] == "True"


@pytest.mark.slow
def test_forks_while_other_threads_write_and_read(path, child):
    said = run(
        child,
        """
        import threading
        store = open_lmdb(path, map_size=1 << 17)
        store.commit([new_run(0)])
        done = threading.Event()
        failures = []

        def guarded(step):
            try:
                while not done.is_set():
                    step()
            except BaseException as error:
                failures.append(error)

        numbers = iter(range(1, 10**9))
        def write():
            store.commit([new_run(next(numbers), row=b"x" * 5000)])

        threads = [
            threading.Thread(target=guarded, args=(write,)),
            threading.Thread(target=guarded, args=(lambda: store.page(limit=5),)),
        ]
        for thread in threads:
            thread.start()

        def work():
            reader = open_lmdb(path, readonly=True)
            assert reader.load(bytes(16)) is not None
            reader.close()
            attempt(store.batch_number)

        for _ in range(20):
            forked(work)
        done.set()
        for thread in threads:
            thread.join()
        say(str(failures))
        store.close()
        """,
        path,
    )
    assert len(said) == 21
    assert all("before this process was forked" in line for line in said[:20])
    assert said[20] == "[]"


def test_a_fork_does_not_wait_for_ever_for_a_disk_that_hangs(path, child):
    said = run(
        child,
        """
        import threading
        from durable_trio._store import registry
        registry.FORK_PATIENCE = 0.01
        store = open_lmdb(path)
        store._environment.write_lock.acquire()  # as a commit does whose fsync does not return

        def work():
            attempt(store.batch_number)
            attempt(lambda: store.commit([new_run(1)]))
            store.close()

        forked(work)
        store._environment.write_lock.release()
        attempt(lambda: store.commit([new_run(1)]))
        """,
        path,
    )
    assert "forked" in said[0]
    assert "forked" in said[1]
    assert said[2] == "worked"
