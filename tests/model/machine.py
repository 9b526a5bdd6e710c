"""The state machine: commands at random, to the model and to an engine on each kind of store.

After each command everything that can be seen must be as the model says, and the same on both. With a
command may come a crash, at any commit that the command leads to, and more of them while the engine recovers.
Then what was answered must be there, and what was not, may: it is either there or the world is as before
the command, which is then given again, as any client would do.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from driving import Crashed, Gate, Host, Side
from hypothesis import assume, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from model import UNIT
from model_flows import CHOICES, EVENTS, FLOWS, INPUTS, ITEMS
from world_model import ENDED, World

T = TypeVar("T")
_TAGS = ("p", "q", "r", "s")
_ANSWERS = [*CHOICES, "approved", "rejected", True, False, "some text", 7]
_TICK = 0.125  # seconds; a command's instant modulo UNIT is its own, so that no two things tie

tags = st.sampled_from(_TAGS)
whose = st.integers(0, 1000)  # of the runs or bodies that there are, modulo their number
# At which commit after the command the image is taken, and at which of each recovery after that.
crashes = st.none() | st.none() | st.lists(st.integers(0, 4), min_size=1, max_size=3)
inputs = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["red", "blue", "wide", "none"]),
        "items": st.lists(st.sampled_from(ITEMS), max_size=3),
    }
)


class Machine(RuleBasedStateMachine):
    """See above. ``flows`` are those that it starts, and ``stores`` the kinds of stores that it drives."""

    flows: tuple[str, ...] = tuple(sorted(FLOWS))
    stores: tuple[str, ...] = ("memory", "lmdb")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="durable-trio-model-"))
        self.host = Host()
        folders = {"memory": None, "lmdb": self.folder}
        self.sides = [Side(self.host, folders[store]) for store in self.stores]
        self.world = World()
        self.commands = 0
        self.crashed = 0

    @initialize(flow=whose, given=inputs)
    def begin(self, flow: int, given: dict[str, Any]) -> None:
        for side in self.sides:
            self.host.call(side.open)
        first = {"tag": "p", "flow": self.one_of(self.flows, flow), "given": given, "after": 0}
        self.command("start", first, None)

    def teardown(self) -> None:
        try:
            self.host.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- commands ------------------------------------------------------------------------------------

    @rule(
        tag=tags,
        flow=whose,
        given=inputs,
        after=st.sampled_from([0, 0, 0, 40]),
        queue=st.sampled_from(["default", "other"]),
        priority=st.integers(-2, 2),
        crash=crashes,
    )
    def start(self, tag: str, flow: int, crash: Any, **arguments: Any) -> None:
        self.command("start", {"tag": tag, "flow": self.one_of(self.flows, flow), **arguments}, crash)

    @precondition(lambda self: self.open_gates())
    @rule(which=whose, number=st.integers(0, 50), crash=crashes)
    def let_succeed(self, which: int, number: int, crash: Any) -> None:
        self.release(which, "ok", number, crash)

    @precondition(lambda self: self.open_gates())
    @rule(
        which=whose,
        what=st.sampled_from(["err", "raise", "fatal", "goto", "finish", "ok"]),
        number=st.integers(0, 50),
        crash=crashes,
    )
    def release(self, which: int, what: str, number: int, crash: Any) -> None:
        """Let a body do something."""
        gates = self.open_gates()
        value = f"#{number}" if what in ("raise", "err", "fatal") else number
        self.command("release", {"gate": gates[which % len(gates)], "what": what, "value": value}, crash)

    @precondition(lambda self: self.runs("live"))
    @rule(
        which=whose,
        name=st.sampled_from(EVENTS),
        payloads=st.lists(st.integers(0, 50), min_size=1, max_size=2, unique=True),
        crash=crashes,
    )
    def send_events(self, which: int, name: str, payloads: list[int], crash: Any) -> None:
        tag = self.one_of(self.runs("live"), which)
        for payload in payloads:
            if self.world.runs[tag].status == "live":
                self.command("send_event", {"tag": tag, "name": name, "payload": payload}, crash)

    @precondition(lambda self: self.open_questions())
    @rule(which=whose, value=st.sampled_from(_ANSWERS), crash=crashes)
    def answer(self, which: int, value: Any, crash: Any) -> None:
        tag, name = self.one_of(self.open_questions(), which)
        self.command("provide_input", {"tag": tag, "name": name, "value": value}, crash)

    @precondition(lambda self: self.runs("live"))
    @rule(which=whose, reason=st.none() | st.just("enough"), compensate=st.booleans(), crash=crashes)
    def cancel(self, which: int, reason: Any, compensate: bool, crash: Any) -> None:
        arguments = {"tag": self.one_of(self.runs("live"), which), "reason": reason, "compensate": compensate}
        self.command("cancel", arguments, crash)

    @precondition(lambda self: self.runs("failed"))
    @rule(which=whose, crash=crashes)
    def retry(self, which: int, crash: Any) -> None:
        self.command("retry", {"tag": self.one_of(self.runs("failed"), which)}, crash)

    @precondition(lambda self: set(self.runs(*ENDED)) - self.needed())
    @rule(which=whose, age=st.sampled_from([0, 0, 20, 100]), one=st.booleans(), crash=crashes)
    def forget(self, which: int, age: int, one: bool, crash: Any) -> None:
        """Delete a run that has ended, or all that have some time ago."""
        if one or self.needed():
            tag = self.one_of(sorted(set(self.runs(*ENDED)) - self.needed()), which)
            self.command("delete", {"tag": tag}, crash)
        else:
            self.command("prune", {"age": age}, crash)

    @rule(
        which=whose,
        name=st.sampled_from(["send_event", "provide_input", "cancel", "retry", "delete"]),
        topic=st.sampled_from([*EVENTS, *INPUTS]),
        value=st.sampled_from(_ANSWERS),
    )
    def misuse(self, which: int, name: str, topic: str, value: Any) -> None:
        """A command to any run, and to one that there is not: it is refused, or it fits."""
        tag = self.one_of([*sorted(self.world.runs), "nobody"], which)
        arguments: dict[str, Any] = {"tag": tag}
        if name == "send_event":
            arguments |= {"name": topic, "payload": value}
        elif name == "provide_input":
            arguments |= {"name": topic, "value": value}
        elif name == "cancel":
            arguments |= {"reason": value, "compensate": bool(which % 2)}
            assume(self.world.runs.get(tag) is None or self.world.runs[tag].status != "live")
        elif name == "delete":
            assume(tag not in self.needed())
        self.command(name, arguments, None)

    @rule(units=st.sampled_from([1, 5, 20, 100]), crash=crashes)
    def pass_time(self, units: int, crash: Any) -> None:
        """Let the clock go on, with a stop wherever something is due."""
        self.tick()
        until = self.world.now + units * UNIT
        while (due := self.world.due()) is not None and due <= until:
            assume(not self.world.is_tie())
            self.jump(due, crash)
            crash = None
        self.jump(until, crash)

    @rule(down=st.sampled_from([0, 0, 30, 1000]), crash=st.lists(st.integers(0, 3), max_size=2))
    def restart(self, down: int, crash: list[int]) -> None:
        """Leave the engine and open it again, after a while in which at most one thing comes due."""
        self.tick()
        due = self.world.due()
        assume(due is None or not self.world.is_tie())
        for side in self.sides:
            self.host.call(side.close)
        self.world.entered.clear()
        until = self.world.now + down * UNIT
        self.set_clock(until if due is None else min(until, due))
        for side in self.sides:
            self.recover(side, crash)
        self.world.restart()
        self.world.pass_time(self.world.now)
        self.compare(crashed=True)

    # -- how they are given --------------------------------------------------------------------------

    @staticmethod
    def one_of(some: Sequence[T], which: int) -> T:
        return some[which % len(some)]

    def runs(self, *statuses: str) -> list[str]:
        return sorted(tag for tag, run in self.world.runs.items() if run.status in statuses)

    def open_questions(self) -> list[tuple[str, str]]:
        seen = self.world.seen()
        return sorted((tag, name) for tag, run in seen.items() for name, _ in run["questions"])

    def open_gates(self) -> list[Gate]:
        return sorted(gate for gate, is_open in self.world.gates().items() if is_open)

    def needed(self) -> set[str]:
        """Ended children of runs that have not: their parents' bodies might start them again."""
        return {
            child.tag
            for run in self.world.runs.values()
            if run.status not in ENDED or run.status == "failed"
            for child in run.children
        }

    def tick(self) -> None:
        """Go on to this command's own instant."""
        self.commands += 1
        instant = self.world.now // UNIT * UNIT + self.commands * _TICK
        assert instant > self.world.now
        assume(self.world.due() is None or self.world.due() > instant)
        self.jump(instant, None)

    def set_clock(self, to: float) -> None:
        async def set_it() -> None:
            self.host.clock.jump(to - self.host.clock.current_time())

        self.host.call(set_it)
        self.world.now = to

    def jump(self, to: float, crash: Any) -> None:
        """The clock of all is set, and what is due by then happens."""
        if self.world.times_out(to):
            crash = None  # a step's timeout is its attempt's: after a crash it begins anew with the body
        note(f"clock: {to}")
        self.world.entered.clear()
        for side in self.sides:
            side.entered.clear()
            if crash:
                self.host.call(self.armed, side, crash[0])
        self.set_clock(to)
        for side in self.sides:
            self.host.call(side.settle)
        self.world.pass_time(to)
        if crash:
            self.world.restart()
            for side in self.sides:
                self.host.call(side.crash)
                self.recover(side, crash[1:])
        self.compare(crashed=bool(crash))

    @staticmethod
    async def armed(side: Side, crash_after: int) -> None:
        side._arm(crash_after)

    def command(self, name: str, arguments: dict[str, Any], crash: Any) -> None:
        """To the model, and to both engines."""
        self.tick()
        world = self.world
        before = copy.deepcopy((world.seen(), self.open_gates()))
        world.entered.clear()
        expected = getattr(world, name)(**arguments)
        if crash:
            world.restart()
        for side in self.sides:
            side.entered.clear()
            if crash:
                self.command_and_crash(side, name, arguments, crash, before, expected)
            else:
                answer = self.host.call(side.do, name, arguments)
                assert answer == expected, f"{side.name}: {name} answers {answer!r}, and not {expected!r}"
        self.compare(crashed=bool(crash))

    def command_and_crash(
        self, side: Side, name: str, arguments: dict[str, Any], crash: Any, before: Any, expected: Any
    ) -> None:
        try:
            answer = self.host.call(side.do, name, arguments, crash_after=crash[0])
            assert answer == expected, f"{side.name}: {name} answers {answer!r}, and not {expected!r}"
            answered = name != "release"  # what a body does is answered by nobody
        except Crashed:
            answered = False
        self.host.call(side.crash)
        self.recover(side, crash[1:])
        self.crashed += 1
        if answered or self.is_like(side, self.world.seen(), self.open_gates()):
            return
        # A family is cancelled from below: a crash may come between the children and their parent.
        if name != "cancel":
            assert self.is_like(side, *before), f"{side.name}: neither before nor after {name}"
        side.entered.clear()
        self.host.call(side.do, name, arguments)

    def recover(self, side: Side, crashes: list[int]) -> None:
        for crash_after in crashes:
            self.host.call(side.open, crash_after=crash_after)
            self.host.call(side.crash)
        self.host.call(side.open)

    # -- what must be --------------------------------------------------------------------------------

    def is_like(self, side: Side, seen: dict[str, dict[str, Any]], gates: list[Gate]) -> bool:
        return sorted(side.gates) == gates and all_agree(self.host.call(side.seen), seen)

    def compare(self, *, crashed: bool) -> None:
        """All that can be seen is as the model says, and no body was entered that should not have been."""
        expected, gates, allowed = self.world.seen(), self.world.gates(), Counter(self.world.entered)
        for side in self.sides:
            seen = self.host.call(side.seen)
            for tag in sorted(expected.keys() | seen.keys()):
                found, wanted = seen.get(tag, {}), expected.get(tag, {})
                for what in wanted.keys() | found.keys():
                    assert agree(what, found.get(what), wanted.get(what)), (
                        f"{side.name}: {what} of run {tag!r} is {found.get(what)!r}, not {wanted.get(what)!r}"
                    )
            assert sorted(side.gates) == self.open_gates(), f"{side.name}: other bodies are under way"
            entered = Counter(side.entered)
            assert entered <= allowed, f"{side.name}: entered once too often: {entered - allowed}"
            if not crashed:
                missing = {gate for gate in allowed if gate in gates} - set(entered)
                assert not missing, f"{side.name}: not entered: {missing}"


def agree(what: str, found: Any, wanted: Any) -> bool:
    # A timer that has lost its sense may stay until it is due: it finds nothing to do then.
    return found >= wanted if what == "timers" and found is not None else found == wanted


def all_agree(found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> bool:
    return found.keys() == wanted.keys() and all(
        agree(what, run[what], wanted[tag][what]) for tag, run in found.items() for what in run
    )
