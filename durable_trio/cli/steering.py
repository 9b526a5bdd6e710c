"""Commands that have the running engine do something: ``cancel``, ``retry``, ``send-event``, ``prune``.

They leave a request in the database, and return when its effect is on disk. They open no engine of their own:
one without the workflows would set the unfinished runs aside, and one with them would run them here.
"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import trio

from durable_trio import RunInfo, open_client
from durable_trio.cli.inputs import parse, read_text
from durable_trio.cli.options import database, json_option
from durable_trio.cli.report import print_json
from durable_trio.cli.text import CommandError, count_text, safe

_ENDED = ("completed", "failed", "cancelled", "compensated", "compensation_failed")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PAGE = 1000


@click.command(short_help="Cancel a run.")
@click.argument("run_id", metavar="RUN")
@database
@click.option("--reason", metavar="TEXT", help="Why; it becomes the run's error.")
@click.option("--compensate", is_flag=True, help="Undo what its steps did, as if it had failed.")
@json_option(help='Print {"id": ..., "cancelled": true} or false.')
def cancel(run_id: str, db: str, reason: str | None, *, compensate: bool, as_json: bool) -> int:
    """Cancel a run, and the runs that it has started.

    It is done by the process that runs the database's workflows, and is on disk when this returns; the steps
    may then still be on their way out. Without such a process nothing is done (exit status 2). The exit
    status is 1 if the run had ended before.
    """

    async def ask() -> bool:
        async with open_client(db) as client:
            return await client.cancel(run_id, reason, compensate=compensate)

    done = trio.run(ask)
    if as_json:
        print_json({"id": run_id, "cancelled": done}, sys.stdout)
    elif done:
        click.echo(f"run {safe(run_id)} is cancelled")
    else:
        click.echo(f"run {safe(run_id)} had ended, or is being compensated, already; nothing was done")
    return 0 if done else 1


@click.command(short_help="Let a failed run go on.")
@click.argument("run_id", metavar="RUN")
@database
@json_option(help='Print {"id": ..., "retried": true}.')
def retry(run_id: str, db: str, *, as_json: bool) -> int:
    """Let a failed run go on from the step that failed. What succeeded is not run again.

    It is done by the process that runs the database's workflows. Without one nothing is done (exit
    status 2).
    """

    async def ask() -> None:
        async with open_client(db) as client:
            await client.retry(run_id)

    trio.run(ask)
    if as_json:
        print_json({"id": run_id, "retried": True}, sys.stdout)
    else:
        click.echo(f"run {safe(run_id)} goes on")
    return 0


@click.command("send-event", short_help="Send an event to a run.")
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@database
@click.option(
    "--payload",
    metavar="JSON|@FILE|-",
    help="What the event carries: JSON, a file that holds it, or - to read it from the standard input. "
    "Default: null.",
)
@json_option(help='Print {"id": ..., "event": ..., "sent": true}.')
def send_event(run_id: str, name: str, db: str, payload: str | None, *, as_json: bool) -> int:
    """Send the event NAME to a run. It is kept until a wait of the run takes it.

    It is on disk when this returns. The process that runs the database's workflows takes it; without one
    nothing is sent (exit status 2).
    """
    value: Any = None
    if payload is not None:
        source, text = read_text(payload, "--payload", "the payload")
        value = parse(text, source)

    async def ask() -> None:
        async with open_client(db) as client:
            await client.send_event(run_id, name, value)

    trio.run(ask)
    if as_json:
        print_json({"id": run_id, "event": name, "sent": True}, sys.stdout)
    else:
        click.echo(f"sent {safe(name)} to run {safe(run_id)}")
    return 0


@click.command(short_help="Delete runs that ended long ago.")
@database
@click.option(
    "--older-than",
    metavar="AGE",
    required=True,
    help="How long ago they must have ended: a number with s, m, h, d or w, such as 30d.",
)
@click.option("--status", multiple=True, type=click.Choice(_ENDED), help="With this status only; repeatable.")
@click.option("--dry-run", is_flag=True, help="Only say how many there are. Needs no running engine.")
@json_option(help='Print {"deleted": N}; with --dry-run, {"would_delete": N}.')
def prune(db: str, older_than: str, status: tuple[str, ...], *, dry_run: bool, as_json: bool) -> int:
    """Delete the runs that ended longer ago than an age. The file does not shrink, but is used again.

    It is done by the process that runs the database's workflows. Without one nothing is deleted (exit
    status 2).
    """
    age = _age(older_than)
    count = trio.run(_count if dry_run else _prune, db, age, status or _ENDED)
    if as_json:
        print_json({"would_delete" if dry_run else "deleted": count}, sys.stdout)
    else:
        click.echo(f"{'would delete' if dry_run else 'deleted'} {count_text(count, 'run')}")
    return 0


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if found is None:
        raise CommandError(
            f"--older-than {text!r:.40} is no age; give a number with s, m, h, d or w, such as 12h or 30d"
        )
    try:
        return timedelta(**{_UNITS[found[2]]: float(found[1])})
    except OverflowError:
        raise CommandError(f"--older-than {text!r:.40} is longer than there are dates") from None


async def _prune(db: str, age: timedelta, statuses: Any) -> int:
    async with open_client(db) as client:
        return await client.prune(age, statuses)


async def _count(db: str, age: timedelta, statuses: Any) -> int:
    try:
        limit = datetime.now(UTC) - age
    except OverflowError:
        return 0  # longer ago than there are dates
    count = 0
    async with open_client(db) as client:
        after: str | None = None
        while page := await client.list(status=statuses, limit=_PAGE, after=after):
            count += sum(_ended_before(info, limit) for info in page)
            after = page[-1].id
    return count


def _ended_before(info: RunInfo, limit: datetime) -> bool:
    return info.finished_at is not None and info.finished_at < limit
