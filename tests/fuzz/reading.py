"""A forked child opens a database that may be anything, and reads all of it.

What may come of that: everything as it was written (``read``), some of it missing (``incomplete``: LMDB's own
pages have no checksums, and a page of an older state is a sound one), or a typed error (``refused``). What
may
not: a signal, a hang, an error of another type, a value that was never written.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from durable_trio import StoreError
from durable_trio._store.base import Store, Stored, Write
from durable_trio._store.lmdb import open_lmdb

from .corpus import Content

PATIENCE = 10.0  # seconds; a sound file takes milliseconds
READ, REFUSED, INCOMPLETE, WRONG, UNTYPED = 0, 10, 11, 12, 13
_NAMES = {READ: "read", REFUSED: "refused", INCOMPLETE: "incomplete", WRONG: "wrong", UNTYPED: "untyped"}
GOOD = ("read", "refused", "incomplete")


def in_child(function: Callable[[], int], output: Path, patience: float = PATIENCE) -> str:
    """Call this in a forked child; gives what its exit status means, or the signal that it died of."""
    pid = os.fork()
    if not pid:
        status = UNTYPED
        faulthandler.disable()  # pytest's would write about a signal to where the parent's errors go
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            status = function()
        except BaseException:  # the only way out is the exit status
            traceback.print_exc()
        finally:
            os._exit(status)
    handle = os.pidfd_open(pid)
    ended = bool(select.select([handle], [], [], patience)[0])
    os.close(handle)
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not ended:
        return "hung"
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    code = os.WEXITSTATUS(status)
    return _NAMES.get(code, f"exit {code}")


def read_all(database: Path, content: Content, *, readonly: bool) -> int:
    """In the child: gives the exit status."""
    try:
        store = open_lmdb(database, readonly=readonly)
    except StoreError as error:
        print(error)  # noqa: T201 - into the output file
        return REFUSED
    try:
        return _compare(store, content, readonly=readonly)
    except StoreError as error:
        print(error)  # noqa: T201
        return REFUSED
    finally:
        store.close()


def _compare(store: Store, content: Content, *, readonly: bool) -> int:
    seen = set()
    whole = True
    refused = False
    for stored in store.page(limit=100_000):
        if stored.error is not None:
            refused = True
            continue
        key = stored.run
        seen.add(key)
        rows = content.rows.get(key, [])
        if (
            stored.header != content.headers.get(key)
            or stored.rows != rows[: len(stored.rows)]
            or stored.status not in content.statuses[key]
        ):
            print(f"run {key.hex()} is not what was written")  # noqa: T201
            return WRONG
        whole = whole and len(stored.rows) == len(rows)
        for number, data in store.messages(key):
            if content.messages.get((key, number)) != data:
                print(f"message {number} of run {key.hex()} is not what was written")  # noqa: T201
                return WRONG
    store.timers(limit=1000)
    store.mailboxes(limit=1000)
    store.counts()
    store.workflow_names()
    if not readonly:
        run = b"\xff" * 16
        store.commit([Write(run, b"header", b"new", 0, b"row", 1, None, 1)])
        if store.load(run) != Stored(run, b"header", [b"row"], 1, 1):
            print("what was written now is not there")  # noqa: T201
            return WRONG
    if refused:
        return REFUSED
    return READ if whole and seen == content.headers.keys() else INCOMPLETE
