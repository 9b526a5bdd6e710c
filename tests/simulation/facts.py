"""What is on a simulated disk, as the checker of ``tests/crash`` wants it, and as the oracle does.

That checker knows steps, blocks and sequences. A branch is shown to it as the sequence of the clause that is
taken, and a map as a block of as many steps as it has items: what goes for these goes for those. What is
taken follows from a run's seed, so each run has a tree of its own.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any, NamedTuple

from durable_trio import StoreError
from durable_trio._definition.nodes import BranchNode, MapNode, ParallelNode, StepNode
from durable_trio._definition.nodes import Node as PlanNode
from durable_trio._definition.plan import Plan
from durable_trio._info import STATUS_CODES, STATUS_NAMES, RunInfo
from durable_trio._snapshot import records as stored
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.records import KIND_NAMES, NODE_STATUS_NAMES, Message
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._snapshot.view import run_info
from tests.crash.eras import era_id, eras, index_in_eras, renumbered
from tests.crash.model import (
    Attempt,
    Cancel,
    Done,
    Dump,
    Ended,
    Failing,
    Index,
    Node,
    Record,
    RunDump,
    Tree,
    Waiting,
)
from tests.crash.values import Address, Colour, Parcel, digest, own

from .bodies import chosen, item_count
from .disk import Disk

CODEC = Codec(TypeRegistry([Address, Colour, Parcel], lenient=True))


class _RunDump(RunDump):
    """The same; what is asked for at every execution is sorted once."""

    @cached_property
    def done(self) -> dict[tuple[str, int], Done]:  # type: ignore[override]
        return super().done

    @cached_property
    def top(self) -> list[Done]:  # type: ignore[override]
        return super().top


class Facts(NamedTuple):
    """One era of a run (see ``tests/crash/eras.py``), as the oracle wants it.

    Attributes:
        id: of the era; ``raw`` is the run's.
        seed: of its script.
        parent: the id of the run that started it.
        status: as it is indexed.
        records: in order.
        mailbox: messages that no wait has taken, in order.
        timers: its entries in the index of what is due, in ms.
        is_last: it is the run's last era.
        inherited: how many of the records are from before the era, or from another run.
        has_begun: it has come to a node, and that counts.
    """

    id: str
    workflow: str
    seed: int
    parent: str | None
    created: float
    status: str
    records: tuple[stored.Record, ...]
    mailbox: tuple[Message, ...]
    timers: tuple[int, ...]
    raw: str
    is_last: bool
    inherited: int
    paused: bool
    has_begun: bool

    def of(self, kind: type) -> list[Any]:
        """Its records of one kind."""
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def own(self) -> tuple[stored.Record, ...]:
        """Those that it has not inherited."""
        return self.records[self.inherited :]


def last_eras(facts: dict[str, Facts]) -> dict[str, Facts]:
    """The last era of each run, under the run's id."""
    return {run.raw: run for run in facts.values() if run.is_last}


class Archive:
    """Reads disks, one after the other; what has not changed since is not read again."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Any, list[tuple[_RunDump, Facts]]]] = {}

    def read(self, disk: Disk) -> tuple[Dump, dict[str, Facts]]:
        """A disk as both checkers want it."""
        try:
            return self._read(disk)
        except StoreError as error:
            return Dump(error=f"{type(error).__name__}: {error}"), {}

    def _read(self, disk: Disk) -> tuple[Dump, dict[str, Facts]]:
        names = disk.workflow_names()
        timers: dict[bytes, list[int]] = {}
        for due, key in disk.timers(limit=10**6):
            timers.setdefault(key, []).append(due)
        runs: dict[str, RunDump] = {}
        facts: dict[str, Facts] = {}
        keys: dict[str, tuple[str, int]] = {}
        entries = []
        for key, number, code in disk.keys(range(256), limit=10**6):
            entries.append((key.hex(), number, STATUS_NAMES[code]))
        for key in disk.all_runs():
            for dump, fact in self._eras(disk, key, names, tuple(timers.get(key, ()))):
                runs[dump.id] = dump
                facts[fact.id] = fact
                keys[key.hex()] = (dump.id, disk.load(key, with_rows=False).workflow)  # type: ignore[union-attr]
        aliases = {alias.decode(): key.hex() for alias, key in disk.all_aliases()}
        counts: Counter[tuple[int, str]] = Counter()
        for (number, code), count in disk.counts().items():
            counts[number, STATUS_NAMES[code]] += count  # one that is paused has a code of its own
        return Dump(runs, index_in_eras(Index(tuple(entries), aliases, keys, counts), runs)), facts

    def _eras(
        self, disk: Disk, key: bytes, names: dict[int, str], timers: tuple[int, ...]
    ) -> list[tuple[_RunDump, Facts]]:
        found = disk.load(key)
        assert found is not None
        messages = disk.messages(key)
        mark = (len(found.rows), found.status, tuple(number for number, _ in messages), timers)
        known = self._known.get(key)
        if known is not None and known[0] == mark and list(known[1][0][0].rows) == found.rows:
            return known[1]
        header = CODEC.decode_header(found.header)
        every = eras(CODEC.decode_rows(found.rows))
        mailbox = tuple(CODEC.decode_message(data) for _, data in messages)
        entries = []
        for number, era in enumerate(every):
            is_last = number == len(every) - 1
            code = found.status if is_last else STATUS_CODES["failed"]
            info = run_info(header, era.so_far, code, with_steps=True)
            dump = _RunDump(
                era_id(header.id, number),
                header.id,  # each has a tree of its own
                info.status,
                () if number else tuple(found.rows),
                tuple(renumbered(record, era.superseded) for record in _checked(era.records, info)),
                digest(header.input),
                digest(info.result if info.status == "completed" else info.error),
                raw=header.id,
                era=number,
                inherited=sum(isinstance(record, _CHECKED) for record in era.records[: era.inherited]),
                superseded=era.superseded,
                paused=era.paused,
                was_paused=era.was_paused,
                fork=None if era.fork is None else era.fork.run,
                point="" if era.fork is None else era.fork.path,
                forks=era.forks,
            )
            fact = Facts(
                dump.id,
                names[found.workflow],
                header.input["seed"],
                header.parent,
                header.created,
                info.status,
                tuple(renumbered(record, era.superseded) for record in era.records),
                mailbox if is_last else (),
                timers if is_last else (),
                header.id,
                is_last,
                era.inherited,
                era.paused,
                any(hasattr(record, "path") for record in era.records),
            )
            entries.append((dump, fact))
        self._known[key] = (mark, entries)
        return entries


_CHECKED = (
    stored.Done,
    stored.Attempt,
    stored.Ended,
    stored.CancelRequested,
    stored.Failing,
    stored.Waiting,
)


def _checked(records: tuple[stored.Record, ...], info: RunInfo) -> list[Record]:
    """The records that the checker of ``tests/crash`` knows."""
    shown = {(step.path, step.visit): step for step in info.steps}
    found: list[Record] = []
    for record in records:
        match record:
            case stored.Done(path=path, visit=visit):
                step = shown[path, visit]
                value = step.result if record.status == stored.OK else step.error
                has_none = record.form == stored.VALUE and record.data is None
                known = value is not None or has_none
                found.append(
                    Done(
                        path,
                        visit,
                        KIND_NAMES[record.kind],
                        NODE_STATUS_NAMES[record.status],
                        record.attempt,
                        own(value, path.rpartition("/")[2]) if known else None,
                        digest(value) if known else None,
                        record.next,
                    )
                )
            case stored.Attempt():
                found.append(Attempt(record.path, record.visit, record.attempt, record.due))
            case stored.Ended():
                found.append(Ended(STATUS_NAMES[record.status], digest(record.reason)))
            case stored.CancelRequested():
                found.append(Cancel(record.compensate))
            case stored.Failing():
                found.append(Failing())
            case stored.Waiting(name=name):
                found.append(Waiting(record.path, record.visit, "", name, record.due))
    return found


def tree_of(plan: Plan, seed: int) -> Tree:
    """A run's tree, as its seed has it."""
    nodes: dict[str, Node] = {}

    def add(node: PlanNode, parent: str, position: int, before: str = "") -> None:
        kind, children = node.kind, node.children()
        block = node if isinstance(node, ParallelNode | MapNode) else None
        keys: tuple[str, ...] = ()
        below = tuple(child.path for child in children)
        if isinstance(node, BranchNode):
            kind, children = "sequence", _clause(node, seed)
            below = tuple(child.path for child in children)
        elif isinstance(node, MapNode):
            kind = "parallel"
            count = item_count(seed, node.path) if callable(node.over) else seed % 3
            keys = tuple(str(index) for index in range(count))
            below = tuple(f"{node.path}/{key}" for key in keys)
            for index, path in enumerate(below):
                nodes[path] = Node(path, "step", node.path, index, node.mode)
        elif isinstance(node, ParallelNode):
            keys = node.keys
        nodes[node.path] = Node(
            node.path,
            kind,
            parent,
            position,
            node.mode if isinstance(node, StepNode) else "async",
            block is not None and block.into is not None,
            # With ``need``, an error seals the block only when too few are left, which is not looked at.
            block is not None and block.fail_fast and not block.need,
            block.need if block is not None else 0,
            block.limit if block is not None else None,
            keys,
            below,
            before,
        )
        earlier = ""
        for place, child in enumerate(children):
            add(child, node.path, place, earlier)
            earlier = "" if block is not None else child.path

    for position, node in enumerate(plan.nodes):
        add(node, "", position)
    return Tree(nodes, tuple(node.path for node in plan.nodes), plan.durability in (None, "sync"))


def _clause(node: BranchNode, seed: int) -> tuple[PlanNode, ...]:
    value = chosen(seed, node.path)
    for clause in node.clauses:
        if value in clause.values:
            return clause.nodes
    return node.default.nodes if node.default is not None else ()
