"""How a client asks: leaves a request in the database, and waits for the reply.

A reply is noticed by the number of LMDB's last transaction, and looked for only when that has changed. It is
removed in a transaction of the client's own before the call returns: no reply is left behind, and what was
committed before that transaction is on disk in any case.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import trio

from durable_trio._engine._failpoints import ARMED, failpoint
from durable_trio._engine.calls import pack_call, unpack_reply
from durable_trio._errors import EngineClosed, StoreError
from durable_trio._snapshot.codec import Codec
from durable_trio._store.requests import RequestBox

_FIRST_LOOK = 0.002  # seconds; each look comes half as long again after the one before
_LONGEST_PAUSE = 0.03
_AT_ONCE = 100  # calls of one client; more wait for these
_PATIENCE = 1.0  # seconds that a cancelled call takes to withdraw its request, at most


class Watch:
    """Waits for commits of other processes, one watch per waiting task."""

    def __init__(self, box: RequestBox) -> None:
        self._box = box

    async def changes(self, seen: int, pause: float) -> int:
        """Wait until there was a commit after transaction ``seen``, or until a pause (seconds) is over.

        Returns:
            The number of the last transaction.
        """
        end = trio.current_time() + pause
        delay = min(_FIRST_LOOK, pause)
        while True:
            await trio.sleep(delay)
            number = self._box.last_transaction()
            left = end - trio.current_time()
            if number != seen or left <= 0:
                return number
            delay = min(delay * 1.5, _LONGEST_PAUSE, left)

    def now(self) -> int:
        """The number of the last transaction."""
        return self._box.last_transaction()


class Caller:
    """Makes calls through one database.

    Args:
        box: where requests are left.
        codec: knows the types that may be sent.
    """

    def __init__(self, box: RequestBox, codec: Codec) -> None:
        self._box = box
        self._codec = codec
        self._watch = Watch(box)
        self._limit = trio.CapacityLimiter(_AT_ONCE)

    async def call(self, operation: str, **arguments: Any) -> Any:
        """Have the engine do something; gives its answer when that is on disk. See ``Client`` for errors."""
        payload = pack_call(self._codec, operation, arguments)
        async with self._limit:
            key = await trio.to_thread.run_sync(self._box.leave, payload)
            if ARMED:
                failpoint("client.left")
            try:
                reply = await self._reply(key)
            except trio.Cancelled:
                await self._withdraw(key)
                raise
        return unpack_reply(self._codec, reply)

    async def _reply(self, key: bytes) -> bytes:
        box = self._box
        while True:
            number = self._watch.now()
            reply, is_there = await trio.to_thread.run_sync(box.look, key)
            if reply is not None:
                if ARMED:
                    failpoint("client.replied")
                await trio.to_thread.run_sync(box.take_reply, key)
                if ARMED:
                    failpoint("client.told")
                return reply
            if not is_there:
                raise StoreError(
                    f"the answer of the engine of {box.path} is gone, as nobody took it for minutes: look at "
                    "the run to see whether this was done"
                )
            if not box.has_engine() and await trio.to_thread.run_sync(self._give_up, key):
                raise EngineClosed(
                    f"the engine of {box.path} has ended before it took this up, and nothing was done. Start "
                    "the program that runs its workflows, and ask again"
                )
            await self._watch.changes(number, _LONGEST_PAUSE * 3)

    def _give_up(self, key: bytes) -> bool:
        return self._box.withdraw(key, unless_engine=True)

    async def _withdraw(self, key: bytes) -> None:
        # Bounded, because a stopped process that is in the middle of writing would keep us here.
        with trio.move_on_after(_PATIENCE, shield=True):
            await trio.to_thread.run_sync(self._withdraw_now, key, abandon_on_cancel=True)

    def _withdraw_now(self, key: bytes) -> None:
        with suppress(StoreError):  # it stays then, as the request of a process that died does
            self._box.withdraw(key, unless_engine=False)
