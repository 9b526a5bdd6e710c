"""One system call fails, and what was acknowledged is there all the same; then the engine is opened again.

Each case is a process of its own: a kind of call (a write of pages or of the meta page, a sync, an mmap),
which of them is the first to fail, how many do, and with what. A short write is an error to LMDB. A disk that
is full for some calls has space again after them; the engine has stopped by then, as it does after any
failed commit, and goes on when it is opened again. Then a second process, in which nothing fails, must end
every run.

How many calls a process makes is a matter of chance. A fault whose turn never came is brought forward, until
it happens; one that does not happen at the first call is a violation.
"""

from __future__ import annotations

import errno
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from durable_trio import StoreError
from durable_trio._info import STATUS_NAMES
from durable_trio._store.lmdb import open_lmdb

from .power import lost
from .recording import STORE_ERROR, Entry, build_library, read_log, record

Complain = Callable[[str], None]

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
    """``fired`` and ``early`` (had to be brought forward) by kind; ``endings`` of the faulty process."""

    def __init__(self) -> None:
        self.fired: Counter[str] = Counter()
        self.early: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.violations: list[str] = []
        self.seconds = 0.0

    def table(self) -> str:
        """The counts, as text."""
        rows = [f"{self.fired.total()} system call faults: {dict(self.endings)}"]
        rows += [f"  {count:6} x {label}" for label, count in sorted(self.fired.items())]
        rows.append(f"  {self.early.total():6} were brought forward")
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


class _Case(NamedTuple):
    library: Path
    folder: Path
    kind: Kind
    first: int  # the first call that fails

    @property
    def fault(self) -> str:
        return f"{self.kind.call}:{self.first}:{self.kind.times}:{self.kind.error}"


def run(seed: int, number: int, kinds: Sequence[Kind] = KINDS) -> Totals:
    """So many faults that happened, of all kinds in turn."""
    totals = Totals()
    began = time.monotonic()
    rng = random.Random(seed)
    base = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="calls-", dir=base) as name:
        folder = Path(name)
        library = build_library(folder)
        for tried in range(number):
            kind = kinds[tried % len(kinds)]
            case = _Case(library, folder / "case", kind, rng.randrange(1, kind.last + 1))
            while not _try(totals, case):
                totals.early[kind.label] += 1
                if case.first == 1:
                    totals.violations.append(f"{kind.label} ({case.fault}) was armed, and never happened")
                    break
                case = case._replace(first=case.first // 2)
    totals.seconds = time.monotonic() - began
    return totals


def _try(totals: Totals, case: _Case) -> bool:
    """Whether the fault has happened; what came of it is in ``totals``."""
    shutil.rmtree(case.folder, ignore_errors=True)
    case.folder.mkdir()
    status, said = record(case.library, case.folder, _RUNS, case.fault)
    log = list(read_log(case.folder / "log"))
    if not any(entry.operation == "F" for entry in log):
        return False
    endings = {0: "went on", STORE_ERROR: "stopped with a typed error", -1: "hung"}
    ending = endings.get(status, f"exit {status}")
    totals.fired[case.kind.label] += 1
    totals.endings[ending] += 1

    def complain(text: str) -> None:
        totals.violations.append(f"{case.kind.label}, from call {case.first} on ({case.fault}): {text}")

    if status in (0, STORE_ERROR):
        _judge(case, log, complain)
    else:
        complain(f"{ending}: {said[-500:]}")
    return True


def _judge(case: _Case, log: list[Entry], complain: Complain) -> None:
    """Hold what was acknowledged against the disk, before and after a process that ends everything."""
    _check(case.folder, _told(log), complain)
    status, said = record(case.library, case.folder, _RUNS)
    if status:
        complain(f"the process after it: exit {status}: {said[-500:]}")
        return
    ended = _check(case.folder, _told(read_log(case.folder / "log")), complain)
    if ended != _RUNS:
        complain(f"{ended} of {_RUNS} runs have ended after all")


def _told(log: Iterable[Entry]) -> list[list[Any]]:
    return [json.loads(entry.data) for entry in log if entry.operation == "K"]


def _check(folder: Path, told: list[list[Any]], complain: Complain) -> int:
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
