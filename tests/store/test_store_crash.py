"""SIGKILL at every line: what was acknowledged is there, and what is there can be opened.

The quick tests take some lines, the slow ones all. One warm process forks once per line, so that the whole
costs seconds. What a killed process cannot show, the loss of what was written but not synced, is left to
other tests.
"""

from __future__ import annotations

import textwrap

import pytest

PRELUDE = """
import itertools, os, shutil, signal
from pathlib import Path
from durable_trio._store.datafile import verify_data_file

def killed_at(line, work):
    # Run in a child that dies before its n-th line in the store; was there such a line?
    pid = os.fork()
    if pid == 0:
        left = line

        def trace(frame, event, _argument):
            nonlocal left
            if f"{os.sep}_store{os.sep}" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)

def checked(work):
    # Run in a child of its own, whose failure is ours.
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(f"line {line}: {error!r}", flush=True)
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

path, stride = Path(path), int(sys.argv[2])
"""


def run(child, path, stride, code):
    return int(child(PRELUDE + textwrap.dedent(code), path, stride).finish())


@pytest.mark.slow
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_creating(path, child, stride):
    lines = run(
        child,
        path / "below",
        stride,
        """
        def check():
            store = open_lmdb(path)
            assert store.commit([new_run(1)]) == 1
            store.close()
            assert sorted(file.name for file in path.iterdir()) == [
                "data.mdb", "durable-trio.json", "lock.mdb", "writer.lock"]
            assert verify_data_file(path / "data.mdb") == []

        for line in itertools.count(1, stride):
            shutil.rmtree(path, ignore_errors=True)
            if not killed_at(line, lambda: open_lmdb(path)):
                break
            checked(check)
        say(str(line))
        """,
    )
    assert lines > 150  # else the killing does not work


# Each commit runs the same lines, so every third one of all three is each line once.
@pytest.mark.parametrize("stride", [37, pytest.param(3, marks=pytest.mark.slow)])
def test_killed_while_committing(path, child, stride):
    lines = run(
        child,
        path,
        stride,
        """
        def row(n):
            return b"%d" % n * 30_000

        def work():
            store = open_lmdb(path, map_size=1 << 17)  # and growing
            for n in range(2, 5):
                assert store.commit([
                    new_run(n, row=row(n)),
                    Write((n - 1).to_bytes(16), row=b"more", seq=1, workflow=1, old=2, new=16),
                ]) == n
                os.write(said, b"%d" % n)
            store.close()

        def check():
            acknowledged = max(map(int, os.read(heard, 99).decode()), default=1)
            store = open_lmdb(path)
            batch = store.batch_number()
            assert acknowledged <= batch <= acknowledged + 1, (acknowledged, batch)
            page = store.page(limit=9)
            assert [int.from_bytes(stored.run) for stored in page] == list(range(batch, 0, -1))
            for stored in page:
                n = int.from_bytes(stored.run)
                last = n == batch
                assert stored.rows == [row(n)] + [b"more"] * (not last), n
                assert stored.status == (2 if last else 16), n
            assert (store.count(2), store.count(16)) == (1, batch - 1)
            assert store.commit([new_run(77)]) == batch + 1
            store.close()
            assert verify_data_file(path / "data.mdb") == []

        def prepare():
            store = open_lmdb(path, map_size=1 << 17)
            store.commit([new_run(1, row=row(1))])
            store.close()

        line = 0
        checked(prepare)
        shutil.copytree(path, f"{path}.original")
        for line in itertools.count(1, stride):
            shutil.rmtree(path)
            shutil.copytree(f"{path}.original", path)
            heard, said = os.pipe()
            os.set_blocking(heard, False)
            os.write(said, b"1")
            killed = killed_at(line, work)
            checked(check)
            os.close(heard)
            os.close(said)
            if not killed:
                break
        say(str(line))
        """,
    )
    assert lines > 300
