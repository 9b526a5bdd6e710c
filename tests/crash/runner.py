"""A process that has imported everything, and runs episodes: per boot it forks a child and waits for it.

Jobs come in as lines of JSON, reports go out so. One thread, and no database open: it can be forked at any
time. It is started with the shim of ``faults.py`` preloaded.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from . import bugs, damage, flow_bugs, steering_bugs  # noqa: F401 - they register their bugs
from .bodies import RunSpec
from .checker import check
from .dumps import dump, read, tree_of
from .effects import drop_torn_line, read_lines
from .faults import Fault, arm, image_of_fault
from .model import Boot, Dump, Episode, Expected, Line, Tree
from .scenarios import SCENARIOS, WORKFLOWS
from .seeding import plant
from .values import digest
from .worker import STORE_ERROR, Life, live

_TREES: dict[str, Tree] = {name: tree_of(workflow) for name, workflow in WORKFLOWS.items()}


class Job(NamedTuple):
    """An episode to run.

    Attributes:
        name: for the report.
        scenario: a key of ``SCENARIOS``.
        faults: one per boot; a boot without a fault follows.
        bug: a key of ``bugs.BUGS`` that is planted in every boot, or empty.
        patience: seconds after which a boot is taken to hang.
    """

    name: str
    scenario: str
    faults: list[Fault]
    bug: str = ""
    patience: float = 30.0


class Report(NamedTuple):
    """What came of an episode.

    Attributes:
        kills: SIGKILLs by the label of their fault; ``faults``: other faults that happened.
        unfired: labels of faults that did not happen.
        recoveries: boots that found runs which had not ended.
        looked: how often each invariant was looked at.
        violations: by invariant, and in words.
        passed: failpoints and operations of a ``count`` boot, and kinds of lines, with how often they came.
        folder: where everything is, if there were violations.
    """

    job: Job
    kills: dict[str, int]
    faults: dict[str, int]
    unfired: list[str]
    boots: int
    recoveries: int
    lines: int
    looked: dict[str, int]
    violations: list[tuple[int, str]]
    passed: dict[str, int]
    folder: str


def run_episode(job: Job, folder: Path) -> Report:
    """Run all boots of an episode in a new folder, and check it."""
    folder.mkdir(parents=True)
    scenario = SCENARIOS[job.scenario]
    journal, database = folder / "effects", folder / "db"
    boots: list[Boot] = []
    dumps: list[Dump] = []
    damaged: dict[str, int] = {}
    happened: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    unfired = []
    recoveries = 0
    for fault in [*job.faults, Fault()]:
        number = len(boots)
        before = dumps[-1] if dumps else Dump()
        changed = fault.before == "changed"
        if changed and not _has_begun(before, scenario.runs):
            unfired.append("changed")
            continue
        if fault.before.startswith("damage"):
            victim = damage.damage(database, before, fault.before.partition(":")[2])
            if victim is None:
                unfired.append(fault.before)
            else:
                damaged.setdefault(victim, number)
        life = Life(str(database), job.scenario, changed, tuple(read_lines(journal)))
        boot = _boot(job, fault, life, number, journal)
        drop_torn_line(journal)
        boots.append(boot)
        recoveries += any(run.ended is None for run in before.runs.values())
        dumps.append(dump(database, folder / f"after-{number}"))
        fired = _has_fired(fault, boot, journal)
        if fired:
            happened[fault.kills][fault.label] += 1
        elif fault.kind not in {"none", "count"}:
            unfired.append(f"{fault.kind} {fault.at}")
        if boot.ending == "hung" or (boot.ending == "exit" and fault.kind != "sigterm" and not changed):
            break
    faults = {
        boot.number: _at_fault(folder, journal, boot.number)
        for boot in boots
        if image_of_fault(journal, boot.number).exists()
    }
    runs = {run.id: Expected(run.workflow, run.ends, digest(run.input)) for run in scenario.runs}
    for found in dumps:
        others = [run for run in found.runs.values() if run.parent is not None or run.fork is not None]
        runs.update((run.raw, Expected(run.workflow, is_child=True)) for run in others)
    lines = read_lines(journal)
    going = {line.run: line.boot for line in reversed(lines) if line.kind == "delete"}
    findings = check(Episode(_TREES, runs, boots, lines, dumps, damaged, faults, going))
    passed = _passed(journal, lines)
    violations = [(violation.invariant, str(violation)) for violation in findings.violations]
    if violations:
        text = "\n".join(text for _, text in violations)
        (folder / "violations").write_text(f"{job}\n{boots}\n\n{text}\n")
    else:
        shutil.rmtree(folder)
    return Report(
        job,
        dict(happened[True]),
        dict(happened[False]),
        unfired,
        len(boots),
        recoveries,
        len(lines),
        {str(number): count for number, count in findings.looked.items()},
        violations,
        passed,
        str(folder),
    )


def _boot(job: Job, fault: Fault, life: Life, number: int, journal: Path) -> Boot:
    began = time.monotonic()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        _child(job, fault, life, number, journal)
    killed_after = float(fault.at) / 1000 if fault.kind == "time" else job.patience
    gone = _wait(pid, killed_after)
    if not gone:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        ending = "killed" if gone or fault.kind == "time" else "hung"
        code = os.WTERMSIG(status)
        if ending == "killed" and code != signal.SIGKILL:
            ending = "error"  # it crashed by itself
    else:
        code = os.WEXITSTATUS(status)
        ending = "exit" if not code else "error"
    lived = time.monotonic() - began
    return Boot(number, ending, code, life.changed, fault.kind == "sigterm", lived)


def _child(job: Job, fault: Fault, life: Life, number: int, journal: Path) -> None:
    """Never returns."""
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        output = os.open(journal.with_name("output"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if job.patience > 2:
            faulthandler.dump_traceback_later(job.patience - 1)
        effects = arm(fault, number, journal)
        plant(job.bug, life.database)
        status = live(life, effects)
    except BaseException:  # the only way out is the exit status
        traceback.print_exc()
    finally:
        os._exit(status)


def _wait(pid: int, seconds: float) -> bool:
    """Wait for the end of a child for so long; gives whether it came."""
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _has_fired(fault: Fault, boot: Boot, journal: Path) -> bool:
    """Whether the fault happened to this boot."""
    if fault.kills:
        return boot.ending == "killed"
    if fault.kind == "shim":
        return image_of_fault(journal, boot.number).exists() and boot.status in {0, STORE_ERROR}
    if fault.kind == "sigterm":
        return any(line.boot == boot.number and line.kind == "sigterm" for line in read_lines(journal))
    return bool(fault.before)


def _has_begun(before: Dump, runs: tuple[RunSpec, ...]) -> bool:
    """Whether every run has a record that the changed definition does not fit, or has ended."""
    return all(run.id in before.runs and bool(before.runs[run.id].top) for run in runs)


def _at_fault(folder: Path, journal: Path, boot: int) -> Dump:
    """The store as a fault found it."""
    if not (folder / f"after-{boot}" / "durable-trio.json").exists():
        return Dump()  # the fault came while the database was being made
    copy = folder / f"at-fault-{boot}"
    shutil.copytree(folder / f"after-{boot}", copy)
    shutil.copyfile(image_of_fault(journal, boot), copy / "data.mdb")
    return read(copy)


def _passed(journal: Path, lines: list[Line]) -> dict[str, int]:
    counts = Counter(f"line {line.kind}" for line in lines)
    failpoints, operations = journal.with_name("failpoints"), journal.with_name("operations")
    if failpoints.exists():
        counts.update(failpoints.read_text().split())
    if operations.exists():
        counts.update(operations.read_text())
    return dict(counts)


def _job(fields: dict[str, Any]) -> Job:
    return Job(**{**fields, "faults": [Fault(*fault) for fault in fields["faults"]]})


def main() -> None:
    """Read jobs (with their folders) from the standard input until it ends."""
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        fields = json.loads(line)
        folder = Path(fields.pop("folder"))
        report = run_episode(_job(fields), folder)
        fields = report._asdict() | {"job": report.job._asdict()}
        sys.stdout.write(json.dumps(fields) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
