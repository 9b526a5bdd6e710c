"""Runs that are let go on, forked, paused, deleted: how the checker sees them, what it complains about."""

from __future__ import annotations

import pytest

from durable_trio._snapshot import records as stored
from durable_trio._snapshot.records import ERROR, OK, STEP

from .checker import check
from .drafts import Done, Draft
from .eras import counted_visit, eras, in_eras


def done(path, visit=1, status=OK):
    return stored.Done(path, visit, STEP, status, 1, 0.0, 0.0, stored.SAME, None)


FAILED = stored.Ended(7, 0.0, "why")


def test_a_retried_run_keeps_what_succeeded():
    waiting = stored.Waiting("b", 1, stored.EVENT, "go", 0.0, 9.0)
    first, second = eras(
        [done("a"), waiting, done("b", status=ERROR), FAILED, stored.Retried(1.0), done("b")]
    )
    assert [len(era.records) for era in (first, second)] == [4, 2]
    assert [(r.path, r.status) for r in second.records] == [("a", OK), ("b", OK)]
    assert (second.inherited, second.superseded) == (1, {})


def test_what_a_block_that_ended_well_has_dealt_with_still_counts():
    records = [done("x/p", status=ERROR), done("x"), done("y/p", status=ERROR), done("y", status=ERROR)]
    _, second = eras([*records, FAILED, stored.Retried(1.0)])
    assert [record.path for record in second.records] == ["x/p", "x"]


def test_visits_that_are_superseded_are_not_counted():
    records = [
        done("a"),
        done("b"),
        done("b", 2),
        done("c", status=ERROR),
        FAILED,
        stored.Rewound("b", 2, 1.0),
    ]
    _, second = eras([*records, done("b", 3)])
    assert [(record.path, record.visit) for record in second.records] == [("a", 1), ("b", 1), ("b", 3)]
    assert second.superseded == {"b": {2}, "c": {1}}
    assert counted_visit(second.superseded, "b/x", 3) == 2
    assert counted_visit(second.superseded, "c", 2) == 1


def test_a_fork_inherits_what_it_has_taken_over():
    (fork,) = eras([done("a"), stored.Forked("r", "b", 1, 1.0), stored.Paused(2.0), done("b")])
    assert (fork.inherited, len(fork.records), fork.paused, fork.fork.run) == (1, 2, True, "r")


def test_lines_belong_to_the_era_in_which_they_were_written():
    draft = Draft()
    draft.line(1, "era", "two")
    draft.line(1, "enter", "two", "r/p", "IN2")
    episode = draft.episode()
    assert in_eras(episode.lines, episode.dumps)[-1].run == "two~1"


# -- what it complains about -----------------------------------------------------------------------------


def broken(draft, change=lambda run: run):
    episode = draft.episode()
    dumps = [
        dump._replace(runs={name: change(run) for name, run in dump.runs.items()}) for dump in episode.dumps
    ]
    return {violation.invariant for violation in check(episode._replace(dumps=dumps)).violations}


def test_a_body_entered_in_an_era_that_is_not_on_the_disk():
    draft = Draft()
    draft.line(1, "era", "two")
    draft.line(1, "enter", "two", "r/p", "IN2")
    assert 5 in broken(draft)


@pytest.mark.parametrize("kind", ["retried", "forked", "deleted"])
def test_an_answer_that_is_not_on_the_disk(kind):
    draft = Draft()
    draft.line(1, kind, "one" if kind == "deleted" else "another", more="one")
    assert broken(draft) == {1}


def test_a_paused_run_that_enters_something():
    draft = Draft()
    draft.insert(lambda line: line.boot == 1 and line.path == "c", 1, "paused", "one")
    assert broken(draft) == {1}
    draft.insert(lambda line: line.boot == 1 and line.path == "c", 1, "resume", "one")
    assert broken(draft) == set()


def test_a_pause_that_a_crash_has_lost():
    draft = Draft()
    draft.insert(lambda line: line.boot == 1, 0, "paused", "two")
    draft.insert(lambda line: line.path.startswith("r/"), 1, "resume", "two")
    assert broken(draft) == {1}
    assert broken(draft, lambda run: run._replace(paused=run.id == "two")) == set()


def test_a_fork_that_has_taken_over_something_else():
    draft = Draft()

    def change(run, own="own a", point="b"):
        if run.id != "two":
            return run
        taken = Done("a", 1, "step", "ok", 1, own, "A")
        return run._replace(workflow="w", records=(taken,), inherited=1, fork="one", point=point)

    fine = broken(draft, change)
    assert broken(draft, lambda run: change(run, own="another")) - fine == {3}
    assert broken(draft, lambda run: change(run, point="c")) >= {4}
