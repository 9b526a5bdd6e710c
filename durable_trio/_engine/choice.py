"""A branch: one of several clauses, chosen once."""

from __future__ import annotations

from functools import partial
from typing import Any

from durable_trio._context import StepScope
from durable_trio._definition.nodes import BranchNode, Clause, Node
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.chain import run_chain
from durable_trio._engine.dispatch import KINDS, handles
from durable_trio._engine.run import Outcome, RunState
from durable_trio._engine.step import call_body, may_enter
from durable_trio._errors import StoreCorrupt
from durable_trio._snapshot.records import BRANCH, Chosen, Done


@handles(BranchNode)
async def run_branch(
    run: RunState, scope: StepScope, node: BranchNode, base: dict[str, Any], visit: int, place: Place
) -> Outcome:
    """Choose a clause, unless that is recorded already, and run it; the outcome is its last step's."""
    recorded = run.journal.chosen.get((node.path, visit)) if run.journal is not None else None
    if recorded is not None:
        clause = _clause_of(node, recorded)
    else:
        chosen = await _choose(run, scope, node, base, visit)
        if isinstance(chosen, Verdict):
            return failed_question(run, scope, node, visit, chosen)
        clause = chosen
        scope.path = None  # the branch records itself; a cancellation must not find the question under way
        run.put(run.engine.codec.encode(Chosen(node.path, visit, clause.label, run.engine.now())))
        if ARMED:
            failpoint("choice.put")
        await run.recorded()  # a step of a clause that a crash would have chosen otherwise must not begin
    inner = Place.CHAIN if place is Place.BRANCH else place
    return await run_chain(run, scope, node, clause.nodes, base, visit, inner)


def _clause_of(node: BranchNode, chosen: Chosen) -> Clause:
    for clause in node.all_clauses():
        if clause.label == chosen.label:
            return clause
    raise StoreCorrupt(f"branch {node.path!r} has chosen clause {chosen.label!r}, which it does not have")


async def _choose(
    run: RunState, scope: StepScope, node: BranchNode, base: dict[str, Any], visit: int
) -> Clause | Verdict:
    await may_enter(run)
    scope.path = node.path
    scope.kind = BRANCH
    scope.visit = visit
    scope.attempt = 1
    came = await call_body(
        run, scope, base, f"branch {node.name!r}", partial(body.call_plain, node.on, node.on_is_async)
    )
    if isinstance(came, Verdict):
        return came
    _, value = came
    try:
        for clause in node.clauses:
            if any(value == known for known in clause.values):
                return clause
    except Exception as error:  # noqa: BLE001 - a user's __eq__
        return body.raised(run.engine.codec, f"branch {node.name!r}", error, 1)
    if node.default is not None:
        return node.default
    known = ", ".join(repr(known) for clause in node.clauses for known in clause.values)
    return body.refused(
        run.engine.codec,
        "ValueError",
        f"branch {node.name!r} has no case for {body.shown(value)}, and no default; its cases are: {known}",
    )


def failed_question(run: RunState, scope: StepScope, node: Node, visit: int, verdict: Verdict) -> Outcome:
    """The outcome of a node that could not find out what to do."""
    engine = run.engine
    duration = engine.monotonic() - scope.begun
    done = Done(
        node.path,
        visit,
        KINDS[node.kind],
        verdict.status,
        1,
        scope.started,
        duration,
        verdict.form,
        verdict.data,
    )
    scope.path = None
    errors = {node.path: verdict.value}
    return Outcome(verdict.status, verdict.value, engine.codec.encode(done), errors=errors)
