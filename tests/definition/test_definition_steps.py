"""``Workflow.step`` and ``Workflow.compensation``."""

from __future__ import annotations

import functools
import operator
from datetime import timedelta
from unittest.mock import AsyncMock

import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._retry import Retry


async def charge(ctx):
    return ctx


def count(ctx):
    return ctx


async def stream(ctx):
    yield ctx


def produce(ctx):
    yield ctx


class AsyncCharger:
    async def __call__(self, ctx):
        return ctx

    async def method(self, ctx):
        return ctx


class Charger:
    def __call__(self, ctx):
        return ctx


class Streamer:
    async def __call__(self, ctx):
        yield ctx


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


def test_the_function_comes_back_unchanged_in_every_form(wf):
    async def one(ctx): ...
    async def two(ctx): ...
    async def three(ctx): ...

    assert wf.step(one) is one
    assert wf.step()(two) is two
    assert wf.step(three, name="other") is three
    assert [node.name for node in compile_plan(wf).nodes] == ["one", "two", "other"]
    assert [node.fn for node in compile_plan(wf).nodes] == [one, two, three]


def test_a_bare_step_has_the_documented_defaults(wf):
    wf.step(charge)
    node = only(wf)
    assert (node.kind, node.name, node.path, node.key) == ("step", "charge", "charge", "charge")
    assert (node.retry, node.timeout, node.compensate, node.queue, node.convert) == (None,) * 5


def test_options_reach_the_node(wf):
    retry = Retry(max_attempts=5)
    wf.compensation("refund", lambda ctx, result: None)
    wf.step(
        charge, name="pay", retry=retry, timeout=timedelta(minutes=1), compensate="refund", queue="payments"
    )
    node = only(wf)
    assert (node.name, node.retry, node.timeout, node.compensate, node.queue) == (
        "pay",
        retry,
        60.0,
        "refund",
        "payments",
    )


def test_one_function_may_be_several_steps(wf):
    wf.step(charge, name="first")
    wf.step(charge, name="second")
    assert [node.fn for node in compile_plan(wf).nodes] == [charge, charge]


@pytest.mark.parametrize(
    ("fn", "mode"),
    [
        (charge, "async"),
        (functools.partial(charge), "async"),
        (functools.partial(functools.partial(charge)), "async"),
        (AsyncCharger(), "async"),
        (functools.partial(AsyncCharger()), "async"),
        (AsyncCharger().method, "async"),
        (staticmethod(charge), "async"),
        (AsyncMock(), "async"),
        (count, "thread"),
        (lambda ctx: ctx, "thread"),
        (functools.partial(count), "thread"),
        (Charger(), "thread"),
        (len, "thread"),
        (operator.itemgetter("key"), "thread"),
        (functools.lru_cache(count), "thread"),
    ],
)
def test_how_a_function_is_called_follows_from_what_it_is(wf, fn, mode):
    wf.step(fn, name="step")
    assert only(wf).mode == mode


@pytest.mark.parametrize("fn", [count, Charger(), functools.partial(count)])
def test_inline_is_for_plain_functions(wf, fn):
    wf.step(fn, name="step", inline=True)
    assert only(wf).mode == "inline"


@pytest.mark.parametrize("fn", [charge, AsyncCharger(), functools.partial(charge)])
def test_inline_on_an_async_function_is_refused(wf, mistake, fn):
    with mistake("workflow 'orders', step 'step'", "inline=True is for plain functions"):
        wf.step(fn, name="step", inline=True)  # <-


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (stream, "stream() is an async generator"),
        (functools.partial(stream), "is an async generator"),
        (Streamer(), "is an async generator"),
        (produce, "produce() is a generator"),
        (functools.partial(produce), "is a generator"),
        (Charger, "Charger is a class; give a function"),
        ("charge", "'charge' is not a function; give one that takes (ctx)"),
        (7, "7 is not a function"),
        (lambda: None, "called with (ctx), and its signature ()"),
        (lambda ctx, db: None, "missing a required argument: 'db'"),
        (lambda *, ctx: None, "too many positional arguments"),
    ],
)
def test_what_gives_no_single_outcome_for_a_context_is_refused(wf, mistake, fn, message):
    with mistake("workflow 'orders', step 'step'", message):
        wf.step(fn, name="step")  # <-
    assert repr(wf) == "<Workflow 'orders' version '1', 0 nodes>"


def test_more_parameters_are_fine_if_they_need_no_argument(wf):
    wf.step(lambda ctx, db=None, *rest, flag=True, **more: None, name="step")
    assert only(wf).mode == "thread"


def test_a_wrapper_that_supplies_arguments_is_what_counts(wf):
    def with_database(fn):
        @functools.wraps(fn)
        async def call(ctx):
            return await fn(ctx, "database")

        return call

    @wf.step
    @with_database
    async def save(ctx, database): ...

    assert (only(wf).name, only(wf).mode) == ("save", "async")


def test_a_partial_is_named_after_its_function(wf):
    wf.step(functools.partial(charge))
    assert only(wf).name == "charge"


@pytest.mark.parametrize("fn", [lambda ctx: None, AsyncCharger(), functools.partial(lambda ctx: None)])
def test_a_function_without_a_name_must_be_given_one(wf, mistake, fn):
    with mistake("workflow 'orders', step", "has no name of its own; give it one with name="):
        wf.step(fn)  # <-


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "name= is empty"),
        (7, "name= must be a str, not 7"),
        ("n" * 201, "name= has 201 characters; 200 are allowed"),
        ("a/b", "contains '/', which separates the names in a path"),
        ("__results__", "starts with '__', which is kept for the engine"),
        ("a\nb", "contains the control character '\\n'"),
        ("a\x00", "contains the control character '\\x00'"),
        ("a\x85", "contains the control character '\\x85'"),
        ("a\u2028b", "contains the control character '\\u2028'"),
        ("\ud800", "contains the control character '\\ud800'"),
    ],
)
def test_names_that_cannot_stand_in_a_path_are_refused(wf, mistake, name, message):
    with mistake("workflow 'orders', step", message):
        wf.step(charge, name=name)  # <-
    with wf.parallel():
        wf.step(count)
        with mistake("workflow 'orders', step 'charge'", message.replace("name=", "returns=")):
            wf.step(charge, returns=name)  # <-
    with mistake("workflow 'orders', parallel block", message):
        wf.parallel(name=name)  # <-
    with mistake("workflow 'orders', compensation", message):
        wf.compensation(name, lambda ctx, result: None)  # <-


@pytest.mark.parametrize("name", ["n" * 200, "größe", "支払い", "a b", "_private", "a.b", "👩\u200d🔧"])
def test_other_names_are_kept_as_given(wf, name):
    wf.step(charge, name=name)
    assert only(wf).name == name


def test_a_function_whose_own_name_is_no_step_name_is_refused(wf, mistake):
    async def __hidden(ctx): ...

    with mistake("starts with '__'"):
        wf.step(__hidden)  # <-


def test_a_name_is_given_once_in_the_whole_workflow(wf, mistake):
    wf.step(charge)
    taken = f"the name 'charge' is taken by the step at {__file__}:"
    with mistake("workflow 'orders', step 'charge': ", taken, "choose another with name="):

        @wf.step(name="charge")  # <-
        async def other(ctx): ...


def test_a_name_in_a_block_is_taken_at_the_top_level_too(wf, mistake):
    with wf.parallel(name="checks"), wf.sequence("stock"):
        wf.step(charge)
    for name in ("checks", "stock", "charge"):
        with mistake(f"the name {name!r} is taken by the", "unique in the whole workflow", "name="):
            wf.step(count, name=name)  # <-


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": 3}, "retry= takes a Retry, such as Retry(max_attempts=3), not 3"),
        ({"retry": 5}, "such as Retry(max_attempts=5), not 5"),
        ({"retry": True}, "such as Retry(max_attempts=3), not True"),
        ({"retry": Retry}, "retry= takes a Retry"),
        ({"timeout": -1}, "timeout= must be a duration"),
        ({"timeout": timedelta(seconds=-1)}, "timeout= must be a duration"),
        ({"timeout": float("nan")}, "timeout= must be a duration"),
        ({"timeout": True}, "timeout= must be a duration"),
        ({"timeout": "30"}, "timeout= must be a duration"),
        ({"queue": ""}, "queue= is empty"),
        ({"queue": 7}, "queue= must be a str, not 7"),
        ({"inline": 1}, "inline= must be True or False, not 1"),
        ({"compensate": "refund"}, "compensate='refund' names no compensation (known: none so far)"),
        ({"compensate": "refund"}, "declare it above this step, with wf.compensation('refund', fn)"),
        ({"compensate": ["refund"]}, "compensate= takes the name of a compensation, not ['refund']"),
        ({"compensate": charge}, "compensate= takes the name of a compensation, not <function"),
        ({"returns": "payment"}, "returns='payment' names a result of a parallel block"),
        ({"returns": "payment"}, "this step is at the top level; leave it out"),
    ],
)
def test_option_values_are_checked_where_they_are_given(wf, mistake, options, message):
    with mistake("workflow 'orders', step 'count': ", message):

        @wf.step(**options)  # <-
        def count(ctx): ...

    assert repr(wf) == "<Workflow 'orders' version '1', 0 nodes>"


def test_an_unknown_option_is_pythons_own_error(wf):
    with pytest.raises(TypeError, match="retries"):
        wf.step(retries=3)


def test_a_refused_step_leaves_its_name_free(wf, mistake):
    with mistake("retry="):
        wf.step(charge, retry=3)  # <-
    wf.step(charge)
    assert only(wf).name == "charge"


class TestCompensations:
    @staticmethod
    def handlers(wf):
        if not wf._declarations.names:
            wf.step(charge)
        return compile_plan(wf).handlers

    def test_every_form_of_declaring_one(self, wf):
        async def refund(ctx, result): ...
        def release(ctx, result): ...

        retry = Retry()
        assert wf.compensation(refund) is refund
        assert wf.compensation("second", refund) is refund
        assert wf.compensation("third")(release) is release
        assert wf.compensation("fourth", release, retry=retry) is release
        assert wf.compensation(retry=retry)(release) is release
        found = {name: (h.name, h.fn, h.mode, h.retry) for name, h in self.handlers(wf).items()}
        assert found == {
            "refund": ("refund", refund, "async", None),
            "second": ("second", refund, "async", None),
            "third": ("third", release, "thread", None),
            "fourth": ("fourth", release, "thread", retry),
            "release": ("release", release, "thread", retry),
        }

    def test_the_handlers_of_a_plan_cannot_be_changed(self, wf):
        with pytest.raises(TypeError):
            self.handlers(wf)["x"] = None

    def test_a_handler_may_be_called_as_a_step_is(self, wf):
        wf.compensation("charge", lambda ctx, result: None)
        wf.step(charge, compensate="charge")
        assert only(wf).compensate == "charge"

    def test_a_name_is_given_once(self, wf, mistake):
        wf.compensation("refund", lambda ctx, result: None)
        with mistake("workflow 'orders', compensation 'refund'", "has a compensation of this name"):
            wf.compensation("refund", lambda ctx, result: None)  # <-

    @pytest.mark.parametrize(
        ("fn", "message"),
        [
            (lambda ctx: None, "called with (ctx, result)"),
            (stream, "is an async generator"),
            (7, "7 is not a function; give one that takes (ctx, result)"),
        ],
    )
    def test_what_cannot_be_called_with_a_context_and_a_result_is_refused(self, wf, mistake, fn, message):
        with mistake("workflow 'orders', compensation 'refund'", message):
            wf.compensation("refund", fn)  # <-

    def test_its_retry_is_checked(self, wf, mistake):
        with mistake("compensation 'refund': retry= takes a Retry"):
            wf.compensation("refund", lambda ctx, result: None, retry=3)  # <-

    def test_the_known_ones_are_listed_when_one_is_not(self, wf, mistake):
        wf.compensation("refund", lambda ctx, result: None)
        wf.compensation("release", lambda ctx, result: None)
        with mistake("names no compensation (known: 'refund', 'release')"):
            wf.step(charge, compensate="refnd")  # <-

    def test_one_of_another_workflow_is_not_known(self, wf, mistake):
        Workflow("other").compensation("refund", lambda ctx, result: None)
        with mistake("known: none so far"):
            wf.step(charge, compensate="refund")  # <-
