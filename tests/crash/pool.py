"""The processes that run episodes, and the sum of their reports."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from .checker import INVARIANTS
from .faults import Fault, build_shim
from .runner import Job, Report


class Pool:
    """Warm runner processes.

    Args:
        folder: where the episodes leave what had violations.
        size: how many.
    """

    def __init__(self, folder: Path, size: int = 2) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            "LD_PRELOAD": str(build_shim(folder)),
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109
        }
        # The package is called crash under pytest, and tests.crash by itself.
        command = [sys.executable, "-m", f"{__package__}.runner"]
        self._runners = [
            subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(size)
        ]

    def run(self, jobs: Iterable[Job], told: Callable[[Report], None] = lambda _report: None) -> list[Report]:
        """Run all jobs; gives their reports, in no order. ``told`` is called with each as it comes."""
        queue = iter(jobs)
        reports: list[Report] = []
        lock = threading.Lock()
        errors: list[BaseException] = []

        def take() -> Iterator[Job]:
            while True:
                with lock:
                    job = next(queue, None)
                if job is None or errors:
                    return
                yield job

        def feed(runner: subprocess.Popen[str]) -> None:
            try:
                for job in take():
                    report = self._ask(runner, job)
                    with lock:
                        reports.append(report)
                        told(report)
            except BaseException as error:  # raised below, in the caller's thread
                errors.append(error)

        threads = [threading.Thread(target=feed, args=(runner,)) for runner in self._runners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return reports

    def _ask(self, runner: subprocess.Popen[str], job: Job) -> Report:
        folder = self._folder / f"{next(self._numbers):05}-{job.scenario}"
        assert runner.stdin is not None
        assert runner.stdout is not None
        runner.stdin.write(json.dumps(job._asdict() | {"folder": str(folder)}) + "\n")
        runner.stdin.flush()
        answer = runner.stdout.readline()
        if not answer:
            raise RuntimeError(f"the runner died over {job}; what there is of it is in {folder}")
        fields = json.loads(answer)
        asked = fields.pop("job")
        asked["faults"] = [Fault(*fault) for fault in asked["faults"]]
        return Report(Job(**asked), **fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for runner in self._runners:
            assert runner.stdin is not None
            assert runner.stdout is not None
            runner.stdin.close()
            runner.wait()
            runner.stdout.close()


class Totals:
    """The sum of reports."""

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        self.kills: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.unfired: Counter[str] = Counter()
        self.looked: Counter[int] = Counter()
        self.episodes = self.boots = self.recoveries = self.lines = 0
        self.violations: list[tuple[int, str, Report]] = []
        for report in reports:
            self.add(report)

    def add(self, report: Report) -> None:
        """One more."""
        self.kills.update(report.kills)
        self.faults.update(report.faults)
        self.unfired.update(report.unfired)
        self.looked.update({int(number): count for number, count in report.looked.items()})
        self.episodes += 1
        self.boots += report.boots
        self.recoveries += report.recoveries
        self.lines += report.lines
        self.violations += [(number, text, report) for number, text in report.violations]

    def table(self) -> str:
        """The counts, as text."""
        lives = f"{self.boots} boots, {self.recoveries} of them recoveries, {self.lines} lines of effects"
        rows = [f"{self.kills.total()} kills in {self.episodes} episodes ({lives})"]
        rows += [f"  {count:5} x SIGKILL {label}" for label, count in sorted(self.kills.items())]
        rows += [f"  {count:5} x {label}" for label, count in sorted(self.faults.items())]
        looked = ", ".join(f"{number}: {self.looked[number]}" for number in INVARIANTS)
        rows += [f"checks by invariant: {looked}", f"violations: {len(self.violations)}"]
        return "\n".join(rows)

    def complaints(self, at_most: int = 8) -> str:
        """The first violations, and where the evidence is."""
        return "\n".join(
            f"{text}\n    {report.job}\n    {report.folder}" for _, text, report in self.violations[:at_most]
        )
