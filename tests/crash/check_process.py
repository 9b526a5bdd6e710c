"""The process: the order of its lives (8), SIGTERM (24), and commits of unknown outcome (25)."""

from __future__ import annotations

from .check_endings import told_as_recorded
from .evidence import Evidence
from .model import OK, Answered, Boot, Done, Dump, Failing, Findings, Line

_ENTERS = {"enter", "into-enter", "undo-enter"}


def check_process(evidence: Evidence, findings: Findings) -> None:
    """Each boot by itself."""
    number = -1
    for line in evidence.episode.lines:
        findings.expect(
            line.boot >= number, 8, line.run, line.path, "a dead process wrote this", number, line
        )
        number = max(number, line.boot)
    for boot in evidence.episode.boots:
        if boot.terminated:
            _check_terminated(evidence, boot, findings)
        if boot.ending == "exit":
            _check_nothing_lost(evidence, boot, findings)
        if boot.number in evidence.episode.faults:
            _check_fault(evidence, boot.number, evidence.episode.faults[boot.number], findings)


def _check_terminated(evidence: Evidence, boot: Boot, findings: Findings) -> None:
    lines = evidence.by_boot[boot.number]
    received = next((line for line in lines if line.kind == "sigterm"), None)
    findings.expect(
        boot.ending == "exit",
        24,
        "",
        "",
        "after SIGTERM the process did not exit",
        received,
        f"{boot.ending} {boot.status}",
    )
    if received is None:
        return
    for line in lines:
        if line.kind in _ENTERS and not _is_thread(evidence, line):
            findings.expect(
                line.number < received.number,
                24,
                line.run,
                line.path,
                "a body was entered after SIGTERM",
                received,
                line,
            )


def _is_thread(evidence: Evidence, line: Line) -> bool:
    """A body in a thread writes its line a little after the engine has entered it."""
    path = line.path.partition("/!")[0]
    if line.run not in evidence.episode.runs:
        return False
    return line.kind == "undo-enter" or evidence.node(line.run, path).mode == "thread"


def _check_nothing_lost(evidence: Evidence, boot: Boot, findings: Findings) -> None:
    """Who leaves in peace leaves no finished body without a record."""
    for execution in evidence.executions:
        end = execution.end
        if (
            end is None
            or end.boot != boot.number
            or not execution.ended("return")
            or not evidence.is_sound(end.run, end.boot)
        ):
            continue
        run = evidence.after(end.run, boot.number)
        if run is None and evidence.may_be_gone(end.run, boot.number):
            continue
        done = None if run is None else run.done.get((end.path, end.visit))
        findings.expect(
            done is not None and done.status == OK,
            24,
            end.run,
            end.path,
            "its process exited in peace, and its result is not on the disk",
            end,
            done,
        )


def _check_fault(evidence: Evidence, boot: int, at_fault: Dump, findings: Findings) -> None:
    """After a write failed, only what had been on the disk before may still be acknowledged."""
    lines = evidence.by_boot[boot]
    fault = next((line for line in lines if line.kind == "fault"), None)
    if fault is None or at_fault.error is not None:
        return
    for line in lines:
        if line.number > fault.number and line.kind.startswith("ack-") and line.kind != "ack-refused":
            findings.expect(
                _was_durable(line, at_fault),
                25,
                line.run,
                "",
                "it was acknowledged out of a commit that had failed",
                fault,
                line,
            )
    later = [e.enter for e in evidence.executions if e.enter.boot == boot and e.enter.number > fault.number]
    for enter in later:
        run = at_fault.runs.get(enter.run)
        if not evidence.tree(enter.run).sync:
            continue
        findings.expect(
            run is not None,
            25,
            enter.run,
            enter.path,
            "it was entered, and its run's start had failed",
            fault,
            enter,
        )
    findings.looked[25] += 1


def _was_durable(line: Line, dump: Dump) -> bool:
    run = dump.runs.get(line.run)
    if run is None:
        return False
    match line.kind:
        case "ack-start":
            return True
        case "ack-result":
            return told_as_recorded(line, run)
        case "ack-send":
            letters = {letter.whole for letter in run.letters}
            return line.value in letters | {done.own for done in run.of(Done)} | {
                answer.whole for answer in run.of(Answered)
            }
        case _:
            # A cancellation is refused as too late also when what the steps did is being undone.
            undone = line.kind == "ack-cancel" and not line.value and bool(run.of(Failing))
            return undone or run.cancel is not None or run.ended is not None
