"""What other processes ask of the engine that has a database open, and what it tells them.

A client leaves its request in a write transaction of its own: LMDB lets processes write in turn, and the
request is on disk when the transaction is. The engine answers in the transaction that has the request's
effect, and takes the request away in it: a crash leaves the request without its effect, or its effect with
the reply. The reply stays until the client has it.

A request's key is the number of the transaction that left it, and 16 random bytes. LMDB's numbers ascend
over all processes, so that the order of the keys is the order of the requests, and no counter is needed.

Whether there is an engine to ask is decided where nobody can come between, inside the transaction. An engine
takes its lock first, then waits for the transactions under way, and only then looks for requests. So a
request that is left, or withdrawn, because there was (or was not) an engine is what its client thinks it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from struct import Struct

from durable_trio._errors import EngineClosed, StoreError
from durable_trio._store import identity
from durable_trio._store.base import Answer, Pair
from durable_trio._store.environment import Environment, T, Tables, Transaction
from durable_trio._store.lock import has_owner
from durable_trio._store.queries import look_up
from durable_trio._store.registry import registry
from durable_trio._store.seal import fits, seal, unseal
from durable_trio._store.transactions import Writer

_key = Struct(">Q16s").pack


def list_pairs(txn: Transaction, tables: Tables, table: str, limit: int) -> list[Pair]:
    """The first entries of ``requests`` or ``replies``; see ``Store.requests``."""
    with txn.cursor(getattr(tables, table)) as cursor:
        if not cursor.first():
            return []
        return [
            (key, unseal(table, key, sealed) if fits(key, sealed) else None)
            for key, sealed in islice(cursor.iternext(), limit)
        ]


def write_answer(txn: Transaction, tables: Tables, answer: Answer) -> None:
    """Put an answer into a transaction."""
    key, reply = answer.request, answer.reply
    was_there = txn.delete(key, db=tables.requests)
    if reply is None:
        txn.delete(key, db=tables.replies)
    elif was_there:  # else the client has gone, and nobody would take the reply away
        txn.put(key, seal(key, reply), db=tables.replies)


class RequestBox:
    """A client's way to the engine of a database.

    All of it blocks, and may be called from any thread.

    Args:
        environment: of the database; borrowed from the registry, and given back by ``close``.

    Attributes:
        path: the database directory.
    """

    def __init__(self, environment: Environment) -> None:
        self.path: Path = environment.directory
        self._environment = environment
        self._writer = Writer(environment)
        self._closed = False

    def has_engine(self) -> bool:
        """Is the database open for writing, in any process?"""
        return has_owner(self.path / identity.WRITER_LOCK)

    def last_transaction(self) -> int:
        """The number of the last commit of any process: until it changes, nothing has."""
        self._check()
        return self._environment.last_transaction()

    def leave(self, payload: bytes) -> bytes:
        """Leave a request for the engine; gives its key. It is on disk when this returns.

        Raises:
            EngineClosed: there is no engine; nothing was left.
            StoreError: it could not be written (``StoreFull`` and so on, as of ``Store.commit``).
        """

        def work(txn: Transaction) -> bytes:
            if not self.has_engine():
                raise EngineClosed(
                    f"no engine has {self.path} open, so nothing was done: start the program that runs its "
                    "workflows, and ask again"
                )
            key = _key(txn.id(), os.urandom(16))
            txn.put(key, seal(key, payload), db=self._environment.tables.requests)
            return key

        return self._transact(work)

    def look(self, key: bytes) -> tuple[bytes | None, bool]:
        """The reply to a request, if there is one; and whether the request is still there."""
        self._check()
        return self._environment.read(_look, key)

    def withdraw(self, key: bytes, *, unless_engine: bool) -> bool:
        """Take a request back, and its reply if there is one; was the request still there?

        Args:
            key: the request.
            unless_engine: do nothing (and say False) if there is an engine, which may be at it. Without
                that, an engine that is at it does it all the same.
        """
        tables = self._environment.tables

        def work(txn: Transaction) -> bool:
            if unless_engine and self.has_engine():
                return False
            if not unless_engine:
                txn.delete(key, db=tables.replies)
            return txn.delete(key, db=tables.requests)

        return self._transact(work)

    def take_reply(self, key: bytes) -> None:
        """Remove a reply that was read. When this returns, what it said is on disk.

        LMDB shows a commit to readers when it is on disk. If its process was killed in between, whoever
        writes next may see it earlier; what that one writes is synced together with it.
        """
        self._transact(lambda txn: txn.delete(key, db=self._environment.tables.replies))

    def _transact(self, work: Callable[[Transaction], T]) -> T:
        return self._writer.transact(work, self._check_writable)

    def _check(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed: open the database again")
        self._environment.check_alive()

    def _check_writable(self) -> None:
        self._check()
        if self._environment.readonly:
            raise StoreError(
                f"this user may only read {self.path}: to ask something of its engine, write access to "
                f"{identity.DATA} is needed"
            )

    def close(self) -> None:
        """Give everything back. Closing twice is fine."""
        with registry.lock:
            if not self._closed:
                self._closed = True
                if not self._environment.foreign:
                    registry.give_back(self._environment)


def _look(txn: Transaction, tables: Tables, key: bytes) -> tuple[bytes | None, bool]:
    return look_up(txn, tables, "replies", key), txn.get(key, db=tables.requests) is not None
