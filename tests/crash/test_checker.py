"""The checker complains about each thing that it must complain about, and about nothing else.

Waits, messages, children and compensations are in ``test_flow_checker``.

Each test breaks the good episode of ``drafts.py`` in one place, by the number of the invariant.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .checker import INVARIANTS, check
from .drafts import Attempt, Boot, Cancel, Done, Draft, Dump, Ended, Index

Break = Callable[[Draft], None]
BREAKS: list[tuple[int, Break]] = []


def breaks(invariant: int) -> Callable[[Break], Break]:
    def register(function: Break) -> Break:
        BREAKS.append((invariant, function))
        return function

    return register


def test_nothing_is_wrong_with_the_draft():
    findings = check(Draft().episode())
    assert [str(violation) for violation in findings.violations] == []
    looked = set(findings.looked)
    assert looked >= {1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 19, 20, 21, 23, 24}


def test_each_invariant_has_a_break():
    assert {invariant for invariant, _ in BREAKS} == set(INVARIANTS) - set(range(13, 19))


@breaks(1)
def an_acknowledged_start_is_gone(draft):
    del draft.records[0]["two"], draft.status[0]["two"]


@breaks(1)
def a_run_vanishes(draft):
    del draft.records[1]["two"], draft.status[1]["two"]


@breaks(1)
def the_input_is_another(draft):
    draft.input["one"] = "something else"


@breaks(1)
def the_result_is_another_than_was_told(draft):
    draft.change("ack-result", "", more="D")


@breaks(1)
def an_end_was_told_that_is_not_recorded(draft):
    draft.insert(lambda line: line.boot == 1, 0, "ack-result", "one", value="completed", more="C")


@breaks(1)
def a_cancellation_was_told_that_is_not_recorded(draft):
    draft.insert(lambda line: line.boot == 1, 0, "ack-cancel", "two", value=True)


@breaks(1)
def it_was_said_to_have_ended_and_had_not(draft):
    draft.insert(lambda line: line.boot == 1, 0, "ack-cancel", "two", value=False)


@breaks(2)
def a_recorded_value_was_never_returned(draft):
    draft.edit("c", (1,), own="made up")


@breaks(2)
def a_recorded_value_is_of_another_attempt(draft):
    draft.edit("b/y", (1,), attempt=1)


@breaks(2)
def a_recorded_decision_was_never_made(draft):
    draft.edit("b", (1,), own="made up")


@breaks(2)
def a_step_was_given_another_context(draft):
    draft.change("enter", "c", value="A")


@breaks(2)
def a_branch_was_given_another_context(draft):
    draft.change("enter", "b/y", value="X")


@breaks(2)
def a_completed_run_lacks_its_last_step(draft):
    draft.lose("c", (1,))


@breaks(2)
def a_recorded_block_lacks_a_branch(draft):
    draft.lose("b/x")


@breaks(2)
def a_result_is_not_what_the_last_step_left(draft):
    draft.result["one"] = "B"


@breaks(3)
def a_recorded_row_changes(draft):
    draft.edit("b/x", (1,), whole="X again")


@breaks(3)
def a_record_is_lost(draft):
    draft.lose("b/x", (1,))


@breaks(3)
def a_path_has_two_results(draft):
    draft.records[1]["one"].insert(-1, Done("c", 1, "step", "ok", 1, "own c", "C"))


@breaks(4)
def a_recorded_step_is_entered_again(draft):
    draft.insert(lambda line: line.boot == 1 and line.path == "b/y", 1, "enter", "one", "a", "IN")


@breaks(4)
def a_step_of_an_ended_run_is_entered(draft):
    draft.records[0]["two"] = draft.records[1]["two"]
    draft.status[0]["two"] = "failed"


@breaks(5)
def a_step_is_entered_before_its_predecessor_is_recorded(draft):
    draft.lose("a")


@breaks(5)
def a_step_is_entered_out_of_order(draft):
    draft.line(1, "enter", "two", "r/p", "IN2", visit=2)


@breaks(5)
def a_body_is_entered_before_its_start_is_recorded(draft):
    draft.records[0] = {}


@breaks(5)
def the_next_of_a_sequence_is_entered_before_the_last_is_recorded(draft):
    draft.insert(lambda line: line.kind == "err", 1, "return", "two", "r/s/1", "own s")
    draft.insert(lambda line: line.kind == "err", 1, "enter", "two", "r/s/2")


@breaks(6)
def a_body_runs_again_without_a_crash(draft):
    draft.boots[0] = Boot(0, "exit")
    draft.insert(lambda line: line.boot == 1, 0, "return", "one", "b/y", "own y of old")


@breaks(6)
def a_body_runs_again_in_one_life(draft):
    for kind in ("enter", "return"):
        draft.insert(
            lambda line: line.kind == "ack-result", 1, kind, "one", "c", "B" if kind == "enter" else "own c"
        )


@breaks(7)
def an_attempt_is_forgotten(draft):
    draft.records[0]["one"].append(Attempt("b/y", 1, 1, 90.0))


@breaks(7)
def an_attempt_comes_too_early(draft):
    for records in draft.records:
        records["one"][2:3] = [Attempt("b/y", 1, 1, 500.0)]
    draft.lines = [
        line for line in draft.lines if not (line.boot == 1 and line.path == "b/y" and line.attempt == 1)
    ]


@breaks(7)
def an_attempt_comes_too_early_in_one_life(draft):
    draft.records[1]["one"][2] = Attempt("b/y", 1, 1, 500.0)


@breaks(7)
def an_attempt_comes_before_the_failed_one_is_recorded(draft):
    draft.records[1]["one"] = [
        record for record in draft.records[1]["one"] if not isinstance(record, Attempt)
    ]


@breaks(7)
def the_first_attempt_is_the_second(draft):
    draft.change("enter", "c", attempt=2)
    draft.change("return", "c", attempt=2)


@breaks(8)
def two_executions_overlap(draft):
    draft.insert(
        lambda line: line.boot == 1 and line.kind == "raise", 1, "enter", "one", "b/y", "A", attempt=2
    )


@breaks(8)
def a_dead_process_writes(draft):
    draft.line(0, "enter", "one", "b/y", "A")


@breaks(9)
def a_recorded_branch_runs_again(draft):
    for kind in ("enter", "return"):
        draft.insert(
            lambda line: line.kind == "into-enter", 1, kind, "one", "b/x", "A" if kind == "enter" else "own x"
        )


@breaks(10)
def a_step_starts_after_the_failure(draft):
    draft.insert(lambda line: line.kind == "cancelled", 1, "enter", "two", "r/s/2")


@breaks(10)
def a_step_starts_although_the_failure_is_recorded(draft):
    draft.records[0]["two"] = draft.records[1]["two"][:1]
    draft.drop(("enter", "r/p"), ("err", "r/p"))


@breaks(10)
def a_branch_is_running_when_its_run_ends(draft):
    draft.drop(("cancelled", "r/s/1"))


@breaks(10)
def a_branch_is_running_when_into_is_called(draft):
    draft.change("return", "b/y", kind="later")
    draft.insert(lambda line: line.kind == "into-return", 1, "return", "one", "b/y", "own y", attempt=2)


@breaks(10)
def a_result_is_lost_to_the_cancellation(draft):
    draft.change("cancelled", "r/s/1", kind="return", value="own s")


@breaks(10)
def a_block_is_recorded_before_its_branch(draft):
    records = draft.records[1]["two"]
    records.insert(0, records.pop(3))


@breaks(10)
def more_branches_run_than_the_limit_allows(draft):
    draft.insert(lambda line: line.kind == "return" and line.path == "b/x", 0, "enter", "one", "b/y", "A")
    draft.limit = 1


@breaks(11)
def into_sees_the_wrong_order(draft):
    draft.change("into-enter", "b", more=[("y", "ok", "Y"), ("x", "ok", "X")])


@breaks(11)
def into_sees_too_few(draft):
    draft.change("into-enter", "b", more=[("x", "ok", "X")])


@breaks(11)
def a_branch_has_no_entry(draft):
    draft.lose("b/y", (1,))


@breaks(12)
def into_sees_another_value(draft):
    draft.change("into-enter", "b", more=[("x", "ok", "X of old"), ("y", "ok", "Y")])


@breaks(12)
def into_sees_another_outcome(draft):
    draft.change("into-enter", "b", more=[("x", "error", "X"), ("y", "ok", "Y")])


@breaks(12)
def into_sees_what_is_not_recorded(draft):
    draft.insert(
        lambda line: line.boot == 1,
        0,
        "into-enter",
        "one",
        "b",
        "A",
        more=[("x", "ok", "X"), ("y", "ok", "Y")],
    )


@breaks(19)
def a_run_has_two_ends(draft):
    draft.records[1]["one"].append(Ended("failed"))


@breaks(19)
def an_ended_run_goes_on(draft):
    draft.records[0]["two"] = [Ended("failed", "why")]
    draft.status[0]["two"] = "failed"


@breaks(19)
def an_ended_run_ends_otherwise(draft):
    draft.records[0]["two"] = [*draft.records[1]["two"][:-1], Ended("completed")]
    draft.status[0]["two"] = "completed"


@breaks(19)
def a_cancelled_run_completes(draft):
    draft.insert(lambda line: line.kind == "into-enter", 1, "ack-cancel", "one", value=True)
    draft.records[1]["one"].insert(-1, Cancel())


@breaks(20)
def a_run_does_not_end(draft):
    draft.records[1]["two"].pop()
    draft.status[1]["two"] = "running"


@breaks(20)
def a_run_ends_otherwise_than_it_must(draft):
    draft.records[1]["two"][-1] = Ended("cancelled", "why")
    draft.status[1]["two"] = "cancelled"


@breaks(20)
def the_last_boot_hangs(draft):
    draft.boots[1] = Boot(1, "hung", 9)


@breaks(21)
def a_status_contradicts_the_records(draft):
    draft.status[1]["two"] = "running"


@breaks(21)
def a_run_has_two_statuses(draft):
    index = draft.dump(1).index
    draft.index[1] = index._replace(entries=(*index.entries, ("key one", 1, "running")))


@breaks(21)
def an_id_leads_nowhere(draft):
    index = draft.dump(1).index
    draft.index[1] = index._replace(aliases={"one": "key one", "two": "key three"})


@breaks(21)
def a_status_has_no_run(draft):
    index = draft.dump(1).index
    draft.index[1] = index._replace(entries=(*index.entries, ("key three", 1, "completed")))


@breaks(21)
def the_counts_are_off(draft):
    index = draft.dump(1).index
    draft.index[1] = index._replace(counts={(1, "completed"): 2})


@breaks(22)
def a_run_goes_on_under_a_changed_definition(draft):
    draft.boots[1] = Boot(1, "exit", changed=True)


@breaks(23)
def a_damaged_run_goes_on(draft):
    draft.damaged["two"] = 1
    draft.line(1, "ack-refused", "two", value="RunBlocked")


@breaks(23)
def nobody_is_told_of_the_damage(draft):
    draft.damaged["two"] = 1
    draft.lines = [line for line in draft.lines if line.run != "two" or line.boot == 0]


@breaks(23)
def a_record_is_damaged_by_nobody(draft):
    draft.unreadable["two"] = "StoreCorrupt"


@breaks(24)
def a_step_starts_after_sigterm(draft):
    draft.boots[1] = Boot(1, "exit", terminated=True)
    draft.insert(lambda line: line.kind == "into-enter", 1, "sigterm")


@breaks(24)
def the_process_does_not_exit(draft):
    draft.boots[0] = Boot(0, "hung", 9, terminated=True)


@breaks(24)
def a_result_is_lost_at_exit(draft):
    draft.boots[0] = Boot(0, "exit", terminated=True)
    draft.insert(lambda line: line.boot == 1, 0, "return", "one", "b/y", "own y of old")


@breaks(25)
def a_failed_commit_is_acknowledged(draft):
    draft.faults[1] = draft.dump(0)
    draft.insert(lambda line: line.kind == "ack-result", 1, "fault", value="M:9:e:5")


@breaks(25)
def a_run_starts_out_of_a_failed_commit(draft):
    draft.faults[0] = Dump(index=Index())
    draft.insert(lambda line: line.kind == "enter", 0, "fault", value="M:1:d:5")


@pytest.mark.parametrize(
    ("invariant", "change"), BREAKS, ids=lambda part: getattr(part, "__name__", str(part))
)
def test_the_checker_complains(invariant, change):
    draft = Draft()
    change(draft)
    assert invariant in draft.broken()
