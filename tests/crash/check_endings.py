"""What callers were told, and how runs end: invariants 1, 19, 20, 22 and 23."""

from __future__ import annotations

from .evidence import Evidence
from .model import UNDONE, UNENDED, Failing, Findings, Line, RunDump


def check_endings(evidence: Evidence, findings: Findings) -> None:
    """Each acknowledgement against every dump after it; then the end."""
    for line in evidence.episode.lines:
        if line.kind.startswith("ack-") and line.run in evidence.episode.runs:
            _check_told(evidence, line, findings)
    _check_final(evidence, findings)
    _check_changed(evidence, findings)
    for run, boot in evidence.episode.damaged.items():
        _check_damaged(evidence, run, boot, findings)


def _check_told(evidence: Evidence, line: Line, findings: Findings) -> None:
    for boot in range(line.boot, len(evidence.episode.boots)):
        if not evidence.is_sound(line.run, boot):
            return
        run = evidence.after(line.run, boot)
        where = f"on the disk after boot {boot}"
        if line.kind == "ack-refused":
            continue
        if run is None and evidence.may_be_gone(line.run, boot):
            return
        if not findings.expect(
            run is not None, 1, line.run, "", f"it was acknowledged, and is not {where}", line
        ):
            return
        assert run is not None
        if run.error is not None:
            return
        match line.kind:
            case "ack-start":
                given = evidence.episode.runs[line.run].input
                findings.expect(
                    given is None or run.input == given,
                    1,
                    line.run,
                    "",
                    f"its input is not {where}",
                    line,
                    run.input,
                )
            case "ack-result":
                ended = told_as_recorded(line, run)
                findings.expect(
                    ended,
                    1,
                    line.run,
                    "",
                    f"this end was acknowledged, and is not {where}",
                    f"{line} {line.more}",
                    (run.status, run.result, run.ended),
                )
            case "ack-cancel" if line.value:
                findings.expect(
                    run.cancel is not None or run.status == "cancelled",
                    1,
                    line.run,
                    "",
                    f"the cancellation was acknowledged, and is not {where}",
                    line,
                    run.records[-1:],
                )
                findings.expect(
                    run.status in (*UNENDED, "cancelled")
                    or (run.cancel is not None and run.cancel.undo and run.status in UNDONE),
                    19,
                    line.run,
                    "",
                    f'the cancellation was answered "yes", and its end is another {where}',
                    line,
                    run.ended,
                )
            case "ack-cancel":
                findings.expect(
                    run.ended is not None or bool(run.of(Failing)),
                    1,
                    line.run,
                    "",
                    f'"it had ended" was said, and the end is not {where}',
                    line,
                )


def told_as_recorded(line: Line, run: RunDump) -> bool:
    """Whether an end is recorded as it was told; that what was done is undone is told with the failure."""
    if run.ended is None or run.result != line.more:
        return False
    return run.status == line.value or (run.status in UNDONE and line.value in {"failed", "cancelled"})


def _check_final(evidence: Evidence, findings: Findings) -> None:
    episode = evidence.episode
    last = episode.boots[-1]
    findings.expect(
        last.ending == "exit",
        20,
        "",
        "",
        "without a fault, not all runs came to their end",
        f"boot {last.number}: {last.ending}",
        f"status {last.status}",
    )
    for run_id, expected in episode.runs.items():
        if run_id in episode.damaged:
            continue
        run = evidence.after(run_id, last.number)
        if expected.is_child:
            ended = run is None or run.status not in UNENDED
            findings.expect(ended, 20, run_id, "", "a child does not end", run)
            continue
        if run is None and evidence.may_be_gone(run_id, last.number):
            continue
        found: RunDump | str = "no record" if run is None else run
        status = run.status if run is not None else ""
        findings.expect(
            status in expected.ends,
            20,
            run_id,
            "",
            f"it must end {' or '.join(expected.ends)}",
            status,
            found,
        )


def _check_changed(evidence: Evidence, findings: Findings) -> None:
    """Under a changed definition a run with records that do not fit is blocked, and nothing of it runs."""
    for boot in evidence.episode.boots:
        if not boot.changed:
            continue
        for run_id, expected in evidence.episode.runs.items():
            if expected.is_child:
                continue
            before, after = evidence.before(run_id, boot.number), evidence.after(run_id, boot.number)
            if before is None or before.ended is not None or not before.top:
                continue
            entered = next((e for e in evidence.by_run[run_id] if e.enter.boot == boot.number), None)
            findings.expect(
                entered is None,
                22,
                run_id,
                "",
                "it ran under a definition that its records do not fit",
                before.top[0],
                entered,
            )
            if boot.ending == "exit":
                status = after.status if after is not None else None
                # A run is looked at when something comes for it and it is its turn.
                sleeps = (
                    after is not None
                    and after.status in {"waiting", "pending"}
                    and after.records == before.records
                    and (after.paused or after.status == "pending" or before.status == "waiting")
                )
                findings.expect(
                    status == "blocked" or sleeps or (after is not None and after.cancel is not None),
                    22,
                    run_id,
                    "",
                    "its definition was changed, and it is not blocked",
                    before.top[0],
                    status,
                )


def _check_damaged(evidence: Evidence, run: str, first: int, findings: Findings) -> None:
    """Who asks for a damaged run gets a typed error, and nothing of it runs."""
    for boot in evidence.episode.boots[first:]:
        for line in evidence.by_boot[boot.number]:
            if line.run != run:
                continue
            findings.expect(
                line.kind not in {"enter", "into-enter", "ack-result"},
                23,
                run,
                line.path,
                "its record is damaged, and it went on",
                f"damaged before boot {first}",
                line,
            )
        if boot.ending == "exit" and not boot.terminated:
            refused = any(
                line.kind == "ack-refused"
                and line.run == run
                and line.value in {"RunBlocked", "StoreCorrupt"}
                for line in evidence.by_boot[boot.number]
            )
            findings.expect(
                refused,
                23,
                run,
                "",
                "its record is damaged, and who asked was not told",
                f"boot {boot.number}",
            )
