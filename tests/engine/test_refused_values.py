"""Section 7: what cannot be stored is refused where it is returned, with its path and its type."""

from __future__ import annotations

import collections
import dataclasses
import decimal
import io
import socket
import threading
from datetime import tzinfo
from typing import NamedTuple

import msgspec
import pytest
import trio
from engine_helpers import failed, finish, result_of, states

from durable_trio import Err, Failure, Finish, Goto, Ok, Retry, Workflow, open_engine


class Plain:
    pass


class Port(int):
    pass


class Text(str):
    __slots__ = ()


class Numbers(list):
    pass


class Zone(tzinfo):
    def utcoffset(self, when):
        return None


class Unregistered(msgspec.Struct):
    x: int


Unregistered.__module__ = "elsewhere"


@dataclasses.dataclass
class Mapped(dict):
    x: int = 0


class Pair(NamedTuple):
    a: object
    b: object


BAD = {
    "an object": Plain(),
    "a function": lambda: None,
    "a class": Plain,
    "a module": io,
    "a lock": threading.Lock(),
    "a file": io.BytesIO(),
    "an event": trio.Event(),
    "an exception": ValueError("x"),
    "complex": 1j,
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "range": range(3),
    "a generator": (n for n in ()),
    "namedtuple": Pair(1, 2),
    "OrderedDict": collections.OrderedDict(a=1),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "Counter": collections.Counter("a"),
    "deque": collections.deque([1]),
    "an int of its own class": Port(80),
    "a str of its own class": Text("x"),
    "a list of its own class": Numbers([1]),
    "a Struct that is not registered": Unregistered(1),
    "a dataclass that is a dict": Mapped(1),
    "Ellipsis": ...,
    "NotImplemented": NotImplemented,
    "Goto": Goto("a", {}),
    "Finish": Finish({}),
    "Retry": Retry(),
    "a decimal context": decimal.getcontext(),
}
every_bad = pytest.mark.parametrize("value", BAD.values(), ids=BAD)


def is_refusal(reason, path, value):
    assert isinstance(reason, Failure)
    assert reason.type.endswith("SnapshotError")
    assert path in reason.message
    assert type(value).__name__ in reason.message
    return True


@every_bad
async def test_it_is_refused_without_a_retry_and_the_engine_goes_on(db, wf, value):
    entered = []
    other = Workflow("other")
    other.step(lambda ctx: {"fine": True}, name="a", inline=True)

    @wf.step(retry=Retry(max_attempts=3, base=0))
    async def step(ctx):
        entered.append(1)
        return {"user": {"list": [1, value]}}

    async with open_engine(db, workflows=[wf, other]) as engine:
        info = await (await engine.start(wf, {"before": 1})).wait()
        assert info.status == "failed"
        assert is_refusal(info.error, 'ctx["user"]["list"][1]', value)
        assert info.context == {"before": 1}
        assert await engine.run(other) == {"fine": True}
    assert entered == [1]


async def test_the_path_leads_to_the_value_through_every_kind_of_container(db, wf):
    class Holder(msgspec.Struct):
        inner: object

    cases = {
        'ctx["a"]': {"a": Plain()},
        'ctx["a"]["b"][2]': {"a": {"b": [0, 0, Plain()]}},
        'ctx["a"][0][1]': {"a": ((0, Plain()),)},
        'ctx["a"][5]': {"a": {5: Plain()}},
        'ctx["a"].street': {"a": Address(Plain())},
        'ctx["a"].street[0]': {"a": Address([Plain()])},
        'ctx["a"].value["x"]': {"a": Ok({"x": Plain()})},
        'ctx["a"].reason': {"a": Err(Plain())},
    }
    for path, value in cases.items():
        workflow = Workflow("w")
        workflow.step(lambda ctx, value=value: value, name="a", inline=True)
        assert is_refusal((await failed(db, workflow)).error, path, Plain())
        if db is not None:
            db = db.with_name(db.name + "x")


class Address(msgspec.Struct):
    street: object


async def test_what_a_step_put_into_its_context_in_place_is_refused_too(db, wf):
    @wf.step
    async def step(ctx):
        ctx["user"]["socket"] = Plain()

    error = (await failed(db, wf, {"user": {"name": "ada"}})).error
    assert is_refusal(error, 'ctx["user"]["socket"]', Plain())


async def test_a_real_socket_is_refused(db, wf):
    with socket.socket() as sock:
        wf.step(lambda ctx: {"user": {"socket": sock}}, name="a", inline=True)
        assert is_refusal((await failed(db, wf)).error, 'ctx["user"]["socket"]', sock)


@pytest.mark.parametrize(
    "outcome",
    [Ok({"a": Plain()}), Err({"a": Plain()}), Finish({"a": Plain()}), Goto("b", {"a": Plain()})],
    ids=lambda outcome: type(outcome).__name__,
)
async def test_in_every_outcome_it_is_refused(db, wf, outcome):
    wf.step(lambda ctx: outcome, name="a", inline=True)
    wf.step(lambda ctx: None, name="b", inline=True)
    error = (await failed(db, wf)).error
    assert is_refusal(error, '["a"]', Plain())
    assert "step 'a'" in error.message


async def test_a_branchs_data_is_refused_as_that_branchs_error(db, wf):
    with wf.parallel(on_error="complete_all", name="block"):
        wf.step(lambda ctx: Ok([Plain()]), name="bad", inline=True)
        wf.step(lambda ctx: Ok(1), name="good", inline=True)
        with wf.sequence("chain"):
            wf.step(lambda ctx: {"x": Plain()}, name="in_chain", inline=True)
    info = await finish(db, wf)
    results = info.result["__results__"]
    assert is_refusal(results["bad"].reason, "[0]", Plain())
    assert is_refusal(results["chain"].reason, '["x"]', Plain())
    assert results["good"] == Ok(1)
    assert states(info)["block/bad"] == "error"


async def test_cyclic_values_are_refused_with_a_message_that_says_so(db, wf):
    cyclic = {"list": []}
    cyclic["list"].append(cyclic)
    wf.step(lambda ctx: {"a": cyclic}, name="a", inline=True)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert 'ctx["a"]' in error.message


async def test_a_context_put_into_itself_is_refused(db, wf):
    @wf.step
    async def step(ctx):
        ctx["self"] = ctx

    error = (await failed(db, wf, {"x": 1})).error
    assert error.type.endswith("SnapshotError")


async def test_values_that_are_nested_too_deeply_are_refused(db, wf):
    deep = []
    for _ in range(100_000):
        deep = [deep]
    wf.step(lambda ctx: {"a": deep}, name="a", inline=True)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert 'ctx["a"]' in error.message


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(Plain(), id="Plain()"),
        Port(1),
        Text("k"),
        pytest.param((1, Plain()), id="(1, Plain())"),
        Pair(1, 2),
    ],
    ids=repr,
)
async def test_keys_that_cannot_be_stored_are_refused(db, wf, key):
    wf.step(lambda ctx: {"a": {key: 1}}, name="a", inline=True)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert 'ctx["a"]' in error.message


async def test_keys_of_the_context_itself_that_cannot_be_stored_are_refused(db, wf):
    wf.step(lambda ctx: {Plain(): 1}, name="a", inline=True)
    assert (await failed(db, wf)).error.type.endswith("SnapshotError")


async def test_one_that_raises_when_it_is_looked_at_is_refused_like_any_other(db, wf):
    class Hostile:
        def __repr__(self):
            raise RuntimeError("no")

        def __eq__(self, other):
            raise RuntimeError("no")

        __hash__ = None

    wf.step(lambda ctx: {"a": Hostile()}, name="a", inline=True)
    error = (await failed(db, wf)).error
    assert error.type.endswith("SnapshotError")
    assert "Hostile" in error.message


async def test_the_message_says_how_to_register_a_type(db, wf):
    wf.step(lambda ctx: {"a": Unregistered(1)}, name="a", inline=True)
    message = (await failed(db, wf)).error.message
    assert "elsewhere.Unregistered" in message
    assert "types=" in message


async def test_a_shared_value_is_no_cycle(db, wf):
    shared = [1]
    wf.step(lambda ctx: {"a": shared, "b": [shared, shared]}, name="a", inline=True)
    assert await result_of(db, wf) == {"a": [1], "b": [[1], [1]]}


@pytest.mark.parametrize("of", [Ok, Err])
@pytest.mark.parametrize("parts", [(), ("ok",), ("ok", 1, 2)])
async def test_a_tagged_tuple_of_another_length_is_refused(db, wf, of, parts):
    """Nobody gets one by accident; one that did would be read beyond its end."""

    @wf.step
    async def odd(_ctx):
        return tuple.__new__(of, parts)

    error = (await failed(db, wf, {})).error
    assert error.type == "TypeError"
    assert f"step 'odd' returned {parts!r}" in error.message
