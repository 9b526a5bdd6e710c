"""Outcomes from the journal: what a node left in an earlier life of its run."""

from __future__ import annotations

from typing import Any

from durable_trio._definition.nodes import Node
from durable_trio._engine.run import Outcome, RunState
from durable_trio._snapshot.records import OK, VALUE
from durable_trio._snapshot.view import data_of


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
    value = data_of(journal, done, base)
    errors = None if done.status == OK else {node.path: value}
    ended_at = done.started + done.duration
    return Outcome(done.status, value, b"", done.next, done.form != VALUE, errors, ended_at)
