"""One episode: lives of an engine on one disk, each ended by a crash, and a last one undisturbed."""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

import trio

from durable_trio import StoreError, open_engine
from durable_trio.testing import trio_clock
from tests.crash.checker import BASIC, check
from tests.crash.model import UNENDED, Boot, Dump, Episode, Expected, Findings, Tree, Violation
from tests.crash.values import Address, Colour, Parcel, digest

from .bodies import stage
from .clients import Clients
from .clock import Stuck
from .drawing import Definitions, draw
from .facts import Archive, Facts, last_eras, tree_of
from .oracle import Story, examine
from .rules import simulated
from .world import World

_ENDS = ("completed", "failed", "cancelled", "compensated", "compensation_failed")
_ACTS = {"retried", "forked", "paused", "deleted", "longer"}
_PATIENCE = 3.0  # real seconds for one episode, of which one takes a fraction of a second
_TYPES = (Address, Colour, Parcel)


class _BusyForEver(BaseException):
    """An episode takes longer than any can. Not an Exception: no handler of errors may keep it."""


def _has_only_store_errors(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup) and error.split(StoreError)[1] is None


class Result(NamedTuple):
    """What came of an episode.

    Attributes:
        seed: which it was.
        crashes: how often the machine crashed, by the moment.
        others: failed commits, and lives that were left or drained.
        recoveries: lives that found runs which had not ended.
        looked: how often each invariant was looked at.
        violations: by invariant, and in words.
        trace: identifies all that happened.
        kinds: how many records of each kind there were in the end.
    """

    seed: int
    crashes: Counter[str]
    others: Counter[str]
    recoveries: int
    looked: Counter[int]
    violations: list[tuple[int, str]]
    trace: str
    kinds: Counter[str]
    lines: list[Any]


def play(seed: int, bug: Callable[[], Any] = nullcontext) -> Result:
    """Play the episode of this seed, with a bug planted or none."""
    rng = random.Random(seed)
    definitions = draw(rng)
    world = World(rng)
    stage.world = world
    lives = _Lives(world, definitions)
    with _quietly(), simulated(world), bug():
        with _patience(lives):
            lives.live_all()
        if lives.died_of:
            _bury(world)
    return lives.judge(seed)


class _Lives:
    def __init__(self, world: World, definitions: Definitions) -> None:
        self._world = world
        self._definitions = definitions
        self._cast = definitions.usual
        # From this life on, steps follow the last one.
        self._longer_from = world.rng.choice((None, None, 1, 2, 4))
        self._short: set[str] = set()  # runs that had completed before that
        self._archive = Archive()
        self._taken: set[str] = set()
        self._boots: list[Boot] = []
        self._dumps: list[Dump] = []
        self._facts: list[dict[str, Facts]] = []
        self._faults: dict[int, Dump] = {}
        self._crashes: Counter[str] = Counter()
        self._others: Counter[str] = Counter()
        self._recoveries = 0
        self._clock = 0.0
        self.died_of = ""
        self.is_over = False  # whatever is raised now: it comes of a _BusyForEver, in the middle of anything

    def live_all(self) -> None:
        """All lives of the episode."""
        rng = self._world.rng
        for _ in range(rng.choice((2, 6, 12, 12))):
            crash_at = rng.randrange(1, rng.choice((8, 30, 80, 200)))
            faults = 0.02 if rng.random() < 0.1 else 0.0
            way = rng.choices(("", "leave", "drain"), (10, 1, 1))[0]
            ending = self._live(crash_at, faults, way)
            if ending == "hung":
                return
            if ending == "exit" and not self._is_unfinished():
                break
        self._live(0, 0.0, "", last=True)

    def _is_unfinished(self) -> bool:
        facts = self._facts[-1]
        known = {run.id for run in self._cast.runs if run.id not in self._world.going} <= set(facts)
        return not known or any(run.status in UNENDED for run in facts.values())

    def _choose_definitions(self, found: dict[str, Facts], *, last: bool) -> bool:
        """Which definitions this life has; gives whether records do not fit them."""
        definitions, world = self._definitions, self._world
        if self._cast is definitions.changed:
            self._cast = definitions.usual
        since = self._longer_from
        if since is not None and world.boot + 1 >= since and self._cast is not definitions.longer:
            self._cast = definitions.longer
            earlier = (run for facts in self._facts for run in facts.values())  # some are deleted by now
            self._short = {run.raw for run in earlier if run.status == "completed"}
            world.write("longer")
        changes = not last and since is None and self._can_change(found) and world.rng.random() < 0.2
        if changes:
            self._cast = definitions.changed
        stage.cast = self._cast
        return changes

    def _can_change(self, found: dict[str, Facts]) -> bool:
        """Whether every run has ended, or has a record that a changed definition does not fit."""
        runs = last_eras(found).values()
        known = {run.id for run in self._cast.runs if run.id not in self._world.going}
        return (
            known <= {run.raw for run in runs}
            and not self._world.disk.asked
            and all(run.status not in UNENDED or run.has_begun for run in runs)
        )

    def _live(self, crash_at: int, faults: float, way: str, *, last: bool = False) -> str:
        world = self._world
        found = self._facts[-1] if self._facts else {}
        changed = self._choose_definitions(found, last=last)
        self._recoveries += any(run.status in UNENDED for run in found.values())
        world.begin(self._clock, 0 if way else crash_at, faults, last=last)
        ending, status = self._run(way, crash_at)
        if world.dead and ending != "hung":
            ending, status = "killed", 9
            assert world.image is not None
            world.disk = world.image
            self._clock = world.died_at
            self._crashes[world.label] += 1
        else:
            world.write("exit") if ending == "exit" else None
            world.disk = world.disk.frozen()
            self._clock = world.now()
            if way or ending == "error":
                self._others["failed commit" if ending == "error" else way] += 1
        self._clock += world.rng.choice((0.0, world.rng.random(), world.rng.random() * 30))
        terminated = way == "drain" and ending == "exit"
        self._boots.append(Boot(world.boot, ending, status, changed, terminated))
        dump, facts = self._archive.read(world.disk)
        self._dumps.append(dump)
        self._facts.append(facts)
        if world.at_fault is not None:
            self._faults[world.boot] = self._archive.read(world.at_fault)[0]
        return ending

    def _run(self, way: str, crash_at: int) -> tuple[str, int]:
        """Run Trio until the life is over: how it ended, and the status with which its process would exit."""
        world = self._world
        try:
            trio.run(self._main, way, crash_at, clock=world.clock)
        except BaseException as error:
            if self.is_over:
                signal.setitimer(signal.ITIMER_REAL, 0)
                self._die("is busy for ever")
                return "hung", 0
            if isinstance(error.__cause__, Stuck):
                self._die(f"waits for nothing\n{error.__cause__}")
                return "hung", 0
            if isinstance(error, trio.TrioInternalError) or not isinstance(error, Exception):
                raise
            failed_commit = isinstance(error, StoreError) or _has_only_store_errors(error)
            if not world.dead and failed_commit:
                return "error", 3
            if not failed_commit:
                # Also behind a crash: it is the same engine, and being cancelled must not break it either.
                self._die(f"died of {error!r}")
                return ("exit" if world.dead else "hung"), 0
        return "exit", 0

    def _die(self, of: str) -> None:
        self.died_of = f"life {self._world.boot} ({self._world.label}) {of}"
        sys.unraisablehook = _be_silent

    async def _main(self, way: str, leave_at: int) -> None:
        world, cast = self._world, self._cast
        with world.alive():
            world.write("boot")
            async with open_engine(
                workflows=cast.workflows.values(),
                clock=trio_clock(),
                max_running=cast.max_running,
                types=_TYPES,
                flush_interval=world.rng.choice((0.02, 0.2, 2.0)),
            ) as engine:
                world.write("open")
                world.recovering = False
                async with trio.open_nursery() as nursery:
                    if way:
                        nursery.start_soon(self._leave, engine, way, leave_at, nursery.cancel_scope)
                    await Clients(world, cast, engine, self._taken).act()
                    nursery.cancel_scope.cancel()

    async def _leave(self, engine: Any, way: str, leave_at: int, scope: trio.CancelScope) -> None:
        """Leave the engine in peace, after some moments."""
        world = self._world
        while world.moments < leave_at:  # noqa: ASYNC110 - many things are moments
            await trio.sleep(world.rng.random() * 0.05)
        if way == "drain":
            world.write("sigterm")
            with trio.move_on_after(world.rng.random()) as limit:
                await engine.drain()
            world.write("drained", value=not limit.cancelled_caught)
        scope.cancel()

    # -- the verdict -----------------------------------------------------------------------------------

    def judge(self, seed: int) -> Result:
        """Hand everything to the checkers."""
        world, definitions, facts = self._world, self._definitions, self._facts[-1]
        cast = definitions.longer if self._cast is definitions.longer else definitions.usual
        inputs = {run.id: digest(run.input) for run in cast.runs}
        known = {run.id: (run.workflow, run.seed) for run in cast.runs}
        for found in self._facts:
            known |= {run.raw: (run.workflow, run.seed) for run in found.values()}
        runs = {run: Expected(run, _ENDS, inputs.get(run)) for run in known}
        trees = {}
        for run, (workflow, own) in known.items():
            plans = definitions.usual.plans if run in self._short else cast.plans
            trees[run] = tree_of(plans[workflow], own)
        lines = world.lines
        episode = Episode(trees, runs, self._boots, lines, self._dumps, {}, self._faults, world.going)
        findings = _cautiously(_check_basics, episode)
        extra = _cautiously(examine, Story(episode, self._facts, cast.plans))
        violations = [
            (violation.invariant, str(violation))
            for violation in findings.violations + extra.violations
            if not _is_excused(violation._replace(run=violation.run.partition("~")[0]), trees)
        ]
        if self.died_of:
            violations.append((20, f"[20] {self.died_of}"))
        kinds = Counter(type(record).__name__ for run in facts.values() for record in run.records)
        kinds.update(line.kind for line in lines if line.kind in _ACTS)
        kinds["era"] = sum(not run.is_last for run in facts.values())
        kinds["changed"] = sum(boot.changed for boot in self._boots)
        return Result(
            seed,
            self._crashes,
            self._others,
            self._recoveries,
            findings.looked + extra.looked,
            violations,
            self._trace(),
            kinds,
            lines,
        )

    def _trace(self) -> str:
        found = hashlib.blake2b(digest_size=16)
        for line in self._world.lines:
            found.update(repr(line).encode())
        for boot, dump in zip(self._boots, self._dumps, strict=True):
            found.update(repr(boot).encode())
            for run in dump.runs.values():
                found.update(repr((run.id, run.status, run.records, run.result)).encode())
        return found.hexdigest()


def _is_excused(violation: Violation, trees: dict[str, Tree]) -> bool:
    """What a room of ``tests/crash`` takes offence at that can happen here, and is right."""
    if violation.invariant == 10 and "it started when the fate" in violation.message:
        return trees[violation.run].nodes[violation.path].mode == "thread"  # it writes after it was entered
    if violation.invariant == 6 and "no crash had come in between" in violation.message:
        return ": raise " in violation.first  # what a body raises while its engine is left is not believed
    # A block whose time is over in another life than it began in has not begun anything.
    return violation.invariant == 11 and "status='timed_out'" in violation.first


def _check_basics(episode: Episode) -> Findings:
    """The rooms that want no other lines than are written here; ``oracle`` stands for the others."""
    return check(episode, BASIC)


def _cautiously(checker: Callable[[Any], Findings], what: Any) -> Findings:
    """A checker that trips over an episode has found something too."""
    try:
        return checker(what)
    except (KeyError, AssertionError, IndexError, StopIteration) as error:
        findings = Findings()
        findings.expect(False, 2, "", "", f"{checker.__name__} cannot make sense of it", repr(error))
        return findings


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the engine's log, which is about what is done to it on purpose."""
    logger = logging.getLogger("durable_trio")
    before, logger.disabled = logger.disabled, True
    hook = sys.unraisablehook
    try:
        yield
    finally:
        logger.disabled = before
        sys.unraisablehook = hook


def _bury(world: World) -> None:
    """End the tasks of a Trio run that could not be ended, which they do with loud complaints.

    Left to the collector, some would stay until the middle of another test. All tasks that there are here are
    such ones: no other Trio run is under way.
    """
    world.scope = None
    for entries in world.unwritten:
        entries.clear()  # the collector does not see what an entry holds: a run, and so the engine
    for left in gc.get_objects():
        if isinstance(left, trio.lowlevel.Task):
            with suppress(BaseException):
                left.coro.close()
        elif isinstance(left, trio.Nursery):
            left._children.clear()
    while gc.collect():
        pass  # what is torn out may be kept by what is yet to be torn out


def _be_silent(_unraisable: object) -> None:
    """What is torn out of the middle of its work complains; ``_quietly`` listens again."""


@contextmanager
def _patience(lives: _Lives) -> Iterator[None]:
    """An end for an engine that is busy for ever; asked for again, should the engine swallow it."""

    def give_up(_signum: int, _frame: Any) -> None:
        lives.is_over = True
        raise _BusyForEver

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
