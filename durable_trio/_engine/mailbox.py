"""The messages of a run that no wait has taken yet, as a live run sees them.

The store has them too, from before a sender is told that they were sent until the commit that records who
took them: an event is consumed exactly once, or it is still there.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import trio

from durable_trio._snapshot.records import Answered, Waiting


class Letter(NamedTuple):
    """A message in a mailbox. Numbers ascend in the order in which messages were sent."""

    number: int
    payload: Any  # frozen


class Mailbox:
    """Messages by kind and name, in order; and the waits for them. A run that never waits has none.

    Attributes:
        arrival: set, and replaced, at every arrival.
        dues: when each wait that a task of the run is at (by its scope) is over at the latest, and when the
            time of each block that is under way (by the block) is.
        waiting: waits inside steps that have begun and are not over, by (path, visit).
        answered: how others were answered.
        unheard: calls of children whose error does not count any more, because the run was let go on.
    """

    def __init__(self) -> None:
        self._letters: dict[tuple[int, str], deque[Letter]] = {}
        self._numbers: set[int] = set()
        self.arrival = trio.Event()
        self.dues: dict[object, float | None] = {}
        self.waiting: dict[tuple[str, int], Waiting] = {}
        self.answered: dict[tuple[str, int], Answered] = {}
        self.unheard: set[tuple[str, int]] = set()

    def add(self, kind: int, name: str, letter: Letter) -> None:
        """Put a message in, unless it is there already, and wake who waits."""
        if letter.number in self._numbers:
            return
        self._numbers.add(letter.number)
        letters = self._letters.setdefault((kind, name), deque())
        # Those that are read from the disk when the run is woken are older than the one that woke it.
        place = len(letters)
        while place and letters[place - 1].number > letter.number:
            place -= 1
        letters.insert(place, letter)
        self.arrival.set()
        self.arrival = trio.Event()

    def peek(self, kind: int, name: str) -> Letter | None:
        """The oldest message of this name; it stays."""
        letters = self._letters.get((kind, name))
        return letters[0] if letters else None

    def take(self, kind: int, name: str) -> Letter | None:
        """The oldest message of this name; it is gone then."""
        letters = self._letters.get((kind, name))
        return letters.popleft() if letters else None
