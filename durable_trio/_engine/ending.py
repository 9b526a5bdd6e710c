"""How a run ends: the record of its terminal state, or of that what its steps did is undone first."""

from __future__ import annotations

from durable_trio._definition.nodes import StepNode
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.run import Ending, RunState
from durable_trio._info import STATUS_CODES
from durable_trio._snapshot.records import Ended, Failing


def give_up(run: RunState, ending: Ending, records: list[bytes]) -> None:
    """End a run that has failed or is cancelled; if steps of its workflow can be undone, that comes first.

    Whether there is anything to undo is found out when the run is ``compensating``.
    """
    nodes = run.plan.by_path.values()
    if not any(isinstance(node, StepNode) and node.compensate is not None for node in nodes):
        end(run, ending, records)
        return
    engine = run.engine
    codec = engine.codec
    run.compensating = ending
    run.pause = None
    run.stopped = False
    run.status = "compensating"
    errors = codec.wire(ending.errors) if ending.errors else None
    failing = codec.encode(Failing(codec.wire(ending.value), errors, engine.now()))
    post = run.dropped_timer()
    engine.committer.put(run, [*records, failing], STATUS_CODES["compensating"], post=post)
    if ARMED:
        failpoint("failing.put")


def end(run: RunState, ending: Ending, records: list[bytes]) -> None:
    """Hand over the terminal state; those who wait are told when it is on disk, in every mode."""
    engine = run.engine
    codec = engine.codec
    run.ending = ending
    reason = None if ending.status == "completed" else codec.wire(ending.value)
    errors = codec.wire(ending.errors) if ending.errors else None
    code = STATUS_CODES[ending.status]
    records.append(codec.encode(Ended(code, engine.now(), reason, errors)))
    engine.committer.put(run, records, code, post=run.dropped_timer())
    if ARMED:
        failpoint("end.put")
    engine.committer.when_durable(run.has_ended)
