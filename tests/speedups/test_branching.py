"""A lane goes through branches of a block as tasks in a nursery would, whoever drives it."""

from __future__ import annotations

import contextvars
import gc
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from stepping_world import Told, World, one, quick, returned, trap

from durable_trio._engine.run import Outcome
from durable_trio._snapshot.records import ERROR, OK
from durable_trio._speedups.context import BlockBase, Lane, StepScope


class Block(BlockBase):
    """What the engine's does beyond that is told to ``told``."""

    told: list[Any]
    has_timed_out = False

    def branch(self, index: int) -> None:
        """Of what a nursery would start."""

    def run_branch(self, _scope: StepScope, branch: Any) -> Any:
        return self.run_other(branch)

    async def run_other(self, branch: Any) -> Outcome:
        came = await trap(branch.path)
        return came or Outcome(ERROR, "no", b"record", errors={branch.path: "no"})

    def cut_off(self, index: int, _scope: StepScope, error: BaseException) -> None:
        self.told.append((index, error))

    def check_stop(self) -> None:
        self.cause = "enough"

    def put(self, record: bytes) -> None:
        self.told.append(record)

    async def rest(self) -> None:
        await trap("rests")


class Scene(World):
    """A block whose branches are to be run; ``started`` are the branches that were given tasks."""

    def __init__(self, *bodies: Any, need: int = 0, fail_fast: bool = True, timeout: Any = None) -> None:
        super().__init__(*bodies)
        for node in self.nodes:
            node.retry = None
        self.run.engine = SimpleNamespace(stepper=self.stepper, committer=self.intake, stragglers=self)
        self.run.journal = None
        self.run.scopes = set()
        self.run.busy = 1
        self.idle: list[int] = []
        self.run.check_idle = lambda: self.idle.append(self.run.busy)
        self.discarded: list[StepScope] = []
        self.discard = self.discarded.append
        self.task.context = contextvars.copy_context()
        node = SimpleNamespace(need=need, fail_fast=fail_fast)
        keys = tuple(node.path for node in self.nodes)
        self.block = Block(self.run, node, self.nodes, keys, {"n": 0}, 3, "top", timeout)
        self.block.told = []
        self.block.open = dict.fromkeys(range(len(keys)))
        self.block.queue = iter(range(len(keys)))
        self.block.tasks = 1
        self.block.clean = contextvars.Context()
        self.started: list[int] = []
        self.block.nursery = SimpleNamespace(start_soon=lambda _branch, index: self.started.append(index))

    def own(self) -> Lane:
        return Lane(self.block, self.scope, self.task)

    def of(self, index: int) -> Lane:
        return Lane(self.block, StepScope(self.run), index=index)

    def outcomes(self) -> list[Any]:
        return [value[1] for value in self.block.collector.merge().values()]


async def three(_ctx: Any) -> dict[str, Any]:
    return {"c": 3}


def test_branches_that_do_not_suspend_run_one_behind_the_other() -> None:
    scene = Scene(quick, three, quick)
    assert returned(scene.own(), None) is None
    assert scene.outcomes() == [{"n": 0}, {"c": 3}, {"n": 0}]
    assert len(scene.queue) == 3
    assert scene.block.open == {}
    assert scene.started == []


def test_the_others_get_tasks_when_one_suspends() -> None:
    scene = Scene(quick, one, quick, quick)
    lane = scene.own()
    assert lane.send(None) == "one"
    assert scene.started == [2, 3]
    assert scene.block.tasks == 3
    assert scene.run.busy == 1 + 3 - 1 - 1  # the block's own was counted for those that had not begun
    assert returned(lane, 4) is None
    assert scene.started == [2, 3]
    assert scene.block.collector.status(1) == OK
    assert list(scene.block.open) == [2, 3]


def test_no_more_are_started_than_may_run_at_once() -> None:
    scene = Scene(one, quick, quick, quick)
    scene.block.width = 2
    lane = scene.own()
    lane.send(None)
    assert scene.started == [1]
    assert returned(lane, 4) is None  # the block's own task takes what is left
    assert list(scene.block.open) == [1]


def test_the_task_of_a_branch_is_followed_by_another() -> None:
    scene = Scene(quick, quick, one)
    scene.block.tasks = 3
    scene.run.busy = 3
    scene.block.queue = iter([2])
    lane = scene.of(0)
    assert returned(lane, None) is None
    assert scene.started == [2]
    assert (scene.block.tasks, scene.run.busy) == (3, 3)
    assert returned(scene.of(1), None) is None
    assert scene.started == [2]
    assert (scene.block.tasks, scene.run.busy) == (2, 2)


def test_a_branchs_task_is_seen_while_it_is_under_way() -> None:
    scene = Scene(one)
    scene.block.tasks = 2
    scope = StepScope(scene.run)
    lane = Lane(scene.block, scope, index=0)
    lane.send(None)
    assert scene.run.scopes == {scope}
    assert scene.block.open == {0: scope}
    assert (scope.path, scope.visit, scope.attempt) == ("s0", 3, 1)
    scope.watched = True
    returned(lane, 4)
    assert scene.run.scopes == set()
    assert scene.discarded == [scope]


def test_a_run_is_looked_at_when_none_of_its_tasks_is_busy() -> None:
    scene = Scene(one, quick)
    scene.block.tasks = 2
    scene.block.queue = iter(())
    returned(scene.of(1), None)
    assert scene.idle == [0]


def test_a_branch_that_may_have_several_bodies_has_a_clean_context() -> None:
    scene = Scene(one, one, None)
    scene.nodes[1].retry = "some"
    scopes = [StepScope(scene.run) for _ in scene.nodes]
    for index, scope in enumerate(scopes):
        Lane(scene.block, scope, index=index).send(None)
    assert [scope.clean is not None for scope in scopes] == [False, True, True]


def test_an_error_ends_a_block_that_fails_fast() -> None:
    scene = Scene(None, quick)
    lane = scene.own()
    assert lane.send(None) == "s0"
    assert returned(lane, None) is None
    assert scene.block.cause == "enough"
    assert scene.block.is_over
    assert scene.block.errors == {"s0": "no"}
    assert returned(scene.of(1), None) is None
    assert list(scene.block.open) == [1]


def test_what_is_recorded_is_handed_over_by_the_block_if_that_is_asked_for() -> None:
    scene = Scene(quick, None)
    scene.run.parking = True
    lane = scene.own()
    lane.send(None)
    returned(lane, None)
    plain, record = scene.block.told
    assert record == b"record"
    assert b"s0" in plain
    assert not scene.queue


@pytest.mark.parametrize("halted", ["stopped", "expired", "cause", "damage", "timeout"])
def test_no_branch_begins_in_a_block_that_is_over(halted: str) -> None:
    scene = Scene(quick, quick, timeout=1.0)
    if halted == "stopped":
        scene.run.stopped = True
    elif halted == "expired":
        scene.run.deadline, scene.run.expired = 1.0, True
    elif halted == "timeout":
        scene.block.has_timed_out = True
    else:
        setattr(scene.block, halted, "some")
    scene.block.tasks = 2
    assert returned(scene.of(1), None) is None
    assert scene.block.tasks == 1
    assert returned(scene.own(), None) is None
    assert list(scene.block.open) == [0, 1]
    assert scene.block.told == []


def test_other_tasks_have_their_turn() -> None:
    scene = Scene(*[quick] * 130)
    lane = scene.own()
    assert lane.send(None) == "rests"
    assert len(scene.queue) == 64
    assert scene.started == []  # it has not suspended in a branch
    assert lane.send(None) == "rests"
    assert returned(lane, None) is None
    assert len(scene.queue) == 130


def test_a_context_that_is_replaced_is_waited_for() -> None:
    scene = Scene(quick, quick, quick)

    async def leaves_something(_ctx: Any) -> None:
        scene.task.context = contextvars.copy_context()

    scene.nodes[1].fn = leaves_something
    lane = scene.own()
    assert lane.send(None) == "rests"
    assert list(scene.block.open) == [2]
    assert returned(lane, None) is None


@pytest.mark.parametrize("own", [True, False])
def test_an_interruption_is_told_and_goes_no_further(own: bool) -> None:
    scene = Scene(one, quick)
    scene.block.tasks = 2
    lane = scene.own() if own else scene.of(0)
    lane.send(None)
    with pytest.raises(StopIteration):
        lane.throw(trio.Cancelled._create())
    ((index, error),) = scene.block.told
    assert index == 0
    assert isinstance(error, trio.Cancelled)
    assert scene.run.scopes == set()
    assert scene.stepper.bodies == 0


def test_an_interruption_of_a_rest_comes_through() -> None:
    lane = Scene(*[quick] * 65).own()
    lane.send(None)
    with pytest.raises(KeyboardInterrupt):
        lane.throw(KeyboardInterrupt())


def test_closed_it_closes_the_body_and_tells_nobody() -> None:
    closed: list[bool] = []

    async def body(_ctx: Any) -> None:
        try:
            await trap("here")
        finally:
            closed.append(True)

    scene = Scene(body)
    lane = scene.own()
    lane.send(None)
    lane.close()
    assert closed == [True]
    assert scene.block.told == []
    with pytest.raises(RuntimeError, match="awaited already"):
        lane.send(None)


def test_before_it_begins_it_can_be_closed_or_thrown_at() -> None:
    scene = Scene(quick)
    scene.own().close()
    lane = scene.own()
    with pytest.raises(Told):
        lane.throw(Told())
    with pytest.raises(RuntimeError, match="awaited already"):
        lane.send(None)
    assert scene.block.told == []
    assert scene.block.open == {0: None}


def test_what_the_block_raises_comes_through() -> None:
    scene = Scene(quick)
    scene.block.collector.error(0, "no")
    with pytest.raises(RuntimeError, match="an outcome already"):
        scene.own().send(None)


@pytest.mark.slow
def test_it_leaves_nothing_behind() -> None:
    def play() -> None:
        for end in ("return", "throw", "close", "drop"):
            scene = Scene(quick, one, None)
            lane = scene.own()
            lane.send(None)
            if end == "return":
                returned(lane, 4)
            elif end == "throw":
                lane.throw(KeyboardInterrupt())
                with pytest.raises(StopIteration):
                    lane.send(None)
            elif end == "close":
                lane.close()
            scene.queue.clear()

    for _ in range(50):
        play()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        play()
    gc.collect()
    assert sys.getallocatedblocks() - before < 1000
