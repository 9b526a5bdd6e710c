"""Outcomes from the journal: what a node left in an earlier life of its run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from durable_trio._definition.nodes import MapNode, Node, ParallelNode
from durable_trio._definition.plan import Plan
from durable_trio._engine.run import Outcome, RunState
from durable_trio._errors import StoreCorrupt
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import (
    DELTA,
    ERROR,
    OK,
    REPLACED,
    SAME,
    STEP,
    TIMED_OUT,
    Done,
    Record,
)
from durable_trio._snapshot.view import NO_CONTEXT, data_of
from durable_trio._speedups.context import apply_delta


def passed_over(run: RunState, journal: Journal) -> tuple[int, dict[str, Any]]:
    """How many nodes at the head of the plan ended as most do, and the context that the last of them left.

    As most do: well, on the first visit, and after them the next node comes. ``replayed`` says the same of
    them, one by one; the plan's last node is left to it in any case, as the run ends with that.
    """
    base = run.input
    if journal.superseded:
        return 0, base
    plan = run.plan
    recorded = journal.done.get
    passed = 0
    for node in plan.nodes[: min(len(plan.nodes) - 1, plan.max_visits)]:
        done = recorded((node.path, 1))
        if done is None or done.status != OK or done.next is not None:
            break
        base = _left_by(journal, done, base)
        passed += 1
    return passed, base


def plain_head(
    plan: Plan, base: dict[str, Any], records: Sequence[Record]
) -> tuple[int, dict[str, Any]] | None:
    """The same, if that is all that these records say; None if they say more, or something else.

    Then nothing has to be known of the run but this: no ``Journal`` is made.

    Args:
        plan: as which the run was started.
        base: its input.
        records: all that are in the run's journal.

    Raises:
        StoreCorrupt: one of them makes no sense.
    """
    if len(records) >= min(len(plan.nodes), plan.max_visits):
        return None
    for node, done in zip(plan.nodes, records, strict=False):
        if (
            type(done) is not Done
            or done.path != node.path
            or done.visit != 1
            or done.status != OK
            or done.next is not None
        ):
            return None
        if done.form in (DELTA, REPLACED):
            base = _context_after(done, base)
        elif done.form != SAME:
            return None
    return len(records), base


def replayed(run: RunState, node: Node, base: dict[str, Any], visit: int) -> Outcome | None:
    """The recorded outcome of this visit of the node, given the context it was entered with.

    None if there is none. What a node returned is the record's, bit for bit: it is not computed again.
    """
    journal = run.journal
    if journal is None:
        return None
    done = journal.done.get((node.path, visit))
    if done is None:
        return None
    value = _left_by(journal, done, base)
    errors = None if done.status == OK else _errors(run, journal, done)
    return Outcome(done.status, value, b"", done.next, done.form not in NO_CONTEXT, errors)


def _left_by(journal: Journal, done: Done, base: dict[str, Any]) -> Any:
    if done.form in (DELTA, REPLACED):
        return _context_after(done, base)
    return data_of(journal, done, base)


def _context_after(done: Done, base: dict[str, Any]) -> dict[str, Any]:
    try:
        return apply_delta(base, done.data, done.removed, done.form == REPLACED)
    except TypeError as error:  # a checksum does not tell that it is of no context
        raise StoreCorrupt(
            f"the record of visit {done.visit} of {done.path!r} does not say what became of the context; "
            "restore the run from a backup, or delete it"
        ) from error


def _errors(run: RunState, journal: Journal, done: Done) -> dict[str, Any]:
    """Path to reason, in the order of time: the errors that the node's outcome had when it was recorded."""
    own = {done.path: done.data}
    if done.status != ERROR or done.kind == STEP:
        return own
    below: dict[str, Any] = {}
    good = 0
    for (path, visit), inner in journal.done.items():
        if visit == done.visit and path.rpartition("/")[0] == done.path:
            if inner.status == OK:
                good += 1
            elif inner.status in (ERROR, TIMED_OUT):
                below.update(_errors(run, journal, inner))
    node = run.plan.by_path.get(done.path)
    if isinstance(node, ParallelNode | MapNode) and node.into is not None:
        by_branches = node.fail_fast and (good < node.need if node.need else bool(below))
        if not by_branches:  # the error is that of ``into``, and comes before those that it was told of
            return own | below
    return below or own
