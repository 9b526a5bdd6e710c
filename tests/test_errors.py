"""The errors of section 8: their tree, what they carry and what they say."""

from __future__ import annotations

import copy
import pickle

import pytest

import durable_trio
from durable_trio import (
    DefinitionError,
    DurableError,
    EngineClosed,
    Failure,
    InputError,
    RunBlocked,
    RunCancelled,
    RunFailed,
    RunNotFound,
    SnapshotError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreLocked,
    WaitTimeout,
)

ALL = [
    DefinitionError,
    SnapshotError,
    StoreError,
    StoreLocked,
    StoreCorrupt,
    StoreFull,
    RunFailed,
    RunCancelled,
    RunNotFound,
    RunBlocked,
    WaitTimeout,
    EngineClosed,
    InputError,
]


@pytest.mark.parametrize("error", ALL)
def test_all_derive_from_durable_error(error):
    assert issubclass(error, DurableError)
    assert issubclass(error, Exception)


@pytest.mark.parametrize("error", [StoreLocked, StoreCorrupt, StoreFull])
def test_the_errors_of_the_store_are_store_errors(error):
    assert issubclass(error, StoreError)


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_every_public_error_is_in_this_list():
    public = {
        value
        for value in vars(durable_trio).values()
        if isinstance(value, type) and issubclass(value, BaseException) and value is not DurableError
    }
    assert public == set(ALL)


def test_run_failed_carries_run_error_and_errors():
    error = RunFailed("run-7", "why", {"charge": "why", "block/a": {"code": 1}})
    assert error.run_id == "run-7"
    assert error.error == "why"
    assert error.errors == {"charge": "why", "block/a": {"code": 1}}
    assert str(error) == "run 'run-7' failed at 'charge': why (and 1 more, see .errors)"


def test_run_failed_says_a_failures_type_and_message():
    failure = Failure("ValueError", "bad card")
    assert (
        str(RunFailed("r", failure, {"charge": failure}))
        == "run 'r' failed at 'charge': ValueError: bad card"
    )


def test_run_failed_can_do_without_errors():
    error = RunFailed("r", None)
    assert error.errors == {}
    assert "'r'" in str(error)


def test_run_cancelled_carries_run_and_reason():
    assert RunCancelled("r", {"by": 1}).reason == {"by": 1}
    assert RunCancelled("r").reason is None
    assert str(RunCancelled("r")) == "run 'r' was cancelled"
    assert str(RunCancelled("r", "late")) == "run 'r' was cancelled: late"
    assert str(RunCancelled("r", "")) == "run 'r' was cancelled: "


def test_snapshot_error_carries_path_and_type():
    error = SnapshotError("no", path='ctx["a"]', type_name="socket.socket")
    assert (str(error), error.path, error.type_name) == ("no", 'ctx["a"]', "socket.socket")


@pytest.mark.parametrize(
    "error",
    [
        RunFailed("r", "why", {"a": "why"}),
        RunCancelled("r", "why"),
        SnapshotError("no", path='ctx["a"]', type_name="socket.socket"),
        RunBlocked("x"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("remake", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_copying_and_pickling(error, remake):
    again = remake(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
