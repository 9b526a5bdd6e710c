"""From declarations to a plan: the frozen tree, where everything in it is, and what its shape is called.

A plan is made once per workflow, when an engine opens it; from then on the workflow cannot be changed. The
*outline* is the part of a definition that the meaning of stored records depends on: names, kinds, keys and
nesting, but no function, no timeout, no retry policy. It is plain JSON-able data, and its hash is the
*fingerprint*: as long as that is the same, records fit without a further look.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

from durable_trio._definition.nodes import Handler, Node, Outline
from durable_trio._definition.outline import explain_difference
from durable_trio._definition.workflow import Durability, Workflow
from durable_trio._errors import DefinitionError

__all__ = ["Plan", "compile_plan", "explain_difference"]

_lock = threading.Lock()


class Plan:
    """A workflow, checked and frozen.

    Attributes:
        workflow: the workflow's name.
        version, max_visits, timeout, durability: as of ``Workflow``; ``timeout`` in seconds.
        input_type: the type that the input of a run must fit, or None.
        nodes: the top level, in order.
        index: name of a top-level node to its position in ``nodes``.
        by_path: every node of the tree.
        handlers: the compensations, by name.
        modules: the modules whose types may be stored without being registered.
        outline: what records depend on; JSON-able, not to be changed.
        fingerprint: 16 bytes, the hash of ``outline``; the same in every process.
    """

    __slots__ = (
        "by_path",
        "durability",
        "fingerprint",
        "handlers",
        "index",
        "input_type",
        "max_visits",
        "modules",
        "nodes",
        "outline",
        "timeout",
        "version",
        "workflow",
    )

    def __init__(self, workflow: Workflow, nodes: tuple[Node, ...], handlers: Mapping[str, Handler]) -> None:
        self.workflow = workflow.name
        self.version = workflow.version
        self.max_visits = workflow.max_visits
        self.timeout = workflow.timeout
        self.durability: Durability | None = workflow.durability
        self.input_type: type[Any] | None = workflow.input
        self.modules = workflow.modules
        self.nodes = nodes
        self.index: dict[str, int] = {node.name: position for position, node in enumerate(nodes)}
        self.by_path: dict[str, Node] = {node.path: node for node in _walk(nodes)}
        self.handlers = MappingProxyType(dict(handlers))
        self.outline: Outline = {"nodes": [node.outline() for node in nodes]}
        self.fingerprint = _fingerprint(self.outline)

    def __repr__(self) -> str:
        return f"<Plan of {self.workflow!r} version {self.version!r}, {len(self.by_path)} nodes>"


def compile_plan(workflow: Workflow) -> Plan:
    """The plan of a workflow: made the first time, the same object from then on.

    Raises:
        DefinitionError: it has no step, a block of it is open, or the type that a step wants its context to
            be cannot be found. The workflow can then still be changed.
    """
    sheet = workflow._declarations  # noqa: SLF001 - one room; users have no business there
    with _lock:
        if isinstance(sheet.plan, Plan):
            return sheet.plan
        if sheet.innermost is not None:
            raise DefinitionError(
                f"{sheet.innermost.where}: its `with` has not ended; open the workflow after its definition"
            )
        if sheet.unopened:
            block = sheet.unopened[0]
            raise DefinitionError(
                f"{block.where}: it was made at {block.line}, and never opened; open it with "
                "`with`, and declare its steps in the body"
            )
        if not sheet.top:
            raise DefinitionError(f"workflow {workflow.name!r} has no steps; declare one with @wf.step")
        nodes = tuple(declaration.build("", sheet.where) for declaration in sheet.top)
        sheet.plan = plan = Plan(workflow, nodes, sheet.handlers)
        return plan


def _walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _walk(node.children())


def _fingerprint(outline: Outline) -> bytes:
    text = json.dumps(outline, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).digest()
