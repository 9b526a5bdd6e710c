"""Questions about runs, answered from the store: shared by the engine and by readers in other processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

import trio

from durable_trio._definition.workflow import Workflow
from durable_trio._engine.ids import key_of_id
from durable_trio._errors import InputError, RunNotFound, StoreCorrupt
from durable_trio._info import STATUS_CODES, STATUS_NAMES, RunInfo, RunStatus
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.journal import Journal
from durable_trio._snapshot.view import run_info
from durable_trio._store.base import Store, Stored

_logger = logging.getLogger("durable_trio")
T = TypeVar("T")

MAX_PAGE = 10_000


async def on_disk(store: Store, function: Callable[..., T], *arguments: Any) -> T:
    """Call something that goes to a store's disk, off the Trio thread; in memory, at once. A checkpoint.

    A thread that need not be is not only slow: a mock clock takes the wait for it for idleness, and leaps.
    """
    if store.threaded:
        return await trio.to_thread.run_sync(function, *arguments)
    await trio.lowlevel.checkpoint()
    return function(*arguments)


class Reader:
    """Reads runs of one store.

    Args:
        store: from where.
        codec: knows the user's types; a lenient one shows values of types it does not know.
    """

    def __init__(self, store: Store, codec: Codec) -> None:
        self._store = store
        self.codec = codec

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call something that reads from the disk, off the Trio thread. A checkpoint."""
        return await on_disk(self._store, function, *arguments)

    def find(self, run_id: str) -> bytes | None:
        """The key of the run with this id."""
        if not isinstance(run_id, str):
            raise InputError(f"a run's id is a str, not {type(run_id).__name__}: {run_id!r}")
        try:
            alias = run_id.encode()
        except UnicodeEncodeError:
            return None
        # Longer than any id that start() takes, so there is no such run.
        if 0 < len(alias) <= 255 and (key := self._store.find(alias)) is not None:
            return key
        return key_of_id(run_id)

    def load(self, run_id: str, *, with_rows: bool = True) -> Stored:
        """The stored run.

        Raises:
            RunNotFound: there is none with this id.
            StoreCorrupt: it is damaged.
        """
        key = self.find(run_id)
        stored = None if key is None else self._store.load(key, with_rows=with_rows)
        # A run with an id of its own cannot be found by its key.
        if stored is None or self.codec.decode_header(stored.header).id != run_id:
            shown = run_id if len(run_id) <= 80 else f"{run_id[:80]}…"
            raise RunNotFound(f"there is no run {shown!r} in {self._store.path or 'this engine'}")
        return stored

    def get(self, run_id: str) -> RunInfo:
        """Everything about one run, as it is recorded."""
        return self.info(self.load(run_id), with_steps=True)

    def status(self, run_id: str) -> RunStatus:
        """The recorded status of a run."""
        return STATUS_NAMES[self.load(run_id, with_rows=False).status]

    def info(self, stored: Stored, *, with_steps: bool) -> RunInfo:
        """What a stored run says."""
        header = self.codec.decode_header(stored.header)
        records = self.codec.decode_rows(stored.rows)
        return run_info(header, records, stored.status, with_steps=with_steps)

    def list(
        self,
        status: RunStatus | Collection[RunStatus] | None,
        workflow: str | None,
        parent: str | None,
        limit: int,
        after: str | None,
    ) -> list[RunInfo]:
        """A page of runs, newest first. One that cannot be read is left out, and named in the log."""
        codes = status_codes(status)
        if parent is None:
            page = self.page(codes, workflow, limit, after)
        else:
            page = self._children(parent, codes, workflow, limit, after)
        infos = []
        for stored in page:
            try:
                infos.append(self.info(stored, with_steps=False))
            except StoreCorrupt as error:
                _logger.error("a run is left out of a list: %s", error)  # noqa: TRY400 - says all
        return infos

    def _children(
        self, parent: str, codes: Collection[int] | None, workflow: str | None, limit: int, after: str | None
    ) -> Iterator[Stored]:
        """The runs that a run has started, newest first: its journal names them."""
        journal = Journal(self.codec.decode_rows(self.load(parent).rows))
        keys = [key for child in journal.children.values() if (key := self.find(child)) is not None]
        before = None if after is None else self.load(after, with_rows=False).run
        for key in sorted(keys, reverse=True):
            stored = self._store.load(key) if before is None or key < before else None
            if stored is None or (codes is not None and stored.status not in codes):
                continue
            if workflow is None or self.codec.decode_header(stored.header).workflow == workflow:
                yield stored
                limit -= 1
                if not limit:
                    return

    def page(
        self, codes: Collection[int] | None, workflow: str | None, limit: int, after: str | None = None
    ) -> Iterator[Stored]:
        """Stored runs, newest first. One that cannot be read is left out, and named in the log."""
        check_limit(limit)
        number = None
        if workflow is not None:
            numbers = {name: number for number, name in self._store.workflow_names().items()}
            number = numbers.get(workflow)
            if number is None:
                return
        before = None if after is None else self.load(after, with_rows=False).run
        for stored in self._store.page(workflow=number, statuses=codes, before=before, limit=limit):
            if stored.error is not None:
                _logger.error("a run is left out of a list: %s", stored.error)
            else:
                yield stored


def check_limit(limit: object) -> None:
    """Check how many of something are asked for."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise InputError(f"limit is an int from 1 to {MAX_PAGE}, not {limit!r}; page on with after=")


def name_of(workflow: Workflow | str | None) -> str | None:
    """The name of the workflow whose runs are asked for; None for those of any.

    Raises:
        InputError: it is neither a workflow nor a name.
    """
    if isinstance(workflow, Workflow):
        return workflow.name
    if workflow is None or isinstance(workflow, str):
        return workflow
    raise InputError(
        f"workflow= takes a Workflow or the name of one, not {type(workflow).__name__}: {workflow!r:.80}"
    )


def status_codes(status: RunStatus | Collection[RunStatus] | None) -> set[int] | None:
    """The codes of one or several statuses; None for any.

    Raises:
        InputError: there is no such status.
    """
    if status is None:
        return None
    names = [status] if isinstance(status, str) else list(status) if isinstance(status, Iterable) else None
    if names is None:
        raise InputError(f"a status is a str, or several are a list of them, not {status!r:.80}")
    for name in names:
        if not isinstance(name, str) or name not in STATUS_CODES:
            raise InputError(f"there is no status {name!r:.80}; there are: {', '.join(STATUS_CODES)}")
    return {code for code, name in STATUS_NAMES.items() if name in names}
