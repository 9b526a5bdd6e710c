"""Reads JSON from the command line, a file or the standard input: the input of a run, an event's payload."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from durable_trio.cli.text import CommandError, os_error_text, safe, shorten

_EXAMPLE = """'{"name": "Ada"}'"""
_OBJECT = f"a JSON object, such as {_EXAMPLE}"


def read_input(given: str | None) -> dict[str, Any] | None:
    """The input that ``--input`` means: JSON text, ``@file``, or ``-`` for the standard input.

    Raises:
        CommandError: it cannot be read, or is no JSON object; says where.
    """
    if given is None:
        return None
    source, text = read_text(given, "--input", "the input")
    value = parse(text, source, _OBJECT)
    if not isinstance(value, dict):
        raise CommandError(
            f"{source} must be a JSON object, which becomes the first step's context, such as {_EXAMPLE}; "
            f"this is {_kind(value)}"
        )
    return value


def parse(text: str, source: str, wanted: str = "JSON, such as 7 or {}") -> Any:
    """The value of a JSON text.

    Args:
        text: the text.
        source: what it is called in messages.
        wanted: what is asked for.

    Raises:
        CommandError: it is no JSON; says where.
    """
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, source))
    except json.JSONDecodeError as error:
        raise CommandError(_explain(error, source, wanted)) from None
    except RecursionError:
        raise CommandError(f"{source} is nested too deep to be read") from None
    except ValueError:
        digits = sys.get_int_max_str_digits()
        raise CommandError(
            f"{source} has a number of more than {digits:,} digits; pass it as a string"
        ) from None


def read_text(given: str, option: str, what: str) -> tuple[str, str]:
    """What to call the source in messages, and what it says.

    Args:
        given: the text itself, ``@file``, or ``-`` for the standard input.
        option: what it was given as, such as ``--input``.
        what: what it is, such as ``the input``.

    Raises:
        CommandError: it cannot be read.
    """
    if given == "-":
        return "the standard input", _decoded(sys.stdin.buffer.read(), "the standard input")
    if not given.startswith("@"):
        # What is not UTF-8 on a command line arrives as lone surrogates.
        return option, _decoded(given.encode(errors="surrogateescape"), option)
    path = given[1:]
    if not path:
        raise CommandError(
            f"{option} @ names no file; write {option} @order.json, or {option} - to read from a pipe"
        )
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        why = os_error_text(error) if isinstance(error, OSError) else f"{safe(path)}: {error}"
        raise CommandError(f"cannot read {what}: {why}") from None
    return path, _decoded(data, path)


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CommandError(
            f"{source} is not UTF-8 text: byte 0x{data[error.start]:02x} in line {line}"
        ) from None


def _object(pairs: list[tuple[str, Any]], source: str) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CommandError(
            f"{source} has the key {twice!r:.80} twice in one object; one of them would be lost"
        )
    return made


def _explain(error: json.JSONDecodeError, source: str, wanted: str) -> str:
    if not error.doc.strip():
        return f"{source} is empty; give {wanted}"
    line = error.doc.split("\n")[error.lineno - 1]
    before = max(error.colno - 11, 0)
    near = f", near {shorten(line[before:], 40)!r}" if line.strip() else ""
    return f"{source} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}{near}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "an array"}
    return names[type(value)]
