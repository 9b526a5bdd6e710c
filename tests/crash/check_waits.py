"""Waits and decisions: invariants 13 and 15, the part of 4 that is about choices, and 16."""

from __future__ import annotations

import math
from collections import defaultdict

from .evidence import Evidence, Execution, predecessor
from .model import OK, TIMED_OUT, Answered, Chosen, Done, Findings, Line, RunDump, Spread, Waiting

_CLOCK = 0.001  # seconds; due times are floats, and the index has milliseconds
_WAITS = ("sleep", "event", "input")


def check_waits(evidence: Evidence, findings: Findings) -> None:
    """What is recorded of waits, what bodies got of them, and when what follows began."""
    for run in evidence.last().values():
        _check_recorded(evidence, run, findings)
        _check_chosen(evidence, run, findings)
    for execution in evidence.executions:
        if execution.enter.run in evidence.episode.runs:
            _check_not_early(evidence, execution, findings)
    for line in evidence.episode.lines:
        if line.run not in evidence.episode.runs:
            continue
        if line.kind == "got":
            _check_got(evidence, line, findings)
        elif line.kind == "asked":
            _check_asked(evidence, line, findings)
    for boot, dump in enumerate(evidence.episode.dumps):
        for run in dump.runs.values():
            if run.error is None and run.id in evidence.episode.runs and evidence.is_sound(run.id, boot):
                _check_timer(evidence, boot, run, findings)
    _check_keys(evidence, findings)
    _check_same_start(evidence, findings)


def _check_recorded(evidence: Evidence, run: RunDump, findings: Findings) -> None:
    """Each wait begins once and is over once, and not before it is due."""
    begun: dict[tuple[str, int], Waiting] = {}
    over: dict[tuple[str, int], Answered] = {}
    tree = evidence.tree(run.id)
    for record in run.records:
        if isinstance(record, Waiting):
            key = (record.path, record.visit)
            findings.expect(
                key not in begun, 13, run.id, record.path, "its due time was set anew", begun.get(key), record
            )
            begun.setdefault(key, record)
        elif isinstance(record, Answered):
            key = (record.path, record.visit)
            findings.expect(
                key not in over, 15, run.id, record.path, "it was answered twice", over.get(key), record
            )
            over[key] = record
            waiting = begun.get(key)
            if waiting is None:
                continue  # a child
            if waiting.kind == "sleep" or record.timed_out:
                _expect_due(waiting, record.at, run.id, record, findings)
        elif isinstance(record, Done) and record.kind in _WAITS:
            _check_over(
                run.id, record, begun.get((record.path, record.visit)), tree.at(record.path).default, findings
            )


def _check_over(
    run: str, done: Done, waiting: Waiting | None, default: str | None, findings: Findings
) -> None:
    """A wait that is a node."""
    if done.status not in {OK, TIMED_OUT} or waiting is None:
        return
    findings.expect(
        done.status == OK or default is None or _is_of_a_block(done),
        15,
        run,
        done.path,
        "it has a default, and timed out as an error",
        waiting,
        done,
    )
    timed_out = done.kind == "sleep" or (done.status == OK and default is not None and done.own == default)
    if timed_out and done.at is not None:
        _expect_due(waiting, done.at, run, done, findings)


def _is_of_a_block(done: Done) -> bool:
    """Whether it was its block's time that was over, which is a TimeoutError and not a WaitTimeout."""
    return done.own is not None and "block" in done.own


def _expect_due(waiting: Waiting, at: float, run: str, record: object, findings: Findings) -> None:
    due = waiting.due
    findings.expect(
        due is not None and at >= due - _CLOCK,
        13,
        run,
        waiting.path,
        f"it was over {math.inf if due is None else due - at:.4f} s early",
        waiting,
        record,
    )


def _check_not_early(evidence: Evidence, execution: Execution, findings: Findings) -> None:
    """No body begins before the sleep in front of it is over, or before its run may begin."""
    enter = execution.enter
    after = evidence.after(enter.run, enter.boot)
    tree = evidence.tree(enter.run)
    node = tree.find(enter.path)
    if after is None or after.error is not None or node is None:
        return
    if after.at is not None:
        findings.expect(
            enter.wall >= after.at - _CLOCK,
            13,
            enter.run,
            enter.path,
            "its run was to begin later",
            after.at,
            f"{enter} at {enter.wall}",
        )
    before: Done | None
    if node.before:
        before = after.done.get((node.before, enter.visit))
    else:
        before, _ = predecessor(tree, after, enter.path, enter.visit)
    if before is None or before.kind != "sleep":
        return
    for waiting in after.of(Waiting):
        if (waiting.path, waiting.visit) == (before.path, before.visit):
            _expect_due(waiting, enter.wall, enter.run, f"{enter} at {enter.wall}", findings)


def _check_got(evidence: Evidence, line: Line, findings: Findings) -> None:
    """What a body got of a wait is what is recorded of it, if anything is: before this life, or after it."""
    label, default = line.more
    key = (f"{line.path}/{label}", line.visit)
    if not evidence.is_sound(line.run, line.boot):
        return
    for dump in (evidence.before(line.run, line.boot), evidence.after(line.run, line.boot)):
        if dump is None or dump.error is not None:
            continue
        for answer in dump.of(Answered):
            if (answer.path, answer.visit) != key:
                continue
            recorded = (default or "timeout") if answer.timed_out else answer.whole
            findings.expect(
                line.value == recorded,
                15,
                line.run,
                line.path,
                f"{label} gave something else than is recorded",
                line,
                answer,
            )
    after = evidence.after(line.run, line.boot)
    for waiting in after.of(Waiting) if after is not None else ():
        if (waiting.path, waiting.visit) == key and (
            waiting.kind == "sleep" or line.value == (default or "timeout")
        ):
            if waiting.kind == "input" and default is not None:
                continue  # a person may have said the same
            _expect_due(waiting, line.wall, line.run, f"{line} at {line.wall}", findings)


def _check_asked(evidence: Evidence, line: Line, findings: Findings) -> None:
    """What was decided is not asked again."""
    before = evidence.before(line.run, line.boot)
    if before is None or before.error is not None:
        return
    for record in before.records:
        if isinstance(record, Chosen | Spread | Waiting) and (record.path, record.visit) == (
            line.path,
            line.visit,
        ):
            findings.expect(False, 4, line.run, line.path, "it was decided, and asked again", record, line)
    findings.looked[4] += 1


def _check_chosen(evidence: Evidence, run: RunDump, findings: Findings) -> None:
    """What is recorded as decided is what a function has said; only the clause that was chosen runs."""
    answers: dict[tuple[str, int], list[object]] = defaultdict(list)
    for line in evidence.episode.lines:
        if line.kind == "asked" and line.run == run.id:
            answers[line.path, line.visit].append(line.value)
    tree = evidence.tree(run.id)
    chosen: dict[tuple[str, int], Chosen] = {}
    for record in run.records:
        if not isinstance(record, Chosen | Spread | Waiting) or tree.find(record.path) is None:
            continue
        node = tree.at(record.path)
        if not node.asks:
            continue
        given = answers[record.path, record.visit]
        if isinstance(record, Chosen):
            key = (record.path, record.visit)
            findings.expect(
                key not in chosen, 4, run.id, record.path, "it chose twice", chosen.get(key), record
            )
            chosen[key] = record
            values = node.clauses[record.label]
            known = [value for clause in node.clauses.values() for value in clause]
            fits = any(value in values or (not values and value not in known) for value in given)
        elif isinstance(record, Spread):
            fits = record.whole in given
        else:
            fits = record.due in given
        findings.expect(fits, 2, run.id, record.path, "nobody has said what is recorded", given, record)
    for execution in evidence.by_run.get(run.id, ()):
        enter = execution.enter
        node = tree.find(enter.path)
        branch = node.parent if node is not None and node.clause else ""
        if not branch or node is None:
            continue
        choice = chosen.get((branch, enter.visit))
        findings.expect(
            choice is not None and choice.label == node.clause,
            4,
            run.id,
            enter.path,
            "its branch has not chosen it",
            choice,
            enter,
        )


def _check_timer(evidence: Evidence, boot: int, run: RunDump, findings: Findings) -> None:
    """The timer of a parked run is the first of its due times."""
    if run.status != "waiting":
        return
    done = run.done
    tree = evidence.tree(run.id)
    dues = []
    for waiting in run.of(Waiting):
        node = tree.find(waiting.path)
        above = waiting.path if node is not None else waiting.path.rpartition("/")[0]
        over = False
        while above and not over:
            over = (above, waiting.visit) in done
            above = above.rpartition("/")[0]
        if not over and waiting.due is not None:
            dues.append(waiting.due)
    if not run.records and run.at is not None:
        dues.append(run.at)
    if not dues:
        findings.looked[13] += 1
        return
    findings.expect(
        math.ceil(min(dues) * 1000) in run.timers,
        13,
        run.id,
        "",
        f"after boot {boot} it waits, and its timer is not that of its first due time",
        min(dues),
        run.timers,
    )


def _check_keys(evidence: Evidence, findings: Findings) -> None:
    """A step's idempotency key never changes and is no other's; nor does an item."""
    keys: dict[tuple[str, str, int], Line] = {}
    items: dict[tuple[str, str, int], Line] = {}
    owners: dict[str, Line] = {}
    # A run that was retried has the keys that it had.
    for line in evidence.raw_lines:
        place = (line.run, line.path, line.visit)
        if line.kind == "item":
            first = items.setdefault(place, line)
            findings.expect(
                first.value == line.value, 4, line.run, line.path, "its item changed", first, line
            )
        if line.kind.rpartition("-")[2] != "key":
            continue
        first = keys.setdefault(place, line)
        findings.expect(
            first.value == line.value, 16, line.run, line.path, "its idempotency key changed", first, line
        )
        owner = owners.setdefault(line.value, line)
        findings.expect(
            (owner.run, owner.path, owner.visit) == place,
            16,
            line.run,
            line.path,
            "its idempotency key is another's",
            owner,
            line,
        )


def _check_same_start(evidence: Evidence, findings: Findings) -> None:
    """The same id again is the same run."""
    created: dict[str, Line] = {}
    for line in evidence.episode.lines:
        if line.kind != "ack-start" or line.run not in evidence.episode.runs:
            continue
        before = evidence.before(line.run, line.boot)
        findings.expect(
            not line.value or (line.run not in created and before is None),
            16,
            line.run,
            "",
            "it was there, and was created again",
            created.get(line.run) or before,
            line,
        )
        if line.value:
            created.setdefault(line.run, line)
