"""A clock that jumps when all tasks wait, and notices when they wait for nothing that will ever come."""

from __future__ import annotations

import math
from collections.abc import Iterator

import trio
import trio.testing


class Stuck(Exception):
    """All tasks wait, and nothing will wake any of them; says where they are."""


def simulated_clock(at: float) -> trio.testing.MockClock:
    """A clock that starts at a virtual second; ``Stuck`` comes out of ``trio.run`` in a TrioInternalError."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    clock.jump(at)

    def autojump() -> None:
        seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if seconds == math.inf:
            root = trio.lowlevel.current_root_task()
            assert root is not None
            raise Stuck("\n".join(_tree(root, "")))
        clock.jump(max(seconds, 0.0))

    clock._autojump = autojump  # type: ignore[method-assign]
    return clock


def _tree(task: trio.lowlevel.Task, indent: str) -> Iterator[str]:
    frames = [
        f"{frame.f_code.co_name}:{line}"
        for frame, line in task.iter_await_frames()
        if "/trio/" not in frame.f_code.co_filename
    ]
    yield f"{indent}{task.name}: {' > '.join(frames[-5:])}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda task: task.name):
            yield from _tree(child, f"{indent}  ")
