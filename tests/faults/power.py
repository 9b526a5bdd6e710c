"""Every state that a power cut can leave: each sector that was not yet synced is on the disk, or it is not.

A state is a place in the log and a choice among the sectors of the writes between the last sync and that
place. There are as many as sectors to the power of two, so they are sampled where there are many: none, all,
each prefix in the order of writing, and random ones. What was synced is there, and what was not may be there
in any part, also longer than the file was, with zeros in between.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from durable_trio import StoreError
from durable_trio._info import STATUS_NAMES
from durable_trio._store.lmdb import open_lmdb
from tests.fuzz.corpus import Content, collect
from tests.fuzz.reading import in_child

from .recording import Entry, build_library, read_log, record

SECTOR = 512
_BATCH = 40  # states that one forked child looks at
_PER_LOG = 4000  # states of one recorded workload; after that, another one is recorded
_MEMORY = Path("/dev/shm")


class Sector(NamedTuple):
    """A part of a write."""

    offset: int
    data: bytes


class State(NamedTuple):
    """What a power cut left, and what callers had been told by then."""

    place: int
    chosen: int  # which of the unsynced sectors are there, as bits
    image: bytes
    told: list[list[Any]]


class Totals:
    """``states`` by what the log was about to do; ``violations`` in words.

    Args:
        keeps: whether a state with a violation is kept.
    """

    def __init__(self, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self.states: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        self.violations: list[str] = []
        self.seconds = 0.0

    def table(self) -> str:
        """The counts, as text."""
        rows = [f"{self.states.total()} power-loss states: {dict(self.opened)}"]
        rows += [f"  {count:6} x {label}" for label, count in sorted(self.states.items())]
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


LABELS = {
    "W": "a write of pages under way",
    "S": "pages synced",
    "M": "a write of the meta page under way",
    "m": "committed",
    "K": "acknowledged",
}


def states(
    before: bytes, log: list[Entry], number: int, rng: random.Random, *, heeds_syncs: bool = True
) -> Iterator[State]:
    """About so many states, spread over the log.

    Args:
        before: what was on the disk when the log began.
        log: what was done to it since.
        number: how many states.
        rng: chooses among them.
        heeds_syncs: False: a sync keeps nothing, as on a disk that lies, which must be found out.
    """
    disk = bytearray(before)
    pending: list[Sector] = []
    told: list[list[Any]] = []
    made = 0
    for place, entry in enumerate(log):
        match entry.operation:
            case "W" | "M":
                pending += _sectors(entry)
            case "S" if heeds_syncs:
                disk = _with(disk, pending)
                pending = []
            case "m":
                # Only the meta page went to a descriptor with O_DSYNC; pages before it may still be missing.
                meta = [sector for sector in pending if sector.offset < 2 * 4096]
                disk = _with(disk, meta)
                pending = [sector for sector in pending if sector.offset >= 2 * 4096]
            case "K":
                told.append(json.loads(entry.data))
        seen = set()
        # Places with few sectors have few states: those with more make up for them.
        wanted = max(math.ceil(1.1 * number * (place + 1) / len(log)) - made, 1)
        for chosen in _choices(len(pending), wanted, rng):
            if chosen not in seen:
                seen.add(chosen)
                made += 1
                some = [sector for index, sector in enumerate(pending) if chosen >> index & 1]
                yield State(place, chosen, bytes(_with(disk, some)), list(told))


def _sectors(entry: Entry) -> list[Sector]:
    found = []
    start = 0
    while start < len(entry.data):
        # Up to the next border of a sector on the disk, wherever the write began.
        length = min(SECTOR - (entry.offset + start) % SECTOR, len(entry.data) - start)
        found.append(Sector(entry.offset + start, entry.data[start : start + length]))
        start += length
    return found


def _with(disk: bytearray, sectors: list[Sector]) -> bytearray:
    image = bytearray(disk)
    for sector in sectors:
        end = sector.offset + len(sector.data)
        if end > len(image):
            image.extend(bytes(end - len(image)))
        image[sector.offset : end] = sector.data
    return image


def _choices(count: int, number: int, rng: random.Random) -> Iterator[int]:
    """Which sectors are there, as bits: all subsets if they are few, else some."""
    if 1 << count <= number:
        yield from range(1 << count)
        return
    everything = (1 << count) - 1
    yield from (0, everything)
    for _ in range(number - 2):
        match rng.randrange(4):
            case 0:
                yield (1 << rng.randrange(count)) - 1  # the first ones
            case 1:
                yield everything ^ 1 << rng.randrange(count)  # all but one
            case 2:
                yield 1 << rng.randrange(count)
            case _:
                yield rng.getrandbits(count)


def run(seed: int, number: int, *, heeds_syncs: bool = True) -> Totals:
    """Record workloads, and open so many states of them at least."""
    totals = Totals(keeps=heeds_syncs)
    began = time.monotonic()
    rng = random.Random(seed)
    while totals.states.total() < number:
        _add_states(totals, rng, min(number - totals.states.total(), _PER_LOG), heeds_syncs=heeds_syncs)
    totals.seconds = time.monotonic() - began
    return totals


def _add_states(totals: Totals, rng: random.Random, number: int, *, heeds_syncs: bool) -> None:
    """Record a workload once, and open about so many states of it."""
    base = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="power-", dir=base) as name:
        folder = Path(name)
        status, said = record(build_library(folder), folder, runs=30)
        assert status == 0, said
        log = list(read_log(folder / "log"))
        content = Content({}, {}, {}, {})
        store = open_lmdb(folder / "db", readonly=True)
        collect(store, content)
        store.close()
        before = (folder / "before.mdb").read_bytes()
        batch: list[State] = []
        for state in states(before, log, number, rng, heeds_syncs=heeds_syncs):
            totals.states[LABELS[log[state.place].operation]] += 1
            batch.append(state)
            if len(batch) == _BATCH:
                _look_at(totals, batch, folder, content)
                batch = []
        _look_at(totals, batch, folder, content)


def _look_at(totals: Totals, batch: list[State], folder: Path, content: Content) -> None:
    results = folder / "results"
    results.unlink(missing_ok=True)

    def look() -> int:
        with results.open("w", buffering=1) as file:
            for index, state in enumerate(batch):
                file.write(json.dumps(_problem(state, folder, content, readonly=index % 2 == 0)) + "\n")
        return 0

    came = in_child(look, folder / "output", patience=60.0)
    problems = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for state, problem in zip(batch, problems, strict=False):
        totals.opened["as acknowledged" if problem is None else "broken"] += 1
        if problem is not None:
            totals.violations.append(f"{_name(totals, state, folder)}: {problem}")
    if came != "read":
        state = batch[len(problems)]
        said = (folder / "output").read_text()[-500:]
        totals.violations.append(f"{_name(totals, state, folder)}: {came}\n{said}")


def _name(totals: Totals, state: State, folder: Path) -> str:
    """Which state this is; the first one that is not as it should be is kept as evidence."""
    where = f"place {state.place}, sectors {state.chosen:#x}"
    evidence = folder.with_name(f"kept-{folder.name}")
    if totals.keeps and not evidence.exists():
        shutil.copytree(folder / "db", evidence / "db", ignore=shutil.ignore_patterns("data.mdb"))
        (evidence / "db" / "data.mdb").write_bytes(state.image)
        (evidence / "told").write_text(json.dumps(state.told))
        where += f", kept in {evidence}"
    return where


def _problem(state: State, folder: Path, content: Content, *, readonly: bool) -> str | None:
    """What is wrong with a state, in words."""
    database = folder / f"state-{os.getpid()}"
    shutil.rmtree(database, ignore_errors=True)
    shutil.copytree(folder / "db", database, ignore=shutil.ignore_patterns("data.mdb"))
    (database / "data.mdb").write_bytes(state.image)
    try:
        store = open_lmdb(database, readonly=readonly)
    except StoreError as error:
        return f"it cannot be opened: {error}"
    try:
        found: dict[str, str] = {}
        for stored in store.page(limit=100_000):
            key = stored.run
            if stored.error is not None:
                return f"a run is damaged: {stored.error}"
            if stored.header != content.headers.get(key):
                return f"the header of run {key.hex()} is not what was written"
            if stored.rows != content.rows[key][: len(stored.rows)]:
                return f"the journal of run {key.hex()} is not what was written"
            found[key.hex()] = STATUS_NAMES[stored.status]
        return next((text for told in state.told if (text := lost(store, found, told))), None)
    except StoreError as error:
        return f"it cannot be read: {error}"
    finally:
        store.close()


def lost(store: Any, found: dict[str, str], told: list[Any]) -> str | None:
    """What of an acknowledgement is not there."""
    kind, name = told[0], told[1]
    key = store.find(name.encode())
    status = None if key is None else found.get(key.hex())
    if status is None:
        return f"{told} was acknowledged, and the run is not there"
    if kind == "result" and status != told[2]:
        return f"{told} was acknowledged, and the run is {status}"
    if kind == "cancel" and told[2] and status not in ("cancelled", "running", "pending", "waiting"):
        return f"{told} was acknowledged, and the run is {status}"
    if kind == "event" and not store.messages(key) and len(store.load(key).rows) < 3:
        return f"{told} was acknowledged, and the event is neither there nor taken"
    return None
