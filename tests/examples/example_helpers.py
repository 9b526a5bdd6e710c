"""What the tests of the examples share: running one as a user would, and loading one as a module."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import trio

from durable_trio import open_engine
from durable_trio.testing import trio_clock

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NAMES = [
    "onboarding",
    "dashboard",
    "order_processing",
    "notifications",
    "external_api",
    "isolation",
    "checksums",
    "trip_booking",
    "document_processing",
    "expense_approval",
    "trial_reminder",
    "payment_flow",
    "order_pipeline",
    "thumbnails",
]

_PATIENCE = 60  # seconds of real time for a program that should need one or two
_LONG = 3600  # seconds by the mock clock, which are over as soon as nothing else can happen


def command(name, *arguments):
    # Warnings are errors here too: a user shall not see any.
    return [sys.executable, "-W", "error", EXAMPLES / f"{name}.py", *arguments]


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}


def run_example(name, *arguments, cwd):
    """The finished process of ``python examples/name.py ...``."""
    return run_command(*command(name, *arguments)[1:], cwd=cwd)


def run_command(*arguments, cwd):
    """The finished process of ``python ...``."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_PATIENCE,
        check=False,
    )


def output_of(name, *arguments, cwd):
    """What it prints; it must end well and complain of nothing."""
    process = run_example(name, *arguments, cwd=cwd)
    assert process.stderr == ""
    assert process.returncode == 0
    return process.stdout


def load(name):
    """A new module of the example, so that no test sees what another did to its stand-ins."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def ended(workflow, data):
    """A run's RunInfo, however it ended. For tests on the mock clock: in memory, without threads."""
    async with open_engine(None, workflows=[workflow], clock=trio_clock()) as engine:
        with trio.fail_after(_LONG):
            run = await engine.start(workflow, data)
            return await run.wait()


def states(info):
    """Path to status, in the order in which the steps ended."""
    return {step.path: step.status for step in info.steps}


def step_of(info, path):
    (found,) = [step for step in info.steps if step.path == path]
    return found
