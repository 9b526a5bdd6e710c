"""The environments of this process, one per data file, and what becomes of them in a fork.

LMDB must not be opened twice on one file in one process, so stores share; the key is the data file's device
and inode, so that no alias of a path opens it a second time.

An environment must not be used after a fork. A fork waits until no transaction is under way (a commit is
waited for), so that the child's copy is at rest. In the child the copy is closed, which touches nothing of
the parent's, and each use of a store from before says to open the database in the child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from durable_trio._errors import StoreError, StoreLocked
from durable_trio._store.environment import Environment, FileIdentity

FORK_PATIENCE = 10.0  # seconds that a fork waits for a commit; a disk that hangs must not hang a fork


class Registry:
    """The environments that are open in this process."""

    def __init__(self) -> None:
        self._open: dict[FileIdentity, Environment] = {}
        self._reset()

    def _reset(self) -> None:
        self.lock = threading.RLock()
        self._open.clear()
        self._paused: list[Environment] = []
        self._locked = False

    def borrow(
        self, data_file: FileIdentity, make: Callable[[], Environment], *, readonly: bool
    ) -> Environment:
        """The environment of this file, opened by ``make`` if it is not open. Hold ``lock``."""
        found = self._open.get(data_file)
        if found is None:
            found = self._open[data_file] = make()
        elif found.dead is not None:
            raise StoreError(f"{found.dead} (this process still has it open: close those stores first)")
        elif found.readonly and not readonly:
            raise StoreLocked(
                f"this process has {found.directory} open for reading only, and LMDB opens a file once per "
                "process: leave that open_client first, or open_engine before it"
            )
        found.users += 1
        return found

    def give_back(self, environment: Environment) -> None:
        """Close the environment with its last user."""
        with self.lock:
            environment.users -= 1
            if not environment.users:
                self._open.pop(environment.data_file, None)
                environment.close()

    def before_fork(self) -> None:
        self._locked = self.lock.acquire(timeout=FORK_PATIENCE)
        self._paused = [
            environment for environment in list(self._open.values()) if environment.pause(FORK_PATIENCE)
        ]

    def after_fork_in_parent(self) -> None:
        for environment in self._paused:
            environment.resume()
        self._paused = []
        if self._locked:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        for environment in self._open.values():
            environment.abandon(at_rest=environment in self._paused)
        # The lock may be held by a thread that is only in the parent.
        self._reset()


registry = Registry()
os.register_at_fork(
    before=registry.before_fork,
    after_in_parent=registry.after_fork_in_parent,
    after_in_child=registry.after_fork_in_child,
)
