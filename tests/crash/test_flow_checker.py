"""As ``test_checker``, for waits, messages, children and compensations: breaks of ``flow_drafts.py``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .checker import check
from .flow_drafts import LABEL, FlowDraft
from .model import Answered, Cancel, Child, Compensated, Ended, Failing, Letter, Waiting

Break = Callable[[FlowDraft], None]
BREAKS: list[tuple[int, Break]] = []


def breaks(invariant: int) -> Callable[[Break], Break]:
    def register(function: Break) -> Break:
        BREAKS.append((invariant, function))
        return function

    return register


def test_nothing_is_wrong_with_the_draft():
    findings = check(FlowDraft().episode())
    assert [str(violation) for violation in findings.violations if violation.invariant != 21] == []
    assert set(findings.looked) >= {4, *range(13, 19)}


def test_each_invariant_has_a_break():
    assert {invariant for invariant, _ in BREAKS} == {4, *range(13, 19)}


@breaks(4)
def a_branch_is_asked_again(draft):
    draft.line(1, "asked", "saga", "fork", "y")


@breaks(4)
def a_clause_runs_that_was_not_chosen(draft):
    draft.insert(lambda line: line.kind == "got", 0, "enter", "saga", "fork/right", "IN")


@breaks(13)
def a_due_time_is_set_anew(draft):
    draft.add(Waiting("mail", 1, "event", "mail", 130.0), Failing)


@breaks(13)
def a_sleep_is_recorded_as_over_before_it_is_due(draft):
    draft.edit("nap", at=59.0, run="saga")


@breaks(13)
def what_follows_a_sleep_begins_before_it_is_due(draft):
    for records in draft.records:
        records["saga"][0] = Waiting("nap", 1, "sleep", None, 160.0)


@breaks(13)
def a_run_begins_before_its_time(draft):
    draft.at = 110.0


@breaks(13)
def a_timeout_is_early(draft):
    draft.edit("mail", (1,), own="DEFAULT", run="saga")


@breaks(13)
def a_timer_is_later_than_it_should_be(draft):
    draft.timers = (120_010,)


@breaks(14)
def an_event_is_lost(draft):
    draft.letters[1].pop()


@breaks(14)
def an_event_is_consumed_and_still_there(draft):
    draft.letters[1].insert(0, Letter(2, "event", "mail", "M1"))


@breaks(14)
def an_event_is_consumed_twice(draft):
    draft.add(Waiting(f"end/{LABEL}", 1, "event", "news", None), Failing)
    draft.add(Answered(f"end/{LABEL}", 1, 110.0, False, "N1"), Failing)


@breaks(14)
def events_are_consumed_in_another_order(draft):
    draft.edit("mail", (1,), own="M2", run="saga")
    draft.letters[1][0] = Letter(2, "event", "mail", "M1")


@breaks(14)
def an_event_was_sent_by_nobody(draft):
    draft.letters[1].append(Letter(9, "event", "mail", "M9"))


@breaks(14)
def a_refused_event_is_kept(draft):
    draft.change("ack-send", "", kind="refused", value="M3", more=["event", "mail", 3])


@breaks(15)
def a_wait_is_answered_twice(draft):
    draft.add(Answered(f"fork/left/{LABEL}", 1, 110.0, False, "N1"), Failing)


@breaks(15)
def a_body_gets_another_answer_than_is_recorded(draft):
    draft.change("got", "fork/left", 0, value="N2")


@breaks(15)
def a_wait_with_a_default_fails(draft):
    draft.edit("mail", (1,), status="timed_out", own="failure event 'mail' did not come", run="saga")


@breaks(16)
def a_run_is_created_twice(draft):
    draft.change("ack-start", "", value=True)


@breaks(16)
def an_idempotency_key_changes(draft):
    draft.line(1, "key", "saga", "fork/left", "ANOTHER")


@breaks(16)
def two_steps_have_one_idempotency_key(draft):
    draft.line(1, "key", "saga", "pay", "KEY")


@breaks(17)
def a_child_is_started_twice(draft):
    draft.add(Child("fork/left", 1, "ref", "kid two"), Failing)


@breaks(17)
def a_step_is_told_of_two_children(draft):
    draft.line(1, "child", "saga", "fork/left", "kid two", more="ref")


@breaks(17)
def a_child_is_not_known_to_its_parent(draft):
    for records in draft.records:
        records["saga"] = [record for record in records["saga"] if not isinstance(record, Child)]


@breaks(17)
def a_child_has_ended_otherwise_than_was_told(draft):
    draft.records[1]["kid"][-1] = Ended("failed", "K")
    draft.status[1]["kid"] = "failed"


@breaks(17)
def a_child_that_was_called_outlives_its_step(draft):
    for boot in (0, 1):
        draft.records[boot]["kid"].pop()
        draft.status[boot]["kid"] = "running"


@breaks(17)
def a_child_of_a_cancelled_run_goes_on(draft):
    draft.insert(lambda line: line.run == "kid", 0, "ack-cancel", "saga", value=True)


@breaks(18)
def a_step_is_undone_twice(draft):
    draft.add(Compensated("pay", 1, "un_pay", "ok", 1))


@breaks(18)
def steps_are_undone_in_the_wrong_order(draft):
    draft.swap(Compensated)


@breaks(18)
def a_step_is_not_undone(draft):
    records = draft.records[1]["saga"]
    records.remove(Compensated("fork/left", 1, "un_left", "ok", 1))


@breaks(18)
def a_failed_step_is_undone(draft):
    draft.line(1, "undo-enter", "saga", "end/!un_pay", None)


@breaks(18)
def a_step_is_undone_before_the_failure_is_recorded(draft):
    draft.records[1]["saga"] = [
        record for record in draft.records[1]["saga"] if not isinstance(record, Failing)
    ]


@breaks(18)
def a_step_is_undone_before_the_one_behind_it_is_recorded(draft):
    records = draft.records[1]["saga"]
    del records[records.index(Compensated("pay", 1, "un_pay", "ok", 1)) :]


@breaks(18)
def a_step_begins_while_its_run_is_being_undone(draft):
    draft.line(1, "enter", "saga", "end", "PAID", attempt=2)


@breaks(18)
def a_handler_is_entered_again(draft):
    draft.insert(
        lambda line: line.path == "fork/left/!un_left", 1, "undo-enter", "saga", "pay/!un_pay", more="PAID"
    )


@breaks(18)
def a_handler_is_given_another_result(draft):
    draft.change("undo-enter", "pay/!un_pay", more="ANOTHER")


@breaks(18)
def an_end_does_not_tell_of_a_failed_compensation(draft):
    records = draft.records[1]["saga"]
    place = records.index(Compensated("pay", 1, "un_pay", "ok", 1))
    records[place] = records[place]._replace(status="error")


@breaks(18)
def a_cancelled_run_is_not_undone_as_was_told(draft):
    draft.line(1, "ack-cancel", "saga", value=True, more=True)
    records = draft.records[1]["saga"]
    records[:] = [record for record in records if not isinstance(record, Failing | Compensated)]
    records[-1:] = [Cancel(undo=False), Ended("cancelled")]
    draft.status[1]["saga"] = "cancelled"


@pytest.mark.parametrize(
    ("invariant", "change"), BREAKS, ids=lambda part: getattr(part, "__name__", str(part))
)
def test_the_checker_complains(invariant, change):
    draft = FlowDraft()
    change(draft)
    assert invariant in draft.broken()


def test_the_answer_of_a_child_that_was_called_for_a_limited_time_is_no_message():
    draft = FlowDraft()
    draft.add(Waiting("pay/__child:ref", 1, "child", "kid", 160.0), Failing)
    draft.add(Answered("pay/__child:ref", 1, 110.0, False, "RESULT", "completed"), Failing)
    assert 14 not in draft.broken()
