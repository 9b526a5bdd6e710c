"""The episode, sorted: executions of bodies by run and boot, and what the records say about their places."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from .model import OK, Done, Episode, Line, Node, RunDump, Tree

ENDS = {"return", "raise", "err", "cancelled"}
_UNDO = "undo-"


class Execution(NamedTuple):
    """A body that was entered, and how it came out (None: the process died in it)."""

    enter: Line
    end: Line | None

    @property
    def key(self) -> tuple[str, str, int]:
        """Run, path and visit."""
        return self.enter.run, self.enter.path, self.enter.visit

    @property
    def is_into(self) -> bool:
        """Whether it was not a step but an ``into``."""
        return self.enter.kind == "into-enter"

    def ended(self, *kinds: str) -> bool:
        """Whether it came out in one of these ways."""
        return self.end is not None and self.end.kind.rpartition("-")[2] in kinds


class Evidence:
    """What the checks ask about an episode."""

    def __init__(self, episode: Episode, raw_lines: list[Line]) -> None:
        self.episode = episode
        self.raw_lines = raw_lines  # as they were written, not in eras
        executions = _executions(episode.lines)
        self.executions = [e for e in executions if not e.enter.kind.startswith(_UNDO)]
        self.undoings = [e for e in executions if e.enter.kind.startswith(_UNDO)]  # the compensations'
        self.by_run: dict[str, list[Execution]] = defaultdict(list)
        self.by_boot: dict[int, list[Line]] = defaultdict(list)
        for execution in self.executions:
            self.by_run[execution.enter.run].append(execution)
        for line in episode.lines:
            self.by_boot[line.boot].append(line)

    def tree(self, run: str) -> Tree:
        """The workflow of a run."""
        return self.episode.trees[self.episode.runs[run].workflow]

    def node(self, run: str, path: str) -> Node:
        """A node of a run's workflow."""
        return self.tree(run).at(path)

    def after(self, run: str, boot: int) -> RunDump | None:
        """The run on the disk after a boot."""
        return self.episode.dumps[boot].runs.get(run)

    def before(self, run: str, boot: int) -> RunDump | None:
        """The run on the disk when a boot began."""
        return self.episode.before(boot).runs.get(run)

    def last(self) -> dict[str, RunDump]:
        """Each run as it was when it could be read for the last time; not those that were damaged."""
        last: dict[str, RunDump] = {}
        for dump in self.episode.dumps:
            last.update((run.id, run) for run in dump.runs.values() if run.error is None)
        episode = self.episode
        return {run: last[run] for run in last if run in episode.runs and run not in episode.damaged}

    def is_sound(self, run: str, boot: int) -> bool:
        """Whether nobody had damaged the run's record by then."""
        return boot < self.episode.damaged.get(run, boot + 1)

    def may_be_gone(self, run: str, boot: int) -> bool:
        """Whether somebody had asked by then for the run to be deleted."""
        raw = run.partition("~")[0]
        return boot >= self.episode.going.get(raw, boot + 1)

    def died(self, boot: int) -> bool:
        """Whether the boot did not come to its end."""
        return self.episode.boots[boot].ending != "exit"


def top_of(path: str) -> str:
    """The name of the top-level node that a path is in."""
    return path.partition("/")[0]


def is_under(path: str, above: str) -> bool:
    """Whether a path lies inside the node ``above``."""
    return path.startswith(f"{above}/")


def predecessor(tree: Tree, dump: RunDump, path: str, visit: int) -> tuple[Done | None, bool]:
    """The top-level record that a visit of a node rests on (None: the input), and whether it leads there."""
    top = top_of(path)
    place = next(
        (index for index, done in enumerate(dump.top) if (done.path, done.visit) == (top, visit)), None
    )
    earlier = dump.top if place is None else dump.top[:place]
    fits = visit == 1 + sum(done.path == top for done in earlier)
    if not earlier:
        return None, fits and top == tree.top[0]
    return earlier[-1], fits and follower(tree, earlier[-1]) == top


def follower(tree: Tree, done: Done) -> str | None:
    """Which top-level node comes after this outcome; None: the run ends there."""
    if done.status != OK or done.next == "" or done.path not in tree.top:
        return None
    if done.next is not None:
        return done.next
    place = tree.top.index(done.path) + 1
    return tree.top[place] if place < len(tree.top) else None


def context_of(tree: Tree, dump: RunDump, path: str, visit: int) -> str | None:
    """The identity of the context with which a node must be entered; None if that cannot be known here."""
    node = tree.at(path)
    if not node.parent:
        before, _ = predecessor(tree, dump, path, visit)
        return dump.input if before is None else before.whole
    if node.before:
        done = dump.done.get((node.before, visit))
        return None if done is None else done.whole
    return context_of(tree, dump, node.parent, visit)


def _executions(lines: list[Line]) -> list[Execution]:
    found: list[Execution] = []
    running: dict[tuple[object, ...], int] = {}
    for line in lines:
        prefix, _, kind = line.kind.rpartition("-")
        key = (line.boot, line.run, line.path, line.visit, line.attempt, prefix)
        if kind == "enter":
            running[key] = len(found)
            found.append(Execution(line, None))
        elif kind in ENDS and key in running:
            place = running.pop(key)
            found[place] = found[place]._replace(end=line)
    return found
