"""The face of the package: every public name is there, once, and nothing else looks public."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import durable_trio
import durable_trio.testing

PUBLIC = {
    "Client",
    "ClientRun",
    "Context",
    "CurrentStep",
    "DatabaseInfo",
    "DatabaseReport",
    "DefinitionError",
    "DurableError",
    "Engine",
    "EngineClosed",
    "Err",
    "Failure",
    "Finish",
    "Goto",
    "HistoryInfo",
    "InputError",
    "Ok",
    "Retry",
    "Run",
    "RunBlocked",
    "RunCancelled",
    "RunFailed",
    "RunInfo",
    "RunNotFound",
    "SnapshotError",
    "StepInfo",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "WaitTimeout",
    "Workflow",
    "check_database",
    "open_client",
    "open_engine",
    "parallel_ok",
    "parallel_result",
    "parallel_results",
    "step_info",
}


def public_names(module):
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_contracts_names_are_there(name):
    assert name in public_names(durable_trio)


def test_public_names_have_a_docstring():
    for name in public_names(durable_trio):
        assert inspect.getdoc(getattr(durable_trio, name)), name


def test_public_names_say_where_they_come_from():
    """Each is defined in the package, and not something imported that leaked out."""
    for name in public_names(durable_trio):
        assert getattr(durable_trio, name).__module__.partition(".")[0] == "durable_trio", name


def test_every_module_but_the_public_faces_is_private():
    faces = {"durable_trio.testing", "durable_trio.cli", "durable_trio.__main__"}
    found = {module.name for module in pkgutil.iter_modules(durable_trio.__path__, "durable_trio.")}
    assert {name for name in found if not name.startswith("durable_trio._")} <= faces


def test_every_module_can_be_imported_by_itself():
    for module in pkgutil.walk_packages(durable_trio.__path__, "durable_trio."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_testing_has_a_clock():
    assert "trio_clock" in durable_trio.testing.__all__
    assert callable(durable_trio.testing.trio_clock)


def test_the_version_is_text():
    assert durable_trio.__version__.count(".") == 2


def test_importing_it_does_not_load_the_command_line():
    program = (
        "import sys, durable_trio; print(sorted({'click', 'rich', 'durable_trio.cli'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
