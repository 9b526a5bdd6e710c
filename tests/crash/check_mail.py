"""Events and answers: invariant 14."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from .evidence import Evidence
from .model import OK, Answered, Done, Findings, Line, RunDump, Waiting


class _Sent(NamedTuple):
    """A message as its sender tells of it."""

    line: Line
    ended: Line | None  # the line that says that it was acknowledged or refused

    @property
    def is_acknowledged(self) -> bool:
        return self.ended is not None and self.ended.kind == "ack-send"

    @property
    def is_refused(self) -> bool:
        return self.ended is not None and self.ended.kind == "refused"


class _Taken(NamedTuple):
    """A message that a record says was taken."""

    whole: str
    record: object


_Name = tuple[str, str]  # event or input, and its name


def check_mail(evidence: Evidence, findings: Findings) -> None:
    """Every message of every run, against every dump after it."""
    sent: dict[str, dict[_Name, list[_Sent]]] = defaultdict(lambda: defaultdict(list))
    for line in evidence.episode.lines:
        if line.kind == "send":
            sent[line.run][_name(line)].append(_Sent(line, None))
        elif line.kind in {"ack-send", "refused"}:
            messages = sent[line.run][_name(line)]
            messages[-1] = messages[-1]._replace(ended=line)
    for boot, dump in enumerate(evidence.episode.dumps):
        for run in dump.runs.values():
            if run.error is None and run.id in evidence.episode.runs and evidence.is_sound(run.id, boot):
                _check_run(evidence, boot, run, sent[run.id], findings)


def _name(line: Line) -> _Name:
    kind, name, _ = line.more
    return "event" if kind == "event" else "input", name


def _check_run(
    evidence: Evidence, boot: int, run: RunDump, sent: dict[_Name, list[_Sent]], findings: Findings
) -> None:
    taken = _taken(evidence, run)
    for letter in run.letters:
        taken.setdefault((letter.kind, letter.name), [])
    for name in {*taken, *sent}:
        consumed = taken.get(name, [])
        left = [_Taken(x.whole, x) for x in run.letters if (x.kind, x.name) == name]
        known = [message for message in sent.get(name, []) if message.line.boot <= boot]
        _check_name(boot, run.id, name, consumed, left, known, findings)


def _check_name(
    boot: int,
    run: str,
    name: _Name,
    consumed: list[_Taken],
    left: list[_Taken],
    sent: list[_Sent],
    findings: Findings,
) -> None:
    """All messages of one name: each once, in order."""
    what = f"{name[0]} {name[1]!r}"
    there = [*consumed, *left]
    by_whole: dict[str, list[_Sent]] = defaultdict(list)
    for message in sent:
        by_whole[message.line.value].append(message)
    seen: dict[str, list[_Taken]] = defaultdict(list)
    for item in there:
        seen[item.whole].append(item)
        findings.expect(
            item.whole in by_whole, 14, run, "", f"after boot {boot} there is {what} that nobody sent", item
        )
    for whole, messages in by_whole.items():
        found = seen[whole]
        findings.expect(
            len(found) <= sum(not message.is_refused for message in messages),
            14,
            run,
            "",
            f"after boot {boot} {what} is there more often than it was sent",
            messages[0].line,
            found,
        )
        wanted = sum(message.is_acknowledged and message.ended.boot <= boot for message in messages)  # type: ignore[union-attr]
        findings.expect(
            len(found) >= wanted,
            14,
            run,
            "",
            f"after boot {boot} {what} is neither consumed nor in the mailbox",
            next((m.ended for m in messages if m.is_acknowledged), messages[0].line),
            there,
        )
    if any(len(messages) > 1 for messages in by_whole.values()):
        return  # answers that look the same cannot be told apart
    places = {message.line.value: message.line for message in sent}
    for first, second in pairwise(there):
        one, two = places.get(first.whole), places.get(second.whole)
        if one is not None and two is not None:
            findings.expect(
                one.number < two.number,
                14,
                run,
                "",
                f"after boot {boot} {what} came before one that was sent earlier",
                f"{one}, taken by {first.record}",
                f"{two}, taken by {second.record}",
            )


def _taken(evidence: Evidence, run: RunDump) -> dict[_Name, list[_Taken]]:
    """The messages that records say were taken, in the order of the records."""
    tree = evidence.tree(run.id)
    begun = {(w.path, w.visit): w for w in run.of(Waiting)}
    found: dict[_Name, list[_Taken]] = defaultdict(list)
    for record in run.records:
        if isinstance(record, Done) and record.kind in {"event", "input"} and record.status == OK:
            waiting = begun.get((record.path, record.visit))
            default = tree.at(record.path).default
            if waiting is None or waiting.name is None or record.own is None:
                continue
            if record.own != default:
                found[record.kind, waiting.name].append(_Taken(record.own, record))
        elif isinstance(record, Answered) and not record.timed_out and record.whole is not None:
            waiting = begun.get((record.path, record.visit))
            if waiting is None or waiting.kind not in {"event", "input"} or waiting.name is None:
                continue  # a sleep, or a call of a child whose time is limited
            found[waiting.kind, record.name or waiting.name].append(_Taken(record.whole, record))
    return found
