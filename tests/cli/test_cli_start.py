"""What the command line costs those who do not use it, and its two entry points."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from cli_helpers import ROOT, environment


def python(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_importing_the_package_loads_neither_click_nor_rich(tmp_path):
    code = (
        "import sys, durable_trio, durable_trio.cli\n"
        "print({'click', 'rich', 'durable_trio.cli.app'} & set(sys.modules))"
    )
    assert python(code, tmp_path).stdout == "set()\n"


def test_without_the_extra_it_says_how_to_get_it(tmp_path):
    for missing in ("click", "rich"):
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "from durable_trio.cli import main; sys.exit(main())"
        )
        done = python(code, tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "durable-trio needs its command line extra: pip install 'durable-trio[cli]'\n"


def test_another_missing_module_is_not_mistaken_for_the_extra(tmp_path):
    code = (
        "import sys; sys.modules['durable_trio.cli.tables'] = None\n"
        "from durable_trio.cli import main; sys.exit(main())"
    )
    done = python(code, tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


def test_both_entry_points_lead_here(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"]["durable-trio"] == "durable_trio.cli:main"
    done = subprocess.run(
        [sys.executable, "-m", "durable_trio", "--version"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("durable-trio ")
