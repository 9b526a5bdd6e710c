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
from pathlib import Path
from typing import Any

from driving import Crashed, Gate, Host, Side
from flows import CHOICES, EVENTS, FLOWS, INPUTS, ITEMS
from hypothesis import assume, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from model import UNIT
from world_model import ENDED, World

_TAGS = ("p", "q", "r", "s")
_TICK = 0.125  # seconds, exact in binary; a command's instant modulo UNIT is its own, so that no two things tie

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
    """See above. ``stores`` are the kinds of stores that it drives."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="durable-trio-model-"))
        self.host = Host()
        self.sides = [Side(self.host, None), Side(self.host, self.folder)]
        self.world = World()
        self.commands = 0
        self.crashed = 0

    @initialize(flow=st.sampled_from(sorted(FLOWS)), given=inputs)
    def begin(self, flow: str, given: dict[str, Any]) -> None:
        for side in self.sides:
            self.host.call(side.open)
        self.command("start", {"tag": "p", "flow": flow, "given": given, "after": 0}, None)

    def teardown(self) -> None:
        try:
            self.host.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- commands ------------------------------------------------------------------------------------

    @rule(
        tag=tags,
        flow=st.sampled_from(sorted(FLOWS)),
        given=inputs,
        after=st.sampled_from([0, 0, 0, 40]),
        queue=st.sampled_from(["default", "other"]),
        priority=st.integers(-2, 2),
        crash=crashes,
    )
    def start(self, tag: str, crash: Any, **arguments: Any) -> None:
        self.command("start", {"tag": tag, **arguments}, crash)

    @precondition(lambda self: self.open_gates())
    @rule(
        which=whose,
        what=st.sampled_from(["ok", "ok", "ok", "ok", "err", "raise", "fatal", "goto", "finish"]),
        number=st.integers(0, 50),
        crash=crashes,
    )
    def release(self, which: int, what: str, number: int, crash: Any) -> None:
        """Let a body do something."""
        gates = self.open_gates()
        value = f"#{number}" if what in ("raise", "err", "fatal") else number
        self.command("release", {"gate": gates[which % len(gates)], "what": what, "value": value}, crash)

    @rule(which=whose, name=st.sampled_from(EVENTS), payload=st.integers(0, 50), crash=crashes)
    def send_event(self, which: int, name: str, payload: int, crash: Any) -> None:
        self.command("send_event", {"tag": self.tag(which), "name": name, "payload": payload}, crash)

    @rule(
        which=whose,
        name=st.sampled_from(INPUTS),
        value=st.sampled_from([*CHOICES, "approved", "rejected", True, False, "some text", 7]),
        crash=crashes,
    )
    def provide_input(self, which: int, name: str, value: Any, crash: Any) -> None:
        self.command("provide_input", {"tag": self.tag(which), "name": name, "value": value}, crash)

    @rule(which=whose, reason=st.none() | st.just("enough"), compensate=st.booleans(), crash=crashes)
    def cancel(self, which: int, reason: Any, compensate: bool, crash: Any) -> None:
        arguments = {"tag": self.tag(which), "reason": reason, "compensate": compensate}
        self.command("cancel", arguments, crash)

    @rule(which=whose, crash=crashes)
    def retry(self, which: int, crash: Any) -> None:
        self.command("retry", {"tag": self.tag(which, "failed")}, crash)

    @rule(which=whose, crash=crashes)
    def delete(self, which: int, crash: Any) -> None:
        tag = self.tag(which, *ENDED)
        assume(tag not in self.needed())
        self.command("delete", {"tag": tag}, crash)

    @rule(age=st.sampled_from([0, 20, 100]), crash=crashes)
    def prune(self, age: int, crash: Any) -> None:
        assume(not self.needed())
        self.command("prune", {"age": age}, crash)

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

    @rule(down=st.sampled_from([0, 0, 30]), crash=st.lists(st.integers(0, 3), max_size=2))
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

    def tag(self, which: int, *statuses: str) -> str:
        """A run, with one of the statuses if there is one; now and then a run that there is not."""
        runs = sorted(self.world.runs)
        fitting = [tag for tag in runs if self.world.runs[tag].status in statuses] or [*runs, "nobody"]
        return fitting[which % len(fitting)]

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
        if answered or self.shown(side) == (self.world.seen(), self.open_gates()):
            return
        # A family is cancelled from below: a crash may come between the children and their parent.
        if name != "cancel":
            assert self.shown(side) == before, f"{side.name}: neither before nor after {name}"
        side.entered.clear()
        self.host.call(side.do, name, arguments)

    def recover(self, side: Side, crashes: list[int]) -> None:
        for crash_after in crashes:
            self.host.call(side.open, crash_after=crash_after)
            self.host.call(side.crash)
        self.host.call(side.open)

    # -- what must be --------------------------------------------------------------------------------

    def shown(self, side: Side) -> Any:
        return self.host.call(side.seen), sorted(side.gates)

    def compare(self, *, crashed: bool) -> None:
        """All that can be seen is as the model says, and no body was entered that should not have been."""
        expected = self.world.seen()
        gates = self.world.gates()
        allowed = Counter(self.world.entered)
        for side in self.sides:
            seen = self.host.call(side.seen)
            for tag in sorted(expected.keys() | seen.keys()):
                is_so, must_be = seen.get(tag, {}), expected.get(tag, {})
                for what in must_be.keys() | is_so.keys():
                    assert is_so.get(what) == must_be.get(what), f"{side.name}: {what} of run {tag!r}"
            assert sorted(side.gates) == self.open_gates(), f"{side.name}: other bodies are under way"
            entered = Counter(side.entered)
            assert entered <= allowed, f"{side.name}: entered once too often: {entered - allowed}"
            if not crashed:
                missing = {gate for gate in allowed if gate in gates} - set(entered)
                assert not missing, f"{side.name}: not entered: {missing}"
