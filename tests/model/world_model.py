"""The commands of ``Engine`` on the runs of ``model.py``, under their names; and what can be seen of them."""

from __future__ import annotations

from typing import Any

from model import BY_CALLER, TIMEOUT, UNIT, Leaf, Outcome, Run, name_of
from model_flows import CHOICES, FLOWS, Event, Input, Step, everything

ENDED = ("completed", "failed", "cancelled", "compensated", "compensation_failed")
Gate = tuple[str, str, int, int]  # run, path, visit, attempt


class World:
    """All runs. A command gives what the engine must answer: a value, or the name of an error."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: dict[str, Run] = {}
        self.entered: list[Gate] = []  # bodies, since somebody has looked

    # -- commands ------------------------------------------------------------------------------------

    def start(self, tag: str, flow: str, given: dict[str, Any], after: int, **_place: Any) -> Any:
        if tag in self.runs:
            return False if self.runs[tag].flow.name == flow else "InputError"
        run = self.runs[tag] = Run(self, tag, FLOWS[flow], given | {"tag": tag}, self.now + after * UNIT)
        if run.scheduled is None:
            run.begin()
        return True

    def child(self, parent: Run, tag: str, flow: str) -> Run:
        if tag not in self.runs:
            self.start(tag, flow, {"kind": parent.given["kind"], "items": parent.given["items"]}, 0)
            parent.children.append(self.runs[tag])
        return self.runs[tag]

    def release(self, gate: Gate, what: str, value: Any) -> None:
        tag, path, visit, _ = gate
        run = self.runs[tag]
        if path.endswith("/!undo"):
            good = what in ("ok", "goto", "finish")
            run.compensations.append((path.removesuffix("/!undo"), "ok" if good else "error"))
            run.undo()
            return
        leaf = run.open[path, visit]
        mine = [value, *leaf.got]
        if what == "ok":
            run.close(leaf, Outcome(True, mine if leaf.plain else leaf.given | {leaf.node.name: mine}))
        elif what in ("goto", "finish") and leaf.top:
            target = self.target(gate, value) if what == "goto" else ""
            run.close(leaf, Outcome(True, leaf.given | {leaf.node.name: mine}, jump=target))
        elif what in ("goto", "finish"):
            run.fail(leaf, "!durable_trio.DefinitionError", retry=False)
        else:
            run.fail(leaf, f"!ValueError: {value}" if what == "raise" else value, retry=what != "fatal")

    def target(self, gate: Gate, value: int) -> str:
        nodes = self.runs[gate[0]].flow.nodes
        return nodes[value % len(nodes)].name

    def send_event(self, tag: str, name: str, payload: Any) -> Any:
        if tag not in self.runs:
            return "RunNotFound"
        return self._deliver(self.runs[tag], ("event", name), payload)

    def provide_input(self, tag: str, name: str, value: Any) -> Any:
        if tag not in self.runs:
            return "RunNotFound"
        run = self.runs[tag]
        declared = [node for node in everything(run.flow.nodes) if isinstance(node, Input)]
        asked = [leaf.wait for leaf in run.open.values() if isinstance(leaf.wait, Input)]
        kinds = [wait.kind for wait in (*asked, *declared) if wait.input == name]
        if run.status != "live" or not kinds:
            return "InputError"
        if kinds[0] == "approval":
            value = {True: "approved", False: "rejected"}.get(value, value)
        fits = {"text": isinstance(value, str), "approval": value in ("approved", "rejected")}
        if not fits.get(kinds[0], value in CHOICES):
            return "InputError"
        return self._deliver(run, ("input", name), value)

    def _deliver(self, run: Run, name: tuple[str, str], payload: Any) -> Any:
        if run.status != "live":
            return "InputError"
        run.mail[name].append(payload)
        for leaf in list(run.open.values()):
            if isinstance(leaf.wait, Event | Input) and name_of(leaf.wait) == name:
                run.look(leaf)
                break
        return None

    def cancel(self, tag: str, reason: Any, *, compensate: bool) -> Any:
        return self.runs[tag].cancel(reason, compensate=compensate) if tag in self.runs else "RunNotFound"

    def retry(self, tag: str) -> Any:
        if tag not in self.runs:
            return "RunNotFound"
        run = self.runs[tag]
        if run.status != "failed":
            return "InputError"
        run.status, run.error, run.errors = "live", None, {}
        run.begun.clear()
        run.answers = {which: answer for which, answer in run.answers.items() if answer[0] != "late"}
        run.limit = None if run.flow.timeout is None else self.now + run.flow.timeout * UNIT
        run.begin()
        return None

    def delete(self, tag: str) -> Any:
        if tag not in self.runs:
            return "RunNotFound"
        if self.runs[tag].status not in ENDED:
            return "InputError"
        del self.runs[tag]
        return None

    def prune(self, age: int) -> int:
        old = [
            tag
            for tag, run in self.runs.items()
            if run.status in ENDED and run.finished < self.now - age * UNIT
        ]
        for tag in old:
            del self.runs[tag]
        return len(old)

    # -- time and crashes ----------------------------------------------------------------------------

    def due(self) -> float | None:
        """When something happens next by itself."""
        return min((due for run in self.runs.values() for due in dues(run)), default=None)

    def is_tie(self) -> bool:
        """Whether it is open what happens first then: two things of one run are due at once."""
        due = self.due()
        at_once = [run.tag.partition(">")[0] for run in self.runs.values() for at in dues(run) if at == due]
        return len(at_once) != len(set(at_once))

    def times_out(self, by: float) -> bool:
        """Whether an attempt at a step takes too long then."""
        leaves = [leaf for run in self.runs.values() for leaf in run.open.values()]
        return any(leaf.limit is not None and leaf.limit <= by for leaf in leaves)

    def pass_time(self, to: float) -> None:
        """The clock is set to an instant, with at most one instant before it at which something is due."""
        self.now = to
        for run in list(self.runs.values()):
            self._ring(run)

    def _ring(self, run: Run) -> None:
        now = self.now
        if run.scheduled is not None:
            if run.scheduled <= now:
                run.scheduled = None
                run.begin()
        elif run.status == "live" and run.limit is not None and run.limit <= now:
            run.end("failed", TIMEOUT, {run.at: TIMEOUT})
        else:
            for due, expire in list(run.blocks.values()):
                if due <= now:
                    expire()
            for leaf in list(run.open.values()):
                if leaf.limit is not None and leaf.limit <= now:
                    self._time_out(run, leaf)
                elif leaf.due is not None and leaf.due <= now:
                    (run.attempt if leaf.resting else run.look)(leaf)

    @staticmethod
    def _time_out(run: Run, leaf: Leaf) -> None:
        child, leaf.child = leaf.child, None
        if child is not None:
            child.cancel(BY_CALLER, compensate=False)
        run.fail(leaf, TIMEOUT)

    def restart(self) -> None:
        """Every body that was under way is entered again, and answered waits in it return at once."""
        for run in list(self.runs.values()):
            for leaf in list(run.open.values()):
                if isinstance(leaf.node, Step) and not leaf.resting:
                    run.attempt(leaf)
            if run.undoing is not None:
                self.entered.append((run.tag, f"{run.undoing[0]}/!undo", run.undoing[1], 1))

    # -- what can be seen ----------------------------------------------------------------------------

    def seen(self) -> dict[str, dict[str, Any]]:
        return {tag: seen(run) for tag, run in self.runs.items()}

    def gates(self) -> dict[Gate, bool]:
        """The bodies under way, and whether each is past its waits."""
        found = {}
        for run in self.runs.values():
            for (path, visit), leaf in run.open.items():
                if isinstance(leaf.node, Step) and not leaf.resting:
                    found[run.tag, path, visit, leaf.attempt] = leaf.wait is None
            if run.undoing is not None:
                found[run.tag, f"{run.undoing[0]}/!undo", run.undoing[1], 1] = True
        return found


def dues(run: Run) -> list[float]:
    if run.scheduled is not None:
        return [run.scheduled]
    found = [due for leaf in run.open.values() for due in (leaf.due, leaf.limit)]
    found += [due for due, _ in run.blocks.values()]
    found += [run.limit] if run.status == "live" else []
    return [due for due in found if due is not None]


def status(run: Run) -> str:
    if run.status != "live":
        return run.status
    steps = [leaf for leaf in run.open.values() if isinstance(leaf.node, Step)]
    return "running" if steps else "waiting"


def questions(run: Run) -> set[tuple[str, str]]:
    found = set()
    for (path, _), leaf in run.open.items():
        wait = leaf.wait
        if isinstance(wait, Input):
            found.add((wait.input, f"{path}/__input:{wait.input}#1" if isinstance(leaf.node, Step) else path))
    return found


def seen(run: Run) -> dict[str, Any]:
    """All that is compared of a run. ``timers``: a run that has no task cannot keep the time itself."""
    shown = status(run)
    return {
        "status": shown,
        "result": run.result if shown == "completed" else None,
        "error": run.error,
        "errors": run.errors,
        "compensations": run.compensations,
        "timers": {min(dues(run))} if shown == "waiting" and dues(run) else set(),
        "mail": {name: letters for name, letters in run.mail.items() if letters},
        "questions": questions(run) if run.status == "live" else set(),
    }
