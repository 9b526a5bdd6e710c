"""Write transactions, one after the other: a full map is made larger, and an error says what it means.

A transaction that fails leaves whoever made it refusing further ones: LMDB may have lost the pages that a
failed fsync was about, so it is neither repeated nor followed by another. Reading goes on unless LMDB itself
gave up. Writers of other processes wait for one another inside LMDB, whose mutex survives the death of the
process that holds it; one that is *stopped* (SIGSTOP) while it holds it keeps all others waiting.
"""

from __future__ import annotations

from collections.abc import Callable

import lmdb

from durable_trio._errors import StoreError
from durable_trio._store.environment import Environment, T, Transaction
from durable_trio._store.failures import again, explain


class Writer:
    """Makes write transactions in one environment, for one store or one box of requests.

    Args:
        environment: not a readonly one.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._broken: StoreError | None = None

    def transact(self, work: Callable[[Transaction], T], check: Callable[[], None]) -> T:
        """Do ``work`` in a write transaction that is on disk when this returns; a full map is made larger.

        Args:
            work: may be done more than once; what it raises undoes everything.
            check: raises if there must be no transaction; asked when no other one of this process goes on.
        """
        environment = self._environment
        check()  # in a forked child, the lock may be held by a thread that is not there
        with environment.write_lock:
            check()
            self._check()
            while True:
                try:
                    return self._transact_once(work)
                except lmdb.MapFullError:
                    environment.grow()

    def _check(self) -> None:
        if self._broken is None:
            try:
                self._environment.check_files()
            except StoreError as error:
                self._broken = error
        if self._broken is not None:
            raise again(self._broken)

    def _transact_once(self, work: Callable[[Transaction], T]) -> T:
        committing = False
        try:
            txn = self._environment.begin_write()
            try:
                result = work(txn)
            except BaseException:
                txn.abort()
                raise
            committing = True
            txn.commit()
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            self._broken = self._failure(error, committing=committing)
            raise again(self._broken) from error
        return result

    def _failure(self, error: lmdb.Error, *, committing: bool) -> StoreError:
        """What a failed transaction means for what it wrote, and for its writer from now on."""
        meaning = explain(error, self._environment.directory)
        unknown = committing and self._environment.has_panicked()
        outcome = (
            "whether this commit reached the disk is not known until the database is opened again"
            if unknown
            else "nothing of this commit was written"
        )
        message = f"{meaning}; {outcome}. What was committed before is safe"
        if not unknown:
            return type(meaning)(message)
        self._environment.dead = StoreError(message)
        return self._environment.dead
