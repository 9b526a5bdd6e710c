"""Single steps: invariants 2, 4 to 9."""

from __future__ import annotations

from collections import defaultdict

from .evidence import Evidence, Execution, context_of, follower, predecessor
from .model import CANCELLED, ERROR, OK, TIMED_OUT, Chosen, Done, Findings, Line, Node, RunDump, Tree

_CLOCK = 0.002  # seconds by which the wall clock and Trio's may differ over a back-off


def check_steps(evidence: Evidence, findings: Findings) -> None:
    """Each execution of a body, and each recorded outcome."""
    for run, executions in evidence.by_run.items():
        if run in evidence.episode.runs:
            for execution in executions:
                _check_entry(evidence, execution, findings)
            _check_again(evidence, executions, findings)
            _check_overlap(executions, findings)
    for run_dump in evidence.last().values():
        _check_values(evidence, run_dump, findings)
        _check_complete(evidence, run_dump, findings)


def _check_entry(evidence: Evidence, execution: Execution, findings: Findings) -> None:
    """What must be on the disk when a body is entered."""
    enter = execution.enter
    run, path, visit, boot = enter.run, enter.path, enter.visit, enter.boot
    tree = evidence.tree(run)
    node = tree.find(path)
    if not findings.expect(
        node is not None, 2, run, path, "a body ran that the workflow does not have", enter
    ):
        return
    assert node is not None
    before, after = evidence.before(run, boot), evidence.after(run, boot)
    if before is not None and before.error is None:
        done = before.done.get((path, visit))
        in_block = bool(node.parent) and tree.at(node.parent).gathers
        findings.expect(
            done is None,
            9 if in_block else 4,
            run,
            path,
            "it was recorded, and was entered again",
            done,
            enter,
        )
        findings.expect(
            before.ended is None, 4, run, path, "its run had ended, and it was entered", before.ended, enter
        )
        if not execution.is_into:
            _check_attempt(before, enter, findings)
    if after is not None and after.error is None and not execution.is_into:
        _check_due(after, enter, findings)
    if not tree.sync or not evidence.is_sound(run, boot):
        return
    if after is None and evidence.may_be_gone(run, boot):
        return
    if not findings.expect(
        after is not None,
        5,
        run,
        path,
        "it was entered, and its run is not on the disk",
        enter,
        f"boot {boot}",
    ):
        return
    assert after is not None
    rests_on, leads_here = predecessor(tree, after, path, visit)
    findings.expect(
        leads_here,
        5,
        run,
        path,
        "it was entered before what leads to it was on the disk",
        enter,
        f"the last record before it after boot {boot}: {rests_on}",
    )
    earlier = node.before
    if earlier:
        done = after.done.get((earlier, visit))
        findings.expect(
            done is not None and done.status == OK,
            5,
            run,
            path,
            f"it was entered before {earlier} was on the disk",
            enter,
            done,
        )
    if enter.attempt > 1 and not execution.is_into:
        numbers = [record.attempt for record in after.attempts(path, visit)]
        findings.expect(
            enter.attempt - 1 in numbers,
            7,
            run,
            path,
            "it was tried again before the failed attempt was on the disk",
            enter,
            numbers,
        )
    expected = context_of(tree, after, path, visit)
    if enter.value is not None and expected is not None:
        findings.expect(
            enter.value == expected,
            2,
            run,
            path,
            "it was given another context than is recorded",
            enter,
            expected,
        )


def _check_attempt(before: RunDump, enter: Line, findings: Findings) -> None:
    """An attempt that was recorded before this boot counts."""
    for failed in before.attempts(enter.path, enter.visit)[-1:]:
        findings.expect(
            enter.attempt > failed.attempt,
            7,
            enter.run,
            enter.path,
            "failed attempts were forgotten",
            failed,
            enter,
        )


def _check_due(after: RunDump, enter: Line, findings: Findings) -> None:
    """No attempt comes before the time at which the record of the one before says that it is due."""
    for failed in after.attempts(enter.path, enter.visit):
        if failed.attempt == enter.attempt - 1:
            findings.expect(
                enter.wall >= failed.due - _CLOCK,
                7,
                enter.run,
                enter.path,
                f"the next attempt came {failed.due - enter.wall:.4f} s early",
                failed,
                f"{enter} at {enter.wall}",
            )


def _check_again(evidence: Evidence, executions: list[Execution], findings: Findings) -> None:
    """Why a body ran again: another attempt, or a crash in between."""
    seen: dict[tuple[str, int, bool], list[Execution]] = defaultdict(list)
    for execution in executions:
        enter = execution.enter
        earlier = seen[enter.path, enter.visit, execution.is_into]
        if earlier:
            _check_repetition(evidence, earlier[-1], execution, findings)
        earlier.append(execution)
        if len(earlier) == 1 and evidence.is_sound(enter.run, enter.boot):
            started = evidence.before(enter.run, enter.boot)
            recorded = started.attempts(enter.path, enter.visit) if started is not None else []
            findings.expect(
                enter.attempt <= 1 + max((r.attempt for r in recorded), default=0),
                7,
                enter.run,
                enter.path,
                "its first execution is not its first attempt",
                enter,
                recorded,
            )


def _check_repetition(evidence: Evidence, first: Execution, again: Execution, findings: Findings) -> None:
    run, path, _ = first.key
    one, two = first.enter, again.enter
    if one.boot == two.boot:
        tried_again = two.attempt == one.attempt + 1 and not first.ended("return", "cancelled")
        timed_out = two.attempt == one.attempt + 1 and first.ended("cancelled")
        findings.expect(
            tried_again or timed_out,
            6,
            run,
            path,
            "it ran again, although nothing had happened in between",
            first.end or one,
            two,
        )
        return
    # What was cancelled because its engine was left runs again, without a crash.
    suspended = first.ended("cancelled") or first.end is None
    crashed = any(evidence.died(boot) for boot in range(one.boot, two.boot))
    retried = two.attempt > one.attempt and not first.ended("return")
    findings.expect(
        crashed or suspended or retried,
        6,
        run,
        path,
        "it ran again, and no crash had come in between",
        first.end or one,
        two,
    )


def _check_overlap(executions: list[Execution], findings: Findings) -> None:
    previous: dict[tuple[str, str, int], Execution] = {}
    for execution in executions:
        earlier = previous.get(execution.key)
        previous[execution.key] = execution
        if (
            earlier is None
            or earlier.enter.boot != execution.enter.boot
            or earlier.is_into != execution.is_into
        ):
            continue
        out = earlier.end is not None and earlier.end.number < execution.enter.number
        run, path, _ = execution.key
        findings.expect(
            out, 8, run, path, "it was entered while it was running", earlier.enter, execution.enter
        )


def _check_values(evidence: Evidence, dump: RunDump, findings: Findings) -> None:
    """Every recorded outcome of a body is one that a body had."""
    made: dict[tuple[str, int, int], list[Execution]] = defaultdict(list)
    for execution in evidence.by_run.get(dump.id, ()):
        enter = execution.enter
        made[enter.path, enter.visit, enter.attempt].append(execution)
    tree = evidence.tree(dump.id)
    for done in dump.own_done:
        node = tree.find(done.path)
        if not findings.expect(
            node is not None, 2, dump.id, done.path, "the workflow has no such path", done
        ):
            continue
        assert node is not None
        has_body = node.kind == "step" or (node.into and done.status == OK)
        if not has_body or not done.attempt or done.own is None:
            continue
        executions = made[done.path, done.visit, done.attempt]
        if done.status == CANCELLED:
            continue  # perhaps between two attempts
        kinds = {OK: ("return",), ERROR: ("raise", "err")}.get(done.status)
        if kinds is None:
            findings.expect(
                done.status != TIMED_OUT or bool(executions),
                2,
                dump.id,
                done.path,
                "it timed out without running",
                done,
            )
            continue
        values = [e.end.value for e in executions if e.ended(*kinds) and e.end is not None]
        findings.expect(
            done.own in values,
            2,
            dump.id,
            done.path,
            "no execution had the recorded outcome",
            done,
            [str(e.end or e.enter) for e in executions],
        )


def _check_complete(evidence: Evidence, dump: RunDump, findings: Findings) -> None:
    """The records of the top level are one way through the plan; each finished block has all its branches."""
    tree = evidence.tree(dump.id)
    expected: str | None = tree.top[0]
    last: Done | None = None
    for done in dump.top:
        findings.expect(
            done.path == expected or done.status == CANCELLED,
            2,
            dump.id,
            done.path,
            f"the way through the plan led to {expected}",
            last,
            done,
        )
        expected, last = follower(tree, done), done
    if dump.status == "completed":
        findings.expect(
            expected is None and last is not None and last.whole == dump.result,
            2,
            dump.id,
            "",
            f"it completed, and {expected or 'its result'} has no record",
            last,
            dump.result,
        )
    done_of = dump.done
    for done in done_of.values():
        node = tree.find(done.path)
        if node is None or node.kind == "step" or done.status != OK:
            continue
        for child in _parts(tree, dump, node, done):
            findings.expect(
                (child, done.visit) in done_of,
                2,
                dump.id,
                child,
                "its block is recorded, and it is not",
                done,
            )


def _parts(tree: Tree, dump: RunDump, node: Node, done: Done) -> list[str]:
    """The parts that must be recorded too: of a branch, those of the clause that was taken."""
    if node.kind != "branch":
        return list(tree.branches(dump, node.path, done.visit))
    if done.next is not None:
        return []  # it was left by a jump
    taken = next((c.label for c in dump.of(Chosen) if (c.path, c.visit) == (node.path, done.visit)), None)
    return [child for child in node.children if tree.at(child).clause == taken]
