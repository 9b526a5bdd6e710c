"""What each compiled function costs, against the plain Python that would do its work without it.

    python -m benchmarks.bench_compiled

The ratio is below 1 where the compiled function is faster. The plain side often promises less: a dict is
shared with everybody, ``copy.deepcopy`` refuses nothing.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, NamedTuple

from benchmarks.command import main
from benchmarks.measuring import Bench, Session, nanoseconds_in_turns
from durable_trio import Err, Ok
from durable_trio._speedups.context import Context, apply_delta, freeze, same, settle, share, thaw
from durable_trio._speedups.results import Collector


@dataclasses.dataclass
class Line:
    sku: str
    amount: int


ONBOARD = {"user_id": 42, "name": "Ada", "email": "ada@example.com"}
NESTED = {
    **ONBOARD,
    "account": {"id": "acc_4711", "quota": 50, "tags": ["new", "gift"]},
    "orders": [{"sku": f"sku-{number}", "amount": number} for number in range(20)],
}
OBJECTS = {"lines": [Line(f"sku-{number}", number) for number in range(20)]}
WIDE = {f"key_{number}": {"number": number, "text": "x" * 20} for number in range(1000)}
KEYS = ("validate", "payment", "inventory")
USER_TYPES: dict[type, tuple[str, ...] | None] = {Line: ("sku", "amount")}


def resolve(_cls: type) -> Any:
    return NotImplemented


def frozen(value: Any) -> Any:
    return freeze(value, USER_TYPES, resolve)[0]


def write_deep(ctx: Any) -> None:
    """Change something deep inside, which nobody else may see."""
    ctx["account"]["quota"] = 51


def plain_changes(base: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """The keys that changed, as a careful engine in plain Python would find and keep them."""
    return {key: copy.deepcopy(item) for key, item in value.items() if key not in base or base[key] != item}


def plain_merge() -> dict[str, Any]:
    """The results of three branches, counted and tagged."""
    outcomes: dict[int, Any] = {}
    oks = errors = 0
    first_error = -1
    for index, value in enumerate((1, 2, "declined")):
        if index in outcomes:
            raise RuntimeError
        if index == 2:
            outcomes[index] = Err(value)
            errors += 1
            first_error = index if first_error < 0 else first_error
        else:
            outcomes[index] = Ok(value)
            oks += 1
    return {key: outcomes[index] for index, key in enumerate(KEYS)}


def compiled_merge() -> dict[str, Any]:
    """The same with a Collector."""
    collector = Collector(KEYS)
    collector.ok(0, 1)
    collector.ok(1, 2)
    collector.error(2, "declined")
    return collector.merge()


class Case(NamedTuple):
    what: str
    compiled: str
    plain: str


CASES = (
    Case("context over a base", "share(onboard)", "dict(onboard)"),
    Case("context over 1,000 keys", "share(wide)", "dict(wide)"),
    Case("read a scalar", "ctx['name']", "onboard['name']"),
    Case("get a scalar", "ctx.get('name')", "onboard.get('name')"),
    Case("first read of a container", "share(nested)['account']", "copy.deepcopy(nested['account'])"),
    Case("second read of a container", "seen['account']", "nested['account']"),
    Case("write deep inside", "write_deep(share(nested))", "write_deep(copy.deepcopy(nested))"),
    Case("write a key", "written['step'] = 5", "scratch['step'] = 5"),
    Case("ctx | {...}", "ctx | {'step': 5}", "onboard | {'step': 5}"),
    Case("{**ctx, ...}", "{**ctx, 'step': 5}", "{**onboard, 'step': 5}"),
    Case("to_dict", "nested_ctx.to_dict()", "dict(nested)"),
    Case("settle: nothing changed", "settle(onboard, ctx, types, resolve)", "changes(onboard, onboard)"),
    Case("settle: one key", "settle(onboard, added, types, resolve)", "changes(onboard, added_dict)"),
    Case(
        "settle: one key, as a dict",
        "settle(onboard, added_dict, types, resolve)",
        "changes(onboard, added_dict)",
    ),
    Case("settle: one key of 1,000", "settle(wide, wide_added, types, resolve)", "changes(wide, wide_dict)"),
    Case("apply_delta", "apply_delta(onboard, {'step': 5}, None, False)", "{**onboard, **{'step': 5}}"),
    Case(
        "freeze: onboarding",
        "freeze(onboard, types, resolve)",
        "copy.deepcopy(onboard)",
    ),
    Case("freeze: nested", "freeze(nested, types, resolve)", "copy.deepcopy(nested)"),
    Case("freeze: 20 dataclasses", "freeze(objects, types, resolve)", "copy.deepcopy(objects)"),
    Case("freeze: 1,000 dicts", "freeze(wide, types, resolve)", "copy.deepcopy(wide)"),
    Case("thaw: nested", "thaw(nested)", "copy.deepcopy(nested)"),
    Case("same: nested", "same(nested, nested_twin)", "nested == nested_twin"),
    Case("three branches to results", "compiled_merge()", "plain_merge()"),
)  # fmt: skip


def names() -> dict[str, Any]:
    """What the statements above speak of."""
    onboard, nested, wide = frozen(ONBOARD), frozen(NESTED), frozen(WIDE)
    ctx: Context = share(onboard)
    seen = share(nested)
    _ = seen["account"]
    return {
        **globals(),
        "onboard": onboard,
        "nested": nested,
        "nested_twin": thaw(nested),
        "objects": frozen(OBJECTS),
        "wide": wide,
        "ctx": ctx,
        "nested_ctx": share(nested),
        "seen": seen,
        "written": share(onboard),
        "scratch": dict(onboard),
        "added": ctx | {"step": 5},
        "added_dict": {**ctx, "step": 5},
        "wide_added": share(wide) | {"step": 5},
        "wide_dict": {**thaw(wide), "step": 5},
        "types": USER_TYPES,
        "changes": plain_changes,
        "settle": settle,
        "apply_delta": apply_delta,
        "same": same,
    }


def measure(session: Session) -> None:
    scope = names()
    for case in CASES:
        pairs = nanoseconds_in_turns(session, case.compiled, case.plain, **scope)
        session.add(case.what, None, "ns", "plain Python", pairs)


BENCH = Bench(
    "compiled",
    "compiled parts",
    measure,
    {"full": (), "quick": (), "tiny": ()},
    "",
    {"full": 0.05, "quick": 0.01, "tiny": 0.0},
)

if __name__ == "__main__":
    main(BENCH)
