"""A run that failed and was let go on, as several: one *era* after the other, each with an end of its own.

The checker knows runs that end once, and visits that are counted from 1. So a run that was retried is shown
to it as ``r``, ``r~1``, ``r~2`` ...: each begins with what then still counted of the one before (it is
*inherited*), and visits that were superseded are left out of the count. A fork inherits from another run.

What still counts is worked out here anew, and not asked of the engine's ``Journal``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from durable_trio._snapshot import records as stored
from durable_trio._snapshot.records import OK, Record

from .model import Dump, Episode, Failing, Index, Line, RunDump

_Key = tuple[str, int]
_Superseded = Mapping[str, frozenset[int]]  # of nodes at the top level: their visits that do not count


class Era(NamedTuple):
    """One era of a run.

    Attributes:
        records: what counted when it began, and then its own; with the visits as they were recorded.
        inherited: how many of these are from before.
        so_far: everything that was recorded until it ended, also what does not count.
        superseded: the visits that did not count in it.
        paused: no step was to start when it ended; ``was_paused``: at some time.
        fork: what says that the run is a fork, and of which.
        forks: the ids of those that were made of it.
    """

    records: tuple[Record, ...]
    inherited: int
    so_far: Sequence[Record]
    superseded: _Superseded
    paused: bool
    was_paused: bool
    fork: stored.Forked | None
    forks: tuple[str, ...]


def eras(records: Sequence[Record]) -> list[Era]:
    """The eras of a run, in order; mostly there is one."""
    found: list[Era] = []
    counted: list[Record] = []
    superseded: dict[str, frozenset[int]] = {}
    inherited = 0
    paused = was = False
    fork: stored.Forked | None = None
    forks: tuple[str, ...] = ()
    for place, record in enumerate(records):
        match record:
            case stored.Retried() | stored.Rewound():
                so_far = records[:place]
                found.append(Era(tuple(counted), inherited, so_far, superseded, paused, was, fork, forks))
                if isinstance(record, stored.Rewound):
                    gone = _gone(counted, (record.path, record.visit))
                    counted = [other for other in counted if _top(other) not in gone]
                    superseded = dict(superseded)
                    for path, visit in gone:
                        superseded[path] = superseded.get(path, frozenset()) | {visit}
                counted = _left(counted)
                inherited, paused, was = len(counted), False, False
            case stored.Forked():
                fork, inherited = record, len(counted)
                for path, visit in getattr(record, "superseded", None) or ():
                    superseded[path] = superseded.get(path, frozenset()) | {visit}
            case stored.ForkMade():
                forks = (*forks, record.run)
            case stored.Paused() | stored.Resumed():
                paused, was = isinstance(record, stored.Paused), True
            case _:
                counted.append(record)
    return [*found, Era(tuple(counted), inherited, records, superseded, paused, was, fork, forks)]


def _key(record: Any) -> _Key | None:
    path = getattr(record, "path", None)
    return None if path is None else (path, record.visit)


def _top(record: Record) -> _Key | None:
    key = _key(record)
    return None if key is None else (key[0].partition("/")[0], key[1])


def _gone(counted: list[Record], point: _Key) -> set[_Key]:
    """The visits at the top level from a point on."""
    ended = [_top(record) for record in counted if isinstance(record, stored.Done)]
    begun = [_top(record) for record in counted]
    order = [key for key in dict.fromkeys([*ended, *begun]) if key is not None]
    return set(order[order.index(point) :])


def _left(counted: list[Record]) -> list[Record]:
    """What counts after a failure."""
    settled = {_key(record) for record in counted if isinstance(record, stored.Done) and record.status == OK}

    def counts(record: Record) -> bool:
        match record:
            case stored.Ended() | stored.Failing() | stored.CancelRequested() | stored.Attempt():
                return False
            case stored.Answered():
                failed = "/__child:" in record.path and record.payload[0] != "ok"
                return not record.timed_out and not failed
            case stored.Done():
                return record.status == OK or _is_inside(record, settled)
        return True

    left = [record for record in counted if counts(record)]
    over = {_key(record) for record in left if isinstance(record, stored.Done | stored.Answered)}
    return [record for record in left if not isinstance(record, stored.Waiting) or _key(record) in over]


def _is_inside(record: stored.Done, settled: set[_Key | None]) -> bool:
    """Whether a node above it ended well."""
    above = record.path.rpartition("/")[0]
    while above:
        if (above, record.visit) in settled:
            return True
        above = above.rpartition("/")[0]
    return False


# -- names and numbers ---------------------------------------------------------------------------------


def era_id(run: str, era: int) -> str:
    """What an era of a run is called."""
    return f"{run}~{era}" if era else run


def counted_visit(superseded: _Superseded, path: str, visit: int) -> int:
    """The number of a visit among those that count."""
    left_out = superseded.get(path.partition("/")[0], frozenset())
    return visit - sum(other < visit for other in left_out)


def renumbered(record: Any, superseded: _Superseded) -> Any:
    """A record (of a Struct, or of the model) with the number of its visit among those that count."""
    if not superseded or getattr(record, "visit", None) is None:
        return record
    visit = counted_visit(superseded, record.path, record.visit)
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.replace(record, visit=visit)
    return record._replace(visit=visit)


def in_eras(lines: list[Line], dumps: list[Dump]) -> list[Line]:
    """The journal of effects, each line with the era that its run was in.

    ``era`` lines are written when it is handed over that a run goes on. Whether it came to the disk is seen
    from the dump with which the next boot begins.
    """
    if not any(run.era for dump in dumps for run in dump.runs.values()) and all(
        line.kind != "era" for line in lines
    ):
        return lines
    return list(_in_eras(lines, dumps))


def _in_eras(lines: list[Line], dumps: list[Dump]) -> Iterator[Line]:
    superseded = {run.id: run.superseded for dump in dumps for run in dump.runs.values()}
    current: dict[str, int] = {}
    boot = -1
    for line in lines:
        if line.boot != boot:
            boot = line.boot
            current = defaultdict(int)
            for run in dumps[boot - 1].runs.values() if boot else ():
                current[run.raw] = max(current[run.raw], run.era)
        if line.kind == "era":
            current[line.run] += 1
            continue
        era = current[line.run]
        if era:
            before, now = (dumps[boot].runs.get(era_id(line.run, number)) for number in (era - 1, era))
            era -= _is_about_the_one_before(line, before, now)
        name = era_id(line.run, era)
        visit = counted_visit(superseded.get(name, {}), line.path, line.visit)
        yield line._replace(run=name, visit=visit)


def _is_about_the_one_before(line: Line, before: RunDump | None, run: RunDump | None) -> bool:
    """Whether somebody was told of an end, and the run was let go on before he could say so.

    If both have come to the same end, he may have been told of either.
    """
    if line.kind in {"told", "ack-result"}:
        return _ends_as_told(before, line) or not _ends_as_told(run, line)
    if line.kind == "ack-cancel" and not line.value:
        return run is None or (run.ended is None and not run.of(Failing))
    return False


def _ends_as_told(run: RunDump | None, line: Line) -> bool:
    return run is not None and run.ended is not None and (run.status, run.result) == (line.value, line.more)


def episode_in_eras(episode: Episode) -> Episode:
    """An episode whose dumps are in eras, with its lines and runs in eras too."""
    lines = in_eras(episode.lines, episode.dumps)
    runs = dict(episode.runs)
    for dump in episode.dumps:
        for run in dump.runs.values():
            if run.era and run.raw in runs:
                runs[run.id] = runs[run.raw]
    for line in lines if lines is not episode.lines else ():
        raw, _, era = line.run.rpartition("~")
        if era and raw in runs and line.run not in runs:
            runs[line.run] = runs[raw]  # nothing of it may have happened: it was never on the disk
    for name in list(runs):
        raw, _, era = name.rpartition("~")
        if raw in runs:
            earlier = era_id(raw, int(era) - 1)
            runs[earlier] = runs[earlier]._replace(ends=("failed",))
    return episode._replace(lines=lines, runs=runs)


def index_in_eras(index: Index, runs: Mapping[str, RunDump]) -> Index:
    """The raw tables, with each run under the name of its last era."""
    last = {run.raw: run.id for run in runs.values()}  # they come in order
    return index._replace(
        aliases={last.get(alias, alias): key for alias, key in index.aliases.items()},
        runs={key: (last.get(run, run), number) for key, (run, number) in index.runs.items()},
    )
