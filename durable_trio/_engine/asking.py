"""What runs ask of people: read from their journals, where a wait for an input leaves what it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import msgspec

from durable_trio._definition.nodes import InputNode
from durable_trio._definition.plan import Plan
from durable_trio._engine.reader import Reader, check_limit
from durable_trio._errors import StoreError
from durable_trio._forms import InputSpec
from durable_trio._info import PAUSED_CODE, STATUS_CODES, PendingInput
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import INPUT, Waiting
from durable_trio._store.base import Stored

_ASKING = (*(STATUS_CODES[name] for name in ("waiting", "running", "pending", "compensating")), PAUSED_CODE)
_PAGE = 200


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
    check_limit(limit)
    runs = _runs(reader, workflow) if run_id is None else iter([reader.load(run_id)])
    return list(islice((question for stored in runs for question in _questions(reader, stored)), limit))


def _runs(reader: Reader, workflow: str | None) -> Iterator[Stored]:
    """The runs that may be asking, newest first."""
    after: str | None = None
    while True:
        stored = None
        for stored in reader.page(_ASKING, workflow, _PAGE, after):
            yield stored
        if stored is None:
            return
        after = reader.codec.decode_header(stored.header).id


def _questions(reader: Reader, stored: Stored) -> Iterator[PendingInput]:
    try:
        header = reader.codec.decode_header(stored.header)
        waits = _open_questions(reader.codec, stored)
    except StoreError:
        return  # it shows as blocked, and in the log
    for wait in waits:
        spec = msgspec.convert(wait.spec, InputSpec)
        yield PendingInput(
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
