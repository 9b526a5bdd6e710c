"""A map: a parallel block whose branches are the items of a list that is known only at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, overload

from durable_trio._context import StepScope
from durable_trio._definition.nodes import MapNode, StepNode
from durable_trio._engine import body
from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.body import Place, Verdict
from durable_trio._engine.choice import failed_question
from durable_trio._engine.dispatch import handles
from durable_trio._engine.parallel import Block
from durable_trio._engine.run import Outcome, RunState
from durable_trio._engine.step import call_body, may_enter
from durable_trio._errors import SnapshotError
from durable_trio._snapshot.records import LISTED, MAP, MAPPED, Spread
from durable_trio._snapshot.view import RESULTS_KEY
from durable_trio._speedups.context import thaw


@handles(MapNode)
async def run_map(
    run: RunState, scope: StepScope, node: MapNode, base: dict[str, Any], visit: int, place: Place
) -> Outcome:
    """Run the function on every item; what the items are is recorded when the map begins."""
    recorded = run.journal.spread.get((node.path, visit)) if run.journal is not None else None
    if recorded is not None:
        # By the recorded key: the definition may name another one by now.
        items = recorded.items if recorded.over is None else base[recorded.over]
    else:
        found = await _find_items(run, scope, node, base, visit)
        if isinstance(found, Verdict):
            return failed_question(run, scope, node, visit, found)
        items = found
        scope.path = None  # the block records itself; a cancellation must not find the question under way
    keys = tuple(map(str, range(len(items))))
    return await _MapBlock(run, node, _Branches(node, items), keys, base, visit, place).complete(scope)


async def _find_items(
    run: RunState, scope: StepScope, node: MapNode, base: dict[str, Any], visit: int
) -> Sequence[Any] | Verdict:
    """The items, frozen; their record is handed over."""
    codec = run.engine.codec
    scope.path = node.path
    scope.kind = MAP
    scope.visit = visit
    scope.attempt = 1
    scope.started, scope.begun = run.engine.now(), run.engine.monotonic()
    stored: Any = None
    items: Any
    if isinstance(node.over, str):
        if node.over not in base:
            known = ", ".join(map(repr, base)) or "nothing"
            return body.refused(
                codec, "KeyError", f"map {node.name!r} runs over ctx[{node.over!r}], and ctx has: {known}"
            )
        items = base[node.over]
        if not isinstance(items, (list, tuple)):
            return _no_items(run, node, items)
    else:
        await may_enter(run)
        what = f"over of map {node.name!r}"
        call = partial(body.call_plain, node.over, node.over_is_async)
        came = await call_body(run, scope, base, what, call)
        if isinstance(came, Verdict):
            return came
        _, given = came
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            return _no_items(run, node, given)
        try:
            items, _ = codec.freeze(list(given), "items")
        except SnapshotError as error:
            return body.refused(codec, "durable_trio.SnapshotError", f"{what}: {error}")
        stored = codec.wire(items)
    key = node.over if isinstance(node.over, str) else None
    run.put(codec.encode(Spread(node.path, visit, stored, len(items), run.engine.now(), key)))
    if ARMED:
        failpoint("items.put")
    if stored is not None:
        await run.recorded()  # no item may be taken up that a crash would have numbered otherwise
    return items  # type: ignore[no-any-return]  # a list or a tuple, as was checked


def _no_items(run: RunState, node: MapNode, value: Any) -> Verdict:
    message = f"map {node.name!r} runs over a list, not over {body.shown(value)}; give it a list of items"
    return body.refused(run.engine.codec, "TypeError", message)


class _MapBlock(Block):
    __slots__ = ()

    def results(self) -> Any:
        return {self.node.key: list(self.collector.merge().values())}

    def passed_on(self) -> tuple[int, Any, Any]:
        results = self.results()
        if self.is_branch:
            return LISTED, len(self.keys), results[self.node.key]
        return MAPPED, [self.node.key, len(self.keys)], {**self.base, RESULTS_KEY: results}


class _Branches(Sequence[StepNode]):
    """One step per item, made when it is asked for: a hundred thousand need not be there at once."""

    def __init__(self, node: MapNode, items: Sequence[Any]) -> None:
        self._node = node
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> StepNode: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StepNode]: ...
    def __getitem__(self, index: int | slice) -> StepNode | Sequence[StepNode]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        node = self._node
        if not 0 <= index < len(self._items):
            raise IndexError(index)
        return StepNode(
            name=f"{node.name}[{index}]",
            path=f"{node.path}/{index}",
            key=str(index),
            fn=_with_item(node.fn, self._items[index]),
            mode=node.mode,
            limited=node.mode == "thread",
            retry=node.retry,
            timeout=node.timeout,
            convert=node.convert,
        )


def _with_item(function: Callable[..., Any], item: Any) -> Callable[[Any], Any]:
    # Each attempt gets a copy of its own: what one changes, the next must not see.
    return lambda ctx: function(ctx, thaw(item))
