"""All stores, driven side by side, agree with a model that is too simple to be wrong."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from durable_trio._store.base import Stored, Write
from durable_trio._store.datafile import verify_data_file
from durable_trio._store.lmdb import open_lmdb
from durable_trio._store.memory import MemoryStore

NUMBERS = st.integers(0, 12)
STATUSES = st.sampled_from([1, 2, 3, 16, 255])
WORKFLOWS = st.sampled_from([0, 1, 258])
LIMITS = st.integers(1, 15)
CHANGES = st.lists(
    st.tuples(NUMBERS, STATUSES, WORKFLOWS, st.sampled_from("nrsdmtw"), st.binary(max_size=40)),
    min_size=1,
    max_size=8,
)


class Model:
    """One run: what ``Stored`` shows, and its alias."""

    def __init__(self, write: Write) -> None:
        self.header, self.alias, self.workflow, self.status = (
            write.header,
            write.alias,
            write.workflow,
            write.new,
        )
        self.rows = [] if write.row is None else [write.row]
        self.messages: dict[int, bytes] = {}
        self.sent = 0
        self.timer = None


class Agreement(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.memory = MemoryStore()
        self.lmdb = open_lmdb(self.directory / "db", map_size=1 << 17)  # grows now and then
        self.runs: dict[bytes, Model] = {}

    @property
    def stores(self):
        return self.memory, self.lmdb

    @rule(changes=CHANGES)
    def commit(self, changes) -> None:
        writes = {}
        for number, status, workflow, kind, data in changes:
            run = number.to_bytes(16)
            if run not in writes and (write := self.change(run, status, workflow, kind, data)) is not None:
                writes[run] = write
        batch = list(writes.values())
        assert self.memory.commit(batch) == self.lmdb.commit(batch)

    def change(self, run, status, workflow, kind, data) -> Write | None:
        model = self.runs.get(run)
        if model is None:
            if kind != "n":
                return None
            alias = b"alias of " + run if len(data) % 2 else None
            write = Write(run, header=data, alias=alias, row=data * 99, workflow=workflow, new=status)
            self.runs[run] = Model(write)
            return write
        if kind == "d":
            del self.runs[run]
            write = Write(run, alias=model.alias, workflow=model.workflow, old=model.status, delete=True)
            write.old_timer = model.timer
            return write
        write = Write(run, workflow=model.workflow, old=model.status)
        if kind in "nr":
            write.seq, write.row = len(model.rows), data
            model.rows.append(data)
        if kind in "ns":
            write.new = model.status = status
        if kind == "m":
            write.messages = [(model.sent + n, data) for n in range(2)]
            model.messages.update(write.messages)
            model.sent += 2
        if kind == "t":
            write.taken = [*list(model.messages)[: len(data)], 999]
            model.messages = dict(list(model.messages.items())[len(data) :])
        if kind == "w":
            write.old_timer, write.timer = model.timer, (len(data) * 1000 if data else None)
            model.timer = write.timer
        return write

    @rule()
    def reopen(self) -> None:
        self.lmdb.close()
        assert verify_data_file(self.directory / "db" / "data.mdb") == []
        self.lmdb = open_lmdb(self.directory / "db", map_size=1 << 17)
        self.memory = self.memory.copy()

    @rule(
        workflow=st.none() | WORKFLOWS,
        statuses=st.none() | st.sets(STATUSES),
        before=st.none() | NUMBERS,
        limit=LIMITS,
    )
    def page(self, workflow, statuses, before, limit) -> None:
        before = None if before is None else before.to_bytes(16)
        expected = [
            Stored(run, model.header, model.rows, model.status, model.workflow)
            for run, model in sorted(self.runs.items(), reverse=True)
            if (workflow is None or model.workflow == workflow)
            and (statuses is None or model.status in statuses)
            and (before is None or run < before)
        ]
        for store in self.stores:
            page = store.page(workflow=workflow, statuses=statuses, before=before, limit=limit)
            assert page == expected[:limit]

    @rule(statuses=st.sets(STATUSES), after=st.none() | NUMBERS, limit=LIMITS)
    def keys(self, statuses, after, limit) -> None:
        after = None if after is None else after.to_bytes(16)
        expected = [
            (run, model.workflow, model.status)
            for run, model in sorted(self.runs.items())
            if model.status in statuses and (after is None or run > after)
        ]
        for store in self.stores:
            assert store.keys(statuses, after=after, limit=limit) == expected[:limit]

    @rule(after=st.none() | NUMBERS, limit=LIMITS)
    def mailboxes_and_timers(self, after, limit) -> None:
        after = None if after is None else after.to_bytes(16)
        waiting = sorted(
            run for run, model in self.runs.items() if model.messages and (after is None or run > after)
        )
        timers = sorted((model.timer, run) for run, model in self.runs.items() if model.timer is not None)
        for store in self.stores:
            assert store.mailboxes(after=after, limit=limit) == waiting[:limit]
            assert store.timers(limit=limit) == timers[:limit]
            for place, timer in enumerate(timers):
                assert store.timers(after=timer, limit=limit) == timers[place + 1 :][:limit]
            for run, model in self.runs.items():
                assert store.messages(run) == sorted(model.messages.items())

    @rule(number=NUMBERS)
    def load_and_find(self, number) -> None:
        run = number.to_bytes(16)
        model = self.runs.get(run)
        for store in self.stores:
            found, stored = store.find(b"alias of " + run), store.load(run)
            if model is None:
                assert (found, stored) == (None, None)
            else:
                assert found == (None if model.alias is None else run)
                assert stored == Stored(run, model.header, model.rows, model.status, model.workflow)

    @rule(numbers=st.lists(NUMBERS), likely=STATUSES, size=st.integers(0, 40))
    def load_small(self, numbers, likely, size) -> None:
        runs = [number.to_bytes(16) for number in numbers]
        expected: list[Stored | None] = []
        for run in runs:
            model = self.runs.get(run)
            if model is None:
                expected.append(None)
                continue
            stored = Stored(run, model.header, model.rows, model.status, model.workflow)
            messages = sorted(model.messages.items())
            small = sum(map(len, model.rows)) + sum(len(payload) for _, payload in messages) <= size
            expected.append(stored._replace(messages=messages) if small else stored._replace(rows=[]))
        for store in self.stores:
            assert store.load_small(runs, likely=likely, size=size) == expected

    @invariant()
    def counts(self) -> None:
        expected: dict[tuple[int, int], int] = {}
        for model in self.runs.values():
            expected[model.workflow, model.status] = expected.get((model.workflow, model.status), 0) + 1
        for store in self.stores:
            assert store.counts() == expected
            assert store.last_run() == max(self.runs, default=None)
            statistics = store.statistics()
            assert statistics.runs == len(self.runs)
            assert statistics.rows == sum(len(model.rows) for model in self.runs.values())

    def teardown(self) -> None:
        self.lmdb.close()
        shutil.rmtree(self.directory)


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
