"""What is on the disk after a boot, as plain data.

A *copy* of the database is read, so that the next boot finds it as the crash left it: LMDB's lock file with
the locks of the dead in it, and nothing that a reader's opening would have mended.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb

from durable_trio import StoreError
from durable_trio._definition.nodes import (
    BranchNode,
    EventNode,
    InputNode,
    MapNode,
    ParallelNode,
    SequenceNode,
    SleepNode,
    StepNode,
)
from durable_trio._definition.nodes import Node as PlanNode
from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow
from durable_trio._info import STATUS_CODES, STATUS_NAMES, RunInfo
from durable_trio._snapshot import records as stored_records
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import KIND_NAMES, NODE_STATUS_NAMES
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._snapshot.view import run_info
from durable_trio._store.base import Stored
from durable_trio._store.lmdb import LmdbStore, open_lmdb

from . import model
from .eras import era_id, eras, index_in_eras, renumbered
from .model import Attempt, Cancel, Done, Dump, Ended, Index, Node, Record, RunDump, Tree
from .values import Address, Colour, Parcel, digest, own

_CODEC = Codec(TypeRegistry([Address, Colour, Parcel], lenient=True))


def dump(database: Path, copy: Path) -> Dump:
    """Read the database, by way of a copy at ``copy``, which stays."""
    if not database.exists():
        return Dump()
    shutil.copytree(database, copy)
    return read(copy)


def read(database: Path) -> Dump:
    """Read a database that nobody has open."""
    if not (database / "durable-trio.json").exists():
        return Dump()  # its creation did not get to the end
    try:
        store = open_lmdb(database, readonly=True)
    except StoreError as error:
        return Dump(error=f"{type(error).__name__}: {error}")
    try:
        index = _index(database, store)
        runs = {run.id: run for run in _runs(store, index)}
        return Dump(runs, index_in_eras(index, runs))
    except StoreError as error:
        return Dump(error=f"{type(error).__name__}: {error}")
    finally:
        store.close()


def _runs(store: LmdbStore, index: Index) -> Iterator[RunDump]:
    names = store.workflow_names()
    timers = store.timers(limit=1_000_000)
    for key, (run_id, number) in index.runs.items():
        try:
            stored = store.load(bytes.fromhex(key))
            assert stored is not None
            letters = tuple(_letters(store, bytes.fromhex(key)))
            due = tuple(instant for instant, run in timers if run.hex() == key)
            yield from _in_eras(stored, RunDump(run_id, names[number], "", letters=letters, timers=due))
        except StoreError as error:
            yield RunDump(
                run_id, names.get(number, "?"), "?", error=f"{type(error).__name__}: {error}", raw=run_id
            )


def _in_eras(found: Stored, run: RunDump) -> Iterator[RunDump]:
    """A run's eras; letters and timers are the last one's."""
    header = _CODEC.decode_header(found.header)
    every = eras(_CODEC.decode_rows(found.rows))
    for number, era in enumerate(every):
        is_last = number == len(every) - 1
        code = found.status if is_last else STATUS_CODES["failed"]
        info = run_info(header, era.so_far, code, with_steps=True)
        records = _records(era.records, info)
        yield run._replace(
            id=era_id(header.id, number),
            status=info.status,
            rows=() if number else tuple(found.rows),
            records=tuple(renumbered(record, era.superseded) for record in records),
            input=digest(header.input),
            result=digest(info.result if info.status == "completed" else info.error),
            parent=header.parent,
            at=header.at,
            letters=run.letters if is_last else (),
            timers=run.timers if is_last else (),
            raw=header.id,
            era=number,
            inherited=era.inherited,
            superseded=era.superseded,
            paused=era.paused,
            was_paused=era.was_paused,
            fork=None if era.fork is None else era.fork.run,
            point="" if era.fork is None else era.fork.path,
            forks=era.forks,
        )


def _letters(store: LmdbStore, key: bytes) -> Iterator[model.Letter]:
    for number, data in store.messages(key):
        message = _CODEC.decode_message(data)
        kind = "event" if message.kind == stored_records.EVENT_MESSAGE else "input"
        yield model.Letter(number, kind, message.name, digest(message.payload))


def _records(found: Sequence[stored_records.Record], info: RunInfo) -> Iterator[Record]:
    """The records, with identities in place of values: those that the public view shows for them."""
    shown = {(step.path, step.visit): step for step in info.steps}
    for record in found:
        match record:
            case stored_records.Done(path=path, visit=visit):
                step = shown[path, visit]
                value = step.result if record.status == stored_records.OK else step.error
                # What a part of an unfinished sequence passed on cannot be shown yet.
                known = value is not None
                leaf = path.rpartition("/")[2]
                yield Done(
                    path,
                    visit,
                    KIND_NAMES[record.kind],
                    NODE_STATUS_NAMES[record.status],
                    record.attempt,
                    _received(record, leaf) or (own(value, leaf) if known else None),
                    digest(value) if known else None,
                    record.next,
                    record.started + record.duration,
                )
            case stored_records.Attempt():
                yield Attempt(record.path, record.visit, record.attempt, record.due)
            case stored_records.Ended():
                yield Ended(STATUS_NAMES[record.status], digest(record.reason))
            case stored_records.CancelRequested():
                yield Cancel(record.compensate)
            case stored_records.Failing():
                yield model.Failing()
            case _:
                yield _detail(record)


def _received(record: stored_records.Done, leaf: str) -> str | None:
    """What a wait has added to the context, by its name; it is told by the record alone."""
    is_wait = KIND_NAMES[record.kind] in {"event", "input"} and record.status == stored_records.OK
    return digest(record.data[leaf]) if is_wait and record.form == stored_records.DELTA else None


def _detail(record: stored_records.Record) -> Record:
    """What is recorded in between."""
    match record:
        case stored_records.Waiting():
            return model.Waiting(record.path, record.visit, KIND_NAMES[record.kind], record.name, record.due)
        case stored_records.Answered(path=path, visit=visit, payload=payload):
            label = path.rpartition("/")[2]
            tag = name = None
            if label.startswith("__child:"):
                tag, payload = payload
            elif label.startswith("__event:any:") and not record.timed_out:
                name, payload = payload
            whole = digest(payload)
            return model.Answered(path, visit, record.at, record.timed_out, whole, tag or "", name)
        case stored_records.Chosen():
            return model.Chosen(record.path, record.visit, record.label)
        case stored_records.Spread():
            whole = None if record.items is None else digest(list(record.items))
            return model.Spread(record.path, record.visit, record.count, whole)
        case stored_records.Compensated():
            status = NODE_STATUS_NAMES[record.status]
            return model.Compensated(record.path, record.visit, record.handler, status, record.attempt)
        case stored_records.ChildStarted():
            return model.Child(record.path, record.visit, record.ref, record.child)
    raise AssertionError(record)


def _index(database: Path, store: LmdbStore) -> Index:
    tables = _raw_tables(database)
    entries = tuple(
        (key[3:].hex(), int.from_bytes(key[:2]), STATUS_NAMES[key[2]]) for key, _ in tables["statuses"]
    )
    aliases = {key.decode(): value[-16:].hex() for key, value in tables["aliases"]}
    names = {key: alias for alias, key in aliases.items()}
    runs: dict[str, tuple[str, int]] = {}
    for key, _ in tables["runs"]:
        try:
            stored = store.load(key, with_rows=False)
            assert stored is not None
            runs[key.hex()] = (_CODEC.decode_header(stored.header).id, stored.workflow)
        except StoreError:
            runs[key.hex()] = (names.get(key.hex(), "?"), -1)
    counts: Counter[tuple[int, str]] = Counter()
    for (number, code), count in store.counts().items():
        counts[number, STATUS_NAMES[code]] += count  # a run that is paused has a code of its own
    return Index(entries, aliases, runs, {pair: count for pair, count in counts.items() if count})


def _raw_tables(database: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Keys and sealed values as LMDB has them, from a second copy: one process opens a file only once."""
    copy = database.with_name(f"{database.name}-raw")
    copy.mkdir()
    shutil.copyfile(database / "data.mdb", copy / "data.mdb")
    env = lmdb.open(str(copy), max_dbs=16, create=False, lib_version=0, map_size=1 << 28)
    try:
        found = {}
        for name in ("statuses", "aliases", "runs"):
            table = env.open_db(name.encode(), create=False)
            with env.begin(db=table) as txn:
                found[name] = [(bytes(key), bytes(value)) for key, value in txn.cursor()]
        return found
    finally:
        env.close()
        shutil.rmtree(copy)


def tree_of(workflow: Workflow) -> Tree:
    """A workflow as the checker sees it."""
    plan = compile_plan(workflow)
    nodes: dict[str, Node] = {}

    def add(node: PlanNode, parent: str, position: int, before: str = "", clause: str = "") -> None:
        block = node if isinstance(node, ParallelNode | MapNode) else None
        wait = node if isinstance(node, EventNode | InputNode) else None
        branch = node if isinstance(node, BranchNode) else None
        clauses = {clause.label: clause.values for clause in branch.all_clauses()} if branch else {}
        keys = (
            (node.key,) if isinstance(node, MapNode) else node.keys if isinstance(node, ParallelNode) else ()
        )
        nodes[node.path] = Node(
            node.path,
            node.kind,
            parent,
            position,
            node.mode if isinstance(node, StepNode | MapNode) else "async",
            block is not None and block.into is not None,
            block is not None and block.fail_fast,
            block.need if block is not None else 0,
            block.limit if block is not None else None,
            keys,
            tuple(child.path for child in node.children()),
            before,
            clause,
            clauses,
            branch is not None
            or (isinstance(node, MapNode) and callable(node.over))
            or (isinstance(node, SleepNode) and node.fn is not None),
            digest(wait.default) if wait is not None and wait.has_default else None,
            (node.compensate or "") if isinstance(node, StepNode) else "",
        )
        groups = [(c.label, c.nodes) for c in branch.all_clauses()] if branch else [("", node.children())]
        for label, children in groups:
            earlier = ""
            for place, child in enumerate(children):
                add(child, node.path, place, earlier, label)
                earlier = child.path if branch is not None or isinstance(node, SequenceNode) else ""

    for position, node in enumerate(plan.nodes):
        add(node, "", position)
    return Tree(nodes, tuple(node.path for node in plan.nodes), workflow.durability != "async")
