"""Runs whose record makes no sense, to one of their branches only, and how that is mended."""

from __future__ import annotations

import lmdb
import pytest
from engine_helpers import at

from durable_trio import RunBlocked, open_engine
from durable_trio._speedups.batching import seal, unsealed


def damage(disk):
    """Have the record of a choice name a clause that there is not, under a checksum that fits."""
    _rewrite(disk, b"recorded", b"damaged!")


def mend(disk):
    _rewrite(disk, b"damaged!", b"recorded")


def _rewrite(disk, old, new):
    count = 0
    env = lmdb.open(str(disk), max_dbs=12)
    with env.begin(write=True, db=env.open_db(b"journal")) as txn:
        for key, value in list(txn.cursor()):
            payload = unsealed(key, value)
            count += payload.count(old)
            txn.put(key, seal(key, payload.replace(old, new)))
    env.close()
    assert count == 1


def chooses(wf, hold):
    """What is damaged: a branch that is in a clause, as is recorded."""
    with wf.branch(on=lambda ctx: "recorded", name="choice") as choice, choice.case("recorded"):
        wf.step(at(hold), name="chosen")


def quick(wf, seen, name="quick"):
    wf.step(lambda ctx: seen.append(name), name=name, inline=True)


async def interrupt(disk, workflows, *holds):
    """A life of the run ``"r"`` until somebody has come to each of these places."""
    async with open_engine(disk, workflows=workflows) as engine:
        await engine.start(workflows[0], id="r")
        for hold in holds:
            await hold.reached.wait()


async def is_blocked(engine, wf, reason="damaged!"):
    """The run ends up blocked, for this reason, and the engine is as before."""
    run = await engine.start(wf, id="r")
    with pytest.raises(RunBlocked, match=reason):
        await run.result()
    assert [info.id for info in await engine.list(status="blocked")] == ["r"]
    with pytest.raises(RunBlocked):
        await engine.send_event("r", "go")
    assert engine.failure is None
    return await engine.get("r")
