"""What hostile files are made of: one database at several moments of its life, and another one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import trio
import trio.testing

from durable_trio import Err, Ok, Workflow, open_engine
from durable_trio._info import STATUS_CODES
from durable_trio._store.base import Store
from durable_trio._store.lmdb import open_lmdb
from tests.crash.values import Address, Colour, Parcel, sample

TYPES = (Address, Colour, Parcel)

# Each run had these at some time: meta pages that were tampered with may lead to any earlier commit.
_ON_THE_WAY = tuple(STATUS_CODES[name] for name in ("pending", "running", "waiting"))


class Content(NamedTuple):
    """What was ever written, by key: rows and headers never change; a status and a mailbox do."""

    headers: dict[bytes, bytes]
    rows: dict[bytes, list[bytes]]
    statuses: dict[bytes, set[int]]
    messages: dict[tuple[bytes, int], bytes]


class Corpus(NamedTuple):
    """``versions`` are data files, oldest first; ``foreign`` is one of another database."""

    folder: Path
    versions: list[bytes]
    foreign: bytes
    content: Content


def _workflow() -> Workflow:
    wf = Workflow("orders")

    async def first(ctx: Any) -> Any:
        return ctx | {"first": sample(ctx["id"], "first"), "big": "x" * ctx["size"]}

    async def left(ctx: Any) -> Any:
        return Ok(sample(ctx["id"], "left"))

    async def right(ctx: Any) -> Any:
        return Err({"because": ctx["id"]})

    async def last(ctx: Any) -> Any:
        return Ok(ctx | {"last": sample(ctx["id"], "last")})

    wf.step(first)
    with wf.parallel(name="both", on_error="complete_all"):
        wf.step(left)
        wf.step(right)
    wf.wait_for_event("go", timeout=10_000)
    wf.step(last)
    return wf


def build(folder: Path) -> Corpus:
    """Write the databases; takes a fraction of a second."""
    versions = []
    content = Content({}, {}, {}, {})
    workflow = _workflow()
    for stage in range(4):
        trio.run(_write, folder / "db", workflow, stage)
        versions.append((folder / "db" / "data.mdb").read_bytes())
        store = open_lmdb(folder / "db", readonly=True)
        collect(store, content)
        store.close()
    trio.run(_write, folder / "other", workflow, 7)
    return Corpus(folder / "db", versions, (folder / "other" / "data.mdb").read_bytes(), content)


async def _write(database: Path, workflow: Workflow, stage: int) -> None:
    async with open_engine(database, workflows=[workflow], types=TYPES) as engine:
        for number in range(12):
            name = f"run-{stage}-{number}"
            await engine.start(workflow, {"id": name, "size": (0, 300, 9000)[number % 3]}, id=name)
        for info in await engine.list(status="waiting"):
            if int(info.id.rpartition("-")[2]) % 2:
                await engine.send_event(info.id, "go", {"stage": stage})
        for info in (await engine.list(limit=5))[:2]:
            await engine.cancel(info.id, "enough") if info.finished_at is None else None
        await trio.testing.wait_all_tasks_blocked(0.02)


def collect(store: Store, content: Content) -> None:
    """Add what a store has to what was ever written."""
    for key, _, status in store.keys(range(256), limit=100_000):
        stored = store.load(key)
        assert stored is not None
        content.headers[key] = stored.header
        content.rows[key] = stored.rows
        content.statuses.setdefault(key, set(_ON_THE_WAY)).add(status)
        content.messages.update({(key, number): data for number, data in store.messages(key)})


def lay_out(corpus: Corpus, folder: Path, data: bytes) -> Path:
    """A database directory with this data file."""
    database = folder / "db"
    shutil.rmtree(database, ignore_errors=True)
    shutil.copytree(corpus.folder, database, ignore=shutil.ignore_patterns("data.mdb"))
    (database / "data.mdb").write_bytes(data)
    return database
