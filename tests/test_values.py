"""``Ok``, ``Err``, ``Failure``, ``Goto`` and ``Finish`` by themselves."""

from __future__ import annotations

import copy
import pickle

import pytest

from durable_trio import Err, Failure, Finish, Goto, Ok

DATA = [None, 0, "text", [1], {"a": 1}, (1, 2), ("ok", 1)]


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_ok_is_a_tagged_tuple(data):
    value = Ok(data)
    assert isinstance(value, tuple)
    assert value == ("ok", data)
    assert ("ok", data) == value
    assert len(value) == 2
    assert value[0] == "ok"
    assert value[1] is data
    assert value.value is data
    assert value.is_ok is True


@pytest.mark.parametrize("data", DATA, ids=repr)
def test_err_is_a_tagged_tuple(data):
    value = Err(data)
    assert isinstance(value, tuple)
    assert value == ("error", data)
    assert len(value) == 2
    assert value.reason is data
    assert value.is_ok is False


def test_they_match_by_class():
    match Ok({"a": 1}):
        case Err(_):
            pytest.fail("matched Err")
        case Ok({"a": n}):
            assert n == 1
    match Err("why"):
        case Ok(_):
            pytest.fail("matched Ok")
        case Err(reason):
            assert reason == "why"


def test_they_match_by_class_with_keywords():
    match Ok(1), Err(2):
        case Ok(value=a), Err(reason=b):
            assert (a, b) == (1, 2)
        case _:
            pytest.fail("did not match")


def test_they_match_by_shape():
    match Ok(1):
        case ("ok", n):
            assert n == 1
        case _:
            pytest.fail("did not match")
    match Err(2):
        case ("error", n):
            assert n == 2
        case _:
            pytest.fail("did not match")


def test_a_plain_tuple_does_not_match_by_class():
    match ("ok", 1):
        case Ok(_):
            pytest.fail("matched Ok")
    match ("error", 1):
        case Err(_):
            pytest.fail("matched Err")


def test_a_pair_of_results_matches_as_in_the_contract():
    def decide(stock, payment):
        match stock, payment:
            case Ok(found), Ok(pay) if found["available"] and pay["authorized"]:
                return "go"
            case Ok(_), Err("card_declined"):
                return "payment"
            case Err("out_of_stock"), _:
                return "backorder"
            case _:
                return "failed"

    assert decide(Ok({"available": True}), Ok({"authorized": True})) == "go"
    assert decide(Ok({"available": False}), Ok({"authorized": True})) == "failed"
    assert decide(Ok({}), Err("card_declined")) == "payment"
    assert decide(Err("out_of_stock"), Ok({})) == "backorder"
    assert decide(Err("other"), Ok({})) == "failed"


def test_ok_and_err_of_the_same_are_not_equal():
    assert Ok(1) != Err(1)
    assert Ok(1) != Ok(2)
    assert Err("a") != Err("b")
    assert Ok(1) != 1


def test_they_unpack_and_hash_like_tuples():
    tag, data = Ok(5)
    assert (tag, data) == ("ok", 5)
    assert {Ok(1): "x"}[("ok", 1)] == "x"
    with pytest.raises(TypeError):
        hash(Ok([]))


def test_their_data_cannot_be_replaced():
    with pytest.raises((AttributeError, TypeError)):
        Ok(1).value = 2
    with pytest.raises((AttributeError, TypeError)):
        Err(1).reason = 2


def test_they_say_what_they_are():
    assert repr(Ok({"a": 1})) == "Ok({'a': 1})"
    assert repr(Err("why")) == "Err('why')"
    assert repr(Err("why", retry=False)) == "Err('why', retry=False)"


def test_retry_is_an_instruction_and_no_part_of_the_value():
    assert Err("x", retry=False) == Err("x") == ("error", "x")
    assert hash(Err("x", retry=False)) == hash(Err("x"))
    assert len(Err("x", retry=False)) == 2
    assert Err("x", retry=False).retry is False
    assert Err("x").retry is True


@pytest.mark.parametrize(
    "value", [Ok([1, {"a": 2}]), Err("why"), Ok(Err(Ok(None))), Ok(Failure("a", "b"))], ids=repr
)
@pytest.mark.parametrize(
    "remake", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_copies_and_pickles_are_the_same(value, remake):
    again = remake(value)
    assert again == value
    assert type(again) is type(value)
    assert type(again[1]) is type(value[1])


def test_a_deep_copy_shares_nothing():
    value = Ok([1])
    copy.deepcopy(value).value.append(2)
    assert value == Ok([1])


def test_they_take_exactly_one_value():
    with pytest.raises(TypeError):
        Ok()
    with pytest.raises(TypeError):
        Ok(1, 2)
    with pytest.raises(TypeError):
        Err()
    with pytest.raises(TypeError):
        Err("x", False)


def test_failure_is_a_frozen_record():
    failure = Failure(type="httpx.ConnectError", message="refused", traceback="Traceback …", attempts=3)
    assert (failure.type, failure.message) == ("httpx.ConnectError", "refused")
    assert (failure.traceback, failure.attempts) == ("Traceback …", 3)
    assert failure == Failure("httpx.ConnectError", "refused", "Traceback …", 3)
    assert failure != Failure("httpx.ConnectError", "refused", "Traceback …", 4)
    assert hash(failure) == hash(Failure("httpx.ConnectError", "refused", "Traceback …", 3))
    with pytest.raises(AttributeError):
        failure.message = "other"


def test_failure_says_its_type_and_message():
    assert str(Failure("ValueError", "bad")) == "ValueError: bad"
    assert str(Failure("ValueError", "")) == "ValueError"


def test_a_failure_matches_by_its_parts():
    match Err(Failure(type="TimeoutError", message="took too long")):
        case Err(Failure(type="TimeoutError", message=message)):
            assert message == "took too long"
        case _:
            pytest.fail("did not match")


def test_goto_and_finish_carry_step_and_context():
    assert (Goto("next", {"a": 1}).step, Goto("next", {"a": 1}).ctx) == ("next", {"a": 1})
    assert Finish({"a": 1}).ctx == {"a": 1}
    assert Goto("a", {}) == Goto("a", {})
    assert Goto("a", {}) != Goto("b", {})
    with pytest.raises(AttributeError):
        Goto("a", {}).step = "b"
    with pytest.raises(AttributeError):
        Finish({}).ctx = {}
