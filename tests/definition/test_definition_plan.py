"""``Workflow(...)`` itself, and what it is compiled to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest

import durable_trio._errors
from durable_trio._definition.plan import Plan, compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._errors import DefinitionError
from durable_trio._retry import Retry


class Order(msgspec.Struct):
    id: int


@dataclass
class Parcel:
    id: int


async def a(ctx): ...
async def b(ctx): ...
async def c(ctx): ...
async def d(ctx): ...


def decide(ctx, results): ...


class TestArguments:
    def test_the_defaults(self, wf):
        wf.step(a)
        plan = compile_plan(wf)
        assert isinstance(plan, Plan)
        assert (
            plan.workflow,
            plan.version,
            plan.timeout,
            plan.max_visits,
            plan.durability,
            plan.input_type,
        ) == (
            "orders",
            "1",
            None,
            10_000,
            None,
            None,
        )

    @pytest.mark.parametrize("durability", ["sync", "async", "exit"])
    @pytest.mark.parametrize("kind", [Order, Parcel])
    def test_arguments_reach_the_plan(self, durability, kind):
        wf = Workflow(
            "orders/eu",
            version="2024-06",
            timeout=timedelta(hours=1),
            max_visits=5,
            durability=durability,
            input=kind,
        )
        wf.step(a)
        plan = compile_plan(wf)
        assert (
            plan.workflow,
            plan.version,
            plan.timeout,
            plan.max_visits,
            plan.durability,
            plan.input_type,
        ) == (
            "orders/eu",
            "2024-06",
            3600.0,
            5,
            durability,
            kind,
        )

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("", "its name is empty"),
            (7, "its name must be a str, not 7"),
            ("a\n", "contains the control character"),
        ],
    )
    def test_the_name_is_checked(self, mistake, name, message):
        with mistake("Workflow(...): ", message):
            Workflow(name)  # <-

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"version": 2}, "version= must be a str, not 2"),
            ({"version": ""}, "version= is empty"),
            ({"timeout": -1}, "timeout= must be a duration"),
            ({"timeout": True}, "timeout= must be a duration"),
            ({"max_visits": 0}, "max_visits= must be an int, 1 or more, not 0"),
            ({"max_visits": True}, "max_visits= must be an int"),
            ({"max_visits": 1e4}, "max_visits= must be an int"),
            ({"durability": "fast"}, "durability= must be 'sync' or 'async' or 'exit', not 'fast'"),
            ({"durability": True}, "durability= must be"),
            ({"input": dict}, "input= must be a msgspec.Struct or a dataclass type, not <class 'dict'>"),
            ({"input": Parcel(1)}, "input= must be a msgspec.Struct or a dataclass type"),
            ({"input": "Order"}, "input= must be a msgspec.Struct or a dataclass type"),
        ],
    )
    def test_the_options_are_checked(self, mistake, options, message):
        with mistake("workflow 'orders': ", message):
            Workflow("orders", **options)  # <-

    def test_repr(self, wf):
        wf.step(a)
        assert repr(wf) == "<Workflow 'orders' version '1', 1 nodes>"
        assert repr(compile_plan(wf)) == "<Plan of 'orders' version '1', 1 nodes>"


class TestModules:
    def test_its_own_and_those_of_all_functions_each_once(self):
        namespace = {"__name__": "shop.flows", "Workflow": Workflow}
        exec("wf = Workflow('orders')\nasync def own(ctx): ...\nwf.step(own)", namespace)
        wf = namespace["wf"]

        def made_in(module, fn):
            fn.__module__ = module
            return fn

        class Callable_:  # noqa: N801
            async def __call__(self, ctx): ...

        Callable_.__call__.__module__ = "shop.objects"
        with wf.parallel(into=made_in("shop.into", lambda ctx, results: None)), wf.sequence("s"):
            wf.step(partial(made_in("shop.partial", lambda ctx: None)), name="p")
            wf.step(Callable_(), name="o")
        wf.compensation("undo", made_in("shop.undo", lambda ctx, result: None))
        assert wf.module == "shop.flows"
        expected = ("shop.flows", "shop.partial", "shop.objects", "shop.into", "shop.undo")
        assert wf.modules == expected
        assert compile_plan(wf).modules == expected


class TestCompiling:
    def test_it_is_done_once(self, wf):
        wf.step(a)
        plans = []
        barrier = threading.Barrier(4)

        def compile_it():
            barrier.wait()
            plans.append(compile_plan(wf))

        threads = [threading.Thread(target=compile_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(plans) == 4
        assert len({id(plan) for plan in plans}) == 1

    def test_the_top_level_is_indexed_by_name(self, wf):
        wf.step(a)
        with wf.parallel(name="p"):
            wf.step(b)
        wf.step(c)
        plan = compile_plan(wf)
        assert plan.index == {"a": 0, "p": 1, "c": 2}
        assert [plan.nodes[position].name for position in plan.index.values()] == ["a", "p", "c"]

    def test_nodes_and_plans_take_no_new_attributes(self, wf):
        wf.step(a)
        plan = compile_plan(wf)
        with pytest.raises(AttributeError):
            plan.nodes[0].name = "other"
        with pytest.raises(AttributeError):
            plan.other = 1

    def test_nothing_can_be_declared_afterwards(self, wf, mistake):
        waiting = wf.parallel(name="waiting")
        with waiting:
            wf.step(a)
        compile_plan(wf)
        message = "the workflow has been opened by an engine and can no longer change"
        with mistake("workflow 'orders', step 'b': ", message, "or make another Workflow"):
            wf.step(b)  # <-
        with mistake("workflow 'orders', step 'x': ", message):

            @wf.step(name="x")  # <-
            async def y(ctx): ...

        with mistake("parallel block (unnamed): ", message):
            wf.parallel()  # <-
        with mistake("sequence 's': ", message):
            wf.sequence("s")  # <-
        with mistake("compensation 'undo': ", message):
            wf.compensation("undo", decide)  # <-

    def test_a_workflow_without_steps_is_refused_and_can_still_get_some(self, wf):
        with pytest.raises(
            DefinitionError, match=r"^workflow 'orders' has no steps; declare one with @wf.step$"
        ):
            compile_plan(wf)
        wf.step(a)
        assert compile_plan(wf).index == {"a": 0}

    def test_not_inside_a_block(self, wf):
        with wf.parallel(name="p"):
            wf.step(a)
            with pytest.raises(DefinitionError, match="parallel block 'p': its `with` has not ended"):
                compile_plan(wf)
        assert compile_plan(wf).index == {"p": 0}

    def test_a_block_without_its_with_is_noticed(self, wf):
        wf.parallel(name="p")
        wf.step(a)
        with pytest.raises(DefinitionError) as caught:
            compile_plan(wf)
        assert str(caught.value).startswith(
            f"workflow 'orders', parallel block 'p': it was made at {__file__}:"
        )
        assert "open it with `with`" in str(caught.value)

    def test_a_sequence_without_its_with_is_noticed(self, wf):
        with wf.parallel():
            wf.sequence("s")
            wf.step(a)
        with pytest.raises(DefinitionError, match="sequence 's': it was made at"):
            compile_plan(wf)

    def test_a_block_that_was_made_in_a_body_that_raised_is_forgotten_but_opened_never(self, wf, mistake):
        with pytest.raises(ZeroDivisionError), wf.parallel(name="p"):
            forgotten = wf.parallel(name="q")
            _ = 1 / 0
        wf.step(a)
        assert compile_plan(wf).index == {"a": 0}
        with mistake("parallel block 'q': the workflow has been opened by an engine"), forgotten:  # <-
            raise AssertionError("the body must not run")


def fingerprint(declare):
    wf = Workflow("orders")
    declare(wf)
    return compile_plan(wf).fingerprint


def block(wf, *children, name="p", **options):
    with wf.parallel(name=name, **options):
        for child in children:
            wf.step(child)


class TestFingerprints:
    def test_is_16_bytes_of_the_outline_which_json_keeps_as_it_is(self, wf):
        wf.compensation("undo", decide)
        wf.step(a, compensate="undo")
        with wf.parallel(name="p", need=1):
            wf.step(b, returns="x")
            with wf.sequence("s"):
                wf.step(c)
        plan = compile_plan(wf)
        assert json.loads(json.dumps(plan.outline)) == plan.outline
        assert len(plan.fingerprint) == 16
        assert plan.outline == {
            "nodes": [
                {"kind": "step", "name": "a", "key": "a", "compensate": "undo"},
                {
                    "kind": "parallel",
                    "name": "p",
                    "key": "p",
                    "fail_fast": True,
                    "into": False,
                    "need": 1,
                    "nodes": [
                        {"kind": "step", "name": "b", "key": "x", "compensate": None},
                        {
                            "kind": "sequence",
                            "name": "s",
                            "key": "s",
                            "nodes": [{"kind": "step", "name": "c", "key": "c", "compensate": None}],
                        },
                    ],
                },
            ]
        }

    def test_is_the_same_in_every_process(self):
        program = (
            "from durable_trio._definition.workflow import Workflow\n"
            "from durable_trio._definition.plan import compile_plan\n"
            "wf = Workflow('orders')\n"
            "async def a(ctx): ...\n"
            "with wf.parallel(name='p'):\n"
            "    for name in ('größe', 'x', 'y'):\n"
            "        wf.step(a, name=name)\n"
            "print(compile_plan(wf).fingerprint.hex())\n"
        )
        root = str(Path(durable_trio._errors.__file__).parents[1])
        found = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root, "PYTHONIOENCODING": "utf-8"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in ("0", "1", "2")
        }
        # Written down, because a change of it puts every stored run through a comparison of outlines.
        assert found == {"234c9917a535aeeca6adbec612c7c15a"}

    @pytest.mark.parametrize(
        "declare",
        [
            lambda wf: block(wf, b, a),
            lambda wf: block(wf, a, b, timeout=5, limit=1),
            lambda wf: block(wf, a, b, on_error="fail_fast"),
            lambda wf: (wf.compensation("unused", decide), block(wf, a, b)),
        ],
        ids=["order of branches", "limits", "a default spelled out", "an unused handler"],
    )
    def test_does_not_depend_on_what_no_record_depends_on(self, declare):
        assert fingerprint(declare) == fingerprint(lambda wf: block(wf, a, b))

    def test_does_not_depend_on_functions_and_their_options(self):
        async def other(ctx): ...

        plain = fingerprint(lambda wf: wf.step(a))
        assert fingerprint(lambda wf: wf.step(other, name="a", retry=Retry(), timeout=1, queue="q")) == plain

    @pytest.mark.parametrize(
        "declare",
        [
            lambda wf: block(wf, a),
            lambda wf: block(wf, a, b, c),
            lambda wf: block(wf, a, b, name="q"),
            lambda wf: block(wf, a, b, into=decide),
            lambda wf: block(wf, a, b, on_error="complete_all"),
            lambda wf: block(wf, a, b, need=1),
            lambda wf: (wf.step(a), wf.step(b)),
            lambda wf: (block(wf, a, b), wf.step(c)),
        ],
    )
    def test_depends_on_names_nesting_and_options(self, declare):
        assert fingerprint(declare) != fingerprint(lambda wf: block(wf, a, b))

    def test_depends_on_keys_and_on_the_order_of_steps(self):
        def keyed(key):
            def declare(wf):
                with wf.parallel(name="p"):
                    wf.step(a, returns=key)

            return declare

        assert fingerprint(keyed("x")) != fingerprint(keyed("y"))
        assert fingerprint(lambda wf: (wf.step(a), wf.step(b))) != fingerprint(
            lambda wf: (wf.step(b), wf.step(a))
        )
