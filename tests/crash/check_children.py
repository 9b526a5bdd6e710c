"""Runs that were started by others: invariant 17."""

from __future__ import annotations

from collections import defaultdict

from .evidence import Evidence
from .model import OK, UNENDED, Answered, Child, Dump, Findings, Line, RunDump


def check_children(evidence: Evidence, findings: Findings) -> None:
    """Who is whose child, and that no child outlives what it belongs to."""
    for boot, dump in enumerate(evidence.episode.dumps):
        for run in dump.runs.values():
            if run.error is None and run.id in evidence.episode.runs and evidence.is_sound(run.id, boot):
                _check_known(boot, dump, run, findings)
                _check_answers(evidence, boot, dump, run, findings)
                _check_called(evidence, boot, dump, run, findings)
    for run in evidence.last().values():
        _check_recorded(run, findings)
    _check_told(evidence, findings)
    _check_family(evidence, findings)


def _check_recorded(run: RunDump, findings: Findings) -> None:
    """One child for each step, visit and ref."""
    seen: dict[object, Child] = {}
    for child in run.of(Child):
        for key in ((child.path, child.visit, child.ref), child.child):
            findings.expect(
                key not in seen, 17, run.id, child.path, "it has started a child twice", seen.get(key), child
            )
            seen[key] = child


def _check_told(evidence: Evidence, findings: Findings) -> None:
    """A step that starts a child again is given the one that it has started."""
    told: dict[tuple[str, str, int, str], Line] = {}
    last = evidence.last()
    for line in evidence.episode.lines:
        if line.kind != "child":
            continue
        key = (line.run, line.path, line.visit, line.more)
        first = told.setdefault(key, line)
        findings.expect(
            first.value == line.value, 17, line.run, line.path, "it has started two children", first, line
        )
        run = last.get(line.run)
        known = [c.child for c in run.of(Child) if (c.path, c.visit, c.ref) == key[1:]] if run else []
        findings.expect(
            run is None or line.value in known,
            17,
            line.run,
            line.path,
            "its child was told and is not recorded",
            line,
            known,
        )


def _check_known(boot: int, dump: Dump, run: RunDump, findings: Findings) -> None:
    """A child that is there is one that its parent knows of."""
    if run.parent is None:
        return
    parent = dump.runs.get(run.parent)
    if parent is None or parent.error is not None:
        return
    known = [child.child for child in parent.of(Child)]
    findings.expect(
        run.id in known,
        17,
        run.parent,
        "",
        f"after boot {boot} it has a child of which it knows nothing",
        run,
        known,
    )


def _check_answers(evidence: Evidence, boot: int, dump: Dump, run: RunDump, findings: Findings) -> None:
    """What a step was told of a child's end is how the child ended."""
    children = {(child.path, child.visit, child.ref): child.child for child in run.of(Child)}
    for answer in run.of(Answered):
        path, _, label = answer.path.rpartition("/")
        if not label.startswith("__child:"):
            continue
        child = dump.runs.get(children.get((path, answer.visit, label.removeprefix("__child:")), ""))
        if child is None or child.error is not None:
            findings.expect(
                False, 17, run.id, path, f"after boot {boot} its child is not there", answer, child
            )
            continue
        if answer.tag == "ok":
            fits = child.status == "completed" and child.result == answer.whole
        else:
            fits = child.status != "completed" and (child.ended is not None or child.cancel is not None)
        findings.expect(
            fits,
            17,
            run.id,
            path,
            "it was told of another end of its child",
            answer,
            child.ended or child.status,
        )


def _check_called(evidence: Evidence, boot: int, dump: Dump, run: RunDump, findings: Findings) -> None:
    """A child that was called does not outlive the step that called it."""
    called = {
        (line.path, line.visit, line.more[0].removeprefix("__child:")): line
        for line in evidence.episode.lines
        if line.kind == "wait" and line.run == run.id and line.more[0].startswith("__child:")
    }
    for record in run.of(Child):
        line = called.get((record.path, record.visit, record.ref))
        over = run.done.get((record.path, record.visit)) or run.ended
        child = dump.runs.get(record.child)
        if line is None or over is None or child is None or child.error is not None:
            continue
        findings.expect(
            child.status not in UNENDED or child.cancel is not None,
            17,
            run.id,
            record.path,
            f"after boot {boot} it is over, and the child that it called is not",
            over,
            child,
        )


def _check_family(evidence: Evidence, findings: Findings) -> None:
    """When a run is cancelled, so are its children; nothing of theirs begins any more."""
    last = evidence.last()
    cancelled: dict[str, Line] = {}
    members: dict[str, list[str]] = defaultdict(list)
    for run in last.values():
        if run.parent is not None:
            members[run.parent].append(run.id)
    for line in evidence.episode.lines:
        if line.kind == "ack-cancel" and line.value:
            for member in _descendants(members, line.run):
                cancelled.setdefault(member, line)
    for execution in evidence.executions:
        enter = execution.enter
        ack = cancelled.get(enter.run)
        findings.expect(
            ack is None or enter.number < ack.number,
            17,
            enter.run,
            enter.path,
            "it was entered, and the run that started its run was cancelled",
            ack,
            enter,
        )
    for boot in evidence.episode.boots:
        if boot.ending != "exit" or boot.terminated or boot.changed:
            continue
        dump = evidence.episode.dumps[boot.number]
        for run in dump.runs.values():
            parent = dump.runs.get(run.parent) if run.parent is not None else None
            if parent is None or parent.error is not None or run.error is not None:
                continue
            findings.expect(
                parent.status != "cancelled" or run.status not in UNENDED,
                17,
                run.id,
                "",
                "the run that started it was cancelled, and it is under way",
                parent.ended,
                run,
            )
    _check_steps_over(evidence, findings)


def _check_steps_over(evidence: Evidence, findings: Findings) -> None:
    """When a step is cancelled, nothing of the child that it called begins in that life."""
    last = evidence.last()
    for execution in evidence.executions:
        end = execution.end
        run = last.get(execution.enter.run)
        if end is None or not execution.ended("cancelled") or run is None:
            continue
        done = run.done.get((end.path, end.visit))
        if done is None or done.status == OK:
            continue  # its engine was left
        called = [
            line.more[0].removeprefix("__child:")
            for line in evidence.by_boot[end.boot]
            if line.kind == "wait"
            and (line.run, line.path, line.visit) == execution.key
            and line.more[0].startswith("__child:")
        ]
        children = {
            c.child for c in run.of(Child) if (c.path, c.visit) == (end.path, end.visit) and c.ref in called
        }
        for other in evidence.executions:
            enter = other.enter
            if enter.run in children and enter.boot == end.boot:
                findings.expect(
                    enter.number < end.number,
                    17,
                    enter.run,
                    enter.path,
                    "it was entered, and the step that called its run was cancelled",
                    end,
                    enter,
                )


def _descendants(members: dict[str, list[str]], run: str) -> list[str]:
    found = []
    for child in members[run]:
        found += [child, *_descendants(members, child)]
    return found
