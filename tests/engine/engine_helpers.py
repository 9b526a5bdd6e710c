"""What the tests of the engine share: running a workflow to its end, leaving it in between, meeting points.

Only public names are used, here and in the tests.
"""

from __future__ import annotations

import shutil

import pytest
import trio

from durable_trio import RunFailed, open_engine


async def finish(db, wf, data=None, **options):
    """Run to the end, however it ends; gives the RunInfo."""
    async with open_engine(db, workflows=[wf], **options) as engine:
        run = await engine.start(wf, data)
        return await run.wait()


async def result_of(db, wf, data=None, **options):
    """Run to the end and give the result."""
    async with open_engine(db, workflows=[wf], **options) as engine:
        return await engine.run(wf, data)


async def failed(db, wf, data=None, **options):
    """Run to the end, which must be a failure; gives the RunFailed."""
    async with open_engine(db, workflows=[wf], **options) as engine:
        with pytest.raises(RunFailed) as caught:
            await engine.run(wf, data)
        return caught.value


async def interrupt(disk, wf, reached, data=None, **options):
    """The first life of the run ``"r"``: it ends by leaving the engine once all of ``reached`` is set."""
    async with open_engine(disk, workflows=[wf], **options) as engine:
        await engine.start(wf, data, id="r")
        for event in [reached] if isinstance(reached, trio.Event) else reached:
            await event.wait()


async def resume(disk, wf, **options):
    """The next life of the run ``"r"``, to its end; gives the RunInfo."""
    async with open_engine(disk, workflows=[wf], **options) as engine:
        run = await engine.start(wf, id="r")
        assert not run.created
        return await run.wait()


def crash_image(disk, to):
    """What a crash at this moment would leave on the disk, as a database of its own."""
    shutil.copytree(disk, to)
    return to


def states(info):
    """Path to status, of each step's last visit."""
    return {step.path: step.status for step in info.steps}


def step_of(info, path, visit=1):
    (found,) = [step for step in info.steps if (step.path, step.visit) == (path, visit)]
    return found


class Hold:
    """A place in a step: whoever comes here says so, and stays until it is let go.

    ``entered`` counts them, over all lives of a run.
    """

    def __init__(self):
        self.reached = trio.Event()
        self.entered = 0
        self._open = trio.Event()

    async def __call__(self):
        self.entered += 1
        self.reached.set()
        await self._open.wait()

    def let_go(self):
        self._open.set()


class Meeting:
    """Tasks come together here: ``await meeting()`` passes when ``size`` of them are there at once."""

    def __init__(self, size):
        self._size = size
        self._here = 0
        self._all = trio.Event()

    async def __call__(self):
        self._here += 1
        event = self._all
        if self._here == self._size:
            event.set()
            self._here, self._all = 0, trio.Event()
        await event.wait()


def at(hold, value=None):
    """A step that stays there until it is let go."""

    async def step(ctx):
        await hold()
        return value

    return step
