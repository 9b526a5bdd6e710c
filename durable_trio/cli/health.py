"""How a run, or the whole database, stands: ``status`` and ``doctor``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
import trio

from durable_trio import DatabaseInfo, RunInfo, check_database, open_client
from durable_trio.cli.options import database, json_option
from durable_trio.cli.report import print_json
from durable_trio.cli.text import count_text, reason_text, safe

_UNITS = ("B", "kB", "MB", "GB", "TB")


@click.command(short_help="Say how a run stands, or the whole database.")
@click.argument("run_id", metavar="[RUN]", required=False)
@database
@json_option(help="Print a JSON object.")
def status(run_id: str | None, db: str, *, as_json: bool) -> int:
    """Say in a line how a run stands; without RUN, how many runs there are, and whether an engine runs them.

    It only reads, also while another process runs workflows on the database. `show` says more about a run.
    """
    if run_id is None:
        info = trio.run(_statistics, db)
        if as_json:
            print_json(info, sys.stdout)
        else:
            click.echo("\n".join(_lines(info)))
        return 0
    run = trio.run(_run, db, run_id)
    if as_json:
        fields = ("id", "workflow", "status", "current_step", "error", "updated_at", "finished_at")
        print_json({name: getattr(run, name) for name in fields}, sys.stdout)
    else:
        at = "" if run.finished_at is not None else _place(run)
        why = "" if run.error is None else f": {reason_text(run.error)}"
        click.echo(f"{run.status}{at}{why}")
    return 0


def _place(run: RunInfo) -> str:
    waiting = [step.path for step in run.steps if step.status == "waiting"]
    places = [run.current_step] if run.current_step is not None else waiting
    return f", at {safe(', '.join(places))}" if places else ""


async def _statistics(db: str) -> DatabaseInfo:
    async with open_client(db) as client:
        return await client.statistics()


async def _run(db: str, run_id: str) -> RunInfo:
    async with open_client(db) as client:
        return await client.get(run_id)


@click.command(short_help="Check a database.")
@database
@json_option(help="Print a JSON object with the figures and the problems.")
def doctor(db: str, *, as_json: bool) -> int:
    """Check a database: its files, every checksum and record, and that its tables agree with each other.

    It only reads, also while another process runs workflows on the database; then the structure of the data
    file, which is at rest only without one, is left out. The exit status is 1 if anything is wrong.
    """
    report = trio.run(check_database, db)
    if as_json:
        print_json(report, sys.stdout)
        return 1 if report.problems else 0
    if report.info is not None:
        click.echo("\n".join(_lines(report.info)))
        if report.info.engine:
            click.echo("The structure of the data file was left out, as an engine has it open.")
    for problem in report.problems:
        click.echo(f"problem: {safe(problem)}")
    count = len(report.problems)
    click.echo(f"{count_text(count, 'problem')} found" if count else "nothing is wrong")
    return 1 if count else 0


def _lines(info: DatabaseInfo) -> Iterator[str]:
    by_status = ", ".join(f"{count:,} {name}" for name, count in info.by_status.items())
    free = info.size - info.used
    yield f"database  {safe(info.path)}"
    yield f"engine    {'has it open' if info.engine else 'none has it open'}"
    yield f"runs      {info.runs:,}" + (f" ({by_status})" if by_status else "")
    yield f"requests  {info.requests:,} not taken up by an engine"
    yield f"size      {_size(info.size)}, of which {_size(max(free, 0))} are free to be used again"
    yield f"disk      {_size(info.disk_free)} free"
    yield f"readers   {info.readers:,}"


def _size(count: int) -> str:
    size = float(count)
    for unit in _UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {_UNITS[-1]}"
