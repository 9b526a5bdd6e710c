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
19  One terminal state; a cancel that answered "yes" never ends completed.
20  Once faults stop, every run ends, as its scenario says.
21  Indexes agree with the records.
22  A changed definition gives ``blocked``, and never a silent reuse.
23  Damage gives a typed error for that run; the others go on.
24  SIGTERM: no new step starts, the process exits, nothing is lost.
25  Nothing is acknowledged out of a commit whose outcome is unknown.
"""

from __future__ import annotations

from .check_blocks import check_blocks
from .check_endings import check_endings
from .check_process import check_process
from .check_steps import check_steps
from .check_store import check_store
from .evidence import Evidence
from .model import Episode, Findings

INVARIANTS = (*range(1, 13), *range(19, 26))


def check(episode: Episode) -> Findings:
    """All that contradicts an invariant, and how often each was looked at."""
    findings = Findings()
    evidence = Evidence(episode)
    for room in (check_store, check_steps, check_blocks, check_endings, check_process):
        room(evidence, findings)
    return findings
