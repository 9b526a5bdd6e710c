"""Which kinds of faults each part must bring about: what was armed and never came has shown nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.calls import KINDS
from tests.faults.power import LABELS
from tests.fuzz.mutations import MUTATIONS
from tests.soak.campaign import DISTURBANCES

CI = {
    "simulation": 20_000,
    "kills": 1_000,
    "power": 10_000,
    "calls": 300,
    "hostile": 5_000,
    "soak": 30,
}
"""How much of each part is done for every change: faults, but for ``soak`` seconds."""

TENTH = {part: number // 10 for part, number in CI.items()}
"""How much ``python -m pytest`` does at least."""

_WINDOWS = ("gathered, not committed", "committed, not acknowledged")
_MOMENTS = ("enter", "return", "raise", "into-enter", "undo-enter", "send", "ack-start", "ack-result")
_OTHERS = ("leave", "drain", "failed commit")  # of the simulation; they are not crashes

KINDS_OF: dict[str, frozenset[str]] = {
    "simulation": frozenset(
        [
            *_WINDOWS,
            *(f"{window}, recovering" for window in _WINDOWS),
            *(f"after {kind}" for kind in _MOMENTS),
        ]
    ),
    "power": frozenset(LABELS.values()),
    "calls": frozenset(kind.label for kind in KINDS),
    "hostile": frozenset(name.replace("_", " ") for name in MUTATIONS),
    "soak": frozenset(DISTURBANCES),
}
"""By part. The places of ``kills`` are looked after by ``tests.crash.everywhere``."""


def lacking(part: str, faults: Counter[str], others: Counter[str], asked: int) -> Iterator[str]:
    """In words: what should have happened and has not.

    Args:
        part: a key of ``CI``.
        faults: those that counted, by kind; ``others``: what else was done.
        others: see there.
        asked: how many faults at least; seconds for ``soak``.
    """
    if part != "soak" and faults.total() < asked:
        yield f"{asked} faults were asked for, and {faults.total()} have happened"
    if asked < TENTH[part]:
        return  # too few for each kind to come
    happened = {kind.partition(":")[0] for kind in (faults + others)}
    wanted = KINDS_OF.get(part, frozenset())
    if part == "simulation":
        wanted |= set(_OTHERS)
    for kind in sorted(wanted - happened):
        yield f"no fault of this kind has happened: {kind}"
    if part == "hostile" and not any(kind.endswith(": read") for kind in faults):
        yield "every file was refused: it is not the damage that is seen"
