"""``wf.branch``, ``kind.case`` and ``kind.default``."""

# ruff: noqa: SIM117 - nesting is what is tested, and a blamed ``with`` has a line of its own

from __future__ import annotations

import functools
from datetime import UTC, datetime

import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._errors import DefinitionError


async def a(ctx): ...
async def b(ctx): ...
async def c(ctx): ...
async def d(ctx): ...


def kind(ctx):
    return ctx["kind"]


async def ask_kind(ctx):
    return ctx["kind"]


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


def clauses(node):
    return [(clause.label, [child.path for child in clause.nodes]) for clause in node.all_clauses()]


def in_body(fn):
    """A branch in whose body ``fn`` is called with it, and which has a case besides."""

    def declare(wf):
        with wf.branch(on=kind) as block:
            fn(block)
            with block.case("last"):
                wf.step(a)

    return declare


class TestShape:
    def test_cases_hold_their_steps_below_the_branch(self, wf):
        wf.step(d)
        with wf.branch(on=kind) as block:
            with block.case("invoice", "receipt"):
                wf.step(a)
                wf.step(b)
            with block.default():
                wf.step(c)
        node = compile_plan(wf).nodes[1]
        assert (node.kind, node.name, node.path, node.key) == ("branch", "kind", "kind", "kind")
        assert clauses(node) == [("invoice|receipt", ["kind/a", "kind/b"]), ("default", ["kind/c"])]
        assert node.clauses[0].values == ("invoice", "receipt")
        assert node.default.values == ()
        assert [child.path for child in node.children()] == ["kind/a", "kind/b", "kind/c"]
        assert set(compile_plan(wf).by_path) == {"d", "kind", "kind/a", "kind/b", "kind/c"}

    def test_a_default_is_not_needed(self, wf):
        with wf.branch(on=kind) as block:
            with block.case(1):
                wf.step(a)
        assert only(wf).default is None

    def test_the_default_may_come_first(self, wf):
        with wf.branch(on=kind) as block:
            with block.default():
                wf.step(a)
            with block.case(1):
                wf.step(b)
        assert clauses(only(wf)) == [("1", ["kind/b"]), ("default", ["kind/a"])]

    @pytest.mark.parametrize(("on", "is_async"), [(kind, False), (ask_kind, True)])
    def test_on_is_kept_and_may_be_async(self, wf, on, is_async):
        with wf.branch(on) as block, block.case(1):
            wf.step(a)
        assert (only(wf).on, only(wf).on_is_async) == (on, is_async)

    def test_everything_nests_in_everything(self, wf):
        with wf.parallel(name="p"):
            with wf.branch(on=kind) as outer:
                with outer.case(1):
                    with wf.branch(on=ask_kind) as inner, inner.case(1):
                        wf.step(a)
                    with wf.parallel(name="q"):
                        with wf.sequence("s"):
                            wf.step(b)
                        wf.wait_for_event("paid")
            with wf.sequence("t"):
                with wf.branch(on=kind, name="third") as third:
                    with third.default():
                        wf.sleep(1)
                    with third.case(1):
                        wf.map(lambda ctx, item: None, over="docs", name="m")
        assert list(compile_plan(wf).by_path) == [
            "p",
            "p/kind",
            "p/kind/ask_kind",
            "p/kind/ask_kind/a",
            "p/kind/q",
            "p/kind/q/s",
            "p/kind/q/s/b",
            "p/kind/q/wait_for_paid",
            "p/t",
            "p/t/third",
            "p/t/third/m",
            "p/t/third/sleep_1s",
        ]
        assert only(wf).keys == ("kind", "t")

    def test_its_functions_modules_are_the_workflows(self, wf):
        def made_in(module):
            def fn(ctx): ...

            fn.__module__ = module
            return fn

        with wf.branch(on=made_in("shop.on")) as block:
            with block.case(1):
                wf.step(made_in("shop.case"), name="x")
            with block.default():
                wf.step(made_in("shop.default"), name="y")
        assert wf.modules == (wf.module, "shop.on", "shop.case", "shop.default")


class TestNames:
    def test_it_is_called_after_its_function_or_as_it_is_said(self, wf):
        for on, name in [(kind, None), (functools.partial(ask_kind), None), (kind, "other")]:
            with wf.branch(on=on, name=name) as block, block.case(1):
                wf.step(a, name=f"{name}{on}")
        assert list(compile_plan(wf).index) == ["kind", "ask_kind", "other"]

    def test_after_its_first_step_where_the_function_has_no_name(self, wf):
        with wf.branch(on=lambda ctx: 1) as block:
            with block.default(), wf.branch(on=lambda ctx: 1) as inner, inner.case(1):
                wf.step(b)
            with block.case(1):
                wf.step(a)
        assert (only(wf).name, only(wf).key) == ("branch_branch_b", "branch_branch_b")
        assert [node.path for node in only(wf).children()] == [
            "branch_branch_b/a",
            "branch_branch_b/branch_b",
        ]

    def test_that_name_may_be_taken(self, wf, mistake):
        wf.step(b, name="branch_a")
        with mistake(
            "branch (unnamed), which is called after the first step in it", "give the branch a name="
        ):
            with wf.branch(on=lambda ctx: 1) as block:  # <-
                with block.case(1):
                    wf.step(a)

    def test_one_function_chooses_in_two_branches_only_under_two_names(self, wf, mistake):
        with wf.branch(on=kind) as block, block.case(1):
            wf.step(a)
        with mistake("branch 'kind': the name 'kind' is taken by the branch at", "choose another with name="):
            with wf.branch(on=kind):  # <-
                raise AssertionError("the body must not run")

    def test_its_name_is_its_key_in_a_parallel_block(self, wf, mistake):
        with wf.parallel(name="p"):
            wf.step(a, returns="kind")
            with mistake("the result key 'kind' is taken by the step 'a'"):
                with wf.branch(on=kind):  # <-
                    raise AssertionError("the body must not run")

    @pytest.mark.parametrize("name", ["", 7, "a/b", "__x"])
    def test_a_given_name_is_checked(self, wf, mistake, name):
        with mistake("workflow 'orders', branch", "name= "):
            wf.branch(on=kind, name=name)  # <-

    @pytest.mark.parametrize(
        ("on", "message"),
        [
            ("kind", "branch (unnamed), on=: 'kind' is not a function; give one that takes (ctx)"),
            (None, "on=: None is not a function"),
            (dict, "on=: dict is a class; give a function"),
            (lambda: 1, "on=: "),
            (lambda ctx, more: 1, "missing a required argument: 'more'"),
        ],
    )
    def test_on_is_checked(self, wf, mistake, on, message):
        with mistake("workflow 'orders', branch", message):
            wf.branch(on=on)  # <-


class TestMistakes:
    def test_no_case(self, wf, mistake):
        message = (
            "workflow 'orders', branch 'kind': it has no case; open at least one with `with kind.case(...):`"
        )
        with mistake(message):
            with wf.branch(on=kind):  # <-
                pass
        with mistake(message):
            with wf.branch(on=kind) as block:  # <-
                with block.default():
                    wf.step(a)
        wf.step(a, name="kind")  # the names are free again
        wf.step(a)

    def test_an_empty_clause(self, wf, mistake):
        with wf.branch(on=kind) as block:
            with mistake("workflow 'orders', case 'x' of branch 'kind': nothing is declared in it"):
                with block.case("x"):  # <-
                    pass
            with mistake("default of branch 'kind': nothing is declared in it", "one that returns None"):
                with block.default():  # <-
                    pass
            with block.case("x"):
                wf.step(a)
        assert clauses(only(wf)) == [("x", ["kind/a"])]

    def test_a_case_without_values(self, wf, mistake):
        with mistake("case of branch 'kind': it has no value; name at least one, or open `default()`"):
            in_body(lambda block: block.case())(wf)  # <-

    def test_a_value_twice(self, wf, mistake):
        with mistake("case of branch 'kind': it has the value 1.0 twice; leave one out"):
            in_body(lambda block: block.case(1, "b", 1.0))(wf)  # <-
        with wf.branch(on=kind, name="other") as block:
            with block.case("a", ["b"]):
                wf.step(b)
            for value, others in [("a", ("x",)), (["b"], ())]:
                with mistake(f"the value {value!r} is in the case '[b]|a' of branch 'other' as well"):
                    with block.case(*others, value):  # <-
                        raise AssertionError("the body must not run")

    def test_two_defaults(self, wf, mistake):
        with wf.branch(on=kind) as block:
            with block.default():
                wf.step(a)
            with mistake("default of branch 'kind': the branch has a default already"):
                with block.default():  # <-
                    raise AssertionError("the body must not run")
            with block.case(1):
                wf.step(b)

    def test_nothing_is_kept_of_a_case_whose_body_raises(self, wf):
        with wf.branch(on=kind) as block:
            with pytest.raises(ZeroDivisionError), block.case("x"):
                wf.step(a)
                _ = 1 / 0
            with block.case("x"):
                wf.step(a)
        assert clauses(only(wf)) == [("x", ["kind/a"])]

    @pytest.mark.parametrize(
        "declare",
        [
            lambda wf: wf.step(b),
            lambda wf: wf.map(lambda ctx, item: None, over="docs", name="m"),
            lambda wf: wf.sleep(1),
            lambda wf: wf.sleep_until(datetime(2030, 1, 1, tzinfo=UTC)),
            lambda wf: wf.wait_for_event("paid"),
            lambda wf: wf.wait_for_approval("ok"),
            lambda wf: wf.parallel(name="p").__enter__(),
            lambda wf: wf.parallel().__enter__(),
            lambda wf: wf.branch(on=kind, name="q").__enter__(),
        ],
    )
    def test_what_stands_outside_of_the_cases(self, wf, declare):
        with wf.branch(on=kind) as block:
            with pytest.raises(DefinitionError) as caught:
                declare(wf)
            assert "it stands in the branch 'kind' outside of its cases" in str(caught.value)
            assert "`with kind.case(...):`" in str(caught.value)
            with block.case(1):
                wf.step(a)
        assert clauses(only(wf)) == [("1", ["kind/a"])]

    def test_a_sequence_belongs_into_a_parallel_block_alone(self, wf, mistake):
        with wf.branch(on=kind) as block:
            with mistake("sequence 's'", "this one is directly inside the branch 'kind'"):
                with wf.sequence("s"):  # <-
                    raise AssertionError("the body must not run")
            with block.case(1):
                with mistake("this one is directly inside the case '1' of branch 'kind'"):
                    with wf.sequence("s"):  # <-
                        raise AssertionError("the body must not run")
                wf.step(a)

    def test_returns_has_no_meaning_in_a_case(self, wf, mistake):
        with wf.parallel(), wf.branch(on=kind) as block, block.case("x"):
            with mistake("this step is inside the case 'x' of branch 'kind'; leave it out"):
                wf.step(a, returns="y")  # <-
            wf.step(a)

    def test_a_case_outside_of_its_branch(self, wf, mistake):
        unopened = wf.branch(on=kind, name="unopened")
        with mistake(
            "case 'x' of branch 'unopened': its branch is not opened yet; a case stands directly in"
        ):
            with unopened.case("x"):  # <-
                raise AssertionError("the body must not run")
        with wf.branch(on=kind) as block:
            with block.case("x"):
                with mistake("case 'y' of branch 'kind': it is inside the case 'x' of branch 'kind'"):
                    with block.case("y"):  # <-
                        raise AssertionError("the body must not run")
                with wf.parallel(name="p"):
                    with mistake("default of branch 'kind': it is inside the parallel block 'p'"):
                        with block.default():  # <-
                            raise AssertionError("the body must not run")
                    wf.step(a)
        with mistake("case 'y' of branch 'kind': its branch has ended; a case stands directly in the body"):
            with block.case("y"):  # <-
                raise AssertionError("the body must not run")

    def test_a_case_of_a_branch_whose_body_raised(self, wf, mistake):
        with pytest.raises(ZeroDivisionError), wf.branch(on=kind) as block:
            _ = 1 / 0
        with mistake("default of branch 'kind': the body of its branch raised"):
            with block.default():  # <-
                raise AssertionError("the body must not run")

    def test_a_case_is_used_once(self, wf, mistake):
        with wf.branch(on=kind) as block:
            with block.case("x") as case:
                wf.step(a)
            with mistake("case 'x' of branch 'kind': it was used in a `with` before; make another"):
                with case:  # <-
                    raise AssertionError("the body must not run")

    def test_a_case_without_its_with_is_noticed(self, wf):
        with wf.branch(on=kind) as block:
            block.case("x")
            with block.case("y"):
                wf.step(a)
        with pytest.raises(DefinitionError, match="case 'x' of branch 'kind': it was made at"):
            compile_plan(wf)

    def test_nothing_can_be_declared_once_compiled(self, wf, mistake):
        with wf.branch(on=kind) as block, block.case("x"):
            wf.step(a)
        compile_plan(wf)
        message = "the workflow has been opened by an engine and can no longer change"
        with mistake("branch (unnamed): ", message):
            wf.branch(on=kind)  # <-
        with mistake("case 'y' of branch 'kind': ", message):
            block.case("y")  # <-
        with mistake("default of branch 'kind': ", message):
            block.default()  # <-
