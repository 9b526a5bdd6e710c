"""What runs ask of people: read from their journals, where a wait for an input leaves what it asks for."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from durable_trio._definition.nodes import InputNode
from durable_trio._definition.plan import Plan
from durable_trio._engine.reader import Reader
from durable_trio._errors import StoreError
from durable_trio._forms import InputSpec
from durable_trio._info import STATUS_CODES, PendingInput
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import INPUT, Waiting
from durable_trio._snapshot.view import Journal
from durable_trio._store.base import Stored

_ASKING = (STATUS_CODES["waiting"], STATUS_CODES["running"], STATUS_CODES["pending"])


def _open_questions(codec: Codec, stored: Stored) -> list[Waiting]:
    if stored.status not in _ASKING:
        return []
    waits = Journal(codec.decode_rows(stored.rows)).open_waits()
    return [wait for wait in waits if wait.kind == INPUT and wait.name is not None]


def asked_for(codec: Codec, stored: Stored) -> dict[str, InputSpec]:
    """The inputs that a run waits for, by name."""
    return {str(wait.name): msgspec.convert(wait.spec, InputSpec) for wait in _open_questions(codec, stored)}


def declared(plan: Plan, name: str) -> InputSpec | None:
    """What the definition asks for under this name; a run may be answered before it comes there."""
    for node in plan.by_path.values():
        if isinstance(node, InputNode) and node.input == name:
            return node.spec
    return None


def pending_inputs(
    reader: Reader, run_id: str | None, workflow: str | None, limit: int
) -> list[PendingInput]:
    """See ``Engine.pending_inputs``."""
    page = [reader.load(run_id)] if run_id is not None else reader.page(_ASKING, workflow, limit)
    found = []
    for stored in page:
        try:
            header = reader.codec.decode_header(stored.header)
            waits = _open_questions(reader.codec, stored)
        except StoreError:
            continue  # it shows as blocked, and in the log
        for wait in waits:
            spec = msgspec.convert(wait.spec, InputSpec)
            found.append(
                PendingInput(
                    run_id=header.id,
                    workflow=header.workflow,
                    name=str(wait.name),
                    path=wait.path,
                    kind=spec.kind,
                    prompt=spec.prompt,
                    choices=spec.choices,
                    fields=spec.fields,
                    since=datetime.fromtimestamp(wait.started, UTC),
                    due_at=None if wait.due is None else datetime.fromtimestamp(wait.due, UTC),
                )
            )
    return found
