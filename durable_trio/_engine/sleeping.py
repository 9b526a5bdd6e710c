"""How a task sleeps until somebody reschedules it, for fewer objects than Trio takes for it.

``trio.lowlevel.wait_task_rescheduled`` makes a coroutine, a generator, a request to the scheduler and, if the
task is woken with nothing to say, an ``Outcome``. Each run in flight has a task that sleeps until it ends,
and each step sleeps once; with thousands of them, the garbage collector looks at all of that again and again.
Here it is one generator: requests are made once, and so is the answer.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Generator
from typing import Any

import outcome
import trio

AWAKE = outcome.Value(None)  # never unwrapped, which can be done once only


def sleep_request(abort: Callable[[Any], trio.lowlevel.Abort]) -> Any:
    """What is handed to Trio's scheduler to sleep, any number of times.

    Args:
        abort: what ``wait_task_rescheduled`` takes.

    Raises:
        RuntimeError: this Trio does that in another way.
    """
    waiting = trio.lowlevel.wait_task_rescheduled(abort)  # noqa: ASYNC105 - nobody waits here
    request = waiting.send(None)
    try:
        waiting.send(outcome.Value(None))  # what the scheduler answers, and ``asleep`` takes
    except StopIteration:
        return request
    raise RuntimeError(
        f"trio {trio.__version__} puts tasks to sleep in a way that this version of durable-trio does not "
        "know; update durable-trio, or install an older trio"
    )


@types.coroutine
def asleep(request: Any) -> Generator[Any, outcome.Outcome[None], None]:
    """Sleep until rescheduled, with ``AWAKE`` or, as ``wait_task_rescheduled``, with any other Outcome."""
    came = yield request
    if came is not AWAKE:
        came.unwrap()


def _not_abortable(_raise_cancel: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


def _abortable(_raise_cancel: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.SUCCEEDED


def tells_of_cancellation(task: trio.lowlevel.Task) -> bool:
    """Whether ``task._cancel_status.effectively_cancelled`` is there to say if a task is being cancelled.

    ``trio.lowlevel.checkpoint_if_cancelled`` asks nothing else, and the public ways to ask are a coroutine
    and a walk up the tree of scopes; a step would spend a twentieth of its time in them. With a Trio that
    does not have it, it does.
    """
    status = getattr(task, "_cancel_status", None)
    return isinstance(getattr(status, "effectively_cancelled", None), bool)


SHIELDED = sleep_request(_not_abortable)
CANCELLABLE = sleep_request(_abortable)  # for whoever need not be told
