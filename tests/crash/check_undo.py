"""Compensations: invariant 18."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from .evidence import Evidence, Execution, context_of
from .model import OK, UNDONE, Compensated, Done, Ended, Failing, Findings, Line, RunDump, Tree

_Key = tuple[str, int]  # path and visit of the step that is undone


def check_undo(evidence: Evidence, findings: Findings) -> None:
    """What the records say, and then each execution of a compensation."""
    for run in evidence.last().values():
        _check_recorded(evidence.tree(run.id), run, findings)
    by_run: dict[str, list[Execution]] = defaultdict(list)
    for execution in evidence.undoings:
        by_run[execution.enter.run].append(execution)
    for run_id, executions in by_run.items():
        if run_id not in evidence.episode.runs:
            continue
        for execution in executions:
            _check_entry(evidence, execution, findings)
        for earlier, later in pairwise(executions):
            _check_repetition(earlier, later, findings)
        _check_nothing_else(evidence, executions[0].enter, findings)
        _check_outcomes(evidence, run_id, executions, findings)
    _check_cancelled(evidence, findings)


def _check_cancelled(evidence: Evidence, findings: Findings) -> None:
    """Who was told that a run is cancelled and undone finds it so."""
    last = evidence.last()
    for line in evidence.episode.lines:
        run = last.get(line.run)
        if line.kind != "ack-cancel" or not line.value or not line.more or run is None or run.ended is None:
            continue
        left = successes(evidence.tree(run.id), run) if not run.of(Failing) else []
        findings.expect(not left, 18, run.id, "", "it was cancelled, and not undone as was told", line, left)


def successes(tree: Tree, run: RunDump) -> list[Done]:
    """The recorded successes that have a handler, in their order."""
    nodes = [(done, tree.find(done.path)) for done in run.of(Done) if done.status == OK]
    return [done for done, node in nodes if node is not None and node.undo]


def _check_recorded(tree: Tree, run: RunDump, findings: Findings) -> None:
    failing: Failing | None = None
    undone: list[Compensated] = []
    expected = [(done.path, done.visit) for done in reversed(successes(tree, run))]
    for record in run.records:
        if isinstance(record, Failing):
            failing = record
        elif isinstance(record, Compensated):
            findings.expect(
                failing is not None,
                18,
                run.id,
                record.path,
                "it was undone before its run had failed",
                record,
            )
            same = [other for other in undone if (other.path, other.visit) == (record.path, record.visit)]
            findings.expect(not same, 18, run.id, record.path, "it was undone twice", same, record)
            undone.append(record)
        elif isinstance(record, Done):
            findings.expect(
                failing is None, 18, run.id, record.path, "it ended behind its run's failure", failing, record
            )
    keys = [(record.path, record.visit) for record in undone]
    findings.expect(
        keys == expected[: len(keys)],
        18,
        run.id,
        "",
        "what was undone is not what had succeeded, last first",
        keys,
        expected,
    )
    for record in undone:
        node = tree.find(record.path)
        fits = node is not None and node.undo == record.handler
        findings.expect(fits, 18, run.id, record.path, "another handler has undone it", node, record)
    if run.ended is not None:
        _check_end(run, run.ended, undone, expected, findings)


def _check_end(
    run: RunDump, ended: Ended, undone: list[Compensated], expected: list[_Key], findings: Findings
) -> None:
    must_undo = ended.status in {*UNDONE, "failed"} or (run.cancel is not None and run.cancel.undo)
    left = expected[len(undone) :]
    if ended.status != "completed" and must_undo:
        findings.expect(not left, 18, run.id, "", "it ended, and not all of it was undone", ended, left)
    if ended.status in {"completed", "cancelled"}:
        findings.expect(not undone, 18, run.id, "", "it was undone, and ended so", undone, ended)
    if undone:
        well = all(record.status == OK for record in undone)
        findings.expect(
            ended.status == ("compensated" if well else "compensation_failed"),
            18,
            run.id,
            "",
            "its end does not say how its compensations ended",
            undone,
            ended,
        )


def _step_of(line: Line) -> _Key:
    return line.path.rpartition("/!")[0], line.visit


def _check_entry(evidence: Evidence, execution: Execution, findings: Findings) -> None:
    """What must be on the disk when a compensation is entered."""
    enter = execution.enter
    run, boot = enter.run, enter.boot
    tree = evidence.tree(run)
    path, visit = _step_of(enter)
    before, after = evidence.before(run, boot), evidence.after(run, boot)
    if before is not None and before.error is None:
        again = [c for c in before.of(Compensated) if (c.path, c.visit) == (path, visit)]
        findings.expect(
            not again, 18, run, path, "it was undone, and its handler was entered again", again, enter
        )
    if after is None or after.error is not None or not evidence.is_sound(run, boot):
        return
    findings.expect(
        bool(after.of(Failing)),
        18,
        run,
        path,
        "its handler was entered before the failure was on the disk",
        enter,
    )
    done = after.done.get((path, visit))
    if not findings.expect(
        done is not None and done.status == OK,
        18,
        run,
        path,
        "it was undone, and had not succeeded",
        done,
        enter,
    ):
        return
    assert done is not None
    if enter.value is not None:
        given = context_of(tree, after, path, visit)
        findings.expect(
            given in {None, enter.value}, 18, run, path, "its handler was given another context", given, enter
        )
    findings.expect(
        done.whole in {None, enter.more}, 18, run, path, "its handler was given another result", done, enter
    )
    undone = {(c.path, c.visit) for c in after.of(Compensated)}
    succeeded = [(d.path, d.visit) for d in successes(tree, after)]
    later = succeeded[succeeded.index((path, visit)) + 1 :] if (path, visit) in succeeded else []
    findings.expect(
        undone >= set(later),
        18,
        run,
        path,
        "it was undone before what came after it",
        enter,
        [key for key in later if key not in undone],
    )


def _check_repetition(earlier: Execution, later: Execution, findings: Findings) -> None:
    """In one life a handler is entered again only when it has failed."""
    one, two = earlier.enter, later.enter
    if one.boot != two.boot:
        return
    out = earlier.end is not None and earlier.end.number < two.number
    findings.expect(out, 18, one.run, one.path, "the next was entered while it was running", one, two)
    if (one.path, one.visit) == (two.path, two.visit):
        failed = earlier.ended("raise", "err") and two.attempt == one.attempt + 1
        findings.expect(failed, 18, one.run, one.path, "it was entered again", earlier.end or one, two)


def _check_nothing_else(evidence: Evidence, first: Line, findings: Findings) -> None:
    """Once a run is being undone, no step of it begins."""
    for execution in evidence.by_run.get(first.run, ()):
        enter = execution.enter
        findings.expect(
            enter.number < first.number,
            18,
            first.run,
            enter.path,
            "it was entered while its run was being undone",
            first,
            enter,
        )


def _check_outcomes(evidence: Evidence, run_id: str, executions: list[Execution], findings: Findings) -> None:
    run = evidence.last().get(run_id)
    for record in run.of(Compensated) if run is not None else ():
        kinds = ("return",) if record.status == OK else ("raise", "err")
        fits = any(
            _step_of(e.enter) == (record.path, record.visit)
            and e.enter.attempt == record.attempt
            and e.ended(*kinds)
            for e in executions
        )
        findings.expect(
            fits, 18, run_id, record.path, "no execution of its handler ended as recorded", record
        )
