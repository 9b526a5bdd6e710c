"""One batch of writes, sorted into tables, and how it goes into a transaction.

A transaction that found the map full is dead, so a batch can be written any number of times: what can be
worked out ahead is worked out once, and everything else is read from the transaction at hand. No key is put
twice in one transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from struct import Struct

import lmdb

from durable_trio._errors import InputError
from durable_trio._store.base import Answer, Write
from durable_trio._store.environment import Tables, Transaction
from durable_trio._store.requests import write_answer
from durable_trio._store.seal import describe, seal, unseal

STATE_KEY = b"state"

_row_key = Struct(">16sI").pack
_index_key = Struct(">HB16s").pack
_message_key = Struct(">16sQ").pack
_timer_key = Struct(">Q16s").pack
_workflow = Struct(">H").pack
_batch_number = Struct(">Q")
_count = Struct(">HBQ")

Counts = Mapping[tuple[int, int], int]
_Items = list[tuple[bytes, bytes]]


class Batch:
    """What a sequence of writes comes to.

    Args:
        writes: checked already.
        answers: to requests of other processes.
    """

    def __init__(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> None:
        self._answers = answers
        self._deletions: list[Write] = []
        self._runs: _Items = []
        self._rows: _Items = []
        self._aliases: _Items = []
        self._left: list[bytes] = []  # index entries
        self._entered: _Items = []
        self._messages: _Items = []
        self._timers: _Items = []
        self._taken: list[bytes] = []  # messages
        self._stopped: list[bytes] = []  # timers
        self._moves: Counter[tuple[int, int]] = Counter()
        for write in writes:
            if write.delete:
                self._deletions.append(write)
            else:
                self._add(write)
        for items in (self._runs, self._rows, self._aliases, self._entered, self._messages, self._timers):
            items.sort()
        for keys in (self._left, self._taken, self._stopped):
            keys.sort()

    def _add(self, write: Write) -> None:
        run, workflow, new = write.run, write.workflow, write.new
        if write.header is not None:
            self._runs.append((run, seal(run, _workflow(workflow) + write.header)))
        if write.alias is not None:
            self._aliases.append((write.alias, seal(write.alias, run)))
        if write.row is not None:
            key = _row_key(run, write.seq)
            self._rows.append((key, seal(key, write.row)))
        if write.messages or write.taken:
            self._add_messages(write)
        if write.old_timer is not None and write.old_timer != write.timer:
            self._stopped.append(_timer_key(write.old_timer, run))
        if write.timer is not None:
            key = _timer_key(write.timer, run)
            self._timers.append((key, seal(key, b"")))
        if new is not None and new != write.old:
            key = _index_key(workflow, new, run)
            self._entered.append((key, seal(key, b"")))
            self._moves[workflow, new] += 1
            if write.old is not None:
                self._left.append(_index_key(workflow, write.old, run))
                self._moves[workflow, write.old] -= 1

    def _add_messages(self, write: Write) -> None:
        # A message that comes and is taken in one batch never reaches the table.
        passing = {number for number, _ in write.messages} & set(write.taken)
        for number, payload in write.messages:
            if number not in passing:
                key = _message_key(write.run, number)
                self._messages.append((key, seal(key, payload)))
        self._taken += [_message_key(write.run, number) for number in write.taken if number not in passing]

    def write(self, txn: Transaction, tables: Tables) -> int:
        """Put everything into a transaction; the number of the batch.

        Raises:
            InputError: the batch contradicts what is stored.
        """
        number, counts = read_state(txn, tables)
        counts.update(self._moves)
        # Deletions first: an alias may go from one run to another in one batch.
        for deletion in self._deletions:
            counts.update(_delete(txn, tables, deletion))
        for key in self._left:
            if not txn.delete(key, db=tables.statuses):
                raise InputError(f"run {key[3:].hex()} is not indexed under status {key[2]}")
        for key in self._taken:
            txn.delete(key, db=tables.messages)
        for key in self._stopped:
            txn.delete(key, db=tables.timers)
        _insert(txn, tables.runs, "runs", self._runs)
        _insert(txn, tables.aliases, "aliases", self._aliases)
        _insert(txn, tables.journal, "journal", self._rows)
        _insert(txn, tables.statuses, "statuses", self._entered)
        _insert(txn, tables.messages, "messages", self._messages)
        for key, value in self._timers:
            txn.put(key, value, db=tables.timers)  # it may be there already
        for answer in self._answers:
            write_answer(txn, tables, answer)
        state = pack_state(number + 1, counts)
        txn.put(STATE_KEY, seal(STATE_KEY, state), db=tables.meta)
        return number + 1


def _insert(txn: Transaction, table: lmdb._Database, name: str, items: _Items) -> None:
    """Put what must not be there yet."""
    if not items:
        return
    with txn.cursor(table) as cursor:
        _, added = cursor.putmulti(items, overwrite=False)
    if added != len(items):
        # What this transaction has put is as it should be; what differs was there before.
        taken = next((key for key, value in items if txn.get(key, db=table) != value), items[0][0])
        raise InputError(f"{describe(name, taken)}: it, or another of this batch, is already stored")


def _delete(txn: Transaction, tables: Tables, write: Write) -> dict[tuple[int, int], int]:
    """Delete what is there of a run; how that changes the counts."""
    run, alias = write.run, write.alias
    txn.delete(run, db=tables.runs)
    for table in (tables.journal, tables.messages):
        with txn.cursor(table) as cursor:
            if cursor.set_range(run):
                while cursor.key().startswith(run):
                    cursor.delete()  # and go to the next; past the end, the key is empty
    if write.old_timer is not None:
        txn.delete(_timer_key(write.old_timer, run), db=tables.timers)
    if alias is not None and txn.get(alias, db=tables.aliases) == seal(alias, run):
        txn.delete(alias, db=tables.aliases)
    if write.old is not None and txn.delete(_index_key(write.workflow, write.old, run), db=tables.statuses):
        return {(write.workflow, write.old): -1}
    return {}


def read_state(txn: Transaction, tables: Tables) -> tuple[int, Counter[tuple[int, int]]]:
    """The number of the last batch, and how many runs there are by (workflow, status)."""
    state = unseal("meta", STATE_KEY, txn.get(STATE_KEY, b"", tables.meta))
    (number,) = _batch_number.unpack_from(state)
    counted = _count.iter_unpack(state[_batch_number.size :])
    return number, Counter({(workflow, status): count for workflow, status, count in counted})


def pack_state(number: int, counts: Counts) -> bytes:
    """The counterpart of ``read_state``; pairs without runs are left out."""
    pairs = ((workflow, status, count) for (workflow, status), count in counts.items() if count > 0)
    return _batch_number.pack(number) + b"".join(_count.pack(*pair) for pair in pairs)
