"""Whether what was recorded under one definition still means the same under another.

The question is asked per run, with the paths that it has records of: what is not recorded yet may change
freely. The answer is given as a sentence for the operator of a blocked run.

Allowed: any change behind the last record (new, removed or reordered steps), new branches in a block that
is not finished, new cases and any change in those that were not chosen, other functions, times, limits and
retry policies, an ``into`` more or less. A difference: a recorded node that is gone, moved, of another kind,
with another result key or waiting for something else; a recorded choice whose case is gone; a finished block
that gains a branch, of which its results know nothing; and, among nodes that follow one another, one that
gets to where the run has passed, or from before to behind a recorded one: it would be skipped, or run on a
context that is not the one its place stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from durable_trio._definition.nodes import Outline

_TITLES = {
    "parallel": "block",
    "event": "event wait",
    "input": "input wait",
}  # the kinds that are called otherwise in a sentence


@dataclass(slots=True, frozen=True)
class _Place:
    """A node of an outline, and where it is: under ``clause``, if its parent is a branch."""

    node: Outline
    path: str
    parent: _Place | None
    clause: str | None
    siblings: list[Outline]

    @property
    def position(self) -> str:
        if self.parent is None:
            return "at the top level"
        return f"inside {_inside(self.parent.node, self.clause)}"

    @property
    def is_concurrent(self) -> bool:
        return self.parent is not None and self.parent.node["kind"] == "parallel"


@dataclass(slots=True, frozen=True)
class _Comparison:
    """Two definitions, by path, and what a run has of them.

    ``reached`` are the recorded nodes and the blocks around them, sorted: so the answer is the same each
    time, and an outer block comes first, since when it is gone that is what the sentence should be about.
    ``finished`` are those with an outcome of their own.
    """

    before: dict[str, _Place]
    after: dict[str, _Place]
    finished: frozenset[str]
    reached: tuple[str, ...]
    choices: tuple[tuple[str, str], ...]
    targets: tuple[str, ...]

    def explain(self) -> str | None:
        """The first thing that keeps a node that was reached from meaning the same."""
        both = []
        for path in self.reached:
            now, was = self.after.get(path), self.before.get(path)
            if now is None:
                return self.missing(path, was)
            # One that is not in the old definition was added while the run was under way: what is recorded
            # of it is about what it is now.
            if was is not None:
                both.append((now, was))
        for name in self.targets:
            if name not in self.after:
                return (
                    f"a recorded jump leads to {name!r}, which the definition no longer has at the top level"
                )
        for path, label in self.choices:
            place = self.after[path]
            if place.node["kind"] == "branch" and label not in dict(_groups(place.node)):
                return f"{_label(place.node)} chose {_case(label)}, and no longer has it"
        # A node that moved is out of order as well; that it moved says more, so that is looked for first.
        for compare in (self.changed, self.reordered, self.gained):
            for now, was in both:
                difference = compare(now, was)
                if difference is not None:
                    return difference
        return None

    def missing(self, path: str, was: _Place | None) -> str:
        name = path.rpartition("/")[2]
        label = repr(name) if was is None else _label(was.node)
        moved = next((place for place in self.after.values() if place.node["name"] == name), None)
        if moved is None:
            return f"{label} is recorded, and the definition no longer has it"
        position = f"recorded as {path!r}" if was is None else was.position
        return f"{label} was {position}, and is now {moved.position}"

    @staticmethod
    def changed(now: _Place, was: _Place) -> str | None:
        name, old_kind, new_kind = now.node["name"], was.node["kind"], now.node["kind"]
        if old_kind != new_kind:
            return f"{name!r} was {_a_title(old_kind)}, and is now {_a_title(new_kind)}"
        for what in ("event", "input"):
            old, new = was.node.get(what), now.node.get(what)
            if old != new:
                return f"{_label(now.node)} was for the {what} {old!r}, and is now for {new!r}"
        if was.node["key"] != now.node["key"]:
            return (
                f"the result of {_label(now.node)} was called {was.node['key']!r}, "
                f"and is now called {now.node['key']!r}"
            )
        if was.clause != now.clause:
            return f"{_label(now.node)} was {was.position}, and is now {now.position}"
        return None

    def reordered(self, now: _Place, was: _Place) -> str | None:
        """A node that gets in front of this one, or from before to behind it."""
        if now.is_concurrent:
            return None
        label, prefix = _label(now.node), now.path.removesuffix(now.node["name"])
        was_before, was_after = _around(was)
        is_before, is_after = _around(now)
        for name, node in is_before.items():
            if name in was_after:
                return f"{_label(node)} came after {label}, which is recorded, and now comes before it"
            if name not in was_before and prefix + name not in self.reached:
                return f"{_label(node)} is new and comes before {label}, which is recorded"
        for name, node in is_after.items():
            if name in was_before:
                return f"{_label(node)} came before {label}, which is recorded, and now comes after it"
        return None

    def gained(self, now: _Place, was: _Place) -> str | None:
        """A node inside this one that comes too late."""
        if now.node["kind"] == "parallel":
            if now.path in self.finished:
                for node in self.new_nodes(now, was, None):
                    return (
                        f"{_label(now.node)} is recorded as finished, and has gained {_label(node)}, "
                        "which its recorded results do not have"
                    )
        elif self.is_passed(now):
            for clause in self.chosen(now):
                for node in self.new_nodes(now, was, clause):
                    return (
                        f"{_label(node)} is new inside {_inside(now.node, clause)}, which the run has passed"
                    )
        return None

    def new_nodes(self, now: _Place, was: _Place, clause: str | None) -> Iterator[Outline]:
        """The nodes directly inside it that the old definition does not have there and no record is of."""
        old_names = {node["name"] for node in dict(_groups(was.node)).get(clause, [])}
        for node in dict(_groups(now.node))[clause]:
            if node["name"] not in old_names and f"{now.path}/{node['name']}" not in self.reached:
                yield node

    def chosen(self, place: _Place) -> Iterator[str | None]:
        """The groups of nodes inside it that the run has been in: of a branch, some of its clauses."""
        for clause, nodes in _groups(place.node):
            if clause is None or any(f"{place.path}/{node['name']}" in self.reached for node in nodes):
                yield clause

    def is_passed(self, place: _Place) -> bool:
        """Whether the run has been where this node is left."""
        if place.path in self.finished:
            return True
        if not place.is_concurrent:
            prefix = place.path.removesuffix(place.node["name"])
            if any(prefix + name in self.reached for name in _around(place)[1]):
                return True
        return place.parent is not None and self.is_passed(place.parent)


def explain_difference(
    old: Outline,
    new: Outline,
    recorded_paths: Iterable[str],
    jump_targets: Iterable[str] = (),
    choices: Iterable[tuple[str, str]] = (),
) -> str | None:
    """One sentence that says what no longer fits, or None when every recorded path keeps its meaning.

    Args:
        old: the outline of the definition that the run was started under.
        new: the outline of the definition that is to go on with it.
        recorded_paths: the paths that the run has outcomes of. What the engine itself records below a node
            (``"charge/__sleep"``) and the items of a map (``"embed/17"``) stand for the node. A branch's own
            path stands for its end; a choice is not an outcome.
        jump_targets: the top-level names that recorded jumps lead to; the last of them may have no record
            of its own yet.
        choices: the recorded choices: a branch's path and the label of the clause, for every visit.
    """
    before = {place.path: place for place in _places(old, "", None)}
    after = {place.path: place for place in _places(new, "", None)}
    maps = {place.path for place in (*before.values(), *after.values()) if place.node["kind"] == "map"}
    finished = frozenset(recorded_paths)
    chosen = tuple(sorted({(_node_path(path, maps), label) for path, label in choices}))
    nodes = {_node_path(path, maps) for path in finished} | {path for path, _ in chosen}
    comparison = _Comparison(
        before=before,
        after=after,
        finished=finished,
        reached=tuple(sorted({outer for path in nodes for outer in _with_outer(path)})),
        choices=chosen,
        targets=tuple(sorted(jump_targets)),
    )
    return comparison.explain()


def _groups(node: Outline) -> Iterator[tuple[str | None, list[Outline]]]:
    """The lists of nodes inside a node: of a branch one per clause, under its label."""
    if "clauses" in node:
        for clause in node["clauses"]:
            yield clause["label"], clause["nodes"]
    else:
        yield None, node.get("nodes", [])


def _places(node: Outline, prefix: str, parent: _Place | None) -> Iterator[_Place]:
    for clause, siblings in _groups(node):
        for child in siblings:
            place = _Place(child, prefix + child["name"], parent, clause, siblings)
            yield place
            yield from _places(child, f"{place.path}/", place)


def _node_path(path: str, maps: set[str]) -> str:
    """The path of the node that something is recorded for."""
    path = path.partition("/__")[0].partition("/!")[0]  # what a handler waits for belongs to its step
    outer = path.rpartition("/")[0]
    return outer if outer in maps else path


def _with_outer(path: str) -> Iterator[str]:
    """The paths of the blocks around a node, and its own."""
    names = path.split("/")
    for depth in range(1, len(names) + 1):
        yield "/".join(names[:depth])


def _around(place: _Place) -> tuple[dict[str, Outline], dict[str, Outline]]:
    """The siblings before and after a node, by name."""
    names = [node["name"] for node in place.siblings]
    position = names.index(place.node["name"])
    siblings = list(zip(names, place.siblings, strict=True))
    return dict(siblings[:position]), dict(siblings[position + 1 :])


def _title(kind: str) -> str:
    return _TITLES.get(kind, kind)


def _a_title(kind: str) -> str:
    title = _title(kind)
    return f"{'an' if title[0] in 'aeiou' else 'a'} {title}"


def _case(label: str) -> str:
    return "its default" if label == "default" else f"its case {label!r}"


def _inside(node: Outline, clause: str | None) -> str:
    """What a node is directly inside of."""
    if clause is None:
        return _label(node)
    return f"{'the default' if clause == 'default' else f'case {clause!r}'} of {_label(node)}"


def _label(node: Outline) -> str:
    return f"{_title(node['kind'])} {node['name']!r}"
