"""One batch of writes, and how it goes into a transaction.

A transaction that found the map full is dead, so a batch can be written any number of times: what can be
worked out ahead is worked out once, and everything else is read from the transaction at hand. No key is put
twice in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

import lmdb

from durable_trio._errors import InputError
from durable_trio._speedups.batching import Changes, index_key, timer_key
from durable_trio._store.base import Answer, Write
from durable_trio._store.environment import Tables, Transaction
from durable_trio._store.requests import write_answer
from durable_trio._store.seal import describe, seal, unseal

STATE_KEY = b"state"

_batch_number = Struct(">Q")
_count = Struct(">HBQ")

Counts = Mapping[tuple[int, int], int]


class Batch:
    """What a sequence of writes comes to.

    Args:
        writes: one per run.
        answers: to requests of other processes.

    Raises:
        InputError: no store could take the writes; as ``check_writes``.
    """

    def __init__(self, writes: Sequence[Write], answers: Sequence[Answer] = ()) -> None:
        self._changes = Changes(writes)
        self._answers = answers

    def write(self, txn: Transaction, tables: Tables) -> int:
        """Put everything into a transaction; the number of the batch.

        Raises:
            InputError: the batch contradicts what is stored.
        """
        changes = self._changes
        number, counts = read_state(txn, tables)
        _count_up(counts, changes.moves)
        # Deletions first: an alias may go from one run to another in one batch.
        for deletion in changes.deletions:
            _count_up(counts, _delete(txn, tables, deletion))
        for key in changes.left:
            if not txn.delete(key, db=tables.statuses):
                raise InputError(f"run {key[3:].hex()} is not indexed under status {key[2]}")
        for key in changes.taken:
            txn.delete(key, db=tables.messages)
        for key in changes.stopped:
            txn.delete(key, db=tables.timers)
        _insert(txn, tables.runs, "runs", changes.runs)
        _insert(txn, tables.aliases, "aliases", changes.aliases)
        _insert(txn, tables.journal, "journal", changes.rows)
        _insert(txn, tables.statuses, "statuses", changes.entered)
        _insert(txn, tables.messages, "messages", changes.messages)
        for key, value in changes.timers:
            txn.put(key, value, db=tables.timers)  # it may be there already
        for answer in self._answers:
            write_answer(txn, tables, answer)
        state = pack_state(number + 1, counts)
        txn.put(STATE_KEY, seal(STATE_KEY, state), db=tables.meta)
        return number + 1


def _count_up(counts: dict[tuple[int, int], int], moves: Counts) -> None:
    # Not a Counter: to make one and to add to it was an eighth of a small commit.
    for pair, by in moves.items():
        counts[pair] = counts.get(pair, 0) + by


def _insert(txn: Transaction, table: lmdb._Database, name: str, items: list[tuple[bytes, bytes]]) -> None:
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
        txn.delete(timer_key(write.old_timer, run), db=tables.timers)
    if alias is not None and txn.get(alias, db=tables.aliases) == seal(alias, run):
        txn.delete(alias, db=tables.aliases)
    if write.old is not None and txn.delete(index_key(write.workflow, write.old, run), db=tables.statuses):
        return {(write.workflow, write.old): -1}
    return {}


def read_state(txn: Transaction, tables: Tables) -> tuple[int, dict[tuple[int, int], int]]:
    """The number of the last batch, and how many runs there are by (workflow, status)."""
    state = unseal("meta", STATE_KEY, txn.get(STATE_KEY, b"", tables.meta))
    (number,) = _batch_number.unpack_from(state)
    counted = _count.iter_unpack(state[_batch_number.size :])
    return number, {(workflow, status): count for workflow, status, count in counted}


def pack_state(number: int, counts: Counts) -> bytes:
    """The counterpart of ``read_state``; pairs without runs are left out."""
    pairs = [_count.pack(*pair, count) for pair, count in counts.items() if count > 0]
    return _batch_number.pack(number) + b"".join(pairs)
