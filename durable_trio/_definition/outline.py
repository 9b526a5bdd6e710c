"""Whether what was recorded under one definition still means the same under another.

The question is asked per run, with the paths that it has records of: what is not recorded yet may change
freely. The answer is given as a sentence for the operator of a blocked run.

Allowed: any change behind the last record (new, removed or reordered steps), new branches in a block that
is not finished, other functions, timeouts and retry policies, an ``into`` more or less. A difference: a
recorded node that is gone, moved, of another kind or with another result key; a finished block that gains a
branch, of which its results know nothing; and, among nodes that follow one another, one that gets in front
of a recorded node, or from before to behind it: the run has passed there, so it would be skipped, or run on
a context that is not the one its place stands for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from durable_trio._definition.nodes import Outline

_TITLES = {"parallel": "block"}  # the kinds that are called otherwise in a sentence


@dataclass(slots=True, frozen=True)
class _Place:
    """A node of an outline, and where it is."""

    node: Outline
    path: str
    parent: _Place | None
    siblings: list[Outline]

    @property
    def position(self) -> str:
        return "at the top level" if self.parent is None else f"inside {_label(self.parent.node)}"

    @property
    def is_branch(self) -> bool:
        return self.parent is not None and self.parent.node["kind"] == "parallel"


@dataclass(slots=True, frozen=True)
class _Comparison:
    """Two definitions, by path, and what a run has of them.

    ``reached`` are the recorded nodes and the blocks around them, sorted: so the answer is the same each
    time, and an outer block comes first, since when it is gone that is what the sentence should be about.
    """

    before: dict[str, _Place]
    after: dict[str, _Place]
    recorded: frozenset[str]
    reached: tuple[str, ...]
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
            return f"{name!r} was a {_title(old_kind)}, and is now a {_title(new_kind)}"
        if was.node["key"] != now.node["key"]:
            return (
                f"the result of {_label(now.node)} was called {was.node['key']!r}, "
                f"and is now called {now.node['key']!r}"
            )
        return None

    def reordered(self, now: _Place, was: _Place) -> str | None:
        """A node that gets in front of this one, or from before to behind it."""
        if now.is_branch:
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
        """A branch of a finished block that its recorded results know nothing of."""
        if now.node["kind"] != "parallel" or now.path not in self.recorded:
            return None
        old_names = {node["name"] for node in was.node["nodes"]}
        for node in now.node["nodes"]:
            if node["name"] not in old_names and f"{now.path}/{node['name']}" not in self.reached:
                return (
                    f"{_label(now.node)} is recorded as finished, and has gained {_label(node)}, "
                    "which its recorded results do not have"
                )
        return None


def explain_difference(
    old: Outline, new: Outline, recorded_paths: Iterable[str], jump_targets: Iterable[str] = ()
) -> str | None:
    """One sentence that says what no longer fits, or None when every recorded path keeps its meaning.

    Args:
        old: the outline of the definition that the run was started under.
        new: the outline of the definition that is to go on with it.
        recorded_paths: the paths that the run has outcomes of. What the engine itself records below a node
            (``"charge/__sleep"``) stands for the node.
        jump_targets: the top-level names that recorded jumps lead to; the last of them may have no record
            of its own yet.
    """
    recorded = frozenset(path.partition("/__")[0] for path in recorded_paths)
    comparison = _Comparison(
        before={place.path: place for place in _places(old["nodes"], "", None)},
        after={place.path: place for place in _places(new["nodes"], "", None)},
        recorded=recorded,
        reached=tuple(sorted({outer for path in recorded for outer in _with_outer(path)})),
        targets=tuple(sorted(jump_targets)),
    )
    return comparison.explain()


def _places(nodes: list[Outline], prefix: str, parent: _Place | None) -> Iterator[_Place]:
    for node in nodes:
        place = _Place(node, prefix + node["name"], parent, nodes)
        yield place
        yield from _places(node.get("nodes", []), f"{place.path}/", place)


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


def _label(node: Outline) -> str:
    return f"{_title(node['kind'])} {node['name']!r}"
