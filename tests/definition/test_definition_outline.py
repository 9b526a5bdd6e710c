"""``explain_difference``: does what is recorded still mean the same?

The definitions are written as ``outline_texts.py`` says.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outline_texts import outline

from durable_trio._definition.plan import explain_difference

OLD = """
a
checks:
  stock
  pay=payment
  ship>
    pack
    send
b
c
"""


@pytest.mark.parametrize(
    ("new", "recorded"),
    [
        (OLD, ["a", "checks/stock", "checks", "b", "c"]),
        (OLD, []),
        ("z", []),
        ("a", ["a"]),
        ("a\nz\nc\nb", ["a"]),
        ("a\nchecks:\n  stock\n  pay=payment\n  new\nb", ["a", "checks/stock", "checks/pay"]),
        ("a\nchecks:\n  new\n  stock=stock", ["a", "checks/stock"]),
        ("a\nchecks:\n  ship>\n    pack\n    new\n    send\n", ["a", "checks/ship/pack"]),
        ("a\nchecks:\n  pay=payment\n  stock", ["a", "checks/pay", "checks/stock", "checks"]),
        ("c", ["c"]),
    ],
    ids=[
        "nothing changed",
        "nothing recorded",
        "nothing recorded and nothing left",
        "unrecorded steps removed",
        "the rest inserted, reordered and removed",
        "an unfinished block gains a branch",
        "an unfinished block is rearranged",
        "a sequence gains a step behind what is recorded",
        "a finished block's branches are reordered",
        "steps in front that a jump has passed over are removed",
    ],
)
def test_what_keeps_its_meaning(new, recorded):
    assert explain_difference(outline(OLD), outline(new), recorded) is None


@pytest.mark.parametrize(
    ("new", "recorded", "sentence"),
    [
        ("b", ["a"], "step 'a' is recorded, and the definition no longer has it"),
        ("a\nb", ["a", "checks/stock"], "block 'checks' is recorded, and the definition no longer has it"),
        (
            "a\nchecks:\n  stock",
            ["a", "checks/pay"],
            "step 'pay' is recorded, and the definition no longer has it",
        ),
        (
            "checks:\n  a\n  stock",
            ["a"],
            "step 'a' was at the top level, and is now inside block 'checks'",
        ),
        (
            "a\nstock\nchecks:\n  pay=payment",
            ["checks/stock"],
            "step 'stock' was inside block 'checks', and is now at the top level",
        ),
        (
            "a\nchecks:\n  pack\n  stock",
            ["checks/ship/pack"],
            "sequence 'ship' is recorded, and the definition no longer has it",
        ),
        (
            "a\nchecks:\n  pack\n  ship>\n    send",
            ["checks/ship/pack"],
            "step 'pack' was inside sequence 'ship', and is now inside block 'checks'",
        ),
        ("a:\n  b", ["a"], "'a' was a step, and is now a block"),
        ("a\nchecks", ["checks"], "'checks' was a block, and is now a step"),
        ("a\nchecks:\n  ship:\n    pack", ["checks/ship/pack"], "'ship' was a sequence, and is now a block"),
        (
            "a\nchecks:\n  pay",
            ["checks/pay"],
            "the result of step 'pay' was called 'payment', and is now called 'pay'",
        ),
        (
            "a\nchecks:\n  stock\n  ship>=shipping\n    pack\n    send",
            ["checks/ship/pack"],
            "the result of sequence 'ship' was called 'ship', and is now called 'shipping'",
        ),
        (
            "a\nchecks:\n  stock\n  pay=payment\n  fraud",
            ["checks/stock", "checks/pay", "checks"],
            (
                "block 'checks' is recorded as finished, and has gained step 'fraud', "
                "which its recorded results do not have"
            ),
        ),
        ("new\na\nb", ["a"], "step 'new' is new and comes before step 'a', which is recorded"),
        (
            "a\nnew\nchecks:\n  stock",
            ["a", "checks/stock"],
            "step 'new' is new and comes before block 'checks', which is recorded",
        ),
        (
            "a\nchecks:\n  ship>\n    new\n    pack\n    send",
            ["checks/ship/pack"],
            "step 'new' is new and comes before step 'pack', which is recorded",
        ),
        (
            "a\nchecks:\n  ship>\n    pack\n    send\n    new",
            ["checks/ship/pack", "checks/ship/send", "checks/ship"],
            "step 'new' is new inside sequence 'ship', which the run has passed",
        ),
        ("b\na", ["a"], "step 'b' came after step 'a', which is recorded, and now comes before it"),
        ("c\nb", ["c"], "step 'b' came before step 'c', which is recorded, and now comes after it"),
    ],
)
def test_what_does_not_and_the_sentence_that_says_so(new, recorded, sentence):
    assert explain_difference(outline(OLD), outline(new), recorded) == sentence


def test_a_step_that_was_added_while_the_run_was_under_way_counts_as_recorded():
    v1, v2, v3 = outline("a\nb"), outline("a\nx\nb"), outline("a\nb")
    assert explain_difference(v1, v2, ["a", "x", "b"]) is None
    assert explain_difference(v1, v3, ["a", "x"]) == "'x' is recorded, and the definition no longer has it"
    moved = outline("a\np:\n  x")
    assert explain_difference(v1, moved, ["a", "x"]) == "'x' was recorded as 'x', and is now inside block 'p'"


def test_a_branch_that_was_gained_before_the_block_was_finished_is_in_its_results():
    old, new = outline("p:\n  a"), outline("p:\n  a\n  b")
    assert explain_difference(old, new, ["p/a", "p/b", "p"]) is None
    grown = outline("p:\n  a\n  s>\n    b")
    assert explain_difference(old, grown, ["p/a", "p/s/b", "p/s", "p"]) is None


def test_what_the_engine_records_below_a_step_stands_for_the_step():
    assert explain_difference(outline(OLD), outline(OLD), ["a/__sleep/1"]) is None
    assert explain_difference(outline(OLD), outline("b"), ["a/__sleep/1"]).startswith("step 'a' is recorded")


def test_a_recorded_jump_must_still_lead_somewhere():
    old = outline("a\nb\nc")
    assert explain_difference(old, outline("a\nc"), ["a"], ["c"]) is None
    gone = "a recorded jump leads to 'c', which the definition no longer has at the top level"
    assert explain_difference(old, outline("a\nb"), ["a"], ["c"]) == gone
    assert explain_difference(old, outline("a\nb\np:\n  c"), ["a"], ["c"]) == gone


def test_of_several_differences_the_same_one_is_named_each_time_the_outermost_first():
    paths = ["checks/ship/pack", "checks/ship", "checks", "a"]
    for order in itertools.permutations(paths):
        assert explain_difference(outline(OLD), outline("a"), order).startswith("block 'checks' is recorded")


def test_paths_may_come_from_a_generator():
    assert explain_difference(outline("a\nb"), outline("b"), iter(["a"])) is not None


steps = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@given(steps, steps, st.data())
def test_of_plain_steps_nothing_may_change_up_to_the_last_recorded_one(old, new, data):
    recorded = old[: data.draw(st.integers(0, len(old)))]
    last = max((new.index(name) for name in recorded if name in new), default=-1)
    fits = new[: last + 1] == recorded
    difference = explain_difference(outline("\n".join(old)), outline("\n".join(new)), recorded)
    assert (difference is None) == fits


@given(st.permutations("abcd"), st.permutations("abcd"), st.sets(st.sampled_from("abcd")))
def test_the_order_of_branches_never_matters(old, new, recorded):
    before, after = (outline("p:\n" + "\n".join(f"  {name}" for name in names)) for names in (old, new))
    paths = [f"p/{name}" for name in recorded]
    for finished in ([], ["p"]):
        assert explain_difference(before, after, itertools.chain(paths, finished)) is None
