"""Input that cannot be used: one line that says what is wrong and where, and nothing is created."""

from __future__ import annotations

import os

import pytest


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ('{"a": 1,}', "--input is not valid JSON: "),
        (
            "{name: Ada}",
            "--input is not valid JSON: Expecting property name enclosed in double quotes at line 1",
        ),
        (
            '{"a": 1\n "b": 2}',
            "--input is not valid JSON: Expecting ',' delimiter at line 2, column 2, near ' \"b\": 2}'",
        ),
        ('{"a": "\x1b[31m"}', "--input is not valid JSON: Invalid control character at"),
        ("", '--input is empty; give a JSON object, such as \'{"name": "Ada"}\''),
        ("[1]", "--input must be a JSON object, which becomes the first step's context, such as"),
        ('"text"', "--input must be a JSON object, which becomes the first step's context, such as"),
        ("null", "--input must be a JSON object, which becomes the first step's context, such as"),
        ("3", "--input must be a JSON object, which becomes the first step's context, such as"),
        ('{"x": {"a": 1, "a": 2}}', "--input has the key 'a' twice in one object; one of them would be lost"),
        ('{"a":' * 100_000, "--input is nested too deep to be read"),
        ('{"a": %s}' % ("9" * 5000), "--input has a number of more than 4,300 digits; pass it as a string"),
        ("\udcff", "--input is not UTF-8 text: byte 0xff in line 1"),
        ("@", "--input @ names no file; write --input @order.json, or --input - to read from a pipe"),
        ("@nofile.json", "cannot read the input: nofile.json: No such file or directory"),
        ("@.", "cannot read the input: .: Is a directory"),
        ("@n\0ul", "cannot read the input: n\\x00ul: "),
        (
            "@bad.json",
            "bad.json is not valid JSON: Expecting value at line 3, column 8, near '  \"b\": oops'",
        ),
        ("@latin.json", "latin.json is not UTF-8 text: byte 0xe9 in line 2"),
        ("-", "the standard input is empty; give a JSON object, such as"),
    ],
    ids=lambda text: text[:20].encode("ascii", "backslashreplace").decode().replace("\0", "0"),
)
def test_bad_input(cli, folder, given, error):
    (folder / "bad.json").write_text('{\n  "a": 1,\n  "b": oops\n}')
    (folder / "latin.json").write_bytes(b'{\n"caf\xe9": 1}')
    done = cli("run", "flows.py:order", "--input", given)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(f"error: {error}"), done.err
    assert done.err.count("\n") == 1
    assert len(done.err) < 300
    assert done.err[:-1].isprintable()
    assert not (folder / "durable-trio.lmdb").exists()


@pytest.mark.parametrize(
    ("run_id", "error"),
    [
        ("", "a run's id has 1 to 255 bytes of UTF-8, and '' has 0"),
        ("x" * 10_000, "a run's id has 1 to 255 bytes of UTF-8, and 'xxx"),
        ("é" * 200, "a run's id has 1 to 255 bytes of UTF-8, and 'éé"),
        ("\udcff", "the run id '\\udcff' has a lone surrogate"),
    ],
    ids=["empty", "long", "many bytes", "no text"],
)
def test_ids_that_cannot_be(cli, run_id, error):
    assert cli("run", "flows.py:order", "--id", "kept").status == 0
    done = cli("run", "flows.py:order", "--id", run_id)
    assert done.status == 2
    assert done.out == ""
    assert done.error.startswith(f"error: {error}")
    assert len(done.err) < 300
    shown = cli("show", run_id)
    assert shown.status == 2
    assert shown.error.startswith("error: there is no run '")
    assert len(shown.err) < 300
    assert cli("show", "kept").status == 0


def test_an_id_of_odd_characters_is_kept_and_cannot_touch_the_terminal(cli):
    odd = "\x1b]0;owned\x07 a/b\n\u202e'\"$(rm) é✓"
    first = cli("run", "flows.py:order", "--id", odd)
    assert first.status == 0
    for done in (first, cli("list"), cli("show", odd)):
        assert done.status == 0
        text = done.out + done.err
        assert "\\x1b]0;owned\\x07 a/b\\n\\u202e'\"$(rm) é✓" in text
        assert all(char == "\n" or char.isprintable() for char in text)
    assert cli("run", "flows.py:order", "--id", odd).err.count("recorded before") == 5


def test_an_id_belongs_to_one_workflow(cli):
    cli("run", "flows.py:order", "--id", "mine")
    done = cli("run", "flows.py:broken", "--id", "mine")
    assert done.status == 2
    assert "belongs to a run of workflow 'order_processing'" in done.error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nope"], "No such command"),
        (["run"], "Missing argument 'FILE_OR_MODULE[:WORKFLOW]'."),
        (["run", "flows.py:order", "--nope"], "No such option"),
        (["run", "flows.py:order", "--durability", "never"], "Invalid value for '--durability'"),
        (["list", "--status", "odd"], "Invalid value for '--status'"),
        (["list", "--limit", "0"], "Invalid value for '--limit'"),
        (["show"], "Missing argument 'RUN'."),
        (["demo", "--db", "flows.py"], "flows.py exists and is not empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line(cli, words, error):
    done = cli(*words)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(f"error: {error}"), done.err


def test_help_says_what_there_is(cli):
    assert cli().out == cli("--help").out
    text = cli("--help").out
    for word in ("run", "list", "show", "demo", "Exit status"):
        assert word in text
    for command in ("run", "list", "show", "demo"):
        done = cli(command, "--help")
        assert done.status == 0
        assert "--json" in done.out
    assert cli("--version").out.startswith("durable-trio 0.")


def test_the_process_reads_its_own_command_line(process):
    """What the other tests do inside of this process is also so outside of it."""
    done = process("run", "flows.py:order", "--input", os.fsdecode(b"\xff"))
    assert (done.status, done.out) == (2, "")
    assert done.err == "error: --input is not UTF-8 text: byte 0xff in line 1\n"
    done = process("run", "flows.py:order", "--id", "o-1", "--json")
    assert (done.status, done.err) == (0, "run o-1\nvalidating\n")
    assert done.out.startswith('{"id": "o-1"')
