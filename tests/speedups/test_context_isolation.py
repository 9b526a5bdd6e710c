"""No context sees another's changes, however deep in the data they are; and sharing costs no copies."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import USER_TYPES, Basket, Order, alike, contexts, mutable_ids, patient, resolve, twin

from durable_trio._speedups.context import Context, freeze, share
from durable_trio._values import Err, Ok


def deface(value):
    """Change everything in a value that can be changed."""
    kind = type(value)
    if kind is dict:
        for item in list(value.values()):
            deface(item)
        for key in list(value):
            deface(key)
        value["defaced"] = True
    elif kind is list:
        for item in value:
            deface(item)
        value.append("defaced")
    elif kind is set:
        value.add("defaced")
    elif kind in (tuple, Ok, frozenset):
        for item in value:
            deface(item)
    elif kind is Err:
        deface(value[1])
        value.retry = False
    elif kind in (Basket, Order):
        name = "items" if kind is Basket else "lines"
        deface(getattr(value, name))
        setattr(value, name, "defaced")
    elif kind in USER_TYPES and USER_TYPES[kind] is not None:
        for name in USER_TYPES[kind]:
            deface(getattr(value, name))


@pytest.mark.slow
@patient
@given(contexts, st.integers(2, 4))
def test_no_context_sees_what_another_does_to_the_data(base, count):
    base = freeze(base, USER_TYPES, resolve)[0]
    before = twin(base)
    branches = [share(base) for _ in range(count)]
    untouched = [twin(dict(branch)) for branch in branches[1:]]
    for key in branches[0]:
        deface(branches[0][key])
    branches[0]["new"] = 1
    assert alike(base, before)
    assert [dict(branch) for branch in branches[1:]] == untouched or all(
        alike(dict(branch), same) for branch, same in zip(branches[1:], untouched, strict=True)
    )
    assert not mutable_ids(dict(branches[1])) & mutable_ids(base)


@pytest.mark.slow
@patient
@given(contexts, contexts)
def test_what_is_reached_through_a_new_context_is_not_the_old_ones(base, more):
    base = freeze(base, USER_TYPES, resolve)[0]
    before = twin(base)
    old = share(base)
    new = old | more
    for key in new:
        deface(new[key])
    assert alike(dict(old), before)
    assert alike(base, before)


def test_what_was_handed_out_before_is_shared_as_between_dicts():
    old = share({"a": [1], "b": [1]})
    old["a"].append(2)
    new = old | {"x": 1}
    assert new["a"] is old["a"]
    assert new["b"] is not old["b"]


def test_removing_from_one_removes_from_no_other():
    old = share({"a": 1, "b": 2, "c": 3})
    del old["a"]
    for new in (old.copy(), old | {"x": 1}, old.assign(x=1), copy.deepcopy(old)):
        del new["b"]
        new["d"] = 4
        assert old == {"b": 2, "c": 3}


def test_every_way_of_looking_hands_out_a_copy():
    base = {"a": [1]}
    ways = [
        lambda c: c["a"],
        lambda c: c.get("a"),
        lambda c: c.pop("a"),
        lambda c: c.popitem()[1],
        lambda c: c.setdefault("a", None),
        lambda c: next(iter(c.values())),
        lambda c: next(iter(c.items()))[1],
        lambda c: dict(c)["a"],
        lambda c: c.to_dict()["a"],
        lambda c: {**c}["a"],
        lambda c: (c | {"b": 1})["a"],
        lambda c: ({"b": 1} | c)["a"],
        lambda c: c.copy()["a"],
        lambda c: Context(c)["a"],
        lambda c: c.__deepcopy__({})["a"],
        lambda c: c.__reduce__()[1][0],
    ]
    for way in ways[:-1]:
        found = way(share(base))
        assert found == [1]
        found.append(2)
        assert base == {"a": [1]}
    ways[-1](share(base))["new"] = 1
    assert base == {"a": [1]}


def test_contexts_are_shared_without_copies():
    base = {f"key{i}": i for i in range(1000)}
    branches = [share(base) for _ in range(1000)]
    for branch in branches:
        assert branch["key7"] == 7
        branch["own"] = 1
    assert len(base) == 1000
    # What one allocates does not depend on how much it shares.
    assert branches[0].__sizeof__() == share({}).__sizeof__()
