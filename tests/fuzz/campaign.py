"""Many hostile files and records, and what came of them."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import corpus, reading, records
from .mutations import MUTATIONS

_TRIES = 50  # how often the dice may give a file that is not damaged
_MEMORY = Path("/dev/shm")  # where a file costs no disk, if there is such a place


class Totals:
    """The sum of a campaign.

    Attributes:
        files: (mutation, what came of it) and how often; ``records``: what came of records.
        violations: in words.
    """

    def __init__(self) -> None:
        self.files: Counter[tuple[str, str]] = Counter()
        self.records: Counter[str] = Counter()
        self.violations: list[str] = []
        self.seconds = 0.0

    def table(self) -> str:
        """The counts, as text."""
        ways = Counter[str]()
        for (_, way), count in self.files.items():
            ways[way] += count
        rows = [f"{self.files.total()} hostile files, {self.records.total()} hostile records: {dict(ways)}"]
        for name in sorted({name for name, _ in self.files}):
            found = {way: count for (other, way), count in sorted(self.files.items()) if other == name}
            rows.append(f"  {sum(found.values()):6} x {name.replace('_', ' ')}: {found}")
        rows.append(f"  {self.records.total():6} x records: {dict(self.records)}")
        rows.append(f"violations: {len(self.violations)}")
        return "\n".join(rows)


def run(
    seed: int, files: int, hostile_records: int, told: Callable[[Totals], None] = lambda _totals: None
) -> Totals:
    """So many files and records; the same seed makes the same ones of the same corpus."""
    totals = Totals()
    began = time.monotonic()
    base = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="hostile-", dir=base) as name:
        folder = Path(name)
        material = corpus.build(folder / "corpus")
        names = list(MUTATIONS)
        for number in range(files):
            _try_file(totals, material, folder, f"{seed}/{number}", names[number % len(names)])
            if number % 200 == 0:
                totals.seconds = time.monotonic() - began
                told(totals)
        _try_records(totals, material.content, seed, hostile_records)
    totals.seconds = time.monotonic() - began
    return totals


def _try_file(totals: Totals, material: corpus.Corpus, folder: Path, seed: str, name: str) -> None:
    rng = random.Random(seed)
    data = _damaged(rng, material, name)
    if data is None:
        totals.violations.append(f"{name} (dice {seed!r}) changes nothing, however often it is tried")
        return
    database = corpus.lay_out(material, folder, data)
    output = folder / "output"
    readonly = rng.random() < 0.4
    came = reading.in_child(partial(reading.read_all, database, material.content, readonly=readonly), output)
    totals.files[name, came] += 1
    if came not in reading.GOOD:
        way = "reading" if readonly else "writing"
        said = output.read_text().strip()[-600:]
        totals.violations.append(f"{came}: {name} (dice {seed!r}), opened for {way}\n{said}")


def _damaged(rng: random.Random, material: corpus.Corpus, name: str) -> bytes | None:
    """A file that is not as it was written: what strikes the same place twice may undo itself."""
    for _ in range(_TRIES):
        data = MUTATIONS[name](rng, material)
        if data != material.versions[-1]:
            return data
    return None


def _try_records(totals: Totals, content: corpus.Content, seed: int, number: int) -> None:
    rng = random.Random(seed)
    for _ in range(number):
        before = rng.getstate()
        try:
            totals.records[records.try_one(rng, content)] += 1
        except Exception as error:  # any that is not typed is a finding
            totals.records["untyped"] += 1
            totals.violations.append(f"record: {error!r} (dice {hash(before)})")
