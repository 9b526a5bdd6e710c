"""``explain_difference`` of branches, maps and waits.

The definitions are written as ``outline_texts.py`` says.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from outline_texts import outline

from durable_trio._definition.plan import explain_difference

OLD = """
a
kind?
  invoice ->
    pay
    book
  receipt|bill ->
    file
  * ->
    drop
after
"""
CHOSEN = [("kind", "invoice")]


def edited(*changes):
    text = OLD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def difference(new, recorded, choices=(), old=OLD):
    return explain_difference(outline(old), outline(new), recorded, (), choices)


@pytest.mark.parametrize(
    ("new", "recorded", "choices"),
    [
        (OLD, ["a", "kind/pay", "kind/book", "kind", "after"], CHOSEN),
        (OLD, ["a"], CHOSEN),
        (edited(("  * ->\n", "  letter ->\n    new\n  * ->\n")), ["a", "kind/pay"], CHOSEN),
        (edited(("  * ->\n    drop\n", "")), ["a", "kind/pay", "kind", "after"], CHOSEN),
        (edited(("receipt|bill", "receipt"), ("file", "other")), ["a", "kind/pay", "kind", "after"], CHOSEN),
        (edited(("receipt|bill", "bill|receipt")), ["a", "kind/file"], [("kind", "bill|receipt")]),
        (
            edited(("    drop\n", "    drop\n    new\n")),
            ["a", "kind/pay", "kind/book", "kind", "after"],
            CHOSEN,
        ),
        (edited(("    book\n", "    book\n    new\n")), ["a", "kind/pay", "kind/book"], CHOSEN),
        (edited(("    book\n", "    new\n")), ["a", "kind/pay"], CHOSEN),
        (edited(("kind?", "new\nother?")), ["a"], []),
        ("a\nkind?\n  * ->\n    drop\n  invoice ->\n    pay", ["a", "kind/pay"], CHOSEN),
    ],
    ids=[
        "nothing changed",
        "a choice alone is recorded",
        "a case more",
        "a default less",
        "changes in a case that was not chosen",
        "values in another order",
        "another case gains a step",
        "the chosen case gains a step behind what is recorded",
        "the chosen case changes behind what is recorded",
        "nothing of the branch is recorded",
        "cases in another order",
    ],
)
def test_branches_that_keep_their_meaning(new, recorded, choices):
    assert difference(new, recorded, choices) is None


@pytest.mark.parametrize(
    ("new", "recorded", "choices", "sentence"),
    [
        (
            edited(("invoice", "bill_")),
            ["a"],
            CHOSEN,
            "branch 'kind' chose its case 'invoice', and no longer has it",
        ),
        (
            edited(("invoice", "invoice|letter")),
            ["a", "kind/pay"],
            CHOSEN,
            "branch 'kind' chose its case 'invoice', and no longer has it",
        ),
        (
            edited(("  * ->\n    drop\n", "")),
            ["a"],
            [("kind", "invoice"), ("kind", "default")],
            "branch 'kind' chose its default, and no longer has it",
        ),
        (
            edited(("    pay\n", ""), ("    file\n", "    file\n    pay\n")),
            ["a", "kind/pay"],
            CHOSEN,
            (
                "step 'pay' was inside case 'invoice' of branch 'kind', "
                "and is now inside case 'bill|receipt' of branch 'kind'"
            ),
        ),
        (
            edited(("    drop\n", "    drop\n    pay\n"), ("    pay\n    book", "    book")),
            ["kind/pay"],
            [],
            (
                "step 'pay' was inside case 'invoice' of branch 'kind', "
                "and is now inside the default of branch 'kind'"
            ),
        ),
        (
            edited(("    pay\n", ""), ("after", "pay\nafter")),
            ["a", "kind/pay"],
            CHOSEN,
            "step 'pay' was inside case 'invoice' of branch 'kind', and is now at the top level",
        ),
        (
            edited(("    pay\n", "    new\n    pay\n")),
            ["a", "kind/pay"],
            CHOSEN,
            "step 'new' is new and comes before step 'pay', which is recorded",
        ),
        (
            edited(("    pay\n    book\n", "    book\n    pay\n")),
            ["a", "kind/pay"],
            CHOSEN,
            "step 'book' came after step 'pay', which is recorded, and now comes before it",
        ),
        (
            edited(("    book\n", "    book\n    new\n")),
            ["a", "kind/pay", "kind/book", "kind"],
            CHOSEN,
            "step 'new' is new inside case 'invoice' of branch 'kind', which the run has passed",
        ),
        (
            edited(("    book\n", "    book\n    new\n")),
            ["a", "kind/pay", "kind/book", "after"],
            [],
            "step 'new' is new inside case 'invoice' of branch 'kind', which the run has passed",
        ),
        (
            edited(("    drop\n", "    drop\n    new\n")),
            ["a", "kind/pay", "kind/drop", "after"],
            CHOSEN,
            "step 'new' is new inside the default of branch 'kind', which the run has passed",
        ),
        (
            edited(("kind?", "new\nkind?")),
            ["a", "kind/pay"],
            CHOSEN,
            "step 'new' is new and comes before branch 'kind', which is recorded",
        ),
        (
            edited(("kind?", "new\nkind?")),
            ["a"],
            CHOSEN,
            "step 'new' is new and comes before branch 'kind', which is recorded",
        ),
        ("a\nafter", ["a"], CHOSEN, "branch 'kind' is recorded, and the definition no longer has it"),
        ("a\nkind:\n  pay", ["a", "kind/pay"], CHOSEN, "'kind' was a branch, and is now a block"),
    ],
)
def test_branches_that_do_not_and_the_sentence_that_says_so(new, recorded, choices, sentence):
    assert difference(new, recorded, choices) == sentence


def test_a_branch_in_a_finished_block_is_passed():
    old = "p:\n  s>\n    kind?\n      x ->\n        b"
    new = f"{old}\n        new"
    assert difference(new, ["p/s/kind/b"], old=old) is None
    sentence = "step 'new' is new inside case 'x' of branch 'kind', which the run has passed"
    assert difference(new, ["p/s/kind/b", "p/s"], old=old) == sentence
    assert difference(new, ["p/s/kind/b", "p"], old=old) == sentence


def test_beside_a_branch_that_goes_on_other_branches_may_have_ended():
    old = "p:\n  a\n  z\n  kind?\n    x ->\n      b"
    assert difference(f"{old}\n      new", ["p/kind/b", "p/a", "p/z"], old=old) is None


def test_a_choice_may_be_recorded_below_the_branch():
    assert difference(edited(("invoice", "other")), ["a"], [("kind/__on", "invoice")]).startswith(
        "branch 'kind' chose"
    )


class TestMaps:
    OLD = "a\nembed[]=vectors\nafter"

    @pytest.mark.parametrize("recorded", [["embed/0", "embed/17"], ["embed/3/__sleep/1"], ["embed"]])
    def test_items_stand_for_the_map(self, recorded):
        def of(new):
            return difference(new, recorded, old=self.OLD)

        assert of(self.OLD) is None
        assert of("a\nembed[]=vectors\nnew") is None
        assert of("a\nafter") == "map 'embed' is recorded, and the definition no longer has it"
        assert of("a\nembed") == "'embed' was a map, and is now a step"
        assert of("a\nembed[]") == "the result of map 'embed' was called 'vectors', and is now called 'embed'"
        assert (
            of("a\nnew\nembed[]=vectors")
            == "step 'new' is new and comes before map 'embed', which is recorded"
        )
        assert (
            of("a\np:\n  embed[]=vectors") == "map 'embed' was at the top level, and is now inside block 'p'"
        )

    def test_also_in_a_block_and_when_the_map_was_added_meanwhile(self):
        old, new = "p:\n  c", "p:\n  c\n  embed[]"
        assert difference(new, ["p/embed/0"], old=old) is None
        assert difference(old, ["p/embed/0"], old=new).startswith("map 'embed' is recorded")

    def test_a_step_that_is_now_a_map(self):
        assert difference("a[]", ["a"], old="a") == "'a' was a step, and is now a map"


class TestWaits:
    @pytest.mark.parametrize(
        ("old", "new", "sentence"),
        [
            ("w <- paid", "w <- paid", None),
            (
                "w <- paid",
                "w <- settled",
                "event wait 'w' was for the event 'paid', and is now for 'settled'",
            ),
            ("w <- ok?", "w <- sure?", "input wait 'w' was for the input 'ok', and is now for 'sure'"),
            ("w <- paid", "w <- paid?", "'w' was an event wait, and is now an input wait"),
            ("w zzz", "w <- paid", "'w' was a sleep, and is now an event wait"),
            ("w zzz", "w zzz", None),
            ("w zzz", "a\nw zzz", "step 'a' is new and comes before sleep 'w', which is recorded"),
            ("w <- ok?", "a", "input wait 'w' is recorded, and the definition no longer has it"),
        ],
    )
    def test_what_a_recorded_wait_waits_for(self, old, new, sentence):
        assert difference(new, ["w"], old=old) == sentence
        assert difference(new, ["w/__due"], old=old) == sentence
        assert difference(new, [], old=old) is None


names = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)


@given(names, names, st.data())
def test_within_the_chosen_case_nothing_may_change_up_to_the_last_recorded_step(old, new, data):
    def branch(steps):
        return outline(
            "k?\n  x ->\n" + "\n".join(f"    {name}" for name in steps) + "\n  * ->\n    other\nafter"
        )

    recorded = old[: data.draw(st.integers(0, len(old)))]
    last = max((new.index(name) for name in recorded if name in new), default=-1)
    paths = [f"k/{name}" for name in recorded]
    found = explain_difference(branch(old), branch(new), paths, (), [("k", "x")])
    assert (found is None) == (new[: last + 1] == recorded)
    if recorded == old:
        found = explain_difference(branch(old), branch(new), [*paths, "after"], (), [("k", "x")])
        assert (found is None) == (new == old)
