"""What was on the disk, boot after boot: invariants 1 (nothing vanishes), 3, 19 (one end), 21 and 23."""

from __future__ import annotations

from collections import Counter

from .evidence import Evidence
from .model import UNENDED, Done, Dump, Ended, Findings, RunDump, Waiting


def check_store(evidence: Evidence, findings: Findings) -> None:
    """Each dump by itself, and against the one before."""
    before = Dump()
    for boot, dump in enumerate(evidence.episode.dumps):
        whole = findings.expect(
            dump.error is None, 23, "", "", f"after boot {boot} the database cannot be read", dump.error
        )
        if not whole:
            continue
        _check_index(boot, dump, findings, evidence)
        for run in dump.runs.values():
            if run.error is not None:
                sound = evidence.is_sound(run.id, boot)
                findings.expect(
                    not sound,
                    23,
                    run.id,
                    "",
                    f"after boot {boot} its record is damaged, by nobody",
                    run.error,
                )
                continue
            _check_records(boot, run, findings)
        for run in before.runs.values():
            if run.error is None and evidence.is_sound(run.id, boot):
                is_going = evidence.may_be_gone(run.raw, boot)
                _check_history(boot, run, dump.runs.get(run.id), is_going, findings)
        before = dump


def _check_records(boot: int, run: RunDump, findings: Findings) -> None:
    seen: dict[tuple[str, int], Done] = {}
    ended: Ended | None = None
    for record in run.records:
        findings.expect(
            ended is None,
            19,
            run.id,
            "",
            f"after boot {boot} something is recorded behind its end",
            ended,
            record,
        )
        if isinstance(record, Done):
            key = (record.path, record.visit)
            findings.expect(
                key not in seen, 3, run.id, record.path, "two results are recorded", seen.get(key), record
            )
            seen[key] = record
        elif isinstance(record, Ended):
            ended = record


def _check_history(boot: int, old: RunDump, new: RunDump | None, is_going: bool, findings: Findings) -> None:
    what = f"between the ends of boots {boot - 1} and {boot}"
    if new is None:
        findings.expect(is_going, 1, old.id, "", f"the run vanished {what}", old.records[-1:])
        return
    for number, row in enumerate(old.rows):
        now = new.rows[number] if number < len(new.rows) else None
        findings.expect(row == now, 3, old.id, "", f"row {number} of its journal changed {what}", row, now)
    findings.expect(old.input == new.input, 3, old.id, "", f"its input changed {what}", old.input, new.input)
    if old.ended is not None:
        same = (old.ended, old.status, len(old.records)) == (new.ended, new.status, len(new.records))
        findings.expect(
            same,
            19,
            old.id,
            "",
            f"it had ended, and went on {what}",
            (old.status, old.ended),
            (new.status, new.ended),
        )


def _check_index(boot: int, dump: Dump, findings: Findings, evidence: Evidence) -> None:
    index = dump.index
    when = f"after boot {boot}"
    entries = Counter(key for key, _, _ in index.entries)
    for key, (run_id, number) in index.runs.items():
        if not evidence.is_sound(run_id, boot):
            continue
        findings.expect(
            entries[key] == 1,
            21,
            run_id,
            "",
            f"{when} it has not one status but",
            [e for e in index.entries if e[0] == key],
        )
        found = next(((workflow, status) for entry, workflow, status in index.entries if entry == key), None)
        run = dump.runs[run_id]
        if found is None or run.error is not None:
            continue
        findings.expect(
            found[0] == number, 21, run_id, "", f"{when} it is indexed under another workflow", found, number
        )
        ended = run.ended
        agrees = found[1] in UNENDED if ended is None else found[1] == ended.status
        findings.expect(agrees, 21, run_id, "", f"{when} its status contradicts its records", found[1], ended)
        findings.expect(
            index.aliases.get(run_id) == key,
            21,
            run_id,
            "",
            f"{when} its id does not lead to it",
            index.aliases.get(run_id),
            key,
        )
        if run.records:
            # One that waited is pending again when it is woken; so is one that was paused or retried.
            may_be_pending = run.was_paused or run.inherited or bool(run.of(Waiting))
            findings.expect(
                found[1] != "pending" or (ended is None and (not run.top or may_be_pending)),
                21,
                run_id,
                "",
                f"{when} it is pending, and has begun",
                found[1],
                run.records[:1],
            )
    for entry in index.entries:
        findings.expect(entry[0] in index.runs, 21, entry[0], "", f"{when} a status belongs to no run", entry)
    for alias, key in index.aliases.items():
        findings.expect(key in index.runs, 21, alias, "", f"{when} an id leads to no run", key)
    counts = Counter((workflow, status) for _, workflow, status in index.entries)
    findings.expect(
        dict(counts) == index.counts, 21, "", "", f"{when} the counts are wrong", index.counts, dict(counts)
    )
