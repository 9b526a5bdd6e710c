"""``settle`` and ``apply_delta``: the next base and the delta tell the same story, and a small one."""

from __future__ import annotations

import collections
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    USER_TYPES,
    Color,
    Order,
    Point,
    alike,
    contexts,
    mutable_ids,
    names,
    patient,
    resolve,
    twin,
    values,
)

from durable_trio._errors import SnapshotError
from durable_trio._speedups.context import Context, apply_delta, freeze, same, settle, share
from durable_trio._values import Err, Ok


def frozen(value):
    return freeze(value, USER_TYPES, resolve)[0]


def settled(base, value):
    return settle(base, value, USER_TYPES, resolve)


def check(base, value, expected):
    """Settle ``value`` over ``base``, and hold everything that is promised against plain dicts."""
    before = twin(base)
    new_base, changed, removed, replaced, special = settled(base, value)
    assert alike(new_base, expected)
    assert alike(base, before)
    assert alike(apply_delta(base, changed, removed, replaced), expected)
    assert not mutable_ids(new_base) & (mutable_ids(expected) - mutable_ids(base))
    # As plain Python would apply the delta.
    if replaced:
        assert removed is None
        model = changed
    else:
        gone = set(removed or ())
        assert gone <= set(base)
        model = {key: item for key, item in base.items() if key not in gone} | (changed or {})
    assert alike(model, expected)
    if new_base is base:
        assert (changed, removed, replaced, special) == (None, None, False, False)
    else:
        assert freeze(changed or {}, USER_TYPES, resolve)[1] is special
    return new_base, changed, removed, replaced


# -- against a model ---------------------------------------------------------------------------------

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), names, values),
        st.tuples(st.just("del"), names, st.none()),
        st.tuples(st.just("read"), names, st.none()),
        st.tuples(st.just("touch"), names, st.none()),
    ),
    max_size=8,
)


def perform(mapping, operations):
    """What a step may do to its context; the same for a Context and for a dict."""
    for name, key, value in operations:
        if name == "set":
            mapping[key] = value
        elif name == "del":
            mapping.pop(key, None)
        elif key in mapping:
            found = mapping[key]
            if name == "touch" and type(found) is list:
                found.append("touched")
            elif name == "touch" and type(found) is dict:
                found["touched"] = 1
            elif name == "touch" and type(found) is set:
                found.add("touched")
            elif name == "touch" and type(found) is Order:
                found.lines = "touched"


@pytest.mark.slow
@patient
@given(contexts, OPERATIONS)
def test_a_context_that_a_step_changed(base, operations):
    base = frozen(base)
    model = twin(base)
    perform(model, twin(operations))
    ctx = share(base)
    perform(ctx, twin(operations))
    _, changed, removed, replaced = check(base, ctx, model)
    assert not replaced
    # Only what is different is written.
    assert all(
        key not in base or key in (removed or ()) or not alike(base[key], model[key]) for key in changed or ()
    )


@pytest.mark.slow
@patient
@given(contexts, OPERATIONS, contexts)
def test_a_dict_made_from_a_context(base, operations, more):
    base = frozen(base)
    model = twin(base)
    perform(model, twin(operations))
    ctx = share(base)
    perform(ctx, twin(operations))
    check(base, {**ctx, **twin(more)}, {**model, **more})
    check(base, types.MappingProxyType(dict(ctx)), model)


@pytest.mark.slow
@patient
@given(contexts, contexts)
def test_a_mapping_that_has_nothing_to_do_with_the_base(base, value):
    base = frozen(base)
    check(base, value, value)
    check(base, Context(value), value)
    check(base, collections.OrderedDict(value), value)


@pytest.mark.slow
@patient
@given(contexts, contexts, contexts)
def test_a_context_over_another_base(base, other, more):
    other = frozen(other)
    before = twin(other)
    ctx = share(other) | twin(more)
    new_base = check(frozen(base), ctx, {**other, **more})[0]
    assert alike(other, before)
    assert not mutable_ids(new_base) & mutable_ids(other)


@pytest.mark.slow
@patient
@given(contexts)
def test_what_was_only_read_is_no_change(base):
    base = frozen(base)
    for make in (share, lambda b: dict(share(b)), lambda b: share(twin(b)), lambda b: share(b) | {}, twin):
        ctx = make(base)
        for key in ctx:
            _ = ctx[key]
        assert settled(base, ctx)[0] is base


# -- how small the delta is --------------------------------------------------------------------------

BASE = frozen({"a": 1, "list": [1, [2]], "order": Order(1, [2]), "z": "z"})


@pytest.mark.parametrize(
    ("change", "changed", "removed"),
    [
        (lambda c: c | {"new": [5]}, {"new": [5]}, None),
        (lambda c: c.assign(a=2), {"a": 2}, None),
        (lambda c: c | {"a": True}, {"a": True}, None),
        (lambda c: {**c, "a": 2, "y": 3}, {"a": 2, "y": 3}, None),
        (lambda c: c["list"][1].append(3) or c, {"list": [1, [2, 3]]}, None),
        (lambda c: c["order"].lines.append(3) or c, {"order": Order(1, [2, 3])}, None),
        (lambda c: {**c} if c["list"].append(3) is None else c, {"list": [1, [2], 3]}, None),
        (lambda c: c.pop("a") and c, None, ["a"]),
        (lambda c: c.popitem() and c.pop("a") and c, None, ["a", "z"]),
        (lambda c: c.update(a=c.pop("a")) or c, {"a": 1}, ["a"]),
        (lambda c: c.clear() or c | {"a": 1}, {"a": 1}, ["a", "list", "order", "z"]),
    ],
)
def test_only_what_changed_is_written(change, changed, removed):
    result = settled(BASE, change(share(BASE)))
    assert result[1:4] == (changed, removed, False)
    for key, value in result[0].items():
        if key in BASE and key not in (changed or ()):
            assert value is BASE[key]  # shared, not copied


@pytest.mark.parametrize(
    "value",
    [{}, {"a": 1}, {"z": "z", "a": 1}, {"new": 1, **BASE}, {"a": 1, "order": Order(1, [2]), "list": [1]}],
)
def test_a_mapping_that_does_not_begin_like_the_base_replaces_it(value):
    new_base, changed, removed, replaced, _ = settled(BASE, value)
    assert alike(new_base, value)
    assert (changed, removed, replaced) == (value, None, True)


def test_what_goes_on_over_an_empty_base_is_a_change():
    assert settled({}, {"a": 1}) == ({"a": 1}, {"a": 1}, None, False, False)
    base = {}
    assert settled(base, {})[0] is base
    assert settled(base, Context())[0] is base


def test_only_what_changed_decides_whether_it_is_special():
    base = frozen({"pair": (1, 2), "n": 1})
    assert settled(base, share(base) | {"n": 2})[4] is False
    assert settled(base, share(base) | {"n": (2,)})[4] is True
    assert settled(base, share(base) | {"\ud800": 1})[4] is True
    assert settled(base, {"n": 2})[4] is False
    assert settled(base, {"\ud800": 2})[4] is True


def test_results_that_were_read_are_no_change():
    base = frozen({"__results__": {"a": Ok({"x": [1]}), "b": Err("no")}, "p": Point(1), "c": Color.RED})
    ctx = share(base)
    assert ctx.results["a"].value["x"] == [1]
    assert settled(base, ctx)[0] is base
    ctx.results["a"].value["x"].append(2)
    assert settled(base, ctx)[1] == {"__results__": {"a": Ok({"x": [1, 2]}), "b": Err("no")}}


def test_a_refused_value_leaves_no_trace():
    base = frozen({"a": [1]})
    ctx = share(base)
    ctx["a"].append(2)
    ctx["bad"] = object()
    with pytest.raises(SnapshotError) as caught:
        settled(base, ctx)
    assert caught.value.path == 'ctx["bad"]'
    assert base == {"a": [1]}
    del ctx["bad"]
    assert settled(base, ctx)[1] == {"a": [1, 2]}


def test_the_caller_keeps_no_way_into_the_new_base():
    mine = {"a": [1], "deep": {"x": [{"y": set()}]}}
    new_base = settled({}, mine)[0]
    mine["a"].append(2)
    mine["deep"]["x"][0]["y"].add(1)
    assert new_base == {"a": [1], "deep": {"x": [{"y": set()}]}}
    ctx = share({}) | {"a": mine["a"]}
    new_base = settled({}, ctx)[0]
    ctx["a"].append(3)
    assert new_base == {"a": [1, 2]}


def test_what_changes_while_it_is_settled_counts_as_it_was_at_first():
    def meddle(_):
        for i in range(100):
            mapping[f"new{i}"] = [i]
        mapping.pop("a", None)
        return ("x", "y")

    base = frozen({"a": [1]})
    more = {"p": Point(1), "q": [2]}
    for mapping, expected in ((share(base), base | more), ({"a": [1]}, base | more), ({}, more)):
        mapping.update(more)
        assert alike(settle(base, mapping, {}, meddle)[0], expected)
        assert "new99" in mapping


# -- apply_delta -------------------------------------------------------------------------------------


@pytest.mark.slow
@patient
@given(contexts, st.none() | contexts, st.none() | st.lists(names, max_size=4))
def test_applying_a_delta(base, changed, removed):
    before = twin(base)
    expected = {key: value for key, value in base.items() if key not in (removed or ())} | (changed or {})
    result = apply_delta(base, changed, removed, False)
    assert same(result, expected)
    assert same(base, before)
    if not changed and not removed:
        assert result is base


def test_replacing():
    base = {"a": 1}
    assert apply_delta(base, {"b": 2}, None, True) == {"b": 2}
    assert apply_delta(base, None, None, True) == {}
    assert apply_delta(base, {}, [], True) == {}
    assert base == {"a": 1}
