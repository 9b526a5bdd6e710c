"""What is passed over before the walk begins: the same that the walk would find, node by node."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from durable_trio import Ok, StoreCorrupt, Workflow
from durable_trio._definition.plan import compile_plan
from durable_trio._engine.replay import passed_over, plain_head, replayed
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import (
    DELTA,
    ERROR,
    FINISH,
    OK,
    PARALLEL,
    REASON,
    REPLACED,
    RESULTS,
    SAME,
    STEP,
    VALUE,
    Done,
    Rewound,
)


def node(path, form=SAME, data=None, *, kind=STEP, status=OK, visit=1, removed=None, to=None):
    return Done(path, visit, kind, status, 1, 1.0, 0.5, form, data, removed, to)


def plan_of(max_visits=100):
    wf = Workflow("w", max_visits=max_visits)

    async def body(ctx):
        return ctx

    wf.step(body, name="a")
    wf.step(body, name="b")
    with wf.parallel(name="p"):
        wf.step(body, name="x")
    wf.step(body, name="c")
    wf.step(body, name="last")
    return compile_plan(wf)


A = node("a", DELTA, {"k": 1, "gone": 2})
B = node("b", DELTA, {"new": 3}, removed=["gone"])
X = node("p/x", VALUE, "x")
P = node("p", RESULTS, [["x", "p/x"]], kind=PARALLEL)
C = node("c", REPLACED, {"all": True})
LAST = node("last")

GIVEN = {"id": 1}
WITH_B = {"id": 1, "k": 1, "new": 3}


@pytest.mark.parametrize(
    ("records", "passed", "context"),
    [
        ([], 0, GIVEN),
        ([A], 1, {"id": 1, "k": 1, "gone": 2}),
        ([A, B], 2, WITH_B),
        ([node("a"), B], 2, {"id": 1, "new": 3}),
        ([A, B, X], 2, WITH_B),
        ([A, B, X, P], 3, {**WITH_B, "__results__": {"x": Ok("x")}}),
        ([A, B, X, P, C], 4, {"all": True}),
        ([A, B, X, P, C, LAST], 4, {"all": True}),
        ([A, node("b", REASON, "bad", status=ERROR)], 1, {"id": 1, "k": 1, "gone": 2}),
        ([A, node("b", to="c"), C], 1, {"id": 1, "k": 1, "gone": 2}),
        ([A, node("b", to=FINISH)], 1, {"id": 1, "k": 1, "gone": 2}),
        ([node("a", to="a"), node("a", visit=2)], 0, GIVEN),
        ([A, B, Rewound("b", 1, 9.0)], 0, GIVEN),
    ],
)
def test_the_nodes_that_are_passed_over_are_those_after_which_the_next_one_comes(records, passed, context):
    run = SimpleNamespace(input=GIVEN, plan=plan_of(), journal=Journal(records))
    assert passed_over(run, run.journal) == (passed, context)
    base = GIVEN
    for place in range(passed):
        base = replayed(run, run.plan.nodes[place], base, 1).value
    assert base == context
    assert list(base) == list(context)


def test_no_more_nodes_are_passed_over_than_a_run_may_visit():
    run = SimpleNamespace(input=GIVEN, plan=plan_of(max_visits=1), journal=Journal([A, B]))
    assert passed_over(run, run.journal)[0] == 1


def test_a_block_without_the_record_of_a_branch_is_damage_here_too():
    run = SimpleNamespace(input=GIVEN, plan=plan_of(), journal=Journal([A, B, P]))
    with pytest.raises(StoreCorrupt, match="do not fit together"):
        passed_over(run, run.journal)


@pytest.mark.parametrize(
    "records", [[], [A], [A, B], [node("a"), B], [node("a", REPLACED, {"all": True}), B]]
)
def test_if_nothing_else_is_recorded_no_journal_is_needed_for_that(records):
    run = SimpleNamespace(input=GIVEN, plan=plan_of())
    index, base = plain_head(run.plan, GIVEN, records)
    assert (index, base) == passed_over(run, Journal(records))
    assert list(base) == list(passed_over(run, Journal(records))[1])


@pytest.mark.parametrize(
    "records",
    [
        [A, B, X],
        [A, X],
        [B],
        [A, A],
        [A, node("b", visit=2)],
        [A, node("b", REASON, "bad", status=ERROR)],
        [A, node("b", to="c")],
        [A, node("b", RESULTS, [])],
        [A, B, Rewound("b", 1, 9.0)],
        [Rewound("a", 1, 9.0)],
        [A, B, X, P, C],
        [node("a"), node("b"), node("p", kind=PARALLEL), node("c"), LAST],
    ],
)
def test_of_anything_else_a_journal_is_made(records):
    assert plain_head(plan_of(), GIVEN, records) is None


def test_a_run_that_may_visit_no_more_is_walked():
    assert plain_head(plan_of(max_visits=2), GIVEN, [A, B]) is None
    assert plain_head(plan_of(max_visits=3), GIVEN, [A, B]) == (2, WITH_B)


@pytest.mark.parametrize(
    "damaged",
    [node("a", DELTA, 5), node("a", REPLACED, [1]), node("a", DELTA, {"k": 1}, removed=[["x"]])],
)
def test_a_record_that_does_not_say_what_became_of_the_context_is_damage(damaged):
    run = SimpleNamespace(input=GIVEN, plan=plan_of(), journal=Journal([damaged]))
    with pytest.raises(StoreCorrupt, match="what became of the context"):
        plain_head(run.plan, GIVEN, [damaged])
    with pytest.raises(StoreCorrupt, match="what became of the context"):
        passed_over(run, run.journal)
    with pytest.raises(StoreCorrupt, match="what became of the context"):
        replayed(run, run.plan.nodes[0], GIVEN, 1)
