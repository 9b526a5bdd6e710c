"""Every failpoint, in every scenario in which it is passed, until it has killed a process there."""

from __future__ import annotations

import random
from collections.abc import Iterator

from durable_trio._engine._failpoints import NAMES

from . import campaign
from .faults import Fault
from .pool import Pool
from .runner import Job, Report

Place = tuple[str, str]  # scenario and failpoint

_BATCH = 40  # jobs
_TIMES = 2  # at how many of the times that a point is passed it kills
_ROUNDS = 40  # how often a point that did not kill is tried again, the first time that it is passed
_COUNTS, _OFTEN = 10, 3  # a point that is passed in less than so many of these lives is passed by chance
_CUT_SHORT = Fault("line", "30")  # ends a first life, so that there is something to recover


class Everywhere:
    """Plans the kills, and knows which of them have happened.

    Args:
        pool: counts what is passed, in lives that nothing disturbs and in those after a kill.

    Attributes:
        passed: as ``campaign.count`` gives it.
        places: all at which there must be a kill.
        hit: those at which there was one.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.passed = campaign.count(pool)
        recovered = pool.run(Job("count", name, [_CUT_SHORT, Fault("count")]) for name in self.passed)
        self._recovering = {report.job.scenario: report.passed for report in recovered}
        self.places = {
            (scenario, name)
            for passed in (self.passed, self._recovering)
            for scenario, points in passed.items()
            for name in NAMES
            if points.get(name)
        }
        self.hit: set[Place] = set()

    def batches(self, rng: random.Random) -> Iterator[list[Job]]:
        """All kills that are planned, and then again those that have not happened; ``add`` their reports."""
        planned = list(campaign.failpoints(self.passed, _TIMES))
        planned += [self._at(place, recovering=True) for place in self._places_of_recoveries()]
        rng.shuffle(planned)
        for start in range(0, len(planned), _BATCH):
            yield planned[start : start + _BATCH]
        for number in range(_ROUNDS):
            left = sorted(self.places - self.hit)
            if not left:
                return
            # By turns: how often a point is passed before or after a kill is a matter of chance.
            yield [
                self._at(place, recovering=not self._is_passed_undisturbed(place) or number % 2 == 1)
                for place in left
            ]

    def add(self, report: Report) -> None:
        """What came of a job."""
        self.hit.update(
            (report.job.scenario, label.removeprefix("failpoint "))
            for label in report.kills
            if label.startswith("failpoint ")
        )

    def missed(self) -> list[str]:
        """In words: where a kill was asked for again and again and never came, though the point is passed."""
        return [
            f"the failpoint {name} is passed in {scenario}, and has not killed there in {_ROUNDS} attempts"
            for scenario, name in sorted(self.places - self.hit)
            if self._is_often_passed(scenario, name)
        ]

    def _is_often_passed(self, scenario: str, name: str) -> bool:
        """Not only when two things that happen at once come in a rare order."""
        lives = [
            Job("count", scenario, faults) for faults in ([Fault("count")], [_CUT_SHORT, Fault("count")])
        ]
        reports = self._pool.run(lives * _COUNTS)
        return sum(bool(report.passed.get(name)) for report in reports) >= _OFTEN

    def _places_of_recoveries(self) -> list[Place]:
        return [place for place in sorted(self.places) if not self._is_passed_undisturbed(place)]

    def _is_passed_undisturbed(self, place: Place) -> bool:
        scenario, name = place
        return bool(self.passed[scenario].get(name))

    def _at(self, place: Place, *, recovering: bool) -> Job:
        scenario, name = place
        fault = Fault("failpoint", f"{name}:1")
        return Job("failpoint", scenario, [_CUT_SHORT, fault] if recovering else [fault])
