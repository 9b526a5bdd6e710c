"""Which episodes make up the suite: every failpoint, every kind of write, random moments, and all of it again
while the engine recovers."""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Iterator

from durable_trio._engine._failpoints import NAMES

from . import bugs, flow_bugs, steering_bugs  # noqa: F401 - they register their bugs
from .faults import Fault
from .pool import Pool
from .runner import Job
from .scenarios import SCENARIOS
from .seeding import BUGS

Passed = dict[str, dict[str, int]]  # scenario to failpoint or operation to how often it is passed

_ALL = tuple(SCENARIOS)
LINE_KINDS = (
    "open", "enter", "return", "raise", "err", "cancelled", "into-enter", "into-return",
    "ack-start", "ack-result", "ack-cancel", "wait", "got", "asked", "child", "send", "ack-send",
    "undo-enter", "undo-return", "undo-raise", "era", "retried", "forked", "paused", "resume", "deleted",
)  # fmt: skip
_ON_RECOVERY = "recover.run"
# Scenarios with a changed definition, and between which lines all of their runs have something recorded.
_CHANGED = {"order": (45, 80), "story": (115, 190), "trip": (90, 170)}
_SHIM_KILLS = (
    "P:{n}:b:0", "P:{n}:a:0", "P:{n}:t:50", "P:{n}:l:{r}", "S:{n}:b:0", "S:{n}:l:{r}", "S:{n}:a:0",
    "M:{n}:b:0", "M:{n}:t:60", "M:{n}:t:20", "M:{n}:a:0", "M:{n}:l:{r}",
)  # fmt: skip
_SHIM_ERRORS = (
    f"P:{{n}}:e:{errno.ENOSPC}", f"P:{{n}}:e:{errno.EIO}", f"S:{{n}}:e:{errno.EIO}", f"S:{{n}}:d:{errno.EIO}",
    f"M:{{n}}:e:{errno.EIO}", f"M:{{n}}:d:{errno.EIO}",
)  # fmt: skip


def count(pool: Pool, scenarios: tuple[str, ...] = _ALL) -> Passed:
    """How often each point is passed in an undisturbed run of each scenario."""
    reports = pool.run(Job("count", name, [Fault("count")]) for name in scenarios)
    for report in reports:
        assert not report.violations, report.violations
    return {report.job.scenario: report.passed for report in reports}


def spread(total: int, points: int) -> list[int]:
    """So many numbers, evenly from 1 to a little below ``total``.

    How often a point is passed varies from run to run, so the last time may not come.
    """
    last = total * 9 // 10 or total
    if points == 1 or last <= 1:
        return [1] if last else []
    return sorted({1 + round(index * (last - 1) / (points - 1)) for index in range(points)})


def failpoints(passed: Passed, points: int) -> Iterator[Job]:
    """A kill at each named point, at several of the times that it is passed; half die in recovery again.

    With ``points`` of 1 it is somewhere, and not the first of these times.
    """
    rng = random.Random(1)
    for scenario, counts in passed.items():
        for name in NAMES:
            if name == _ON_RECOVERY:
                continue
            numbers = spread(counts.get(name, 0), points)
            if numbers and points == 1:
                numbers = [rng.randint(1, counts[name] * 3 // 4 or 1)]
            for number in numbers:
                faults = [Fault("failpoint", f"{name}:{number}")]
                if rng.random() < 0.5:
                    faults.append(_in_recovery(rng))
                yield Job("failpoint", scenario, faults)
        for number in spread(len(SCENARIOS[scenario].runs), points):
            first = Fault("line", str(rng.randrange(20, 60)))
            yield Job("failpoint", scenario, [first, Fault("failpoint", f"{_ON_RECOVERY}:{number}")])


def _in_recovery(rng: random.Random) -> Fault:
    """A kill of the next boot, early in it."""
    if rng.random() < 0.4:
        return Fault("line", str(rng.randrange(1, 12)))
    name = rng.choice((_ON_RECOVERY, "commit.begin", "commit.end", "body.before", "body.after", "step.put"))
    return Fault("failpoint", f"{name}:{rng.randrange(1, 4)}")


def moments(passed: Passed, points: int) -> Iterator[Job]:
    """A kill after each kind of line: an effect that is not recorded, an answer that was just given."""
    for scenario, counts in passed.items():
        for kind in LINE_KINDS:
            for number in spread(counts.get(f"line {kind}", 0), points):
                yield Job("moment", scenario, [Fault("line", f"{kind}:{number}")])


def commits(passed: Passed, points: int) -> Iterator[Job]:
    """A kill in the middle of commits: around every kind of write, torn ones and lost sectors included."""
    rng = random.Random(2)
    for scenario, counts in passed.items():
        for template in _SHIM_KILLS:
            total = counts[template[0]] * 3 // 4
            # The first writes are those of a database that is being made.
            for number in {*spread(total, points), rng.randrange(1, total)}:
                yield Job(
                    "commit",
                    scenario,
                    [Fault("shim", template.format(n=number, r=rng.randrange(1, 1 << 20)))],
                )


def errors(passed: Passed, points: int) -> Iterator[Job]:
    """System calls that fail, done or not; the engine must stop, and the next boot decides."""
    rng = random.Random(3)
    for scenario, counts in passed.items():
        if scenario == "steered":
            continue  # its client writes in the same process: the engine goes on if it is its call that fails
        for template in _SHIM_ERRORS:
            total = counts[template[0]] * 3 // 4
            for _ in range(points):
                yield Job(
                    "error", scenario, [Fault("shim", template.format(n=rng.randrange(total // 5, total)))]
                )


def anywhere(scenarios: tuple[str, ...], episodes: int, seed: int) -> Iterator[Job]:
    """Kills at random lines and moments, one after the other until the runs have ended in spite of them."""
    rng = random.Random(seed)
    for number in range(episodes):
        scenario = scenarios[number % len(scenarios)]
        yield Job("random", scenario, [_somewhere(rng) for _ in range(rng.randrange(4, 12))])


def _somewhere(rng: random.Random) -> Fault:
    if rng.random() < 0.3:
        return Fault("time", f"{rng.uniform(4, 80):.2f}")
    # Mostly early: each kill leaves less to do, and a kill that comes too late is none.
    return Fault("line", str(1 + int(rng.expovariate(1 / 25))))


def signals(scenarios: tuple[str, ...], episodes: int, seed: int) -> Iterator[Job]:
    """SIGTERM at random lines, between kills."""
    rng = random.Random(seed)
    for number in range(episodes):
        faults = [
            Fault("sigterm", str(rng.randrange(3, 80))),
            _somewhere(rng),
            Fault("sigterm", str(rng.randrange(3, 40))),
        ]
        yield Job("sigterm", scenarios[number % len(scenarios)], faults)


def misfits(episodes: int, seed: int) -> Iterator[Job]:
    """A changed definition, and damaged records, found by the boot after a kill."""
    rng = random.Random(seed)
    changed, killed = Fault(before="changed"), Fault("line", "3")
    for _ in range(episodes):
        for scenario, lines in _CHANGED.items():
            late = Fault("line", str(rng.randrange(*lines)))
            yield Job("changed", scenario, [late, changed])
            yield Job(
                "changed", scenario, [late, killed._replace(before="changed"), changed, _somewhere(rng)]
            )
        late = Fault("line", str(rng.randrange(45, 80)))
        for table in ("journal", "runs", "statuses"):
            scenario = rng.choice(("order", "tries", "crowd", "trip"))
            yield Job("damage", scenario, [late, Fault(before=f"damage:{table}")])


def hunts(bug: str, episodes: int) -> Iterator[Job]:
    """Episodes in which a seeded bug should show."""
    _, _, scenario, faults = BUGS[bug]
    rng = random.Random(bug)
    for _ in range(episodes):
        drawn = [
            fault._replace(
                at=re.sub(r"#(\d+)-(\d+)", lambda ends: str(rng.randint(*map(int, ends.groups()))), fault.at)
            )
            for fault in faults
        ]
        yield Job(bug, scenario, drawn, bug, patience=2.0)
