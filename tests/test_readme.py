"""What the README and the docs show is run as it is printed there.

A Python block whose first line is ``# name.py`` is that file. A console block is what a terminal shows: after
``$`` a command, below it what it prints, in which ``...`` stands for anything. All of one document happens in
one folder that was empty before, in the order of the text. Other Python blocks are fragments, which are held
to being Python and to importing only what there is. Blocks of other languages are not looked at.

As a script it does the same for the documents that are named, with whatever ``durable_trio`` is installed; so
``.ci/run`` tries the wheel::

    python -P tests/test_readme.py README.md
"""

import ast
import doctest
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import durable_trio

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+\.py)\n")
_TIME_LIMIT = 120  # seconds for a command


def blocks(text):
    """The language and the text of each fenced block."""
    return [match.groups() for match in _BLOCK.finditer(text)]


def commands(block):
    """The commands of a console block, each with what it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def environment(folder):
    """One in which ``python`` and ``durable-trio`` are those that run this."""
    for name, words in (("python", ""), ("durable-trio", "-m durable_trio")):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        path.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(durable_trio.__file__).parent.parent),
        # On a terminal each line is there when it is printed; in a pipe a killed process takes it along.
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def show(document):
    """Do what a document shows, in an empty folder.

    Returns:
        How many commands it has.

    Raises:
        AssertionError: a command has printed something else than the document says.
    """
    count = 0
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as tools:
        variables = environment(Path(tools))
        for language, block in blocks(document):
            if language == "python" and (file := _FILE.match(block)):
                Path(scratch, file[1]).write_text(block)
            elif language == "console":
                for command, expected in commands(block):
                    count += 1
                    check(command, expected, scratch, variables)
    return count


def check(command, expected, folder, variables):
    result = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=variables,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=_TIME_LIMIT,
    )
    # How wide a table's columns are depends on what is in them.
    alike = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not doctest.OutputChecker().check_output(expected, result.stdout, alike):
        raise AssertionError(
            f"$ {command}\nshould print\n{textwrap.indent(expected, '    ')}\nand has printed\n"
            f"{textwrap.indent(result.stdout, '    ')}\n(exit status {result.returncode})"
        )


# -- the README --------------------------------------------------------------------------------------


def readme():
    return (ROOT / "README.md").read_text()


def test_quick_start_does_what_the_readme_prints():
    assert show(readme()) >= 3


def test_quick_start_is_short():
    programs = [block for language, block in blocks(readme()) if language == "python" and _FILE.match(block)]
    assert len(programs) == 1
    assert len(programs[0].splitlines()) <= 45


def test_readme_has_the_two_commands():
    text = "\n".join(block for language, block in blocks(readme()) if language == "sh")
    assert "pip install -e '.[all]' && durable-trio demo" in text.splitlines()
    assert "pip install -e '.[all,test]' && python -m pytest -n auto" in text.splitlines()


# -- all documents -----------------------------------------------------------------------------------


def test_docs_do_what_they_print():
    for path in DOCUMENTS[1:]:
        show(path.read_text())


def fragments():
    for path in DOCUMENTS:
        for language, block in blocks(path.read_text()):
            if language == "python":
                yield path.name, block


def test_fragments_are_python_and_import_what_there_is():
    names = set()
    for document, block in fragments():
        tree = compile(block, document, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "durable_trio":
                names |= {alias.name for alias in node.names}
    assert "open_engine" in names
    assert {name for name in names if not hasattr(durable_trio, name)} == set()


def test_links_lead_somewhere():
    links = [
        (path, target)
        for path in DOCUMENTS
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    ]
    assert len(links) > 5
    assert [(path.name, target) for path, target in links if not (path.parent / target).exists()] == []


def test_architecture_names_every_file_and_no_other():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"^\| `([\w./]+\.(?:py|pyi|pyx|pxi|pxd))` \|", text, re.MULTILINE))
    there = {
        path.relative_to(ROOT).as_posix()
        for folder, suffixes in (("durable_trio", (".py", ".pxd")), ("_speedups", (".pyx", ".pxi")))
        for path in (ROOT / folder).rglob("*")
        if path.suffix in suffixes and path.stat().st_size and "__pycache__" not in path.parts
    }
    assert named == there


# -- this test itself --------------------------------------------------------------------------------


DOCUMENT = """
```python
# hello.py
print("hello")
print("at noon")
```
```console
$ python hello.py
hello
at ...
$ durable-trio --version
durable-trio ...
```
"""


def test_what_is_shown_is_run():
    assert show(DOCUMENT) == 2


def test_a_wrong_output_is_noticed():
    import pytest  # not installed where this file is a script

    with pytest.raises(AssertionError, match=r"(?s)should print.*goodbye.*has printed.*hello"):
        show(DOCUMENT.replace("\nhello\nat", "\ngoodbye\nat"))


if __name__ == "__main__":
    sys.stdout.write(f"durable_trio is the one in {Path(durable_trio.__file__).parent}\n")
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}: {show(Path(name).read_text())} commands print what it says\n")
