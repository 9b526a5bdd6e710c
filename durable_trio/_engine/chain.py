"""Nodes one after the other inside a block: a sequence. Each is recorded before the next one starts."""

from __future__ import annotations

from typing import Any

from durable_trio._context import StepScope
from durable_trio._definition.nodes import Node, SequenceNode
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place
from durable_trio._engine.dispatch import KINDS, handles, run_node
from durable_trio._engine.replay import replayed
from durable_trio._engine.run import Outcome, RunState
from durable_trio._snapshot.records import DELTA, OK, REASON, REPLACED, SAME, Done
from durable_trio._speedups.context import settle


@handles(SequenceNode)
async def run_sequence(
    run: RunState, scope: StepScope, node: SequenceNode, base: dict[str, Any], visit: int, _place: Place
) -> Outcome:
    """A branch of several steps; its data is the context that its last step leaves."""
    return await run_chain(run, scope, node, node.nodes, base, visit, Place.CHAIN)


async def run_chain(
    run: RunState,
    scope: StepScope,
    owner: Node,
    nodes: tuple[Node, ...],
    base: dict[str, Any],
    visit: int,
    place: Place,
) -> Outcome:
    """Run the nodes in order; the outcome is the owner's. It ends at the first error, or jump."""
    engine = run.engine
    codec = engine.codec
    started, begun = engine.now(), engine.monotonic()
    current = base
    for child in nodes:
        recalled = replayed(run, child, current, visit)
        if recalled is not None:
            outcome = recalled
        else:
            outcome = await run_node(run, scope, child, current, visit, place)
            if outcome.record:
                run.put(outcome.record)
            if ARMED:
                failpoint("step.put")
        if outcome.status != OK or outcome.next is not None:
            break
        current = outcome.value
        if recalled is None and child is not nodes[-1]:
            await run.recorded()
    data: Any
    removed = None
    if outcome.status == OK:
        value, data, removed, replaced, _ = settle(base, outcome.value, codec.user_types, codec.resolve)
        form = SAME if value is base else REPLACED if replaced else DELTA
    else:
        value = data = outcome.value
        form = REASON
    duration = engine.monotonic() - begun
    kind, data = KINDS[owner.kind], codec.wire(data)
    done = Done(
        owner.path, visit, kind, outcome.status, 1, started, duration, form, data, removed, outcome.next
    )
    return Outcome(outcome.status, value, codec.encode(done), outcome.next, errors=outcome.errors)
