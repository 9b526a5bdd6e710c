"""What the library is meant to reach, and where in the results of a run to look whether it does.

A target that is missed stays in the table: it says what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.byhand import BESIDE, OF_BARE, OF_RAW
from benchmarks.command import Results, number
from benchmarks.measuring import Row


class Target(NamedTuple):
    """One line of the table.

    Attributes:
        what: the workload.
        goal: in words.
        bench, case, size: which row; the greatest size there is, if None.
        value: what the goal is about.
        reached: whether that is good enough.
        unit: what follows the value.
        baseline: of which row, if the case alone does not say it.
    """

    what: str
    goal: str
    bench: str
    case: str
    size: int | None
    value: Callable[[Row], float]
    reached: Callable[[float], bool]
    unit: str = ""
    baseline: str | None = None


def ratio(row: Row) -> float:
    return row.ratio.median


def more(name: str, divided_by: float = 1) -> Callable[[Row], float]:
    return lambda row: row.more[name] / divided_by


def at_least(bound: float) -> Callable[[float], bool]:
    return lambda value: value >= bound


def at_most(bound: float) -> Callable[[float], bool]:
    return lambda value: value <= bound


TARGETS = (
    Target(
        "onboard, 1,000 in flight, `sync`",
        "0.45 of bare Trio; aim 0.60",
        "onboard",
        "onboard, sync",
        1000,
        ratio,
        at_least(0.45),
    ),
    Target(
        "onboard, 100 in flight, `sync`",
        "0.33 of bare Trio; aim 0.45",
        "onboard",
        "onboard, sync",
        100,
        ratio,
        at_least(0.33),
    ),
    Target(
        "onboard, 1 in flight, `sync`",
        "at most 1.3 times its raw LMDB commits",
        "onboard",
        "one workflow, sync",
        1,
        ratio,
        at_most(1.3),
    ),
    Target(
        "onboard, 1 in flight, `async`, start and end included",
        "at most 3 times bare Trio",
        "onboard",
        "onboard, async",
        1,
        lambda row: 1 / row.ratio.median,
        at_most(3),
        "times",
    ),
    Target(
        "onboard, 1 in flight, `async`",
        "first step to last: at most 3 times bare Trio",
        "onboard",
        "first step to last, async",
        1,
        ratio,
        at_most(3),
    ),
    Target(
        "chain, 1,000 in flight, `sync`",
        "0.30 of bare Trio; aim 0.40",
        "chain",
        "chain, sync",
        1000,
        ratio,
        at_least(0.30),
    ),
    Target(
        "wide, a block of 10,000",
        "at most 2.5 times a bare nursery",
        "wide",
        "one block, sync",
        10_000,
        ratio,
        at_most(2.5),
    ),
    Target(
        "wide, a map of 10,000",
        "at most 2.5 times a bare nursery",
        "wide",
        "one map, sync",
        10_000,
        ratio,
        at_most(2.5),
    ),
    Target(
        "big context, bytes per step",
        "follow the change: under 100 bytes at 1 MB",
        "context",
        "100 steps change one key",
        1_000_000,
        more("bytes_per_step"),
        at_most(100),
        "bytes",
    ),
    Target(
        "big context, a branch's context",
        "at most 1 µs",
        "compiled",
        "context over 1,000 keys",
        None,
        lambda row: row.ours.median / 1000,
        at_most(1),
        "µs",
    ),
    Target(
        "big context, a scalar read",
        "at most 2 times dict",
        "compiled",
        "read a scalar",
        None,
        ratio,
        at_most(2),
    ),
    Target(
        "recovery, 10,000 runs",
        "0.7 of fresh throughput (runs/s; a resumed run has half of its steps left)",
        "recovery",
        "resumed",
        10_000,
        more("runs_ratio"),
        at_least(0.7),
    ),
    Target(
        "recovery, 10,000 runs, by steps",
        "0.7 of fresh throughput (steps/s)",
        "recovery",
        "resumed",
        10_000,
        ratio,
        at_least(0.7),
    ),
    Target(
        "recovery beside 1,000,000 finished runs",
        "first step within 1 s",
        "recovery",
        "resumed beside 1,000,000",
        10_000,
        more("first_ms", 1000),
        at_most(1),
        "s",
    ),
    Target(
        "history, 1,000,000 finished runs",
        "at least 0.9 of an empty database",
        "history",
        "onboard beside finished runs",
        1_000_000,
        ratio,
        at_least(0.9),
    ),
    Target(
        "history, on disk",
        "under 1,500 bytes per onboard run; aim 1,000",
        "history",
        "onboard beside finished runs",
        1_000_000,
        more("bytes_per_run"),
        at_most(1500),
        "bytes",
    ),
    Target(
        "parked, 1,000,000 runs",
        "under 150 MB more than an empty engine",
        "parked",
        "memory",
        1_000_000,
        more("above_mb"),
        at_most(150),
        "MB",
    ),
    Target(
        "parked, 1,000,000 runs, opening",
        "under 2 s",
        "parked",
        "open",
        1_000_000,
        lambda row: row.ours.median / 1000,
        at_most(2),
        "s",
    ),
    Target(
        "parked, opening and firing the first timer",
        "as with 1,000 (at most 1.5 times)",
        "parked",
        "open, and fire the first due timer",
        1_000_000,
        ratio,
        at_most(1.5),
    ),
    Target(
        "parked, 10,000 woken together",
        "as fast as starting them (at least 0.9)",
        "waking",
        "woken together",
        10_000,
        ratio,
        at_least(0.9),
    ),
    Target(
        "mixed, 1,000 in flight",
        "0.85 of bare Trio",
        "mixed",
        "onboard with I/O, sync",
        1000,
        ratio,
        at_least(0.85),
    ),
    Target(
        "codec, onboard's context",
        "within 3 times plain msgspec",
        "codec",
        "onboard's context: value",
        None,
        ratio,
        at_most(3),
    ),
    Target(
        "codec, onboard's context in a step's record",
        "within 3 times plain msgspec",
        "codec",
        "onboard's context: encode and decode",
        None,
        ratio,
        at_most(3),
    ),
    Target(
        "DBOS on SQLite, 1,000 in flight",
        "at least 100 times",
        "peers",
        "onboard, sync",
        1000,
        ratio,
        at_least(100),
        baseline="DBOS, SQLite",
    ),
    Target(
        "Restate tuned, 1,000 in flight",
        "at least 20 times",
        "peers",
        "onboard, sync",
        1000,
        ratio,
        at_least(20),
        baseline="Restate, tuned",
    ),
)


def found(target: Target, results: Results) -> Row | None:
    """The row that a target is about, if there is one in these results."""
    report = results.benches.get(target.bench)
    rows = [
        row
        for row in (report.rows if report else ())
        if row.case == target.case
        and target.size in {None, row.size}
        and target.baseline in {None, row.baseline}
    ]
    return rows[-1] if rows else None


def by_hand(target: Target, results: Results) -> float | None:
    """What durability by hand comes to in the target's own terms, if that was measured."""
    if target.value is ratio:
        for case, name in ((target.case + BESIDE, OF_BARE), (target.case, OF_RAW)):
            row = found(target._replace(case=case), results)
            if row is not None and name in row.more:
                return row.more[name]
    return None


def measured(target: Target, results: Results) -> tuple[str, str]:
    """What was measured, in words, and whether it is enough: yes, no, or nothing if it was not measured.

    A target may lie above what an engine of this kind can reach; so what is known of that stands beside it.
    """
    row = found(target, results)
    if row is None:
        return "not measured", ""
    value = target.value(row)
    text = f"{number(value)} {target.unit}".strip()
    if target.value is ratio:
        text = f"{text} ({number(row.ratio.low)} to {number(row.ratio.high)})"
    beside = by_hand(target, results)
    if beside is not None:
        text = f"{text}; by hand: {number(beside)}"
    return text, "yes" if target.reached(value) else "**no**"
