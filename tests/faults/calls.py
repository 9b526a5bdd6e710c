"""One system call fails, and what was acknowledged is there all the same; then the engine is opened again.

Each case is a process of its own: a kind of call (a write of pages or of the meta page, a sync, an mmap),
which
of them is the first to fail, how many do, and with what. A short write is an error to LMDB. A disk that is
full for some calls has space again after them; the engine has stopped by then, as it does after any failed
commit, and goes on when it is opened again. Then a second process, in which
nothing fails, must end every run.
"""

from __future__ import annotations

import errno
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from durable_trio import StoreError
from durable_trio._info import STATUS_NAMES
from durable_trio._store.lmdb import open_lmdb

from .power import lost
from .recording import STORE_ERROR, build_library, read_log, record

_RUNS = 10
_MEMORY = Path("/dev/shm")


class Kind(NamedTuple):
    """A kind of fault; ``last``: up to which call of an undisturbed run it is tried."""

    label: str
    call: str
    error: int
    times: int
    last: int


KINDS = (
    Kind("EIO in a write of pages", "W", errno.EIO, 1, 40),
    Kind("ENOSPC in a write of pages", "W", errno.ENOSPC, 1, 40),
    Kind("a full disk that gets space again", "W", errno.ENOSPC, 3, 40),
    Kind("a short write of pages", "W", 0, 1, 40),
    Kind("EIO in fdatasync", "S", errno.EIO, 1, 30),
    Kind("ENOSPC in fdatasync", "S", errno.ENOSPC, 1, 30),
    Kind("EIO in the meta page", "M", errno.EIO, 1, 30),
    Kind("ENOSPC in the meta page", "M", errno.ENOSPC, 1, 30),
    Kind("a short write of the meta page", "M", 0, 1, 30),
    Kind("ENOMEM in mmap", "A", errno.ENOMEM, 1, 1),
)


class Totals:
    """``fired`` and ``unfired`` by kind; ``endings``: how the faulty process ended."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self.unfired: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.violations: list[str] = []
        self.seconds = 0.0

    def table(self) -> str:
        """The counts, as text."""
        rows = [f"{self.fired.total()} system call faults: {dict(self.endings)}"]
        rows += [f"  {count:6} x {label}" for label, count in sorted(self.fired.items())]
        rows.append(f"  {self.unfired.total():6} faults did not happen")
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


def run(seed: int, number: int) -> Totals:
    """So many faults that happened, of all kinds in turn."""
    totals = Totals()
    began = time.monotonic()
    rng = random.Random(seed)
    base = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="calls-", dir=base) as name:
        library = build_library(Path(name))
        tried = 0
        while totals.fired.total() < number and tried < 3 * number:
            kind = KINDS[tried % len(KINDS)]
            tried += 1
            _try(totals, library, Path(name) / "case", kind, rng.randrange(1, kind.last + 1))
    totals.seconds = time.monotonic() - began
    return totals


def _try(totals: Totals, library: Path, folder: Path, kind: Kind, first: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    fault = f"{kind.call}:{first}:{kind.times}:{kind.error}"
    status, said = record(library, folder, _RUNS, fault)
    log = list(read_log(folder / "log"))
    if not any(entry.operation == "F" for entry in log):
        totals.unfired[kind.label] += 1
        return
    totals.fired[kind.label] += 1
    ending = {0: "went on", STORE_ERROR: "stopped with a typed error", -1: "hung"}.get(
        status, f"exit {status}"
    )
    totals.endings[ending] += 1

    def complain(text: str) -> None:
        totals.violations.append(f"{kind.label}, from call {first} on ({fault}): {text}")

    if status not in (0, STORE_ERROR):
        complain(f"{ending}: {said[-500:]}")
        return
    told = [json.loads(entry.data) for entry in log if entry.operation == "K"]
    _check(folder, told, complain)
    status, said = record(library, folder, _RUNS)
    if status:
        complain(f"the process after it: exit {status}: {said[-500:]}")
        return
    told = [json.loads(entry.data) for entry in read_log(folder / "log") if entry.operation == "K"]
    ended = _check(folder, told, complain)
    if ended != _RUNS:
        complain(f"{ended} of {_RUNS} runs have ended after all")


def _check(folder: Path, told: list[list[Any]], complain: Any) -> int:
    """Hold what callers were told against the disk; gives how many runs have ended."""
    try:
        store = open_lmdb(folder / "db", readonly=True)
    except StoreError as error:
        complain(f"it cannot be opened: {error}")
        return 0
    try:
        found = {stored.run.hex(): STATUS_NAMES[stored.status] for stored in store.page(limit=1000)}
        for what in told:
            text = None if what[0] == "refused" else lost(store, found, what)
            if text:
                complain(text)
        return sum(status in ("completed", "cancelled", "failed") for status in found.values())
    except StoreError as error:
        complain(f"it cannot be read: {error}")
        return 0
    finally:
        store.close()
