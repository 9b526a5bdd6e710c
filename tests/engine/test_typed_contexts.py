"""Steps whose context is annotated with a Struct or a dataclass, and ``Workflow(input=...)``."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
import trio
from engine_helpers import failed, finish, interrupt, result_of, resume

from durable_trio import DefinitionError, Failure, InputError, Ok, Retry, Workflow, open_engine


class Order(msgspec.Struct):
    order_id: int
    tags: list[str] = []
    note: str = "none"


@dataclasses.dataclass
class Customer:
    name: str
    age: int = 30


async def test_a_step_gets_its_context_as_the_struct_that_it_asks_for(db, wf):
    seen = []

    @wf.step
    async def look(ctx: Order):
        seen.append(ctx)

    await result_of(db, wf, {"order_id": 7, "tags": ["a"]})
    assert seen == [Order(7, ["a"], "none")]
    assert type(seen[0]) is Order


async def test_a_step_gets_its_context_as_the_dataclass_that_it_asks_for(db, wf):
    seen = []

    @wf.step
    def look(ctx: Customer):
        seen.append(ctx)

    await result_of(db, wf, {"name": "ada"})
    assert seen == [Customer("ada", 30)]


async def test_what_the_step_changes_in_the_object_is_passed_on(db, wf):
    @wf.step
    async def change(ctx: Order):
        ctx.tags.append("new")
        ctx.order_id += 1

    assert await result_of(db, wf, {"order_id": 7, "tags": ["a"], "other": 1}) == {
        "order_id": 8,
        "tags": ["a", "new"],
        "note": "none",
        "other": 1,
    }


async def test_the_object_may_be_returned(db, wf):
    @wf.step
    async def change(ctx: Order):
        ctx.note = "changed"
        return ctx

    @wf.step
    async def wrap(ctx: Order):
        ctx.tags.append("wrapped")
        return Ok(ctx)

    assert await result_of(db, wf, {"order_id": 7}) == {"order_id": 7, "tags": ["wrapped"], "note": "changed"}


@pytest.mark.parametrize(
    ("context", "field"),
    [({}, "order_id"), ({"order_id": "seven"}, "order_id"), ({"order_id": 1, "tags": [1]}, "tags")],
    ids=repr,
)
async def test_a_context_that_does_not_fit_fails_the_step_without_a_retry_and_names_the_field(
    db, wf, context, field
):
    entered = []

    @wf.step(retry=Retry(max_attempts=3, base=0))
    async def look(ctx: Order):
        entered.append(1)

    info = await finish(db, wf, context)
    assert info.status == "failed"
    assert isinstance(info.error, Failure)
    assert field in info.error.message
    assert "look" in info.error.message
    assert "Order" in info.error.message
    assert info.error.attempts == 1
    assert entered == []


async def test_a_branch_may_have_a_typed_context_too(db, wf):
    with wf.parallel(on_error="complete_all"):

        @wf.step
        async def fits(ctx: Order):
            return Ok(ctx.order_id)

        @wf.step
        async def does_not(ctx: Customer):
            return Ok(ctx.name)

    results = (await result_of(db, wf, {"order_id": 7}))["__results__"]
    assert results["fits"] == Ok(7)
    assert "name" in results["does_not"].reason.message


async def test_a_typed_step_gets_the_same_after_a_restart(disk, wf):
    seen = []
    held = trio.Event()

    @wf.step
    async def look(ctx: Order):
        seen.append(ctx)
        held.set()
        if len(seen) == 1:
            await trio.sleep_forever()

    await interrupt(disk, wf, held, {"order_id": 7, "tags": ["a"]})
    await resume(disk, wf)
    assert seen == [Order(7, ["a"])] * 2


@pytest.fixture
def typed():
    wf = Workflow("typed", input=Order)
    wf.step(lambda ctx: None, name="a", inline=True)
    return wf


async def test_an_input_that_fits_is_taken_with_the_types_defaults(db, typed):
    info = await finish(db, typed, {"order_id": 7})
    assert info.input == {"order_id": 7, "tags": [], "note": "none"}
    assert info.result == info.input


async def test_an_input_may_be_an_instance_of_the_type(db, typed):
    assert await result_of(db, typed, Order(7, ["a"])) == {"order_id": 7, "tags": ["a"], "note": "none"}


async def test_an_input_may_be_a_dataclass(db):
    wf = Workflow("typed", input=Customer)
    wf.step(lambda ctx: None, name="a", inline=True)
    assert await result_of(db, wf, Customer("ada")) == {"name": "ada", "age": 30}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "order_id"),
        ({}, "order_id"),
        ({"order_id": "x"}, "order_id"),
        ({"order_id": 1, "tags": [2]}, "tags"),
    ],
    ids=repr,
)
async def test_an_input_that_does_not_fit_is_refused_with_its_field_and_nothing_is_started(
    db, typed, value, field
):
    async with open_engine(db, workflows=[typed]) as engine:
        with pytest.raises(InputError, match=field) as caught:
            await engine.start(typed, value, id="r")
        assert "typed" in str(caught.value)
        assert await engine.list() == []
        assert await engine.run(typed, {"order_id": 1}, id="r") == {"order_id": 1, "tags": [], "note": "none"}


@pytest.mark.parametrize("value", [5, "text", Customer("ada")], ids=repr)
async def test_an_input_of_another_kind_is_refused(db, typed, value):
    async with open_engine(db, workflows=[typed]) as engine:
        with pytest.raises(InputError):
            await engine.start(typed, value)


def test_the_type_of_an_input_is_a_struct_or_a_dataclass():
    with pytest.raises(DefinitionError):
        Workflow("w", input=dict)


async def test_an_unfitting_error_names_the_run_in_which_it_was(db, wf):
    @wf.step
    async def look(ctx: Order):
        pass

    error = await failed(db, wf, {})
    assert "look" in str(error)
    assert error.errors == {"look": error.error}
