"""Who sends events and answers to the runs of a scenario: before, while and after they are waited for.

A message is sent again, as another one, in the next boot, until it was acknowledged once. What triggers it is
a line of the journal, of this boot or an earlier one.
"""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from typing import Any

import trio

from durable_trio import DurableError, Engine, InputError, StoreError

from .bodies import RunSpec, Send, stage
from .effects import Effects
from .model import Line
from .values import digest, sample

_OWN = {"send", "ack-send", "refused"}


class Senders:
    """The senders of one boot.

    Args:
        effects: its journal.
        specs: what may be sent to, by name.
        roots: the ids of the runs that are started from outside; a child's name is told when it begins.
        lines: what earlier boots have written.
    """

    def __init__(
        self, effects: Effects, specs: dict[str, RunSpec], roots: list[str], lines: list[Line]
    ) -> None:
        self._effects = effects
        self._specs = specs
        self._roots = roots
        self._seen: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._changed: dict[str, trio.Event] = defaultdict(trio.Event)
        self._sent: set[tuple[str, int]] = set()
        self._begun: set[str] = set()
        self.client: Any = None  # by way of which to send to those that are asked for so
        self._engine: Engine
        self._nursery: trio.Nursery | None = None
        for line in lines:
            self._seen[line.run].add((line.kind, line.path.rpartition("/")[2]))
            if line.kind == "named":
                stage.names[line.run] = line.value
            elif line.kind == "ack-send":
                self._sent.add((line.run, line.more[2]))
        token = trio.lowlevel.current_trio_token()
        effects.watchers.append(
            lambda kind, run, path: token.run_sync_soon(self._note, kind, run, path.rpartition("/")[2])
        )

    async def run(self, engine: Engine) -> None:
        """Send what is to be sent, until cancelled."""
        self._engine = engine
        async with trio.open_nursery() as self._nursery:
            for run in [*self._roots, *stage.names]:
                self._begin(run)
            await trio.sleep_forever()

    def _begin(self, run: str) -> None:
        name = stage.names.get(run, run)
        if run not in self._begun and name in self._specs and self._nursery is not None:
            self._begun.add(run)
            sends = self._specs[name].sends
            for about in {send.name for send in sends}:
                of_one_name = [(number, send) for number, send in enumerate(sends) if send.name == about]
                self._nursery.start_soon(self._send_all, run, of_one_name)

    def _note(self, kind: str, run: str, leaf: str) -> None:
        if kind in _OWN:
            return
        self._seen[run].add((kind, leaf))
        self._changed.pop(run, trio.Event()).set()
        if run in stage.names:
            self._begin(run)

    async def _send_all(self, run: str, sends: list[tuple[int, Send]]) -> None:
        for number, send in sends:
            if (run, number) in self._sent:
                continue
            while send.at not in self._seen[run]:
                await self._changed[run].wait()
            await trio.sleep(send.after / 1000)
            changed = self._changed[run]
            while not await self._send(run, number, send):
                await changed.wait()  # perhaps it was not asked for yet
                changed = self._changed[run]

    async def _send(self, run: str, number: int, send: Send) -> bool:
        """Send it; whether this is to be left at that."""
        payload = _payload(send)
        more = [send.kind, send.name, number]
        face = self.client if run in self._specs and self._specs[run].steers.asks else self._engine
        whole = digest(payload)
        self._effects.write("send", run, value=whole, more=more)
        try:
            if send.kind == "event":
                await face.send_event(run, send.name, payload)
            else:
                await face.provide_input(run, send.name, payload)
        except InputError:
            self._effects.write("refused", run, value=whole, more=more)
            return send.kind == "event"
        except StoreError:
            return True  # of an unknown outcome; the engine says so itself
        except DurableError:
            self._effects.write("refused", run, value=whole, more=more)
            return True
        self._effects.write("ack-send", run, value=whole, more=more)
        return True


def _payload(send: Send) -> Any:
    nonce = uuid.uuid4().hex
    match send.kind:
        case "approval":
            return random.choice(("approved", "rejected"))
        case "choice":
            return random.choice((1, "two", 3.5))
        case "text":
            return nonce
        case "form":
            return {"who": nonce, "count": random.randrange(9), "size": None}
    return sample(nonce, send.name)
