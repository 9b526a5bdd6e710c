"""What is shipped, and what imports what where the import linter cannot see it.

The slow tests look at a source distribution and the wheel made from it. They are built here from a copy of
the checkout, or taken from the folder that ``DURABLE_TRIO_DISTS`` names (``.ci/run`` has built them before).
"""

import ast
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import durable_trio

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "durable_trio"
COMPILED = ("batching", "context", "results")
# What may import the face; everything else is what the face is made of.
ABOVE_THE_FACE = ("__init__.py", "__main__.py", "cli/", "testing/")
BELOW_THE_COMPILED = {"_errors", "_info", "_retry", "_speedups", "_values"}


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def sources(folder, *suffixes):
    """The files below a folder, as posix paths from there."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    }


# -- what imports what -------------------------------------------------------------------------------


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_no_room_imports_the_face():
    rooms = [name for name in sources(PACKAGE, ".py") if not name.startswith(ABOVE_THE_FACE)]
    assert len(rooms) > 40
    assert [name for name in rooms if "durable_trio" in imported_modules(PACKAGE / name)] == []


def test_compiled_modules_import_from_the_rooms_below_only():
    found = set()
    for name in sources(ROOT / "_speedups", ".pyx", ".pxi", ".pxd"):
        text = (ROOT / "_speedups" / name).read_text()
        found |= set(re.findall(r"^\s*(?:from|c?import) durable_trio\.?(\w*)", text, re.MULTILINE))
    assert "_errors" in found
    assert found <= BELOW_THE_COMPILED


# -- what the metadata says --------------------------------------------------------------------------


def test_every_folder_with_code_is_packaged():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(("durable_trio", *Path(name).parts[:-1])) for name in sources(PACKAGE, ".py")}
    assert sorted(declared) == sorted(found)


def test_one_version_everywhere(project):
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert durable_trio.__version__ == project["version"]
    assert f"## [{project['version']}]" in changelog


def test_the_extra_all_is_every_extra_that_a_user_wants(project):
    extras = project["optional-dependencies"]
    assert set(extras) == {"all", "bench", "cli", "test"}
    assert extras["all"] == ["durable-trio[cli]"]


# -- what is built -----------------------------------------------------------------------------------


class Dists(NamedTuple):
    """What was built, and from what."""

    folder: Path
    source: Path

    def only(self, pattern):
        [path] = self.folder.glob(pattern)
        return path


@pytest.fixture(scope="module")
def dists(tmp_path_factory):
    built = os.environ.get("DURABLE_TRIO_DISTS")
    if built:
        return Dists(Path(built), ROOT)
    if int(importlib.metadata.version("setuptools").partition(".")[0]) < 77:
        pytest.skip("building needs setuptools 77 or later, as in the extra 'test'")
    folder = tmp_path_factory.mktemp("packaging")
    # A copy: others may be at work in the checkout, and what was built there must not get in.
    left_out = shutil.ignore_patterns(
        ".git", "build", "dist", ".venv", "*.so", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    dists = Dists(folder / "dists", folder / "source")
    shutil.copytree(ROOT, dists.source, ignore=left_out)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dists.folder, dists.source]
    result = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
    return dists


@pytest.fixture(scope="module")
def wheel(dists):
    with zipfile.ZipFile(dists.only("*.whl")) as archive:
        yield archive


@pytest.mark.slow
def test_sdist_has_all_that_building_and_testing_need(dists):
    with tarfile.open(dists.only("*.tar.gz")) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    suffixes = (".py", ".pyi", ".pyx", ".pxi", ".pxd", ".typed", ".md", ".c", ".jsonl")
    wanted = {
        f"{folder}/{name}"
        for folder in ("_speedups", "benchmarks", "docs", "durable_trio", "examples", "tests")
        for name in sources(dists.source / folder, *suffixes)
    }
    assert len(wanted) > 100
    assert wanted - names == set()
    assert {".ci/run", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "setup.py"} <= names
    assert {name for name in names if name.endswith((".so", ".pyc")) or name.startswith("build/")} == set()


@pytest.mark.slow
def test_wheel_has_the_package_and_nothing_else(dists, wheel):
    names = set(wheel.namelist())
    wanted = {
        f"durable_trio/{name}"
        for name in sources(dists.source / "durable_trio", ".py", ".pyi", ".pxd", ".typed")
    }
    binaries = {name for name in names if name.endswith(".so")}
    metadata = {name for name in names if re.match(r"durable_trio-[^/]+\.dist-info/", name)}
    assert names == wanted | binaries | metadata
    assert {"durable_trio/py.typed", *(f"durable_trio/_speedups/{name}.pyi" for name in COMPILED)} <= names
    assert {re.sub(r"\..*", "", name) for name in binaries} == {
        f"durable_trio/_speedups/{name}" for name in COMPILED
    }


@pytest.mark.slow
def test_wheel_says_what_it_is(dists, wheel, project):
    def text(name):
        return wheel.read(
            next(path for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))
        ).decode()

    metadata = email.message_from_string(text("METADATA"))
    assert metadata["Name"] == "durable-trio"
    assert metadata["Version"] == project["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_payload().strip() == (dists.source / "README.md").read_text().strip()
    assert "durable-trio = durable_trio.cli:main" in text("entry_points.txt")
    assert text("licenses/LICENSE") == (dists.source / "LICENSE").read_text()
    assert "Root-Is-Purelib: false" in text("WHEEL")


RUN_SOMETHING = """
import sys
sys.path.insert(0, sys.argv[1])
import trio, durable_trio
assert durable_trio.__file__.startswith(sys.argv[1]), durable_trio.__file__

greeting = durable_trio.Workflow("greeting")

@greeting.step
async def greet(ctx):
    return {"text": f"Hello, {ctx['name']}!"}

async def main():
    async with durable_trio.open_engine("runs.lmdb", workflows=[greeting]) as engine:
        print(await engine.run(greeting, {"name": "Ada"}))

trio.run(main)
"""


@pytest.mark.slow
def test_wheel_works_by_itself_in_an_empty_folder(wheel, tmp_path):
    installed, empty = tmp_path / "installed", tmp_path / "empty"
    wheel.extractall(installed)
    empty.mkdir()
    command = [sys.executable, "-P", "-c", RUN_SOMETHING, installed]
    result = subprocess.run(command, cwd=empty, check=False, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("{'text': 'Hello, Ada!'}\n", "")
