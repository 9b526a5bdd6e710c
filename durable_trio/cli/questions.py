"""What runs ask of people: ``pending`` shows it, ``provide-input`` answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click
import trio

from durable_trio import PendingInput, open_client
from durable_trio.cli.inputs import parse, read_text
from durable_trio.cli.jsonable import dumps
from durable_trio.cli.options import database, json_option
from durable_trio.cli.report import print_json
from durable_trio.cli.text import CommandError, command, instant_text, safe

_MAX_LIMIT = 10_000


@click.command(short_help="List what runs ask of people.")
@database
@click.option("--run", "run_id", metavar="ID", help="Of this run only.")
@click.option("--workflow", metavar="NAME", help="Of the workflow with this name only.")
@click.option(
    "--limit",
    type=click.IntRange(1, _MAX_LIMIT),
    default=1000,
    show_default=True,
    help="Look at so many unfinished runs at most, newest first.",
)
@json_option(help="Print a JSON array of questions.")
def pending(db: str, run_id: str | None, workflow: str | None, limit: int, *, as_json: bool) -> int:
    """List what runs ask of people, and how to answer.

    It only reads, also while another process runs workflows on the database.
    """

    async def ask() -> list[PendingInput]:
        async with open_client(db) as client:
            return await client.pending_inputs(run_id, workflow, limit)

    questions = trio.run(ask)
    if as_json:
        print_json(questions, sys.stdout)
    elif not questions:
        click.echo("nobody is asked anything")
    else:
        for number, question in enumerate(questions):
            click.echo("\n".join([*([""] if number else []), *_lines(question, db)]))
    return 0


def _lines(question: PendingInput, db: str) -> Iterator[str]:
    due = "" if question.due_at is None else f", until {instant_text(question.due_at)}"
    whose = f"run {safe(question.run_id)} of {safe(question.workflow)}"
    yield f"{safe(question.name)}: {question.kind} for {whose}, asked {instant_text(question.since)}{due}"
    if question.prompt:
        yield f"  {safe(question.prompt)}"
    for choice in question.choices:
        value = safe(str(choice.value))
        yield f"  - {value}" + ("" if choice.label == str(choice.value) else f": {safe(choice.label)}")
    for field in question.fields:
        label = "" if field.label is None else f" ({safe(field.label)})"
        options = f": {', '.join(safe(str(option.value)) for option in field.options)}"
        needed = "" if field.required else ", need not be given"
        yield f"  - {safe(field.name)}{label}, {field.type}{options if field.options else ''}{needed}"
    operands = (question.run_id, question.name, _example(question))
    if any(operand.startswith("-") for operand in operands):  # else taken for an option: a choice of -1
        shown = command("provide-input", "--db", db, "--", *operands)
    else:
        shown = command("provide-input", *operands, "--db", db)
    yield f"  answer: {safe(shown)}"


def _example(question: PendingInput) -> str:
    match question.kind:
        case "approval":
            return "approved"
        case "choice":
            return str(question.choices[0].value)
        case "text":
            return "TEXT"
        case "form":
            shown = {"text": "...", "number": 0, "boolean": True}
            answer = {
                field.name: field.options[0].value if field.options else shown[field.type]
                for field in question.fields
            }
            return dumps(answer)


@click.command("provide-input", short_help="Answer what a run asks.")
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.argument("value", metavar="VALUE|@FILE|-")
@database
@json_option(help='Print {"id": ..., "input": ..., "answered": true}.')
def provide_input(run_id: str, name: str, value: str, db: str, *, as_json: bool) -> int:
    """Answer the question NAME of a run.

    VALUE is what fits the question: `approved` or `rejected`, one of the choices, a text as it stands, a JSON
    object for a form. If the run has not asked yet, it is JSON, or else a text. `@FILE` reads it from a file,
    `-` from the standard input. `durable-trio pending` lists the questions.

    The answer is checked, and on disk when this returns. The process that runs the database's workflows takes
    it; without one nothing is done (exit status 2).
    """
    source, text = read_text(value, "VALUE", "the answer")
    if value == "-" or value.startswith("@"):
        text = text.removesuffix("\n")

    async def ask() -> None:
        async with open_client(db) as client:
            asked = [question for question in await client.pending_inputs(run_id) if question.name == name]
            await client.provide_input(run_id, name, _answer(text, source, asked[0] if asked else None))

    trio.run(ask)
    if as_json:
        print_json({"id": run_id, "input": name, "answered": True}, sys.stdout)
    else:
        click.echo(f"answered {safe(name)} of run {safe(run_id)}")
    return 0


def _answer(text: str, source: str, question: PendingInput | None) -> Any:
    """The value that a text stands for, as the question wants it."""
    kind = None if question is None else question.kind
    if kind == "text":
        return text
    if kind == "form":
        return parse(text, source, "a JSON object with the form's fields")
    if question is not None and kind == "choice":
        for choice in question.choices:
            if str(choice.value) == text:
                return choice.value
    try:
        return parse(text, source)
    except CommandError:
        return text
