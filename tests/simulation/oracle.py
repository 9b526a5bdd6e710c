"""Waits, messages, children and compensations: invariants 13 to 18, and 20 for what is parked.

They need what the checker of ``tests/crash`` does not look at: the records of waits, the mailbox, the timers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from durable_trio._definition.nodes import EventNode, InputNode, SleepNode, StepNode
from durable_trio._definition.plan import Plan
from durable_trio._snapshot import records as stored
from durable_trio._snapshot.records import EVENT, EVENT_MESSAGE, NODE_STATUS_NAMES, OK, SLEEP, TIMED_OUT
from tests.crash.model import UNENDED, Episode, Findings, Line

from .facts import Facts, last_eras

_EPSILON = 1e-6


class Story(NamedTuple):
    """An episode, and the facts after each of its lives."""

    episode: Episode
    facts: list[dict[str, Facts]]
    plans: dict[str, Plan]


def examine(story: Story) -> Findings:
    """All that contradicts an invariant."""
    findings = Findings()
    known: dict[str, Facts] = {}  # some were deleted
    for facts in story.facts:
        known.update(facts)
    for run in known.values():
        plan = story.plans[run.workflow]
        _check_waits(run, plan, findings)
        _check_compensations(story, run, plan, findings)
        if run.id in story.facts[-1]:
            _check_failure(run, findings)
    for run in last_eras(story.facts[-1]).values():
        of_run = [era for era in known.values() if era.raw == run.raw]
        _check_messages(story, of_run, story.plans[run.workflow], findings)
        _check_children(story, of_run, findings)
    for boot, facts in enumerate(story.facts):
        _check_parked(boot, facts, findings)
        if boot:
            _check_family(story, boot, findings)
    _check_starts(story, findings)
    return findings


# -- 13, 15: waits -------------------------------------------------------------------------------------


def _check_waits(run: Facts, plan: Plan, findings: Findings) -> None:
    begun: dict[tuple[str, int], stored.Waiting] = {}
    over: set[tuple[str, int]] = set()
    for place, record in enumerate(run.records):
        if isinstance(record, stored.Waiting):
            key = (record.path, record.visit)
            findings.expect(
                key not in begun, 13, run.id, record.path, "a wait began twice", begun.get(key), record
            )
            begun[key] = record
            continue
        if isinstance(record, stored.Answered):
            at, timed_out = record.at, record.timed_out
        elif isinstance(record, stored.Done):
            if not isinstance(plan.by_path.get(record.path), SleepNode | EventNode | InputNode):
                continue
            at, timed_out = record.started + record.duration, record.status == TIMED_OUT
            by_itself = not timed_out or record.data.type == "durable_trio.WaitTimeout"
            if record.status not in (OK, TIMED_OUT) or not by_itself:
                continue  # the block around it ended it
        else:
            continue
        key = (record.path, record.visit)
        findings.expect(key not in over, 15, run.id, record.path, "a wait ended twice", key, record)
        over.add(key)
        wait = begun.get(key)
        if wait is None:
            # The end of a called child is an answer too; of another run only the outcomes are taken over.
            is_known = "/__child:" in record.path or place < run.inherited
            findings.expect(is_known, 13, run.id, record.path, "it ended, and had not begun", record)
            continue
        if wait.kind == SLEEP or timed_out:
            findings.expect(
                wait.due is not None and at >= wait.due - _EPSILON,
                13,
                run.id,
                record.path,
                "a timer was early",
                wait,
                record,
            )


def _check_parked(boot: int, facts: dict[str, Facts], findings: Findings) -> None:
    """A run that waits with a due time has a timer that wakes it by then. It may have left others behind."""
    for run in facts.values():
        if run.status != "waiting" or run.paused:
            continue
        due = [wait.due for wait in _open_waits(run) if wait.due is not None]
        if due:
            findings.expect(
                bool(run.timers) and run.timers[0] <= min(due) * 1000 + 1,
                13,
                run.id,
                "",
                f"after boot {boot} nothing will wake it in time",
                min(due),
                run.timers,
            )


def _open_waits(run: Facts) -> list[stored.Waiting]:
    done = {(record.path, record.visit) for record in run.of(stored.Done)}

    def is_open(wait: stored.Waiting) -> bool:
        path = wait.path
        while path:
            if (path, wait.visit) in done:
                return False
            path = path.rpartition("/")[0]
        return True

    return [wait for wait in run.of(stored.Waiting) if is_open(wait)]


# -- 14: messages ----------------------------------------------------------------------------------------


def _check_messages(story: Story, of_run: list[Facts], plan: Plan, findings: Findings) -> None:
    """Each event that was sent was taken once, or is still there; in order."""
    run = last_eras({era.id: era for era in of_run})[of_run[0].raw]._replace(id=of_run[0].raw)
    lines = [line for line in story.episode.lines if line.run == run.id]
    order = {line.value: line for line in lines if line.kind == "send"}
    told = {line.value: line for line in lines if line.kind == "sent"}
    taken = [found for era in of_run for found in _taken(era, plan)]
    kept = [message.payload["event"] for message in run.mailbox if message.kind == EVENT_MESSAGE]
    times = Counter([nonce for _, nonce in taken] + kept)
    for nonce, line in told.items():
        findings.expect(
            times[nonce] == 1,
            14,
            run.id,
            "",
            f"an event was acknowledged, and is there {times[nonce]} times",
            line,
            [where for where, found in taken if found == nonce],
        )
    for nonce, count in times.items():
        findings.expect(
            count == 1 and nonce in order, 14, run.id, "", f"an event is there {count} times", nonce
        )
    last: dict[str, list[Line]] = defaultdict(list)
    for where, nonce in taken:
        sent = order.get(nonce)
        if sent is None:
            continue
        for before in last[sent.more]:
            # Who is not told yet may be overtaken: it was asked of the engine, and not done yet.
            later = told.get(nonce) is not None and told[nonce].number < before.number
            findings.expect(not later, 14, run.id, where, "events were taken out of order", before, sent)
        last[sent.more].append(sent)


def _taken(run: Facts, plan: Plan) -> Iterator[tuple[str, str]]:
    """Where each event was taken, in the order of the journal."""
    for record in run.own:
        payload: Any = None
        if isinstance(record, stored.Answered):
            payload = record.payload
        elif isinstance(record, stored.Done) and record.kind == EVENT and record.status == OK:
            node = plan.by_path[record.path]
            payload = record.data.get(node.key) if isinstance(record.data, dict) else None
        if isinstance(payload, list) and len(payload) == 2:
            payload = payload[1]  # of several, with its name
        if isinstance(payload, dict) and isinstance(payload.get("event"), str):
            yield record.path, payload["event"]  # type: ignore[union-attr]


# -- 16, 17: starts, children ------------------------------------------------------------------------------


def _check_starts(story: Story, findings: Findings) -> None:
    made: dict[str, Line] = {}
    for line in story.episode.lines:
        if line.kind == "ack-start" and line.value:
            findings.expect(line.run not in made, 16, line.run, "", "made twice", made.get(line.run), line)
            made[line.run] = line


def _check_children(story: Story, of_run: list[Facts], findings: Findings) -> None:
    facts = last_eras(story.facts[-1])
    run = facts[of_run[0].raw]
    listed = set()
    for era in of_run:
        seen: dict[tuple[str, int, str], stored.ChildStarted] = {}
        for record in era.of(stored.ChildStarted):
            key = (record.path, record.visit, record.ref)
            known = seen.setdefault(key, record)
            findings.expect(
                known.child == record.child,
                17,
                era.id,
                record.path,
                "two children for one ref",
                known,
                record,
            )
        listed |= {record.child for record in seen.values()}
    for child in facts.values():
        if child.parent == run.raw:
            findings.expect(child.raw in listed, 17, run.id, "", "it does not know its child", child.id)
    for name in listed:
        there = name in facts or name in story.episode.going
        findings.expect(
            there or run.status != "completed", 17, run.id, "", "its child is not there", name, run.status
        )


def _check_family(story: Story, boot: int, findings: Findings) -> None:
    """Nothing of a child runs in a life that found its parent cancelled."""
    before = story.facts[boot - 1]
    before = last_eras(before)
    parents = {run.raw: run.parent for run in story.facts[-1].values() if run.parent is not None}
    for line in story.episode.lines:
        if line.boot != boot or line.kind != "enter" or line.run not in parents:
            continue
        parent = before.get(parents[line.run])
        findings.expect(
            parent is None or parent.status != "cancelled" or _is_retried(story, boot, line),
            17,
            line.run,
            line.path,
            "it ran, and its parent had been cancelled",
            line,
            parent and parent.status,
        )


def _is_retried(story: Story, boot: int, line: Line) -> bool:
    """Whether somebody had let the run go on after it had failed, whatever had become of its parent."""
    eras = [*story.facts[boot - 1].values(), *story.facts[boot].values()]
    return any(era.raw == line.run and not era.is_last for era in eras)


# -- 18: compensations -------------------------------------------------------------------------------------


def _check_compensations(story: Story, run: Facts, plan: Plan, findings: Findings) -> None:
    failing: stored.Failing | None = None
    successes: list[tuple[str, int]] = []
    undone: list[stored.Compensated] = []
    for place, record in enumerate(run.records):
        if isinstance(record, stored.Failing):
            findings.expect(failing is None, 18, run.id, "", "it failed twice", failing, record)
            failing = record
        elif isinstance(record, stored.Compensated):
            findings.expect(failing is not None, 18, run.id, record.path, "undone before the failure", record)
            undone.append(record)
        elif isinstance(record, stored.Done):
            findings.expect(
                failing is None, 18, run.id, record.path, "it ended behind the failure", failing, record
            )
            node = plan.by_path.get(record.path)
            is_own = place >= run.inherited and isinstance(node, StepNode)
            if record.status == OK and is_own and node.compensate is not None:
                successes.append((record.path, record.visit))
    done = [(record.path, record.visit) for record in undone]
    expected = successes[::-1][: len(done)]
    findings.expect(done == expected, 18, run.id, "", "undone in another order", expected, done)
    if run.status in ("compensated", "compensation_failed"):
        findings.expect(len(done) == len(successes), 18, run.id, "", "not all was undone", successes, done)
        well = all(record.status == OK for record in undone)
        findings.expect(well == (run.status == "compensated"), 18, run.id, "", run.status, undone)
    _check_handlers(story, run, findings)


def _check_handlers(story: Story, run: Facts, findings: Findings) -> None:
    """A handler is entered when the failure is on the disk, and not again when it has a record."""
    running: Line | None = None
    for line in story.episode.lines if run.is_last else ():
        if line.run != run.raw or not line.kind.startswith("undo-"):
            continue
        if line.kind != "undo-enter":
            running = None
            continue
        overlaps = running is not None and running.boot == line.boot
        findings.expect(not overlaps, 18, run.id, line.path, "two handlers at once", running, line)
        running = line
        after = last_eras(story.facts[line.boot]).get(run.raw)
        if after is None and run.raw in story.episode.going:
            continue
        durable = after is not None and bool(after.of(stored.Failing))
        findings.expect(durable, 18, run.id, line.path, "undone before the failure was on the disk", line)
        before = last_eras(story.facts[line.boot - 1]).get(run.raw) if line.boot else None
        known = [] if before is None else [(r.path, r.visit) for r in before.of(stored.Compensated)]
        findings.expect(
            (line.path, line.visit) not in known, 18, run.id, line.path, "undone twice", known, line
        )


# -- the end -----------------------------------------------------------------------------------------------


def _check_failure(run: Facts, findings: Findings) -> None:
    """A run that failed has a reason, and one that no node of it has must have come from outside."""
    findings.expect(run.status not in UNENDED, 20, run.id, "", "it did not end", run.status)
    if run.status != "failed":
        return
    top = [record for record in run.of(stored.Done) if "/" not in record.path]
    errors = [record for record in top if record.status != OK]
    ended = run.of(stored.Ended)[-1:]
    kind = getattr(ended[0].reason, "type", "") if ended else ""
    findings.expect(
        bool(errors) or kind in ("TimeoutError", "durable_trio.RunFailed"),
        2,
        run.id,
        "",
        "it failed, and nothing in it had",
        [NODE_STATUS_NAMES[record.status] for record in top],
        ended,
    )
