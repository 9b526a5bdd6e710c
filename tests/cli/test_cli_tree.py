"""The tree of steps that ``run`` and ``show`` print."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_trio import Failure, StepInfo
from durable_trio.cli.text import reason_text, safe, shorten_middle
from durable_trio.cli.tree import render, rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def step(path, seconds, status="ok", **fields):
    begun = None if seconds is None else NOON + timedelta(seconds=seconds)
    return StepInfo(path=path, status=status, started_at=begun, **({"attempt": 1, "duration": 0.5} | fields))


def drawn(steps, **options):
    return [line.plain.rstrip() for line in render(rows(steps, **options), utf8=options.get("utf8", True))]


def test_branches_stand_below_their_block_in_the_order_of_starting():
    steps = [  # in the order of ending, as RunInfo has them
        step("first", 0),
        step("block/slow/inner", 2.1),
        step("block/quick", 3),
        step("block/slow", 2),
        step("block", 1),
        step("last", 9),
    ]
    assert drawn(steps) == [
        "  ✓ first        0.50 s",
        "  ✓ block        0.50 s",
        "  ├─ ✓ slow      0.50 s",
        "  │  └─ ✓ inner  0.50 s",
        "  └─ ✓ quick     0.50 s",
        "  ✓ last         0.50 s",
    ]


def test_a_terminal_that_is_not_utf8_gets_ascii():
    lines = drawn([step("b/x", 1), step("b/y", 2), step("b", 0)], utf8=False)
    assert lines == ["  + b     0.50 s", "  |- + x  0.50 s", "  `- + y  0.50 s"]


def test_a_block_without_a_record_is_shown_as_under_way_or_unfinished():
    under_way = rows([step("b/x", 1), step("b/y", 1, "running")])
    assert (under_way[0].name, under_way[0].status, under_way[0].note) == ("b", "running", "under way")
    left = rows([step("b/x", 1)])
    assert (left[0].name, left[0].status, left[0].note) == ("b", "unfinished", "not finished")


def test_what_ended_badly_says_why():
    notes = {
        row.name: row.note
        for row in rows(
            [
                step("a", 1, "error", attempt=3, error=Failure("ValueError", "no\nway")),
                step("b", 2, "timed_out", error=Failure("TimeoutError", "too long")),
                step("c", 3, "cancelled", error=Failure("Cancelled", "branch failed")),
                step("d", None, "never_started", attempt=0, duration=None, error=Failure("Cancelled", "x")),
                step("e", 5, "error", error={"code": 402}),
            ]
        )
    }
    assert notes == {
        "a": "attempt 3, failed: ValueError: no",
        "b": "timed out: TimeoutError: too long",
        "c": "cancelled: Cancelled: branch failed",
        "d": "never started: Cancelled: x",
        "e": 'failed: {"code": 402}',
    }


def test_a_retry_says_when_it_is_due():
    soon = datetime.now(UTC) + timedelta(hours=2, minutes=1)
    [row] = rows([step("a", 1, "retrying", attempt=2, error="busy", due_at=soon)])
    assert row.note == "attempt 2 failed: busy; next in 2 h 0 min"
    [row] = rows([step("a", 1, "retrying", due_at=NOON - timedelta(days=9))])
    assert row.note == "attempt 1 failed; the next is due"


def test_a_wait_says_until_when():
    until = datetime(2026, 1, 1, 12, 30).astimezone()
    [row] = rows([step("a", 1, "waiting", due_at=until)])
    assert row.note == "waiting, until 2026-01-01 12:30:00"


def test_what_was_recorded_before_is_marked():
    before, after = rows([step("a", 1), step("b", 5)], since=NOON + timedelta(seconds=3))
    assert before.note == "recorded before, not run again"
    assert after.note == ""


def test_each_visit_is_a_line_of_its_own_with_its_branches():
    steps = [
        step("b/x", 1.5),
        step("b", 1),
        step("b/x", 2.5, visit=2),
        step("b", 2, visit=2),
    ]
    assert [(row.lines, row.name) for row in rows(steps)] == [
        ("", "b"),
        ("└─ ", "x"),
        ("", "b (visit 2)"),
        ("└─ ", "x"),
    ]


def test_names_and_reasons_cannot_reach_the_terminal_raw_or_fill_it():
    [row] = rows([step("\x1b[2J" + "n" * 500, 1, "error", error="\x1b]0;owned\x07" + "r" * 9000)])
    assert row.name.isprintable()
    assert row.note.isprintable()
    assert len(row.name) <= 60
    assert len(row.note) < 150


def test_text_helpers():
    assert safe("a\nb\x1b\u202e✓é") == "a\\nb\\x1b\\u202e✓é"
    assert shorten_middle("abcdefghij", 5) == "ab…ij"
    assert shorten_middle("abc", 3) == "abc"
    assert reason_text({"a": {1, 2}}) == '{"a": [1, 2]}'
    assert reason_text("\nfirst\nsecond") == "first"
