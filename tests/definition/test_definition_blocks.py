"""``wf.parallel`` and ``wf.sequence``: the shape of the text is the shape of the tree."""

# ruff: noqa: SIM117 - nesting is what is tested, and a blamed ``with`` has a line of its own

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow


async def a(ctx): ...
async def b(ctx): ...
async def c(ctx): ...
async def d(ctx): ...


def decide(ctx, results): ...


async def decide_async(ctx, results): ...


def tree(nodes):
    """The nodes as nested pairs of path and children."""
    return [(node.path, tree(node.children())) if node.children() else node.path for node in nodes]


def shape(wf):
    return tree(compile_plan(wf).nodes)


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


class TestNesting:
    def test_what_stands_in_the_body_belongs_to_the_block(self, wf):
        wf.step(a)
        with wf.parallel(name="checks"):
            wf.step(b)
            wf.step(c)
        wf.step(d)
        assert shape(wf) == ["a", ("checks", ["checks/b", "checks/c"]), "d"]

    def test_blocks_nest_to_any_depth(self, wf):
        with wf.parallel(name="p"):
            wf.step(a)
            with wf.sequence("s"):
                wf.step(b)
                with wf.parallel(name="q"):
                    with wf.parallel(name="r"):
                        wf.step(c)
                    wf.step(d)
        assert shape(wf) == [
            ("p", ["p/a", ("p/s", ["p/s/b", ("p/s/q", [("p/s/q/r", ["p/s/q/r/c"]), "p/s/q/d"])])])
        ]

    def test_a_workflow_inside_a_block_of_another_keeps_to_itself(self, wf):
        other = Workflow("other")
        with wf.parallel(name="p"):
            wf.step(a)
            other.step(b)
            with other.parallel(name="p"):
                wf.step(b)
                other.step(c)
        assert shape(wf) == [("p", ["p/a", "p/b"])]
        assert shape(other) == ["b", ("p", ["p/c"])]

    def test_with_gives_the_block_itself(self, wf):
        made = wf.parallel()
        with made as block:
            assert block is made
            wf.step(a)

    def test_every_node_is_found_by_its_path(self, wf):
        with wf.parallel(name="p"):
            with wf.sequence("s"):
                wf.step(a)
            wf.step(b)
        plan = compile_plan(wf)
        assert {path: node.kind for path, node in plan.by_path.items()} == {
            "p": "parallel",
            "p/s": "sequence",
            "p/s/a": "step",
            "p/b": "step",
        }
        assert all(node.path == path for path, node in plan.by_path.items())


class TestNames:
    def test_an_unnamed_block_is_called_after_its_first_child(self, wf):
        with wf.parallel():
            wf.step(b)
            wf.step(a)
        assert shape(wf) == [("parallel_b", ["parallel_b/b", "parallel_b/a"])]

    def test_also_when_that_is_an_unnamed_block_or_a_sequence(self, wf):
        with wf.parallel(), wf.parallel(), wf.sequence("s"):
            wf.step(a)
        assert shape(wf)[0][0] == "parallel_parallel_s"

    def test_the_name_it_would_have_may_be_taken(self, wf, mistake):
        wf.step(a, name="parallel_b")
        with mistake(
            "'parallel_b' is taken by the step", "called after the first step in it", "name= of its own"
        ):
            with wf.parallel():  # <-
                wf.step(b)

    def test_the_name_it_would_have_may_be_taken_by_a_child(self, wf, mistake):
        with mistake("'parallel_b' is taken"):
            with wf.parallel():  # <-
                wf.step(b)
                wf.step(c, name="parallel_b")

    def test_its_name_is_taken_from_then_on(self, wf, mistake):
        with wf.parallel():
            wf.step(b)
        with mistake("'parallel_b' is taken by the parallel block at"):
            wf.step(a, name="parallel_b")  # <-

    def test_the_name_it_would_have_may_be_too_long(self, wf, mistake):
        with mistake("longer than 200 characters; give the parallel block a name="):
            with wf.parallel():  # <-
                wf.step(b, name="b" * 195)

    def test_a_given_name_may_be_taken(self, wf, mistake):
        wf.step(a)
        with mistake("workflow 'orders', parallel block 'a': the name 'a' is taken by the step at"):
            with wf.parallel(name="a"):  # <-
                raise AssertionError("the body must not run")

    def test_it_is_taken_for_its_own_children_too(self, wf, mistake):
        with wf.parallel(name="a"):
            with mistake("the name 'a' is taken by the parallel block at"):
                wf.step(a)  # <-
            wf.step(b)


class TestKeys:
    def test_the_key_is_what_returns_says_else_the_name(self, wf):
        with wf.parallel():
            wf.step(b, returns="stock")
            wf.step(a)
            with wf.sequence("s", returns="shipping"):
                wf.step(c)
            with wf.sequence("t"):
                wf.step(d)
            with wf.parallel(name="inner"):
                wf.step(a, name="e", returns="stock")
        block = only(wf)
        assert block.keys == ("stock", "a", "shipping", "t", "inner")
        assert [branch.key for branch in block.branches] == list(block.keys)
        assert block.branches[4].keys == ("stock",)

    def test_a_key_is_given_once_in_a_block(self, wf, mistake):
        with wf.parallel():
            wf.step(a, returns="stock")
            with mistake(
                "workflow 'orders', step 'b': the result key 'stock' is taken by the step 'a' of the same"
            ):
                wf.step(b, returns="stock")  # <-
            with mistake("step 'stock': the result key 'stock' is taken by the step 'a'", "returns="):
                wf.step(c, name="stock")  # <-
            with mistake("sequence 's': the result key 'stock' is taken"):
                with wf.sequence("s", returns="stock"):  # <-
                    raise AssertionError("the body must not run")
            with mistake("parallel block 'stock': the result key 'stock' is taken"):
                with wf.parallel(name="stock"):  # <-
                    raise AssertionError("the body must not run")
            with mistake("called after the first step in it: the result key", "'parallel_x' is taken"):
                wf.step(d, returns="parallel_x")
                with wf.parallel():  # <-
                    wf.step(b, name="x")
            wf.step(c)
        assert only(wf).keys == ("stock", "parallel_x", "c")

    def test_returns_belongs_directly_into_a_parallel_block(self, wf, mistake):
        with wf.parallel(), wf.sequence("s"):
            with mistake(
                "returns='x' names a result of a parallel block", "this step is inside the sequence 's'"
            ):
                wf.step(a, returns="x")  # <-
            wf.step(b)

    def test_keys_in_different_blocks_do_not_clash(self, wf):
        for name in ("p", "q"):
            with wf.parallel(name=name):
                wf.step(a, name=f"{name}_a", returns="same")
        assert [node.keys for node in compile_plan(wf).nodes] == [("same",), ("same",)]


class TestOptions:
    def test_the_defaults(self, wf):
        with wf.parallel():
            wf.step(a)
        block = only(wf)
        assert (block.into, block.into_is_async, block.limit, block.timeout, block.need) == (
            None,
            False,
            None,
            None,
            0,
        )

    def test_options_reach_the_node(self, wf):
        with wf.parallel(limit=2, timeout=timedelta(seconds=3), need=1):
            wf.step(a)
        assert (only(wf).limit, only(wf).timeout, only(wf).need) == (2, 3.0, 1)

    @pytest.mark.parametrize(
        ("on_error", "into", "fail_fast"),
        [
            (None, None, True),
            (None, decide, False),
            ("fail_fast", decide, True),
            ("complete_all", None, False),
            ("fail_fast", None, True),
            ("complete_all", decide, False),
        ],
    )
    def test_on_error_defaults_by_into(self, wf, on_error, into, fail_fast):
        with wf.parallel(on_error=on_error, into=into):
            wf.step(a)
        assert only(wf).fail_fast is fail_fast

    def test_a_decorated_into_changes_the_default_as_well(self, wf):
        with wf.parallel() as block:
            wf.step(a)
            block.into(decide)
        assert only(wf).fail_fast is False

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"on_error": "ignore"}, "on_error= must be 'fail_fast' or 'complete_all', not 'ignore'"),
            ({"on_error": True}, "on_error= must be"),
            ({"limit": 0}, "limit= must be an int, 1 or more, not 0"),
            ({"limit": True}, "limit= must be an int"),
            ({"limit": 2.0}, "limit= must be an int"),
            ({"need": 0}, "need= must be an int, 1 or more, not 0"),
            ({"need": True}, "need= must be an int"),
            ({"timeout": -0.1}, "timeout= must be a duration"),
            ({"into": "decide"}, "into=: 'decide' is not a function"),
            ({"into": a}, "into=: a() is called with (ctx, results)"),
        ],
    )
    def test_option_values_are_checked_where_they_are_given(self, wf, mistake, options, message):
        with mistake("workflow 'orders', parallel block (unnamed)", message):
            with wf.parallel(**options):  # <-
                raise AssertionError("the body must not run")
        with mistake("workflow 'orders', parallel block 'checks'", message):
            wf.parallel(name="checks", **options)  # <-

    def test_more_branches_needed_than_there_are(self, wf, mistake):
        with mistake("parallel block 'checks': need=3 can never be reached, it has 2 branch(es)"):
            with wf.parallel(name="checks", need=3):  # <-
                wf.step(a)
                wf.step(b)
        with wf.parallel(name="checks", need=2):
            wf.step(a)
            wf.step(b)
        assert only(wf).need == 2


class TestInto:
    @pytest.mark.parametrize(("fn", "is_async"), [(decide, False), (decide_async, True)])
    def test_it_is_given_as_an_argument_or_by_the_decorator(self, wf, fn, is_async):
        with wf.parallel(name="p", into=fn):
            wf.step(a)
        with wf.parallel(name="q") as block:
            assert block.into(fn) is fn
            wf.step(b)
        with wf.parallel(name="r") as later:
            wf.step(c)
        later.into(fn)
        assert [(n.into, n.into_is_async) for n in compile_plan(wf).nodes] == [(fn, is_async)] * 3

    def test_there_is_one_at_most(self, wf, mistake):
        with wf.parallel(name="p", into=decide) as block:
            wf.step(a)
            with mistake("workflow 'orders', parallel block 'p', into: the block has one already"):

                @block.into  # <-
                def other(ctx, results): ...

        with wf.parallel(name="q") as block:
            wf.step(b)
            block.into(decide)
            with mistake("'q', into: the block has one already"):
                block.into(decide_async)  # <-
        assert [node.into for node in compile_plan(wf).nodes] == [decide, decide]

    def test_it_is_checked(self, wf, mistake):
        with wf.parallel() as block:
            wf.step(a)
            with mistake("into: a() is called with (ctx, results), and its signature (ctx)"):
                block.into(a)  # <-
            with mistake("is an async generator"):

                @block.into  # <-
                async def stream(ctx, results):
                    yield

        assert only(wf).into is None

    def test_not_after_the_workflow_was_compiled(self, wf, mistake):
        with wf.parallel(name="p") as block:
            wf.step(a)
        compile_plan(wf)
        with mistake("'p', into: the workflow has been opened by an engine"):
            block.into(decide)  # <-

    def test_not_before_the_with(self, wf, mistake):
        block = wf.parallel()
        with mistake("the parallel block is not opened yet; write `with wf.parallel() as block:`"):
            block.into(decide)  # <-

    def test_not_of_a_block_whose_body_raised(self, wf, mistake):
        with pytest.raises(ZeroDivisionError), wf.parallel() as block:
            _ = 1 / 0
        with mistake("the body of the parallel block raised, so it is not part of the workflow"):
            block.into(decide)  # <-


class TestSequences:
    def test_only_inside_a_parallel_block(self, wf, mistake):
        with mistake("workflow 'orders', sequence 's'", "this one is at the top level"):
            with wf.sequence("s"):  # <-
                raise AssertionError("the body must not run")
        with wf.parallel(name="p"), wf.sequence("s"):
            with mistake("sequence 't'", "this one is directly inside the sequence 's'"):
                with wf.sequence("t"):  # <-
                    raise AssertionError("the body must not run")
            wf.step(a)
        assert shape(wf) == [("p", [("p/s", ["p/s/a"])])]

    def test_not_one_that_was_made_inside_a_block_and_is_opened_outside(self, wf, mistake):
        with wf.parallel():
            wf.step(a)
            block = wf.sequence("s")
        with mistake("this one is at the top level"):
            with block:  # <-
                raise AssertionError("the body must not run")

    @pytest.mark.parametrize("name", ["", 7, "a/b"])
    def test_its_name_is_checked(self, wf, mistake, name):
        with wf.parallel():
            wf.step(a)
            with mistake("workflow 'orders', sequence", "name= "):
                wf.sequence(name)  # <-
            with mistake("workflow 'orders', sequence 's'", "returns= "):
                wf.sequence("s", returns=name)  # <-


class TestBodies:
    def test_an_empty_block_is_refused(self, wf, mistake):
        with mistake("workflow 'orders', parallel block 'p': nothing is declared in it"):
            with wf.parallel(name="p"):  # <-
                pass
        with mistake("workflow 'orders', parallel block (unnamed): nothing is declared in it"):
            with wf.parallel():  # <-
                pass
        with mistake("sequence 's': nothing is declared in it; declare its steps inside the `with`"):
            with wf.parallel():
                with wf.sequence("s"):  # <-
                    pass

    def test_nothing_is_kept_of_a_block_whose_body_raises(self, wf):
        wf.step(d)
        with pytest.raises(ZeroDivisionError):
            with wf.parallel(name="p"):
                wf.step(a)
                with wf.sequence("s"):
                    wf.compensation("undo", decide)
                    wf.step(b)
                    wf.parallel(name="never opened")
                    _ = 1 / 0
        assert repr(wf) == "<Workflow 'orders' version '1', 1 nodes>"
        with wf.parallel(name="p"):  # every name is free again
            wf.compensation("undo", decide)
            wf.step(a)
            with wf.sequence("s"):
                wf.step(b)
        assert shape(wf) == ["d", ("p", ["p/a", ("p/s", ["p/s/b"])])]

    def test_what_was_declared_around_an_inner_block_that_raises_is_kept(self, wf):
        with wf.parallel(name="p"):
            wf.step(a)
            with pytest.raises(ZeroDivisionError), wf.parallel(name="q"):
                wf.step(b)
                _ = 1 / 0
            wf.step(c)
        assert shape(wf) == [("p", ["p/a", "p/c"])]

    def test_a_refused_block_leaves_its_names_free(self, wf, mistake):
        with mistake("need=2"):
            with wf.parallel(name="p", need=2):  # <-
                wf.step(a)
        wf.step(a)
        wf.step(b, name="p")
        assert shape(wf) == ["a", "p"]

    def test_a_block_is_used_once(self, wf, mistake):
        with wf.parallel(name="p") as block:
            wf.step(a)
            with mistake("it was used in a `with` before"):
                with block:  # <-
                    raise AssertionError("the body must not run")
        with mistake("parallel block 'p': it was used in a `with` before; make another for each"):
            with block:  # <-
                raise AssertionError("the body must not run")
        assert shape(wf) == [("p", ["p/a"])]

    def test_blocks_end_inside_out(self, wf, mistake):
        outer, inner = wf.parallel(name="p"), wf.parallel(name="q")
        outer.__enter__()
        inner.__enter__()
        with mistake("parallel block 'p': it ends while a block inside it is open"):
            outer.__exit__(None, None, None)  # <-

    def test_an_exit_stack_will_do(self, wf):
        with ExitStack() as stack:
            stack.enter_context(wf.parallel(name="p"))
            stack.enter_context(wf.sequence("s"))
            wf.step(a)
        assert shape(wf) == [("p", [("p/s", ["p/s/a"])])]
