"""What was done to runs from outside: retries, forks, pauses, deletions (invariants 1, 3 and 16).

That a retried run enters nothing again that counts, and ends once more, the other rooms see: for them each
era of a run is a run (see ``eras``).
"""

from __future__ import annotations

from .evidence import Evidence, follower
from .model import Done, Findings, Line, RunDump

_ENTERS = {"enter", "into-enter"}


def check_steered(evidence: Evidence, findings: Findings) -> None:
    """Each answer against every dump after it, and what paused runs did."""
    for line in evidence.episode.lines:
        if line.kind in {"retried", "forked", "deleted"}:
            _check_answer(evidence, line, findings)
    _check_paused(evidence, findings)
    for run in evidence.last().values():
        if run.fork is not None:
            _check_fork(evidence, run, findings)


def _check_answer(evidence: Evidence, line: Line, findings: Findings) -> None:
    """``retried`` and ``forked`` (of ``more``) name a run that is there, ``deleted`` one that is not."""
    for boot in range(line.boot, len(evidence.episode.dumps)):
        dump = evidence.episode.dumps[boot]
        where = f"after boot {boot}"
        if dump.error is not None:
            continue
        run = dump.runs.get(line.run)
        if line.kind == "deleted":
            findings.expect(
                run is None, 1, line.run, "", f"it was deleted, and {where} it is there", line, run
            )
            continue
        if run is None and evidence.may_be_gone(line.run, boot):
            return
        what = f"it was {line.kind}, and {where} it is not"
        findings.expect(run is not None, 1, line.run, "", what, line)
        origins = [other for other in dump.runs.values() if other.raw == line.more]
        if line.kind == "forked" and origins:
            known = line.run.partition("~")[0] in origins[-1].forks
            findings.expect(known, 1, line.more, "", f"{where} it does not know its fork", line, origins[-1])


def _check_paused(evidence: Evidence, findings: Findings) -> None:
    """Nothing is entered of a run that is paused; and it is, over restarts, until it is resumed."""
    paused: dict[str, Line] = {}
    boot = -1
    for line in evidence.episode.lines:
        while boot < line.boot:
            if boot >= 0:
                _check_still_paused(evidence, boot, paused, findings)
            boot += 1
        if line.kind == "paused":
            paused[line.run] = line
        elif line.kind == "resume":
            paused.pop(line.run, None)
        elif line.kind in _ENTERS and line.run in paused:
            node = evidence.tree(line.run).find(line.path)
            in_thread = node is not None and node.mode == "thread"  # it tells a little later that it was
            findings.expect(
                in_thread, 1, line.run, line.path, "it was entered and is paused", paused[line.run], line
            )


def _check_still_paused(evidence: Evidence, boot: int, paused: dict[str, Line], findings: Findings) -> None:
    for name, line in paused.items():
        run = evidence.after(name, boot)
        if run is None or run.error is not None or run.ended is not None or run.cancel is not None:
            continue  # whether it may be, others see
        findings.expect(run.paused, 1, name, "", f"it was paused, and after boot {boot} it is not", line, run)


def _check_fork(evidence: Evidence, fork: RunDump, findings: Findings) -> None:
    """What a fork has taken over is what is recorded of the other run, which did it."""
    # Of one that was deleted it is not known what was recorded last.
    origins = [run for run in evidence.episode.dumps[-1].runs.values() if run.raw == fork.fork]
    recorded = {(done.path, done.visit): done for run in origins for done in run.of(Done)}
    if fork.era:
        return
    tree = evidence.tree(fork.id)
    before = [record for record in fork.records[: fork.inherited] if isinstance(record, Done)]
    top = [done for done in before if "/" not in done.path]
    leads_to = follower(tree, top[-1]) if top else tree.top[0]
    what = "what it has taken over does not lead to where it goes on"
    findings.expect(leads_to == fork.point, 4, fork.id, fork.point, what, top[-1:], leads_to)
    if not origins or any(run.superseded for run in origins):
        return
    for done in before:
        known = recorded.get((done.path, done.visit))
        # Of the other, more may be known than when the fork was made: an outcome in a block that is open.
        same = known is not None and (known.status, known.own, known.whole) == (
            done.status,
            done.own,
            done.whole,
        )
        findings.expect(same, 3, fork.id, done.path, "it has taken over what is not recorded", known, done)
