"""A Context is, to its user, a dict: the same operations on both leave both alike, order included."""

from __future__ import annotations

import collections
import contextlib
import copy
import enum
import pickle
from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from strategies import USER_TYPES, alike, contexts, names, patient, resolve, twin, values

from durable_trio._speedups.context import Context, freeze, settle, share
from durable_trio._values import Ok


class LikeADict(RuleBasedStateMachine):
    """Runs every operation on a Context and on a dict; nothing may tell them apart, and the base stays."""

    @initialize(base=contexts)
    def start(self, base):
        self.base = freeze(base, USER_TYPES, resolve)[0]
        self.before = twin(self.base)
        self.ctx = share(self.base)
        self.model = twin(self.base)

    def both(self, act):
        """Run it on both; the results, or the errors, must be alike."""
        outcomes = []
        for mapping in (self.model, self.ctx):
            try:
                outcomes.append(act(mapping))
            except KeyError as error:
                outcomes.append(("KeyError", error.args if error.args[0] in self.before else None))
        assert alike(outcomes[0], outcomes[1])
        return outcomes[1]

    @rule(key=names)
    def read(self, key):
        self.both(lambda m: m[key])

    @rule(key=names)
    def get(self, key):
        self.both(lambda m: m.get(key))
        self.both(lambda m: m.get(key, 5))
        self.both(lambda m: key in m)

    @rule(key=names)
    def reading_twice_gives_the_same_object(self, key):
        if key in self.ctx:
            assert self.ctx[key] is self.ctx[key]
            assert self.ctx.get(key) is self.ctx[key]

    @rule(key=names, value=values)
    def write(self, key, value):
        mine = twin(value)
        self.model[key] = value
        self.ctx[key] = mine
        assert self.ctx[key] is mine

    @rule(key=names)
    def change_deep_inside(self, key):
        def act(mapping):
            value = mapping.get(key)
            if type(value) is list:
                value.append("more")
            elif type(value) is dict:
                value["more"] = 1
            elif type(value) is set:
                value.add("more")

        self.both(act)

    @rule(key=names)
    def delete(self, key):
        self.both(lambda m: m.__delitem__(key))

    @rule(key=names)
    def pop(self, key):
        self.both(lambda m: m.pop(key))
        self.both(lambda m: m.pop(key, 5))

    @rule()
    def popitem(self):
        if self.model:
            self.both(lambda m: m.popitem())

    @rule(key=names, value=values)
    def setdefault(self, key, value):
        mine = twin(value)
        assert alike(self.model.setdefault(key, value), self.ctx.setdefault(key, mine))
        assert alike(self.model.setdefault(key), self.ctx.setdefault(key))

    @rule(other=contexts)
    def update(self, other):
        mine = twin(other)
        self.model.update(other)
        self.ctx.update(mine)

    @rule(other=contexts)
    def update_in_place(self, other):
        self.model |= other
        ctx = self.ctx
        self.ctx |= twin(other)
        assert self.ctx is ctx

    @rule(other=contexts)
    def merge(self, other):
        before = twin(self.model)
        new = self.ctx | twin(other)
        assert type(new) is Context
        assert alike(self.ctx.to_dict(), before)
        self.model = self.model | other
        self.ctx = new

    @rule()
    def copy(self):
        self.model = copy.copy(self.model)
        self.ctx = copy.copy(self.ctx)

    @rule()
    def deepcopy(self):
        self.model = copy.deepcopy(self.model)
        self.ctx = copy.deepcopy(self.ctx)

    @precondition(lambda self: len(self.model) > 3)
    @rule()
    def clear(self):
        self.model.clear()
        self.ctx.clear()

    @invariant()
    def they_are_alike(self):
        if not hasattr(self, "ctx"):
            return
        ctx, model = self.ctx, self.model
        assert len(ctx) == len(model)
        assert list(ctx) == list(model)
        assert list(reversed(ctx)) == list(reversed(model))
        assert bool(ctx) is bool(model)
        assert alike(self.base, self.before)
        # Looking must change nothing either; a copy, so that what is handed out is handed out only there.
        assert alike(dict(ctx.copy()), model)
        assert alike(ctx.copy().to_dict(), model)
        assert alike(dict(ctx.copy().items()), model)


LikeADict.TestCase.settings = patient
test_a_context_is_like_a_dict = pytest.mark.slow(LikeADict.TestCase)


# -- what the machine does not reach -----------------------------------------------------------------


def test_it_is_a_mapping():
    ctx = Context({"a": 1})
    assert isinstance(ctx, Mapping)
    assert isinstance(ctx, MutableMapping)
    match ctx:
        case {"a": 1, **rest}:
            assert rest == {}
        case _:
            pytest.fail("a Context does not match a mapping pattern")
    assert isinstance(ctx.keys(), KeysView)
    assert isinstance(ctx.values(), ValuesView)
    assert isinstance(ctx.items(), ItemsView)
    assert "{a}".format(**ctx) == "1"


def test_the_views_are_live():
    ctx = share({"a": 1, "b": 2})
    keys, items = ctx.keys(), ctx.items()
    ctx["c"] = 3
    del ctx["a"]
    assert list(keys) == ["b", "c"]
    assert list(items) == [("b", 2), ("c", 3)]
    assert keys & {"a", "b"} == {"b"}
    assert ("c", 3) in items
    assert 3 in ctx.values()


def test_constructing():
    inner = [1]
    given_ = {"a": inner}
    ctx = Context(given_, b=2)
    assert ctx == {"a": [1], "b": 2}
    assert ctx["a"] is inner
    ctx["c"] = 3
    assert given_ == {"a": [1]}
    assert Context() == {}
    assert Context([("a", 1)], a=2) == {"a": 2}
    assert Context(ctx) == ctx
    assert Context(mapping=1, self=2) == {"mapping": 1, "self": 2}
    assert Context.over({"a": 1}) == {"a": 1}
    assert Context.__new__(Context) == {}
    with pytest.raises(TypeError):
        Context(5)
    with pytest.raises(TypeError):
        share(None)
    with pytest.raises(TypeError):
        share(Context())


def test_constructing_anew():
    ctx = share({"a": 1})
    del ctx["a"]
    ctx.__init__({"b": 2})
    assert ctx == {"b": 2}


def test_equality():
    ctx = share({"a": 1, "b": [2]})
    assert ctx == {"b": [2], "a": 1}
    assert ctx == {"a": 1, "b": [2]}
    assert ctx == share({"a": 1}) | {"b": [2]}
    assert ctx == collections.ChainMap({"a": 1}, {"b": [2]})
    assert ctx != {"a": 1}
    assert ctx != share({"a": 1})
    assert {"a": 1, "b": [2]} == ctx  # noqa: SIM300 - the dict is asked first
    assert ctx != [("a", 1), ("b", [2])]
    assert ctx != None  # noqa: E711 - the operator is what is tested
    assert not ctx != {"a": 1, "b": [2]}  # noqa: SIM202


def test_it_is_unhashable_and_final():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Context())
    with pytest.raises(TypeError):
        type("Sub", (Context,), {})
    with pytest.raises(AttributeError):
        Context().extra = 1


def test_repr():
    ctx = share({"a": 1}) | {"b": [2]}
    assert repr(ctx) == "Context({'a': 1, 'b': [2]})"
    ctx["me"] = ctx
    assert repr(ctx) == "Context({'a': 1, 'b': [2], 'me': Context({...})})"


@pytest.mark.slow
@patient
@given(contexts, contexts)
def test_a_dict_on_the_left_gives_a_dict(left, base):
    ctx = share(freeze(base, USER_TYPES, resolve)[0])
    expected = left | base
    result = left | ctx
    assert type(result) is dict
    assert alike(result, expected)
    assert type(collections.OrderedDict(left) | ctx) is dict


def test_merging_with_what_is_no_mapping():
    for other in ([("a", 1)], 5, None):
        with pytest.raises(TypeError):
            Context() | other
        with pytest.raises(TypeError):
            other | Context()
    ctx = Context()
    ctx |= [("a", 1)]
    assert ctx == {"a": 1}
    with pytest.raises(TypeError):
        ctx |= 5


def test_merging_two_contexts():
    left, right = share({"a": [1], "b": [1]}), share({"b": [2], "c": [2]})
    both = left | right
    both["c"].append(3)
    both["a"].append(3)
    assert both == {"a": [1, 3], "b": [2], "c": [2, 3]}
    assert left == {"a": [1], "b": [1]}


def test_assign():
    ctx = share({"a": 1})
    new = ctx.assign(b=2, self=3)
    assert new == {"a": 1, "b": 2, "self": 3}
    assert ctx == {"a": 1}
    assert ctx.assign() == ctx
    assert ctx.assign() is not ctx


def test_results():
    assert share({}).results == {}
    ctx = share({"__results__": {"a": Ok([1])}})
    assert ctx.results is ctx["__results__"]
    ctx.results["a"].value.append(2)
    assert ctx["__results__"] == {"a": Ok([1, 2])}


def test_missing_keys():
    ctx = share({"a": 1})
    del ctx["a"]
    for act in (lambda: ctx["a"], lambda: ctx.__delitem__("a"), lambda: ctx.pop("a")):
        with pytest.raises(KeyError) as caught:
            act()
        assert caught.value.args == ("a",)
    assert ctx.pop("a", None) is None
    assert ctx.get("a") is None
    with pytest.raises(KeyError, match="empty"):
        ctx.popitem()
    with pytest.raises(TypeError, match="unhashable"):
        ctx[[]]


def test_pickle_and_copies():
    ctx = share({"a": [1], "gone": 1}) | {"b": {2}}
    del ctx["gone"]
    loaded = pickle.loads(pickle.dumps(ctx))
    assert type(loaded) is Context
    assert loaded == ctx
    loaded["a"].append(2)
    shallow, deep = copy.copy(ctx), copy.deepcopy(ctx)
    shallow["b"].add(3)
    deep["a"].append(2)
    deep["b"].add(4)
    shallow["new"] = deep["new"] = 1
    assert ctx == {"a": [1], "b": {2, 3}}
    ctx["me"] = ctx
    looped = copy.deepcopy(ctx)
    assert looped["me"] is looped


def test_to_dict_hands_out_the_containers_of_this_context():
    ctx = share({"a": [1], "n": 1})
    plain = ctx.to_dict()
    assert type(plain) is dict
    assert plain["a"] is ctx["a"]
    assert dict(ctx)["a"] is ctx["a"]
    plain["b"] = 1
    assert "b" not in ctx


def test_iterating_while_reading_and_removing():
    ctx = share({"a": [1], "b": [2], "c": 3})
    for key in ctx:
        ctx[key]
        del ctx[key]
    assert ctx == {}


# -- keys with code of their own ---------------------------------------------------------------------


class Meddler:
    """Equal to the string it is made from, and acts when it is asked."""

    def __init__(self, text, act):
        self.text = text
        self.act = act

    def __hash__(self):
        return hash(self.text)

    def __eq__(self, other):
        self.act()
        return self.text == other


@pytest.mark.parametrize(
    "use",
    [
        lambda c, k: c[k],
        lambda c, k: c.get(k),
        lambda c, k: k in c,
        lambda c, k: c.__setitem__(k, 1),
        lambda c, k: c.__delitem__(k),
        lambda c, k: c.pop(k, None),
        lambda c, k: c.setdefault(k, 1),
        lambda c, k: c.update({k: 1}),
        lambda c, k: c | {k: 1},
        lambda c, k: len(c | {k: 1}),
        lambda c, k: list(c | {k: 1}),
    ],
)
@pytest.mark.parametrize("base", [{"a": [1], "b": 1}, {}])
def test_keys_that_change_the_context_when_asked_do_not_crash(use, base):
    def boom():
        raise ValueError("boom")

    def clear():
        ctx.clear()

    def construct():
        ctx.__init__({})

    def grow():
        ctx.update(dict.fromkeys("abcdefghij"))

    for act in (clear, construct, grow, boom):
        ctx = share(dict(base)) | {"x": [1], "a": [2]}
        ctx.pop("b", None)
        key = Meddler("a", act)
        with contextlib.suppress(KeyError, ValueError, RuntimeError):
            use(ctx, key)
        key.act = lambda: None
        assert len(ctx) == len(list(ctx)) == len(dict(ctx))


class Name(enum.StrEnum):
    A = "a"
    NEW = "new"


def test_a_key_that_is_equal_to_an_inherited_one_is_that_one():
    """As in a dict, which keeps its key when a value is replaced."""
    base = {"a": [1], "b": 2}
    for change in (
        lambda c: c.__setitem__(Name.A, 5),
        lambda c: c.update({Name.A: 5}),
        lambda c: c.__ior__({Name.A: 5}),
        lambda c: c[Name.A].append(2),
        lambda c: c.pop(Name.A),
        lambda c: c.__delitem__(Name.A),
    ):
        ctx, model = share(base), twin(base)
        change(ctx)
        change(model)
        assert alike(dict(ctx), model)
        assert alike(settle(base, ctx, {}, resolve)[0], model)
    ctx = share(base)
    ctx[Name.NEW] = 1
    assert type(list(ctx)[-1]) is Name


@patient
@given(st.lists(st.tuples(names, values), max_size=5))
def test_what_was_set_is_kept_as_given(pairs):
    ctx = share({}) | dict(pairs)
    assert all(ctx[key] is value for key, value in dict(pairs).items())
