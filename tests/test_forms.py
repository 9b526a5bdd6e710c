"""Questions to people: what may be declared, and which answers fit."""

from __future__ import annotations

from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_trio._errors import DefinitionError, InputError
from durable_trio._forms import Choice, FormField, InputSpec, check_answer, input_spec


class Size(StrEnum):
    SMALL = "s"
    LARGE = "l"


class Named(str, Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


class Degrees(float):
    pass


class Level(IntEnum):
    LOW = 1


FORM = [
    {"name": "amount", "type": "number"},
    {"name": "note", "required": False},
    {"name": "urgent", "type": "boolean"},
    {"name": "size", "type": "select", "options": ["s", {"value": "l", "label": "Large"}]},
]


def declare(kind, **options):
    return input_spec(kind, where="here", **options)


class TestDeclaring:
    def test_the_specs_as_they_are_recorded(self):
        assert declare("approval") == InputSpec("approval")
        assert declare("text", prompt="Why?\nBriefly.") == InputSpec("text", "Why?\nBriefly.")
        assert declare("choice", choices=["a", {"value": 2, "label": "Two"}]) == InputSpec(
            "choice", choices=(Choice("a", "a"), Choice(2, "Two"))
        )
        assert declare("form", fields=FORM) == InputSpec(
            "form",
            fields=(
                FormField("amount", "number"),
                FormField("note", "text", required=False),
                FormField("urgent", "boolean"),
                FormField("size", "select", (Choice("s", "s"), Choice("l", "Large"))),
            ),
        )
        labelled = declare("form", fields=[{"name": "a", "label": "Amount in €"}]).fields[0]
        assert (labelled.label, labelled.required) == ("Amount in €", True)

    def test_the_json_of_one_is_for_everybody_to_read(self):
        spec = declare("choice", prompt="Which?", choices=[True, {"value": 1, "label": "one"}])
        assert msgspec.json.decode(msgspec.json.encode(spec)) == {
            "kind": "choice",
            "prompt": "Which?",
            "choices": [{"value": True, "label": "True"}, {"value": 1, "label": "one"}],
        }
        assert msgspec.json.encode(declare("text")) == b'{"kind":"text"}'

    def test_a_spec_cannot_be_changed_and_may_be_a_key(self):
        spec = declare("form", fields=FORM)
        with pytest.raises(AttributeError):
            spec.kind = "text"
        assert {spec: 1}[declare("form", fields=tuple(FORM))] == 1

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (Size.SMALL, "s"),
            (Named.RED, "red"),
            (Level.LOW, 1),
            (True, True),
            (Degrees(1.5), 1.5),
            (-(2**63) + 1,) * 2,
        ],
    )
    def test_values_are_kept_as_json_would_give_them_back(self, given, kept):
        (choice,) = declare("choice", choices=[given]).choices
        assert choice.value == kept
        assert type(choice.value) is type(kept)

    @pytest.mark.parametrize(
        ("kind", "options", "message"),
        [
            ("aproval", {}, "kind= must be 'approval' or 'choice' or 'text' or 'form', not 'aproval'"),
            (None, {}, "kind= must be"),
            ([], {}, "kind= must be"),
            ("text", {"prompt": 7}, "prompt= must be a str, not 7"),
            ("text", {"prompt": "\ud800"}, "half a surrogate pair, which cannot be stored"),
            ("text", {"choices": ["a"]}, "choices= is for inputs of the kind 'choice', not 'text'"),
            ("choice", {"choices": ["a"], "fields": FORM}, "fields= is for inputs of the kind 'form'"),
            ("choice", {}, "choices= must be a list of values, or mappings such as"),
            ("choice", {"choices": []}, "choices= is empty; give at least one"),
            ("choice", {"choices": "abc"}, "choices= must be a list of values"),
            ("choice", {"choices": b"abc"}, "choices= must be a list of values"),
            ("choice", {"choices": {"a", "b"}}, "choices= must be a list of values"),
            ("choice", {"choices": {"value": "a"}}, "choices= must be a list of values"),
            ("choice", {"choices": ["a", "b", "a"]}, "choices= has the value 'a' twice; leave one out"),
            ("choice", {"choices": [1, 1.0]}, "choices= has the value 1.0 twice"),
            ("choice", {"choices": [None]}, "a finite float or a bool, not None; choose by a str"),
            ("choice", {"choices": [["a"]]}, "not ['a']; choose by a str"),
            ("choice", {"choices": [float("nan")]}, "not nan"),
            ("choice", {"choices": [2**63]}, "an int of 64 bits"),
            ("choice", {"choices": ["\ud800"]}, "choices= a value '\\ud800' contains half"),
            (
                "choice",
                {"choices": [{"value": "a", "lable": "A"}]},
                "unknown key 'lable' (known: 'value', 'label'",
            ),
            ("choice", {"choices": [{"label": "A"}]}, "has no 'value', which is needed"),
            ("choice", {"choices": [{"value": "a", "label": 1}]}, "choices= a label must be a str, not 1"),
            ("form", {}, "fields= must be a list of mappings such as"),
            ("form", {"fields": []}, "fields= is empty"),
            ("form", {"fields": ["amount"]}, "fields= takes mappings such as"),
            ("form", {"fields": [{"type": "text"}]}, "has no 'name', which is needed"),
            (
                "form",
                {"fields": [{"name": "a", "requird": 1}]},
                "has the unknown key 'requird' (known: 'name',",
            ),
            ("form", {"fields": [{"name": ""}]}, "a field's name is empty"),
            ("form", {"fields": [{"name": 7}]}, "a field's name must be a str, not 7"),
            (
                "form",
                {"fields": [{"name": "a"}, {"name": "a"}]},
                "fields= has two fields called 'a'; rename one",
            ),
            (
                "form",
                {"fields": [{"name": "a", "type": "int"}]},
                "field 'a', type must be 'text' or 'number'",
            ),
            ("form", {"fields": [{"name": "a", "required": 1}]}, "field 'a', required must be True or False"),
            ("form", {"fields": [{"name": "a", "label": 1}]}, "field 'a', label must be a str"),
            (
                "form",
                {"fields": [{"name": "a", "options": ["x"]}]},
                "options are for fields of the type 'select'",
            ),
            (
                "form",
                {"fields": [{"name": "a", "type": "select"}]},
                "field 'a', options must be a list of values",
            ),
            (
                "form",
                {"fields": [{"name": "a", "type": "select", "options": []}]},
                "field 'a', options is empty",
            ),
        ],
    )
    def test_mistakes(self, kind, options, message):
        with pytest.raises(DefinitionError) as caught:
            declare(kind, **options)
        assert str(caught.value).startswith("here: ")
        assert message in str(caught.value)


class TestAnswers:
    @pytest.mark.parametrize(
        ("given", "taken"),
        [("approved", "approved"), ("rejected", "rejected"), (True, "approved"), (False, "rejected")],
    )
    def test_an_approval(self, given, taken):
        assert check_answer(declare("approval"), given) == taken

    @pytest.mark.parametrize(
        ("choices", "given", "taken"),
        [
            (["a", "b"], "b", "b"),
            (["s", "l"], Size.LARGE, "l"),
            ([1, 2], 2.0, 2),
            ([True, 1], True, True),
            ([True, 1], 1, 1),
            ([{"value": 0, "label": "none"}], 0, 0),
        ],
    )
    def test_a_choice_is_the_declared_value(self, choices, given, taken):
        answer = check_answer(declare("choice", choices=choices), given)
        assert answer == taken
        assert type(answer) is type(taken)

    @pytest.mark.parametrize("given", ["", "two\nlines", "approved"])
    def test_a_text(self, given):
        assert check_answer(declare("text"), given) == given

    def test_a_text_is_nothing_but_a_str(self):
        answer = check_answer(declare("text"), Named.RED)
        assert (answer, type(answer)) == ("red", str)

    def test_a_form_has_all_of_its_fields_in_their_order(self):
        spec = declare("form", fields=FORM)
        answer = check_answer(spec, MappingProxyType({"size": "l", "urgent": False, "amount": 12}))
        assert list(answer.items()) == [("amount", 12), ("note", None), ("urgent", False), ("size", "l")]
        assert type(answer) is dict
        given = {"amount": 0, "note": "", "urgent": True, "size": "s"}
        answer = check_answer(spec, given)
        assert answer == given
        assert answer is not given
        assert check_answer(spec, {**given, "note": None})["note"] is None

    @pytest.mark.parametrize("number", [1, -1.5, 10**400, Decimal("10.50")])
    def test_a_number_stays_the_number_it_is(self, number):
        answer = check_answer(declare("form", fields=[{"name": "n", "type": "number"}]), {"n": number})
        assert answer["n"] is number

    @pytest.mark.parametrize(
        ("spec", "given", "message"),
        [
            (
                declare("approval"),
                "maybe",
                "the answer must be 'approved' or 'rejected' (or True or False), not 'maybe'",
            ),
            (declare("approval"), 1, "(or True or False), not 1"),
            (declare("approval"), None, "not None"),
            (declare("choice", choices=["a", "b"]), "c", "the answer must be 'a' or 'b', not 'c'"),
            (declare("choice", choices=["a"]), ["a"], "the answer must be 'a', not ['a']"),
            (declare("choice", choices=[1]), True, "the answer must be 1, not True"),
            (declare("choice", choices=[True]), 1, "the answer must be True, not 1"),
            (declare("choice", choices=[1]), "1", "the answer must be 1, not '1'"),
            (
                declare("choice", choices=[{"value": "a", "label": "Amber"}]),
                "Amber",
                "must be 'a', not 'Amber'",
            ),
            (declare("text"), 7, "the answer must be a str, not 7"),
            (declare("text"), None, "the answer must be a str, not None"),
            (declare("text"), ["x" * 100], "must be a str, not ['" + "x" * 78 + "... (list)"),
            (
                declare("form", fields=FORM),
                ["amount"],
                "must be a mapping with the fields 'amount', 'note', 'urgent', 'size', not ['amount']",
            ),
        ],
    )
    def test_what_does_not_fit(self, spec, given, message):
        with pytest.raises(InputError) as caught:
            check_answer(spec, given)
        assert message in str(caught.value)
        assert caught.value.__cause__ is None

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"amount": ...}, "field 'amount' is missing"),
            ({"amount": None}, "field 'amount' is missing"),
            ({"amount": "12"}, "field 'amount' must be a number, not '12'"),
            ({"amount": True}, "field 'amount' must be a number, not True"),
            ({"amount": float("inf")}, "field 'amount' must be a number, not inf"),
            ({"amount": Decimal("sNaN")}, "field 'amount' must be a number, not Decimal('sNaN')"),
            ({"note": 7}, "field 'note' must be a str, not 7"),
            ({"urgent": 1}, "field 'urgent' must be True or False, not 1"),
            ({"size": "m"}, "field 'size' must be 's' or 'l', not 'm'"),
            ({"colour": "red"}, "it has no field 'colour' (known: 'amount', 'note', 'urgent', 'size')"),
            (
                {"amount": ..., "size": "m", 7: 7},
                "field 'amount' is missing; field 'size' must be 's' or 'l', not 'm'; it has no field 7",
            ),
        ],
    )
    def test_every_field_that_does_not_fit_is_named(self, changes, problem):
        given = {"amount": 1, "urgent": True, "size": "s"} | changes
        given = {name: value for name, value in given.items() if value is not ...}
        with pytest.raises(InputError) as caught:
            check_answer(declare("form", fields=FORM), given, what="the answer to 'order'")
        assert str(caught.value).startswith(f"the answer to 'order' does not fit the form: {problem}")


texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.one_of(
    texts,
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
choices = st.lists(values, min_size=1, unique_by=lambda value: (isinstance(value, bool), value))
fields = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {"name": texts.filter(bool)},
            optional={"type": st.sampled_from(["text", "number", "boolean"]), "required": st.booleans()},
        ),
        st.fixed_dictionaries(
            {"name": texts.filter(bool), "type": st.just("select"), "options": choices},
            optional={"label": texts},
        ),
    ),
    min_size=1,
    unique_by=lambda field: field["name"],
)
specs = st.one_of(
    st.builds(lambda prompt: declare("text", prompt=prompt), st.none() | texts),
    st.builds(lambda choices: declare("choice", choices=choices), choices),
    st.builds(lambda fields: declare("form", fields=fields), fields),
)


@given(specs)
@pytest.mark.parametrize("codec", [msgspec.json, msgspec.msgpack])
def test_a_spec_comes_back_from_storage_as_it_was(codec, spec):
    back = codec.decode(codec.encode(spec), type=InputSpec)
    assert back == spec
    before, after = ([type(choice.value) for choice in each.choices] for each in (spec, back))
    assert before == after


@given(choices, st.data())
def test_each_choice_and_no_other_value_is_taken(choices, data):
    spec = declare("choice", choices=choices)
    given = data.draw(st.one_of(st.sampled_from(choices), values))
    is_one = any(isinstance(given, bool) == isinstance(value, bool) and given == value for value in choices)
    if is_one:
        assert check_answer(spec, given) == given
    else:
        with pytest.raises(InputError):
            check_answer(spec, given)
