"""Verifies an episode against the invariants of ``docs/guarantees.md``; a pure function over plain data.

Each invariant has a number; where two could take offence at one thing, the more exact one does.

 1  What was acknowledged is there after every restart.
 2  A recorded value is one that a body returned, on the context that was recorded for it; each step of a
    completed run has one.
 3  At most one result per run, path and visit; its bytes never change.
 4  A path with a recorded result is never entered again.
 5  A body is entered only when every predecessor's result is durable.
 6  A body runs again only if a crash came between its entry and its record.
 7  Attempts and the times at which they are due survive a restart.
 8  Two executions of one path never overlap.
 9  A recorded branch never runs again.
10  A sealed block starts nothing, is out before it ends, and keeps what returned.
11  One tagged entry per branch, in declared order.
12  ``into``, and who comes after a block, sees the recorded results and nothing else.
13  A wait's due time is set once, kept by its timer, and nothing comes before it.
14  An acknowledged event or answer is consumed once or in the mailbox; in order per name.
15  A wait has one answer, and who waits gets that one; its default when its time is over.
16  The same id is the same run, and an idempotency key never changes.
17  One child per step, visit and ref; none outlives the step that called it, or a cancelled parent.
18  Exactly the recorded successes are undone, last first, each once, when the failure is on the disk.
19  One terminal state; a cancel that answered "yes" never ends completed.
20  Once faults stop, every run ends, as its scenario says.
21  Indexes agree with the records.
22  A changed definition gives ``blocked``, and never a silent reuse.
23  Damage gives a typed error for that run; the others go on.
24  SIGTERM: no new step starts, the process exits, nothing is lost.
25  Nothing is acknowledged out of a commit whose outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Callable

from .check_blocks import check_blocks
from .check_children import check_children
from .check_endings import check_endings
from .check_mail import check_mail
from .check_process import check_process
from .check_steered import check_steered
from .check_steps import check_steps
from .check_store import check_store
from .check_undo import check_undo
from .check_waits import check_waits
from .eras import episode_in_eras
from .evidence import Evidence
from .model import Episode, Findings

INVARIANTS = tuple(range(1, 26))

Room = Callable[[Evidence, Findings], None]

BASIC: tuple[Room, ...] = (
    check_store,
    check_steps,
    check_blocks,
    check_endings,
    check_process,
    check_steered,
)
"""What goes for every journal of effects."""

ROOMS: tuple[Room, ...] = (*BASIC, check_waits, check_mail, check_undo, check_children)
"""With those that want to know who sent, waited, started and undid what, as ``tests/crash`` writes it."""


def check(episode: Episode, rooms: tuple[Room, ...] = ROOMS) -> Findings:
    """All that contradicts an invariant, and how often each was looked at."""
    findings = Findings()
    evidence = Evidence(episode_in_eras(episode), episode.lines)
    for room in rooms:
        room(evidence, findings)
    return findings
