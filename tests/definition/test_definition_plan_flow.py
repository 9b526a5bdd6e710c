"""What branches, maps and waits contribute to a plan's outline and fingerprint."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._retry import Retry


async def a(ctx): ...
async def b(ctx): ...
def kind(ctx): ...
def embed(ctx, doc): ...
def decide(ctx, results): ...


def branch(wf, *cases, default=None, name="kind", on=kind):
    """A case is a tuple of its values, then its step's name."""
    with wf.branch(on=on, name=name) as block:
        for *values, step in cases:
            with block.case(*values):
                wf.step(a, name=step)
        if default is not None:
            with block.default():
                wf.step(a, name=default)


def fingerprint(declare):
    wf = Workflow("orders")
    declare(wf)
    return compile_plan(wf).fingerprint


def test_the_outline_says_what_records_depend_on_and_json_keeps_it(wf):
    branch(wf, ("receipt", "invoice", "x"), (1, "y"), default="z")
    wf.map(embed, over="docs", returns="vectors", need=2)
    wf.sleep(60)
    wf.wait_for_event("paid", returns="payment")
    wf.wait_for_approval("ok", step="ask")
    outline = compile_plan(wf).outline
    assert json.loads(json.dumps(outline)) == outline

    def step(name):
        return {"kind": "step", "name": name, "key": name, "compensate": None}

    assert outline == {
        "nodes": [
            {
                "kind": "branch",
                "name": "kind",
                "key": "kind",
                "clauses": [
                    {"label": "1", "nodes": [step("y")]},
                    {"label": "default", "nodes": [step("z")]},
                    {"label": "invoice|receipt", "nodes": [step("x")]},
                ],
            },
            {"kind": "map", "name": "embed", "key": "vectors", "fail_fast": True, "into": False, "need": 2},
            {"kind": "sleep", "name": "sleep_1m", "key": "sleep_1m"},
            {"kind": "event", "name": "wait_for_paid", "key": "payment", "event": "paid"},
            {"kind": "input", "name": "ask", "key": "ok", "input": "ok"},
        ]
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            lambda wf: branch(wf, ("a", "b", "x"), (1, "y"), default="z"),
            lambda wf: branch(wf, (1, "y"), ("b", "a", "x"), default="z", on=lambda ctx: 1),
        ),
        (
            lambda wf: wf.map(embed, over="docs"),
            lambda wf: wf.map(
                embed, over=kind, limit=2, retry=Retry(), timeout=1, inline=True, on_error="fail_fast"
            ),
        ),
        (
            lambda wf: wf.sleep(1, name="s"),
            lambda wf: wf.sleep_until(datetime(2030, 1, 1, tzinfo=UTC), name="s"),
        ),
        (lambda wf: wf.sleep(1, name="s"), lambda wf: wf.sleep(kind, name="s")),
        (lambda wf: wf.wait_for_event("e"), lambda wf: wf.wait_for_event("e", timeout=5, default=1)),
        (
            lambda wf: wf.wait_for_choice("i", ["x"]),
            lambda wf: wf.wait_for_choice("i", ["x", "y"], prompt="Which?", default="y", timeout=1),
        ),
    ],
    ids=["branches", "maps", "instants", "functions", "events", "inputs"],
)
def test_the_fingerprint_does_not_depend_on_what_no_record_depends_on(one, other):
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda wf: branch(wf, ("a", "x")), lambda wf: branch(wf, ("b", "x"))),
        (lambda wf: branch(wf, ("a", "x")), lambda wf: branch(wf, ("a", "c", "x"))),
        (lambda wf: branch(wf, ("a", "x")), lambda wf: branch(wf, ("a", "y"))),
        (lambda wf: branch(wf, ("a", "x")), lambda wf: branch(wf, ("a", "x"), default="y")),
        (lambda wf: branch(wf, ("a", "x"), ("b", "y")), lambda wf: branch(wf, ("b", "x"), ("a", "y"))),
        (lambda wf: branch(wf, (1, "x")), lambda wf: branch(wf, ("1", "x"))),
        (lambda wf: wf.map(embed, over="docs"), lambda wf: wf.map(embed, over="docs", returns="r")),
        (lambda wf: wf.map(embed, over="docs"), lambda wf: wf.map(embed, over="docs", need=1)),
        (lambda wf: wf.map(embed, over="docs"), lambda wf: wf.map(embed, over="docs", into=decide)),
        (
            lambda wf: wf.map(embed, over="docs"),
            lambda wf: wf.map(embed, over="docs", on_error="complete_all"),
        ),
        (lambda wf: wf.sleep(1), lambda wf: wf.sleep(2)),
        (
            lambda wf: wf.wait_for_event("e", step="s"),
            lambda wf: wf.wait_for_event("f", step="s", returns="e"),
        ),
        (lambda wf: wf.wait_for_text("e", step="s"), lambda wf: wf.wait_for_text("f", step="s", returns="e")),
        (lambda wf: wf.wait_for_text("e"), lambda wf: wf.wait_for_text("e", returns="r")),
        (lambda wf: wf.wait_for_text("e", step="s"), lambda wf: wf.wait_for_event("e", step="s")),
    ],
)
def test_the_fingerprint_depends_on_what_records_depend_on(one, other):
    assert fingerprint(one) != fingerprint(other)


def test_nodes_take_no_new_attributes(wf):
    branch(wf, ("a", "x"))
    wf.map(embed, over="docs")
    wf.sleep(1)
    wf.wait_for_event("e")
    wf.wait_for_text("i")
    nodes = compile_plan(wf).nodes
    for thing in (*nodes, nodes[0].clauses[0]):
        with pytest.raises((AttributeError, TypeError)):  # the latter where it is both frozen and unknown
            thing.label = "other"
        assert not hasattr(thing, "__dict__")


def test_the_fingerprint_of_these_kinds_stays_the_same(wf):
    branch(wf, ("a", 1, None, "x"), default="y")
    wf.map(embed, over="docs")
    wf.sleep(1)
    wf.wait_for_event("e")
    wf.wait_for_text("i")
    # Written down, because a change of it puts every stored run through a comparison of outlines.
    assert compile_plan(wf).fingerprint.hex() == "75751f4b6b0e1c245fad44a545f118fd"
