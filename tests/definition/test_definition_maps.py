"""``wf.map``."""

from __future__ import annotations

import functools
from datetime import timedelta

import msgspec
import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._errors import DefinitionError
from durable_trio._retry import Retry


class Order(msgspec.Struct):
    id: int


async def embed(ctx, doc): ...
def count(ctx, doc): ...
def decide(ctx, results): ...
async def decide_async(ctx, results): ...
def docs(ctx): ...
async def docs_async(ctx): ...


def stream(ctx):
    yield ctx


def typed(ctx: Order, doc: Order): ...


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


def test_the_function_comes_back_unchanged_in_every_form(wf):
    assert wf.map(over="docs")(embed) is embed
    assert wf.map(embed, over="docs", name="other") is embed
    assert [(node.kind, node.name, node.fn) for node in compile_plan(wf).nodes] == [
        ("map", "embed", embed),
        ("map", "other", embed),
    ]


def test_the_defaults(wf):
    wf.map(embed, over="docs")
    node = only(wf)
    assert (node.path, node.key, node.mode, node.over, node.over_is_async) == (
        "embed",
        "embed",
        "async",
        "docs",
        False,
    )
    assert (node.into, node.into_is_async, node.limit, node.need) == (None, False, None, 0)
    assert (node.retry, node.timeout, node.convert, node.children()) == (None, None, None, ())


def test_options_reach_the_node(wf):
    retry = Retry()
    wf.map(
        count,
        over=docs_async,
        name="m",
        limit=2,
        into=decide_async,
        returns="counts",
        need=3,
        retry=retry,
        timeout=timedelta(minutes=1),
        inline=True,
    )
    node = only(wf)
    assert (node.name, node.key, node.mode, node.limit, node.need) == ("m", "counts", "inline", 2, 3)
    assert (node.over, node.over_is_async) == (docs_async, True)
    assert (node.into, node.into_is_async) == (decide_async, True)
    assert (node.retry, node.timeout) == (retry, 60.0)


@pytest.mark.parametrize(
    ("on_error", "into", "fail_fast"),
    [
        (None, None, True),
        (None, decide, False),
        ("fail_fast", decide, True),
        ("complete_all", None, False),
    ],
)
def test_on_error_defaults_by_into(wf, on_error, into, fail_fast):
    wf.map(embed, over="docs", on_error=on_error, into=into)
    assert only(wf).fail_fast is fail_fast


def test_a_plain_function_runs_in_a_thread(wf):
    wf.map(count, over=docs)
    assert (only(wf).mode, only(wf).over, only(wf).over_is_async) == ("thread", docs, False)


def test_the_context_may_be_typed_and_the_item_is_what_it_is(wf):
    wf.map(typed, over="docs")
    assert only(wf).convert is Order


def test_a_type_of_the_context_that_nobody_knows_is_an_error(wf):
    namespace = {}
    exec("from __future__ import annotations\ndef fn(ctx: Soon, item): ...", namespace)
    wf.map(namespace["fn"], over="docs")
    with pytest.raises(DefinitionError, match=r"workflow 'orders', map 'fn': the annotation 'Soon' of the"):
        compile_plan(wf)


def test_in_a_parallel_block_it_is_a_branch(wf, mistake):
    with wf.parallel(name="p"):
        wf.map(embed, over="docs", returns="vectors")
        with mistake("map 'count': the result key 'vectors' is taken by the map 'embed' of the same"):
            wf.map(count, over="docs", returns="vectors")  # <-
        with wf.sequence("s"):
            wf.map(count, over="docs", returns="vectors")  # in the context of the sequence, not of the block
    assert only(wf).keys == ("vectors", "s")
    assert [node.path for node in only(wf).children()] == ["p/embed", "p/s"]


def test_its_functions_modules_are_the_workflows():
    namespace = {"__name__": "shop.flows", "Workflow": Workflow}
    exec("wf = Workflow('orders')", namespace)
    wf = namespace["wf"]

    def made_in(module, fn):
        fn.__module__ = module
        return fn

    wf.map(
        made_in("shop.fn", lambda ctx, item: None),
        name="m",
        over=made_in("shop.over", lambda ctx: []),
        into=made_in("shop.into", lambda ctx, results: None),
    )
    wf.map(made_in("shop.plain", lambda ctx, item: None), name="n", over="docs")
    assert wf.modules == ("shop.flows", "shop.fn", "shop.over", "shop.into", "shop.plain")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"over": 7}, "over= (a context's key, or a function of the context) must be a str, not 7"),
        ({"over": ["a"]}, "over= (a context's key, or a function of the context) must be a str"),
        ({"over": ""}, "over= (a context's key, or a function of the context) is empty"),
        ({"over": stream}, "over=: stream() is a generator"),
        ({"over": embed}, "over=: embed() is called with (ctx)"),
        ({"over": list}, "over=: list is a class"),
        ({"limit": 0}, "limit= must be an int, 1 or more, not 0"),
        ({"need": 0}, "need= must be an int, 1 or more, not 0"),
        ({"on_error": "ignore"}, "on_error= must be 'fail_fast' or 'complete_all', not 'ignore'"),
        ({"into": docs}, "into=: docs() is called with (ctx, results)"),
        ({"returns": "a/b"}, "returns= 'a/b' contains '/'"),
        ({"retry": 3}, "retry= takes a Retry, such as Retry(max_attempts=3), not 3"),
        ({"timeout": -1}, "timeout= must be a duration"),
        ({"inline": True}, "inline=True is for plain functions"),
        ({"inline": 1}, "inline= must be True or False"),
    ],
)
def test_option_values_are_checked_where_they_are_given(wf, mistake, options, message):
    with mistake(
        "workflow 'orders', map 'embed', " if "=:" in message else "workflow 'orders', map 'embed': ", message
    ):

        @wf.map(**{"over": "docs"} | options)  # <-
        async def embed(ctx, doc): ...

    assert repr(wf) == "<Workflow 'orders' version '1', 0 nodes>"


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (docs, "docs() is called with (ctx, item), and its signature (ctx) does not fit"),
        (lambda ctx, item, more: None, "missing a required argument: 'more'"),
        (stream, "stream() is a generator"),
        ("embed", "'embed' is not a function; give one that takes (ctx, item)"),
    ],
)
def test_the_function_is_checked(wf, mistake, fn, message):
    with mistake("workflow 'orders', map 'm'", message):
        wf.map(fn, over="docs", name="m")  # <-


def test_more_arguments_are_bound_with_partial(wf):
    wf.map(functools.partial(lambda model, ctx, item: None, "small"), over="docs", name="m")
    assert only(wf).mode == "thread"


def test_its_name_is_checked(wf, mistake):
    with mistake("workflow 'orders', map", "has no name of its own; give it one with name="):
        wf.map(lambda ctx, item: None, over="docs")  # <-
    wf.map(embed, over="docs")
    with mistake("map 'embed': the name 'embed' is taken by the map at", "choose another with name="):
        wf.map(embed, over="docs")  # <-


def test_over_is_needed(wf):
    with pytest.raises(TypeError, match="over"):
        wf.map(embed)


def test_not_once_the_workflow_is_compiled(wf, mistake):
    wf.map(embed, over="docs")
    compile_plan(wf)
    with mistake("map 'count': the workflow has been opened by an engine"):
        wf.map(count, over="docs")  # <-
