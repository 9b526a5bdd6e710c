"""The fold of hand-written records into what a user is shown, and the index that a recovery uses."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from durable_trio._errors import StoreCorrupt
from durable_trio._info import STATUS_CODES, StepInfo
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.records import (
    CANCELLED,
    DELTA,
    ERROR,
    FINISH,
    NEVER_STARTED,
    OK,
    PARALLEL,
    REASON,
    REPLACED,
    RESULTS,
    SAME,
    SEQUENCE,
    STEP,
    TIMED_OUT,
    VALUE,
    Attempt,
    CancelRequested,
    Done,
    Ended,
    Header,
    Retried,
)
from durable_trio._snapshot.view import RESULTS_KEY, data_of, run_info
from durable_trio._values import Err, Failure, Ok

INPUT = {"id": 7, "items": [1]}
HEADER = Header("run-1", "order", "2", b"f", 1000.0, INPUT, "mail", 5, "parent-1")
CANCEL = Failure("Cancelled", "branch 'checks/b' failed", attempts=1)


def done(
    path, form=SAME, data=None, *, visit=1, kind=STEP, status=OK, attempt=1, at=1001.0, took=0.5, **more
):
    return Done(path, visit, kind, status, attempt, at, took, form, data, **more)


def failed(path, reason, *, status=ERROR, **more):
    return done(path, REASON, reason, status=status, **more)


def info(*records, status="running", header=HEADER, with_steps=True):
    return run_info(header, list(records), STATUS_CODES[status], with_steps=with_steps)


def instant(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def results(shown):
    return {step.path: step.result for step in shown.steps}


def test_a_run_that_has_just_started():
    shown = info(status="pending")
    assert (shown.id, shown.workflow, shown.version, shown.status) == ("run-1", "order", "2", "pending")
    assert (shown.queue, shown.priority, shown.parent) == ("mail", 5, "parent-1")
    assert shown.input == shown.context == INPUT
    assert (shown.result, shown.error, shown.errors, shown.steps, shown.current_step) == (
        None,
        None,
        {},
        [],
        None,
    )
    assert shown.created_at == shown.updated_at == instant(1000)
    assert shown.created_at.tzinfo is UTC
    assert shown.finished_at is None


def test_contexts_follow_from_what_each_step_changed():
    shown = info(
        done("a"),
        done("b", DELTA, {"paid": True, "items": [1, 2]}, at=1002.0),
        done("c", DELTA, {}, removed=["id"], at=1003.0),
        done("d", REPLACED, {"new": 1}, at=1004.0),
        done("e", DELTA, {"last": (1,)}, at=1005.0, attempt=3, next=FINISH),
        Ended(STATUS_CODES["completed"], 1006.0),
        status="completed",
    )
    assert results(shown) == {
        "a": INPUT,
        "b": {"id": 7, "items": [1, 2], "paid": True},
        "c": {"items": [1, 2], "paid": True},
        "d": {"new": 1},
        "e": {"new": 1, "last": (1,)},
    }
    assert shown.context == shown.result == {"new": 1, "last": (1,)}
    assert shown.input == INPUT
    assert shown.updated_at == shown.finished_at == instant(1006)
    assert shown.current_step is None
    assert shown.steps[4] == StepInfo(
        path="e",
        status="ok",
        attempt=3,
        started_at=instant(1005),
        duration=0.5,
        result={"new": 1, "last": (1,)},
    )


def block(form, data, **more):
    return done("checks", form, data, kind=PARALLEL, at=1001.0, took=1.0, **more)


BRANCHES = [
    done("checks/same"),
    done("checks/delta", DELTA, {"x": 1}),
    done("checks/replaced", REPLACED, {"y": 2}),
    done("checks/value", VALUE, 17),
    failed("checks/error", "declined"),
    failed("checks/late", Failure("TimeoutError", "too late"), status=TIMED_OUT),
    failed("checks/cancelled", CANCEL, status=CANCELLED),
    failed("checks/never", CANCEL, status=NEVER_STARTED, attempt=0, at=0.0, took=0.0),
]
EXPECTED = {
    "never": Err(CANCEL),
    "value": Ok(17),
    "same": Ok({"id": 7, "items": [1], "before": 1}),
    "replaced": Ok({"y": 2}),
    "delta": Ok({"id": 7, "items": [1], "before": 1, "x": 1}),
    "error": Err("declined"),
    "late": Err(Failure("TimeoutError", "too late")),
    "cancelled": Err(CANCEL),
}


@pytest.mark.parametrize("with_steps", [True, False])
def test_a_blocks_results_are_built_from_its_branches_in_declared_order(with_steps):
    pairs = [[key, f"checks/{key}"] for key in EXPECTED]
    shown = info(
        done("first", DELTA, {"before": 1}, at=1000.5),
        *BRANCHES,
        block(RESULTS, pairs),
        done("after", DELTA, {"after": 1}, at=1003.0),
        with_steps=with_steps,
    )
    assert shown.context == {**INPUT, "before": 1, RESULTS_KEY: EXPECTED, "after": 1}
    assert list(shown.context[RESULTS_KEY]) == list(EXPECTED)
    assert all(type(shown.context[RESULTS_KEY][key]) is type(value) for key, value in EXPECTED.items())
    assert [step.path for step in shown.steps] == (
        ["first", *(f"checks/{key[7:]}" for key in [b.path for b in BRANCHES]), "checks", "after"]
        if with_steps
        else []
    )


def test_branches_are_shown_as_they_ended():
    shown = info(*BRANCHES, block(RESULTS, [["same", "checks/same"]]))
    by_path = {step.path: step for step in shown.steps}
    assert by_path["checks"].kind == "parallel"
    assert by_path["checks"].result == {**INPUT, RESULTS_KEY: {"same": Ok(INPUT)}}
    assert [step.status for step in shown.steps] == [
        "ok", "ok", "ok", "ok", "error", "timed_out", "cancelled", "never_started", "ok",
    ]  # fmt: skip
    assert by_path["checks/value"].result == 17
    assert (by_path["checks/error"].error, by_path["checks/error"].result) == ("declined", None)
    assert by_path["checks/cancelled"].error == CANCEL
    never = by_path["checks/never"]
    assert (never.attempt, never.started_at, never.duration, never.error) == (0, None, None, CANCEL)


def test_a_block_with_into_changes_the_context_as_into_says():
    shown = info(done("checks/a", VALUE, 1), block(DELTA, {"ready": True}))
    assert shown.context == {**INPUT, "ready": True}


def test_a_branch_changes_nothing_outside_of_itself():
    shown = info(done("checks/a", DELTA, {"x": 1}), done("checks/b", DELTA, {"y": 1}))
    assert shown.context == INPUT
    assert results(shown) == {"checks/a": {**INPUT, "x": 1}, "checks/b": {**INPUT, "y": 1}}
    assert shown.current_step == "checks"


def test_a_sequences_steps_build_on_each_other_and_a_nested_blocks_branches_do_not():
    records = [
        done("checks/ship/pack", DELTA, {"packed": 1}),
        done("checks/ship/inner/a", DELTA, {"a": 1}),
        done("checks/ship/inner/b", DELTA, {"b": 1}),
        done(
            "checks/ship/inner",
            RESULTS,
            [["a", "checks/ship/inner/a"], ["b", "checks/ship/inner/b"]],
            kind=PARALLEL,
        ),
        done("checks/ship/send", DELTA, {"sent": 1}),
        done("checks/ship", DELTA, {"packed": 1, "sent": 1}, kind=SEQUENCE),
        block(RESULTS, [["ship", "checks/ship"]]),
    ]
    shown = info(*records)
    packed = {**INPUT, "packed": 1}
    inner = {**packed, RESULTS_KEY: {"a": Ok({**packed, "a": 1}), "b": Ok({**packed, "b": 1})}}
    ship = {**packed, "sent": 1}
    assert results(shown) == {
        "checks/ship/pack": packed,
        "checks/ship/inner/a": {**packed, "a": 1},
        "checks/ship/inner/b": {**packed, "b": 1},
        "checks/ship/inner": inner,
        "checks/ship/send": {**inner, "sent": 1},
        "checks/ship": ship,
        "checks": {**INPUT, RESULTS_KEY: {"ship": Ok(ship)}},
    }
    assert [step.kind for step in shown.steps[-2:]] == ["sequence", "parallel"]


def test_while_nobody_can_say_what_a_step_was_given_its_result_is_not_shown():
    first, same, second, third, value = (
        done("checks/x/same"),
        done("checks/x/1", DELTA, {"one": 1}),
        done("checks/x/2", DELTA, {"two": 2}),
        done("checks/x/3", REPLACED, {"three": 3}),
        done("checks/x/4", VALUE, 4),
    )
    shown = info(first, same, second, third, value)
    one = {**INPUT, "one": 1}
    assert list(results(shown).values()) == [INPUT, one, None, {"three": 3}, 4]
    ended = done("checks/x", DELTA, {"three": 3}, kind=SEQUENCE)
    assert results(info(first, same, second, ended))["checks/x/2"] == {**one, "two": 2}
    # Only a branch passes on what is no context: so these are branches.
    assert results(info(value, second))["checks/x/2"] == {**INPUT, "two": 2}
    ended = done("checks/x", RESULTS, [], kind=PARALLEL)
    assert results(info(first, same, second, ended))["checks/x/2"] == {**INPUT, "two": 2}


def test_a_loop_shows_every_visit():
    shown = info(
        done("count", DELTA, {"n": 1}, next="block"),
        done("block/a", VALUE, 1, visit=1),
        done("block", RESULTS, [["a", "block/a"]], kind=PARALLEL, visit=1, next="count"),
        done("count", DELTA, {"n": 2}, visit=2, at=1009.0, next="block"),
        done("block/a", DELTA, {"m": 1}, visit=2),
        done("block", RESULTS, [["a", "block/a"]], kind=PARALLEL, visit=2, next="count"),
    )
    assert [(step.path, step.visit) for step in shown.steps] == [
        ("count", 1), ("block/a", 1), ("block", 1), ("count", 2), ("block/a", 2), ("block", 2),
    ]  # fmt: skip
    given = {**INPUT, "n": 2, RESULTS_KEY: {"a": Ok(1)}}
    assert shown.steps[3].result == given
    assert shown.context == {**given, RESULTS_KEY: {"a": Ok({**given, "m": 1})}}
    assert shown.current_step == "count"


FAILED = [
    done("first", DELTA, {"first": 1}),
    done("checks/a", VALUE, "kept"),
    failed("checks/b", "declined"),
    failed("checks/c", CANCEL, status=CANCELLED),
    failed("checks", "declined", kind=PARALLEL),
    Ended(STATUS_CODES["failed"], 1005.0, "declined", {"checks/b": "declined"}),
]


def test_a_failed_run():
    shown = info(*FAILED, status="failed")
    assert (shown.status, shown.error, shown.errors) == ("failed", "declined", {"checks/b": "declined"})
    assert shown.result is None
    assert shown.context == {**INPUT, "first": 1}
    assert shown.finished_at == shown.updated_at == instant(1005)
    assert shown.current_step is None
    assert [(step.path, step.status, step.error) for step in shown.steps] == [
        ("first", "ok", None),
        ("checks/a", "ok", None),
        ("checks/b", "error", "declined"),
        ("checks/c", "cancelled", CANCEL),
        ("checks", "error", "declined"),
    ]


def test_a_retried_run_keeps_what_succeeded_and_nothing_else():
    shown = info(*FAILED, Retried(1006.0), status="pending")
    assert (shown.error, shown.errors, shown.finished_at) == (None, {}, None)
    assert shown.updated_at == instant(1006)
    assert [step.path for step in shown.steps] == ["first", "checks/a"]
    assert shown.current_step == "checks"
    again = [
        done("checks/c", VALUE, "c", at=1007.0),
        done("checks/b", VALUE, "b", at=1008.0),
        block(RESULTS, [[key, f"checks/{key}"] for key in "abc"]),
        Ended(STATUS_CODES["completed"], 1010.0),
    ]
    shown = info(*FAILED, Retried(1006.0), *again, status="completed")
    assert [step.path for step in shown.steps] == ["first", "checks/a", "checks/c", "checks/b", "checks"]
    assert shown.result[RESULTS_KEY] == {"a": Ok("kept"), "b": Ok("b"), "c": Ok("c")}
    assert shown.finished_at == instant(1010)


def test_a_run_that_failed_again_shows_the_later_errors():
    shown = info(
        failed("a", "one"),
        Ended(STATUS_CODES["failed"], 1005.0, "one", {"a": "one"}),
        Retried(1006.0),
        failed("a", "two", at=1007.0),
        Ended(STATUS_CODES["failed"], 1008.0, "two", {"a": "two"}),
        status="failed",
    )
    assert (shown.error, shown.errors) == ("two", {"a": "two"})
    assert [step.error for step in shown.steps] == ["two"]


def attempt(path, number, reason, **more):
    return Attempt(path, more.pop("visit", 1), number, 1001.0 + number, 0.25, reason, 1010.0 + number)


def test_a_step_between_two_attempts():
    shown = info(
        attempt("checks/a", 1, "busy"),
        attempt("checks/b", 1, "busy"),
        attempt("checks/a", 2, Failure("OSError", "gone")),
        done("checks/b", VALUE, 1, attempt=2, at=1002.5),
    )
    assert [step.path for step in shown.steps] == ["checks/b", "checks/a"], "what is under way comes last"
    assert shown.steps[1] == StepInfo(
        path="checks/a",
        status="retrying",
        attempt=2,
        started_at=instant(1003),
        duration=0.25,
        error=Failure("OSError", "gone"),
        due_at=instant(1012),
    )
    assert shown.current_step == "checks"
    assert shown.updated_at == instant(1003.25)


def test_a_cancelled_run():
    records = [
        done("first"),
        attempt("second", 1, "busy"),
        CancelRequested(1005.0, {"by": "ops"}),
        Ended(STATUS_CODES["cancelled"], 1006.0, {"by": "ops"}),
    ]
    shown = info(*records, status="cancelled")
    assert (shown.status, shown.error, shown.errors, shown.result) == ("cancelled", {"by": "ops"}, {}, None)
    assert shown.finished_at == instant(1006)
    # It was waiting for its next attempt, which never comes.
    assert [(step.path, step.status, step.due_at) for step in shown.steps] == [
        ("first", "ok", None),
        ("second", "cancelled", None),
    ]


def test_where_a_run_is():
    assert info(done("a", next="c")).current_step == "c"
    assert info(done("a")).current_step is None, "only the definition knows what comes next"
    assert info(done("a", next=FINISH)).current_step is None
    assert info(done("a"), done("block/seq/b")).current_step == "block"
    assert info(done("a"), attempt("b", 1, "busy")).current_step == "b"


def test_decoded_input_is_not_changed_by_the_fold():
    shown = info(done("a", DELTA, {"id": 8}, removed=["items"]))
    assert shown.context == {"id": 8}
    assert shown.input == {"id": 7, "items": [1]} == HEADER.input


# -- the journal -------------------------------------------------------------------------------------


def test_the_journal_holds_what_counts():
    later = attempt("b", 2, "busy")
    records = [done("a"), attempt("a", 1, "x", visit=2), done("a", visit=2), attempt("b", 1, "busy"), later]
    journal = Journal(records)
    assert journal.done == {("a", 1): records[0], ("a", 2): records[2]}
    assert journal.attempts == {("b", 1): later}
    assert journal.cancel is None
    assert journal.ended is None
    assert journal.updated == 1003.25
    assert Journal([]).updated == 0.0


def test_the_journal_after_a_retry():
    cancel, ended = CancelRequested(1005.0), FAILED[-1]
    journal = Journal([*FAILED[:-1], attempt("d", 1, "busy"), cancel, ended])
    assert (journal.cancel, journal.ended) == (cancel, ended)
    assert list(journal.done) == [
        ("first", 1),
        ("checks/a", 1),
        ("checks/b", 1),
        ("checks/c", 1),
        ("checks", 1),
    ]
    journal = Journal([*FAILED[:-1], attempt("d", 1, "busy"), cancel, ended, Retried(1006.0)])
    assert (journal.cancel, journal.ended, journal.attempts) == (None, None, {})
    assert list(journal.done) == [("first", 1), ("checks/a", 1)]
    assert journal.updated == 1006.0


def test_data_of_a_node_is_what_it_passed_on():
    nested = done("checks/n", RESULTS, [["v", "checks/n/v"]], kind=PARALLEL)
    journal = Journal([*BRANCHES, done("checks/n/v", VALUE, 17), nested])
    base: dict[str, Any] = {"b": 1}
    assert data_of(journal, BRANCHES[0], base) is base
    assert data_of(journal, BRANCHES[1], base) == {"b": 1, "x": 1}
    assert base == {"b": 1}
    assert data_of(journal, BRANCHES[2], base) == {"y": 2}
    assert data_of(journal, BRANCHES[3], base) == 17
    assert data_of(journal, BRANCHES[4], base) == "declined"
    outer = block(RESULTS, [["nested", "checks/n"], ["delta", "checks/delta"]])
    assert data_of(journal, outer, base) == {
        "b": 1,
        RESULTS_KEY: {"nested": Ok({"b": 1, RESULTS_KEY: {"v": Ok(17)}}), "delta": Ok({"b": 1, "x": 1})},
    }
    assert data_of(journal, nested, base)[RESULTS_KEY] == {"v": Ok(17)}


@pytest.mark.parametrize(
    "records",
    [
        [block(RESULTS, [["a", "checks/missing"]])],
        [block(RESULTS, [["a", "checks"]])],
        [done("other/a"), block(RESULTS, [["a", "other/a"]])],
        [done("checks/a", visit=2), block(RESULTS, [["a", "checks/a"]])],
        [block(RESULTS, 5)],
        [done("a", DELTA, 5)],
        [done("a", kind=99)],
        [done("a", status=99)],
        [done("a", at=1e300)],
        [done("a", at=float("nan"))],
        [Ended(STATUS_CODES["failed"], 1.0, None, 5)],
    ],
    ids=[
        "branch missing",
        "itself",
        "another's branch",
        "another visit's branch",
        "no results",
        "no changes",
        "kind",
        "status",
        "time",
        "nan",
        "errors",
    ],
)
def test_records_that_do_not_fit_together_are_corrupt(records):
    message = r"the records of (run 'run-1'|block 'checks') do not fit together.*restore the run"
    with pytest.raises(StoreCorrupt, match=message):
        info(*records)


def test_an_unknown_status_is_corrupt():
    with pytest.raises(StoreCorrupt, match="run-1"):
        run_info(HEADER, [], 99, with_steps=False)
