"""``wf.sleep``, ``wf.sleep_until``, ``wf.wait_for_event``, ``wf.wait_for_input`` and its shorthands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from math import inf, nan

import pytest

from durable_trio._definition.plan import compile_plan
from durable_trio._forms import Choice, FormField, InputSpec

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


def step(ctx): ...
def delay(ctx): ...
async def delay_async(ctx): ...


class NoOffset(tzinfo):
    def utcoffset(self, when):
        return None


def only(wf):
    (node,) = compile_plan(wf).nodes
    return node


class TestSleep:
    @pytest.mark.parametrize(
        ("duration", "seconds", "name"),
        [
            (timedelta(days=3), 259_200.0, "sleep_3d"),
            (90, 90.0, "sleep_90s"),
            (60, 60.0, "sleep_1m"),
            (5400, 5400.0, "sleep_90m"),
            (7200.0, 7200.0, "sleep_2h"),
            (86_400 * 365, 86_400 * 365.0, "sleep_365d"),
            (0.25, 0.25, "sleep_0.25s"),
            (90.5, 90.5, "sleep_90.5s"),
            (0, 0.0, "sleep_0s"),
            (timedelta(days=365_000), 31_536_000_000.0, "sleep_365000d"),
        ],
    )
    def test_it_is_called_after_its_length(self, wf, duration, seconds, name):
        assert wf.sleep(duration) is None
        node = only(wf)
        assert (node.kind, node.name, node.path, node.key) == ("sleep", name, name, name)
        assert (node.seconds, node.until, node.fn, node.absolute) == (seconds, None, None, False)

    @pytest.mark.parametrize(("fn", "is_async"), [(delay, False), (delay_async, True)])
    def test_or_after_its_function(self, wf, fn, is_async):
        wf.sleep(fn)
        node = only(wf)
        assert (node.name, node.fn, node.fn_is_async, node.absolute) == (fn.__name__, fn, is_async, False)
        assert (node.seconds, node.until) == (None, None)

    def test_or_as_it_is_said(self, wf):
        wf.sleep(5, name="pause")
        wf.sleep(lambda ctx: 5, name="nap")
        wf.sleep_until(NEW_YEAR, name="party")
        wf.sleep_until(lambda ctx: NEW_YEAR, name="other party")
        assert list(compile_plan(wf).index) == ["pause", "nap", "party", "other party"]

    def test_until_an_instant(self, wf):
        wf.sleep_until(NEW_YEAR)
        wf.sleep_until(datetime(2030, 1, 1, 23, tzinfo=timezone(-timedelta(hours=5))), name="same day")
        wf.sleep_until(delay)
        first, second, third = compile_plan(wf).nodes
        assert (first.kind, first.name, first.key) == (
            "sleep",
            "sleep_until_2030-01-01",
            "sleep_until_2030-01-01",
        )
        assert (first.until, first.seconds, first.fn) == (NEW_YEAR, None, None)
        assert second.until == datetime(2030, 1, 2, 4, tzinfo=UTC)
        assert (third.name, third.fn, third.until, third.absolute) == ("delay", delay, None, True)

    @pytest.mark.parametrize(
        ("duration", "message"),
        [
            (
                -1,
                "its duration must be a duration, in seconds (a number, 0 or more) or as a timedelta, not -1",
            ),
            (timedelta(seconds=-1), "must be a duration"),
            (nan, "must be a duration"),
            (True, "must be a duration"),
            (None, "must be a duration"),
            ("3d", "must be a duration"),
            (inf, "its duration may be 1000 years (31536000000 seconds) at most, not inf"),
            (timedelta(days=365_001), "may be 1000 years"),
            (NEW_YEAR, "tzinfo=datetime.timezone.utc); wait for an instant with wf.sleep_until"),
            (timedelta, "timedelta is a class"),
            (lambda: 1, "called with (ctx)"),
            (lambda ctx: 1, "has no name of its own; give it one with name="),
        ],
    )
    def test_lengths_are_checked(self, wf, mistake, duration, message):
        with mistake("workflow 'orders', sleep: ", message):
            wf.sleep(duration)  # <-

    @pytest.mark.parametrize(
        ("instant", "message"),
        [
            (datetime(2030, 1, 1), "has no time zone, so nobody can tell which instant it is"),  # noqa: DTZ001
            (datetime(2030, 1, 1, tzinfo=NoOffset()), "has no time zone"),
            (NEW_YEAR.date(), "its instant must be a datetime with a time zone, not datetime.date"),
            ("2030-01-01", "its instant must be a datetime with a time zone, not '2030-01-01'"),
            (60, "must be a datetime with a time zone, not 60; wait for some time with wf.sleep"),
            (timedelta(days=1), "wait for some time with wf.sleep"),
            (lambda: 1, "called with (ctx)"),
        ],
    )
    def test_instants_are_checked(self, wf, mistake, instant, message):
        with mistake("workflow 'orders', sleep: ", message):
            wf.sleep_until(instant)  # <-

    def test_two_of_one_length_need_a_name(self, wf, mistake):
        wf.sleep(60)
        with mistake(
            "sleep: the name 'sleep_1m' is taken by the sleep at", "give this one a name= of its own"
        ):
            wf.sleep(timedelta(minutes=1))  # <-
        with mistake("sleep 'step': the name 'step' is taken"):
            wf.step(step)
            wf.sleep(5, name="step")  # <-

    @pytest.mark.parametrize("name", ["", 7, "a/b", "__x"])
    def test_the_name_is_checked(self, wf, mistake, name):
        with mistake("workflow 'orders', sleep ", "name= "):
            wf.sleep(5, name=name)  # <-
        with mistake("workflow 'orders', sleep ", "name= "):
            wf.sleep_until(NEW_YEAR, name=name)  # <-


class TestEvents:
    def test_the_defaults(self, wf):
        assert wf.wait_for_event("paid") is None
        node = only(wf)
        assert (node.kind, node.name, node.path, node.key) == (
            "event",
            "wait_for_paid",
            "wait_for_paid",
            "paid",
        )
        assert (node.event, node.timeout, node.default, node.has_default) == ("paid", None, None, False)

    def test_options_reach_the_node(self, wf):
        wf.wait_for_event("paid", timeout=timedelta(days=2), default=None, returns="payment", step="settle")
        node = only(wf)
        assert (node.name, node.key, node.event) == ("settle", "payment", "paid")
        assert (node.timeout, node.default, node.has_default) == (172_800.0, None, True)

    def test_an_ellipsis_is_no_default(self, wf):
        wf.wait_for_event("a", default=...)
        wf.wait_for_event("b", default={"n": 1})
        assert [(node.default, node.has_default) for node in compile_plan(wf).nodes] == [
            (None, False),
            ({"n": 1}, True),
        ]

    def test_an_endless_time_is_none(self, wf):
        wf.wait_for_event("paid", timeout=inf)
        assert only(wf).timeout is None

    def test_a_name_that_cannot_stand_in_a_path_needs_a_step(self, wf, mistake):
        with mistake(
            "workflow 'orders', wait for event 'a/b': the wait's own name (give it another with step=)",
            "'wait_for_a/b' contains '/'",
        ):
            wf.wait_for_event("a/b")  # <-
        with mistake("(give it another with step=) has 201 characters"):
            wf.wait_for_event("x" * 192)  # <-
        wf.wait_for_event("a/b", step="ab")
        assert (only(wf).event, only(wf).key) == ("a/b", "a/b")

    def test_waiting_again_needs_a_step(self, wf, mistake):
        wf.wait_for_event("paid")
        with mistake(
            "wait for event 'paid': the name 'wait_for_paid' is taken by the wait for event at",
            "give this wait another with step=",
        ):
            wf.wait_for_event("paid")  # <-
        wf.wait_for_event("paid", step="again")
        assert [node.event for node in compile_plan(wf).nodes] == ["paid", "paid"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"name": 7}, "wait for event 7: its name must be a str, not 7"),
            ({"name": ""}, "its name is empty"),
            ({"name": "a\n"}, "contains the control character"),
            (
                {"name": "__results__"},
                "its name '__results__' starts with '__', which is kept for the engine",
            ),
            ({"returns": "__results__"}, "returns= '__results__' starts with '__'"),
            ({"returns": 7}, "returns= must be a str"),
            ({"step": "a/b"}, "step= 'a/b' contains '/'"),
            ({"timeout": -1}, "timeout= must be a duration"),
            ({"timeout": True}, "timeout= must be a duration"),
            ({"timeout": 1e12}, "timeout= may be 1000 years"),
        ],
    )
    def test_mistakes(self, wf, mistake, options, message):
        with mistake("workflow 'orders', wait for event", message):
            wf.wait_for_event(**{"name": "paid"} | options)  # <-
        assert repr(wf) == "<Workflow 'orders' version '1', 0 nodes>"


class TestInputs:
    def test_a_text_is_the_default(self, wf):
        assert wf.wait_for_input("reason") is None
        node = only(wf)
        assert (node.kind, node.name, node.path) == ("input", "wait_for_reason", "wait_for_reason")
        assert (node.key, node.input, node.spec) == ("reason", "reason", InputSpec("text"))
        assert (node.timeout, node.default, node.has_default) == (None, None, False)

    def test_options_reach_the_node(self, wf):
        wf.wait_for_input(
            "size",
            kind="choice",
            prompt="Which?",
            choices=["s", {"value": "l", "label": "Large"}],
            timeout=60,
            default="l",
            returns="cup",
            step="ask",
        )
        node = only(wf)
        assert (node.name, node.key, node.input) == ("ask", "cup", "size")
        assert node.spec == InputSpec("choice", "Which?", (Choice("s", "s"), Choice("l", "Large")))
        assert (node.timeout, node.default, node.has_default) == (60.0, "l", True)
        assert (node.input_kind, node.prompt, node.choices, node.fields) == (
            "choice",
            "Which?",
            node.spec.choices,
            (),
        )

    def test_the_shorthands(self, wf):
        wf.wait_for_approval("a", prompt="Sure?", timeout=1, default=False, returns="x", step="s1")
        wf.wait_for_choice("b", ["y", "n"], prompt="Which?", timeout=2, default="n", returns="y", step="s2")
        wf.wait_for_text("c", prompt="Why?", timeout=3, default="", returns="z", step="s3")
        wf.wait_for_form("d", [{"name": "n"}], prompt="Fill in", timeout=4, default={"n": "?"}, step="s4")
        found = [(n.name, n.input, n.key, n.spec, n.timeout, n.default) for n in compile_plan(wf).nodes]
        assert found == [
            ("s1", "a", "x", InputSpec("approval", "Sure?"), 1.0, "rejected"),
            ("s2", "b", "y", InputSpec("choice", "Which?", (Choice("y", "y"), Choice("n", "n"))), 2.0, "n"),
            ("s3", "c", "z", InputSpec("text", "Why?"), 3.0, ""),
            ("s4", "d", "d", InputSpec("form", "Fill in", fields=(FormField("n"),)), 4.0, {"n": "?"}),
        ]
        assert all(node.has_default for node in compile_plan(wf).nodes)

    def test_the_shorthands_have_the_same_defaults(self, wf):
        wf.wait_for_approval("a")
        wf.wait_for_choice("b", choices=[1])
        wf.wait_for_text("c")
        wf.wait_for_form("d", fields=[{"name": "n", "required": False}])
        for node in compile_plan(wf).nodes:
            assert (node.name, node.key) == (f"wait_for_{node.input}", node.input)
            assert (node.timeout, node.has_default, node.prompt) == (None, False, None)

    def test_a_default_becomes_what_an_answer_would(self, wf):
        wf.wait_for_approval("a", default=True)
        wf.wait_for_form(
            "b", [{"name": "n", "type": "number"}, {"name": "o", "required": False}], default={"n": 1}
        )
        assert [node.default for node in compile_plan(wf).nodes] == ["approved", {"n": 1, "o": None}]

    def test_none_is_a_default_of_every_kind(self, wf):
        wf.wait_for_approval("a", default=None)
        wf.wait_for_choice("b", ["x"], default=None)
        wf.wait_for_text("c", default=None)
        wf.wait_for_form("d", [{"name": "n"}], default=None)
        assert [(node.default, node.has_default) for node in compile_plan(wf).nodes] == [(None, True)] * 4

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"kind": "approval", "default": "maybe"}, "default= must be 'approved' or 'rejected'"),
            ({"kind": "choice", "choices": ["a"], "default": "b"}, "default= must be 'a', not 'b'"),
            ({"default": 7}, "default= must be a str, not 7"),
            (
                {"kind": "form", "fields": [{"name": "n"}], "default": {}},
                "default= does not fit the form: field 'n' is missing",
            ),
            ({"kind": "number"}, "kind= must be 'approval' or"),
            ({"kind": "choice"}, "choices= must be a list"),
            ({"kind": "form", "fields": []}, "fields= is empty"),
            ({"prompt": 7}, "prompt= must be a str"),
            ({"timeout": -1}, "timeout= must be a duration"),
            ({"returns": "__x"}, "returns= '__x' starts with '__'"),
            ({"step": ""}, "step= is empty"),
            ({"name": "__x"}, "its name '__x' starts with '__'"),
        ],
    )
    def test_mistakes(self, wf, mistake, options, message):
        with mistake("workflow 'orders', wait for input", message):
            wf.wait_for_input(**{"name": "reason"} | options)  # <-
        assert repr(wf) == "<Workflow 'orders' version '1', 0 nodes>"

    def test_the_shorthands_blame_the_same_line(self, wf, mistake):
        with mistake("wait for input 'a': default= must be 'approved' or 'rejected'"):
            wf.wait_for_approval("a", default="maybe")  # <-
        with mistake("wait for input 'b': choices= is empty"):
            wf.wait_for_choice("b", [])  # <-
        with mistake("wait for input 'c': default= must be a str"):
            wf.wait_for_text("c", default=7)  # <-
        with mistake("wait for input 'd': fields= is empty"):
            wf.wait_for_form("d", [])  # <-


class TestPlaces:
    def test_waits_stand_wherever_steps_may(self, wf):
        wf.sleep(1)
        with wf.parallel(name="p"):
            wf.wait_for_event("paid", returns="payment")
            wf.sleep_until(NEW_YEAR)
            with wf.sequence("s"):
                wf.wait_for_approval("ok")
                wf.sleep(2)
        with wf.branch(on=delay) as block, block.case(1):
            wf.wait_for_text("why")
        assert {path: node.key for path, node in compile_plan(wf).by_path.items()} == {
            "sleep_1s": "sleep_1s",
            "p": "p",
            "p/wait_for_paid": "payment",
            "p/sleep_until_2030-01-01": "sleep_until_2030-01-01",
            "p/s": "s",
            "p/s/wait_for_ok": "ok",
            "p/s/sleep_2s": "sleep_2s",
            "delay": "delay",
            "delay/wait_for_why": "why",
        }

    def test_in_a_parallel_block_the_answers_need_a_key_each(self, wf, mistake):
        with wf.parallel():
            wf.wait_for_event("paid")
            with mistake("wait for input 'paid': the result key 'paid' is taken by the wait for event"):
                wf.wait_for_input("paid", step="ask")  # <-
            wf.wait_for_input("paid", step="ask", returns="confirmed")
        assert only(wf).keys == ("paid", "confirmed")

    def test_elsewhere_a_later_answer_may_replace_an_earlier_one(self, wf):
        wf.wait_for_event("paid")
        wf.wait_for_event("paid", step="again")
        assert [node.key for node in compile_plan(wf).nodes] == ["paid", "paid"]

    def test_a_sleeps_function_belongs_to_the_workflow(self, wf):
        def fn(ctx): ...

        fn.__module__ = "shop.sleep"
        wf.sleep(fn)
        assert wf.modules == (wf.module, "shop.sleep")

    def test_not_once_the_workflow_is_compiled(self, wf, mistake):
        wf.sleep(1)
        compile_plan(wf)
        message = "the workflow has been opened by an engine and can no longer change"
        with mistake("workflow 'orders', sleep: ", message):
            wf.sleep(2)  # <-
        with mistake("workflow 'orders', sleep 'x': ", message):
            wf.sleep_until(NEW_YEAR, name="x")  # <-
        with mistake("workflow 'orders', wait for event 'paid': ", message):
            wf.wait_for_event("paid")  # <-
        with mistake("workflow 'orders', wait for input 'ok': ", message):
            wf.wait_for_approval("ok")  # <-
