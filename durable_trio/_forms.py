"""What a person can be asked, and whether an answer fits.

An ``InputSpec`` is the question as it is recorded: plain, JSON-able data, so that another process, or a page
in a browser, can show it without the workflow's code. It is made by ``input_spec``, which refuses a wrong
declaration, and an answer to it is checked by ``check_answer`` alone, wherever it comes from: a definition's
default, an engine's or a client's ``provide_input``. Both are pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, get_args

import msgspec

from durable_trio._errors import DefinitionError, InputError

InputKind = Literal["approval", "choice", "text", "form"]
FieldType = Literal["text", "number", "boolean", "select"]
ChoiceValue = str | int | float | bool

APPROVED, REJECTED = "approved", "rejected"
_BIGGEST = 2**63  # a larger int is a float when it comes back from JSON


class Choice(msgspec.Struct, frozen=True):
    """One of the values that may be chosen.

    Attributes:
        value: what the answer is.
        label: what a person reads.
    """

    value: ChoiceValue
    label: str


class FormField(msgspec.Struct, frozen=True, omit_defaults=True):
    """One field of a form.

    Attributes:
        name: its key in the answer.
        type: ``"text"`` (a str), ``"number"`` (an int, float or Decimal), ``"boolean"``, or ``"select"``.
        options: of a ``"select"``: the values that may be chosen.
        required: whether the answer must have it; where it need not and does not, it is None.
        label: what a person reads; None: the name.
    """

    name: str
    type: FieldType = "text"
    options: tuple[Choice, ...] = ()
    required: bool = True
    label: str | None = None


class InputSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A question to a person.

    Attributes:
        kind: ``"approval"`` (answered by ``"approved"`` or ``"rejected"``), ``"choice"`` (by one of the
            choices' values), ``"text"`` (by a str) or ``"form"`` (by a mapping of its fields).
        prompt: what the person is asked, or None.
        choices: of a ``"choice"``.
        fields: of a ``"form"``.
    """

    kind: InputKind
    prompt: str | None = None
    choices: tuple[Choice, ...] = ()
    fields: tuple[FormField, ...] = ()


def input_spec(
    kind: Any,
    *,
    prompt: object = None,
    choices: object = None,
    fields: object = None,
    where: str,
) -> InputSpec:
    """The question that these arguments declare.

    Args:
        kind: one of ``InputKind``.
        prompt: a str, or None.
        choices: for a ``"choice"``, and then at least one: values, or mappings with ``value`` and ``label``.
        fields: for a ``"form"``, and then at least one: mappings with ``name`` and, where they differ from
            the defaults of ``FormField``, ``type``, ``options`` (as ``choices``), ``required``, ``label``.
        where: how a message begins.

    Raises:
        DefinitionError: an argument is not as described; names it.
    """
    kinds = get_args(InputKind)
    if kind not in kinds:
        raise DefinitionError(f"{where}: kind= must be {_listed(kinds)}, not {kind!r}")
    for what, value, wanted in (("choices=", choices, "choice"), ("fields=", fields, "form")):
        if value is not None and kind != wanted:
            raise DefinitionError(f"{where}: {what} is for inputs of the kind {wanted!r}, not {kind!r}")
    return InputSpec(
        kind=kind,
        prompt=None if prompt is None else _text(prompt, where, "prompt="),
        choices=_choices(choices, where, "choices=") if kind == "choice" else (),
        fields=_fields(fields, where) if kind == "form" else (),
    )


def check_answer(spec: InputSpec, value: object, *, what: str = "the answer") -> Any:
    """The answer as the workflow gets it.

    An approval is ``"approved"`` or ``"rejected"``, for which True and False will do. A choice, also that of
    a ``"select"``, is the declared value. A form is a dict of all of its fields, in their order; one that is
    not required and not given is None.

    Args:
        spec: the question.
        value: the answer that was given.
        what: how a message begins, such as ``"the answer to input 'manager'"``.

    Raises:
        InputError: it does not fit; names every field that does not, and what would fit.
    """
    try:
        match spec.kind:
            case "approval":
                return _approval(value)
            case "choice":
                return _chosen(spec.choices, value)
            case "text":
                return _fitting_text(value)
            case "form":
                return _filled(spec.fields, value)
    except _DoesNotFitError as error:
        raise InputError(f"{what} {error}") from None


class _DoesNotFitError(Exception):
    """The message says what the value must be."""


def _approval(value: object) -> str:
    if isinstance(value, bool):
        return APPROVED if value else REJECTED
    if isinstance(value, str) and value in (APPROVED, REJECTED):
        return APPROVED if value == APPROVED else REJECTED
    raise _DoesNotFitError(f"must be {APPROVED!r} or {REJECTED!r} (or True or False), not {_shown(value)}")


def _chosen(choices: Sequence[Choice], value: object) -> ChoiceValue:
    for choice in choices:
        if _is_same(value, choice.value):
            return choice.value
    listed = _listed([choice.value for choice in choices])
    raise _DoesNotFitError(f"must be {listed}, not {_shown(value)}")


def _fitting_text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # also of a subclass, such as an Enum's member
    raise _DoesNotFitError(f"must be a str, not {_shown(value)}")


def _fitting_number(value: object) -> int | float | Decimal:
    match value:
        case bool():
            pass  # an int to Python alone
        case int():
            return value
        case float() if math.isfinite(value):
            return value
        case Decimal() if value.is_finite():
            return value
    raise _DoesNotFitError(f"must be a number, not {_shown(value)}")


def _fitting_boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _DoesNotFitError(f"must be True or False, not {_shown(value)}")


def _fitting(field: FormField, value: object) -> object:
    match field.type:
        case "text":
            return _fitting_text(value)
        case "number":
            return _fitting_number(value)
        case "boolean":
            return _fitting_boolean(value)
        case "select":
            return _chosen(field.options, value)


def _filled(fields: Sequence[FormField], value: object) -> dict[str, object]:
    names = ", ".join(repr(field.name) for field in fields)
    if not isinstance(value, Mapping):
        raise _DoesNotFitError(f"must be a mapping with the fields {names}, not {_shown(value)}")
    filled: dict[str, object] = {}
    problems = []
    for field in fields:
        given = value.get(field.name)
        if given is not None:
            try:
                filled[field.name] = _fitting(field, given)
            except _DoesNotFitError as error:
                problems.append(f"field {field.name!r} {error}")
        elif field.required:
            problems.append(f"field {field.name!r} is missing")
        else:
            filled[field.name] = None
    known = {field.name for field in fields}
    problems += [f"it has no field {name!r} (known: {names})" for name in value if name not in known]
    if problems:
        raise _DoesNotFitError(f"does not fit the form: {'; '.join(problems)}")
    return filled


def _fields(value: object, where: str) -> tuple[FormField, ...]:
    what = "fields="
    example = '{"name": "amount", "type": "number"}'
    fields: list[FormField] = []
    for given in _items(value, where, what, f"mappings such as {example}"):
        if not isinstance(given, Mapping):
            raise DefinitionError(f"{where}: {what} takes mappings such as {example}, not {given!r}")
        field = _field(given, where)
        if any(field.name == other.name for other in fields):
            raise DefinitionError(f"{where}: {what} has two fields called {field.name!r}; rename one of them")
        fields.append(field)
    return tuple(fields)


def _field(given: Mapping[Any, Any], where: str) -> FormField:
    _check_keys(given, ("name", "type", "options", "required", "label"), where, "fields=")
    name = _text(given["name"], where, "fields=, a field's name")
    if not name:
        raise DefinitionError(f"{where}: fields=, a field's name is empty; give it at least one character")
    what = f"fields=, field {name!r},"
    kind = given.get("type", "text")
    if kind not in get_args(FieldType):
        raise DefinitionError(f"{where}: {what} type must be {_listed(get_args(FieldType))}, not {kind!r}")
    required = given.get("required", True)
    if not isinstance(required, bool):
        raise DefinitionError(f"{where}: {what} required must be True or False, not {required!r}")
    options, label = given.get("options"), given.get("label")
    if options is not None and kind != "select":
        raise DefinitionError(f"{where}: {what} options are for fields of the type 'select', not {kind!r}")
    return FormField(
        name=name,
        type=kind,
        options=_choices(options, where, f"{what} options") if kind == "select" else (),
        required=required,
        label=None if label is None else _text(label, where, f"{what} label"),
    )


def _choices(value: object, where: str, what: str) -> tuple[Choice, ...]:
    choices: list[Choice] = []
    for given in _items(value, where, what, 'values, or mappings such as {"value": "s", "label": "Small"}'):
        choice = _choice(given, where, what)
        if any(_is_same(choice.value, other.value) for other in choices):
            raise DefinitionError(f"{where}: {what} has the value {choice.value!r} twice; leave one out")
        choices.append(choice)
    return tuple(choices)


def _choice(given: Any, where: str, what: str) -> Choice:
    label = None
    if isinstance(given, Mapping):
        _check_keys(given, ("value", "label"), where, what)
        given, label = given["value"], given.get("label")
    value: ChoiceValue
    # Of exactly these types, not of a subclass: it has to be the same value when it comes back from JSON.
    if isinstance(given, bool):
        value = given
    elif isinstance(given, str):
        value = _text(given, where, f"{what} a value")
    elif isinstance(given, int) and abs(given) < _BIGGEST:
        value = int(given)
    elif isinstance(given, float) and math.isfinite(given):
        value = float(given)
    else:
        raise DefinitionError(
            f"{where}: {what} takes values that are a str, an int of 64 bits, a finite float or a bool, "
            f"not {_shown(given)}; choose by a str, and look the rest up by it"
        )
    return Choice(value, str(value) if label is None else _text(label, where, f"{what} a label"))


def _is_same(value: object, choice: ChoiceValue) -> bool:
    # Python's True == 1, but nobody who chooses from [1, 2] means it.
    return isinstance(value, bool) is isinstance(choice, bool) and value == choice


def _items(value: object, where: str, what: str, of: str) -> Sequence[object]:
    """The items of a list; their order is what people will see, so a set will not do."""
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
        raise DefinitionError(f"{where}: {what} must be a list of {of}, not {value!r}")
    if not value:
        raise DefinitionError(f"{where}: {what} is empty; give at least one")
    return value


def _check_keys(given: Mapping[Any, Any], known: tuple[str, ...], where: str, what: str) -> None:
    """Refuse a mapping with an unknown key, or without the first of the known ones."""
    listed = ", ".join(repr(key) for key in known)
    for key in given:
        if key not in known:
            raise DefinitionError(f"{where}: {what} {given!r} has the unknown key {key!r} (known: {listed})")
    if known[0] not in given:
        raise DefinitionError(f"{where}: {what} {given!r} has no {known[0]!r}, which is needed")


def _text(value: object, where: str, what: str) -> str:
    if not isinstance(value, str):
        raise DefinitionError(f"{where}: {what} must be a str, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DefinitionError(
            f"{where}: {what} {value!r} contains half a surrogate pair, which cannot be stored; leave it out"
        ) from None
    return str.__str__(value)  # also of a subclass, such as an Enum's member


def _listed(values: Sequence[object]) -> str:
    return " or ".join(repr(value) for value in values)


def _shown(value: object) -> str:
    """The value, as far as it is fit for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}... ({type(value).__name__})"
