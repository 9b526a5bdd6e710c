"""Which handler runs which kind of node. A new kind is a new handler here and a new class in ``nodes.py``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from durable_trio._context import StepScope
from durable_trio._definition.nodes import Node
from durable_trio._engine.body import Place
from durable_trio._engine.run import Outcome, RunState
from durable_trio._snapshot.records import KIND_NAMES

Handler: TypeAlias = Callable[
    [RunState, StepScope, Any, dict[str, Any], int, Place], Coroutine[Any, Any, Outcome]
]

KINDS = {name: code for code, name in enumerate(KIND_NAMES)}
_handlers: dict[type[Node], Handler] = {}


def handles(kind: type[Node]) -> Callable[[Handler], Handler]:
    """Make the decorated function the one that runs this kind of node."""

    def register(handler: Handler) -> Handler:
        _handlers[kind] = handler
        return handler

    return register


def run_node(
    run: RunState, scope: StepScope, node: Node, base: dict[str, Any], visit: int, place: Place
) -> Coroutine[Any, Any, Outcome]:
    """Run any node to its outcome, when awaited. The node's own record is not handed over yet."""
    return _handlers[node.__class__](run, scope, node, base, visit, place)
