"""The commands, and what becomes of an error: one line on the standard error and an exit status."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import trio

from durable_trio import DurableError, RunInfo, Workflow, __version__, open_client
from durable_trio.cli import demo as demonstration
from durable_trio.cli.health import doctor, status
from durable_trio.cli.inputs import read_input
from durable_trio.cli.loading import load
from durable_trio.cli.options import database, json_option
from durable_trio.cli.questions import pending, provide_input
from durable_trio.cli.report import print_json
from durable_trio.cli.running import Request, execute
from durable_trio.cli.steering import cancel, prune, retry, send_event
from durable_trio.cli.tables import console, print_run, print_runs
from durable_trio.cli.text import CommandError, command, os_error_text, program, safe, say

_STATUSES = get_args(get_type_hints(RunInfo)["status"])
_DURABILITIES = ("sync", "async", "exit")
_MAX_PAGE = 10_000

_EPILOG = """\b
Exit status:
  0  done; for `run`: the run completed
  1  the run failed (`cancel`: it had ended before; `doctor`: something is
     wrong; `demo`: what it shows did not hold)
  2  the command cannot be carried out: bad arguments or input, a database
     that cannot be used, no engine to ask
  3  the run is cancelled, or blocked because its definition has changed
  128+N  ended by signal N; the run goes on with the printed command

Results go to the standard output, everything else to the standard error.
In JSON, what JSON has no word for is shown as text (dates in ISO 8601,
Decimal, UUID, NaN), bytes as {"base64": ...}, a timedelta as seconds, tuples
and sets as arrays, Ok(v) as {"ok": v}, Err(r) as {"error": r}.
"""


class _UnreadError(Exception):
    """Whoever reads the output has had enough."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with the status of a failed run
            raise _UnreadError from error


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(__version__, package_name="durable-trio", message="durable-trio %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> int:
    """Run durable workflows, look at their runs, and steer them.

    `list`, `show`, `status`, `pending` and `doctor` only read. `cancel`, `retry`, `send-event`,
    `provide-input` and `prune` are done by the process that has the database open and runs its workflows;
    when there is none, they say so, and nothing is done.

    New to this? `durable-trio demo` shows in a few seconds what it is about.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
    return 0


@cli.command()
@click.argument("target", metavar="FILE_OR_MODULE[:WORKFLOW]")
@click.option(
    "--input",
    "given",
    metavar="JSON|@FILE|-",
    help="The run's input: a JSON object, a file that holds one, or - to read one from the standard input.",
)
@database
@click.option(
    "--id",
    "run_id",
    metavar="ID",
    help="The run's id, 1 to 255 bytes. If the database has a run with this id, that one goes on (or, if it "
    "has ended, its recorded result is printed). Default: a new id.",
)
@click.option(
    "--durability",
    type=click.Choice(_DURABILITIES),
    default="sync",
    show_default=True,
    help="When a step's successor starts: after the step is on disk (sync), at once with commits every 10 ms "
    "(async), or at once with a commit at the end (exit).",
)
@json_option(help="Print one line of JSON that says how the run ended, and show no steps.")
def run(
    target: str, given: str | None, db: str, run_id: str | None, durability: str, *, as_json: bool
) -> int:
    """Run a workflow to its end, and print its result as JSON.

    TARGET is FILE.py:WORKFLOW or package.module:WORKFLOW, where WORKFLOW is the name of a variable or the
    workflow's own; it can be left out if there is only one. Steps are shown live on the standard error, where
    also goes what they print.

    The database is made if it is missing. All workflows of the module are known to it, so that unfinished
    runs of theirs go on too while this run does. One process at a time can run workflows on a database.

    Ctrl-C or SIGTERM lets the steps under way finish and starts no other; a second one cancels them. What is
    recorded is kept either way, and the command to go on is printed.
    """
    out = sys.stdout
    value = read_input(given)
    with contextlib.redirect_stdout(sys.stderr):  # the user's code may print; the result stays by itself
        loaded = load(target)
        return trio.run(execute, Request(target, loaded, value, db, run_id, durability, as_json, out))


@cli.command("list")
@database
@click.option(
    "--status", multiple=True, type=click.Choice(_STATUSES), help="With this status only; repeatable."
)
@click.option("--workflow", metavar="NAME", help="Of the workflow with this name only.")
@click.option(
    "--limit", type=click.IntRange(1, _MAX_PAGE), default=100, show_default=True, help="At most so many."
)
@click.option("--after", metavar="ID", help="Those that are older than this run: the next page.")
@json_option(help="Print a JSON array of runs, as `show --json` has them but without their steps.")
def list_runs(
    db: str, status: tuple[str, ...], workflow: str | None, limit: int, after: str | None, *, as_json: bool
) -> int:
    """List runs, newest first.

    It only reads, also while another process runs workflows on the database. The status is the recorded one:
    a run whose process is gone stays `running` until it goes on.
    """
    infos = trio.run(_page, db, status or None, workflow, limit, after)
    if as_json:
        print_json(infos, sys.stdout)
    elif infos:
        print_runs(infos, console())
    elif status or workflow or after:
        click.echo(f"no run in {safe(db)} fits")
    else:
        first = command("run", "FILE.py:WORKFLOW", "--db", db)
        click.echo(f"there are no runs in {safe(db)} yet; start one: {first}")
    if len(infos) == limit:
        following = command("list", "--db", db, "--limit", str(limit), "--after", infos[-1].id)
        say(f"there may be more: {following}")
    return 0


async def _page(
    db: str, status: Any, workflow: Workflow | str | None, limit: int, after: str | None
) -> list[RunInfo]:
    async with open_client(db) as client:
        return await client.list(status=status, workflow=workflow, limit=limit, after=after)


@cli.command(short_help="Show one run: its steps, context and error.")
@click.argument("run_id", metavar="RUN")
@database
@json_option(help="Print everything as one JSON object.")
def show(run_id: str, db: str, *, as_json: bool) -> int:
    """Show one run: its steps with states, attempts and durations, its context, and its error.

    It only reads, also while another process goes on with the run. Values of classes whose code is not here
    are shown by the class's name and fields.
    """
    info = trio.run(_one, db, run_id)
    if as_json:
        print_json(info, sys.stdout)
    else:
        print_run(info, console())
    return 0


async def _one(db: str, run_id: str) -> RunInfo:
    async with open_client(db) as client:
        return await client.get(run_id)


@cli.command(short_help="See a worker killed in the middle of its work, and nothing lost.")
@click.option(
    "--db", metavar="PATH", help="Keep the database here, in a new directory. Default: it is removed."
)
@json_option(help="Print one line of JSON with the facts instead of the story.")
def demo(db: str | None, *, as_json: bool) -> int:
    """See a worker process killed in the middle of its work, and nothing lost.

    Takes a few seconds and needs nothing; the outside services that it calls are simulated.
    """
    kept = None if db is None else Path(db)
    if kept is not None and kept.exists() and (not kept.is_dir() or any(kept.iterdir())):
        raise CommandError(f"{db} exists and is not empty; the demo needs a new directory for its database")
    return trio.run(demonstration.demo, kept, as_json)


for _other in (status, pending, doctor, cancel, retry, send_event, provide_input, prune):
    cli.add_command(_other)


# -- errors ------------------------------------------------------------------------------------------


def run_command() -> int:
    """Carry out the command line, and give the exit status. Errors that are no bug end here."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that is not UTF-8 must not end a run
    try:
        status = cli.main(prog_name=program(), standalone_mode=False)
        sys.stdout.flush()
    except (_UnreadError, BrokenPipeError):
        # Python would complain once more, at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return 130
    except click.ClickException as error:
        return _refuse(error.format_message(), error.ctx if isinstance(error, click.UsageError) else None)
    except CommandError as error:
        if error.detail:
            say(error.detail)
        return _refuse(str(error))
    except DurableError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(os_error_text(error))
    return status if isinstance(status, int) else 0


def _refuse(message: str, usage: click.Context | None = None) -> int:
    say(f"error: {safe(message)}")
    if usage is not None:
        say(f"see: {usage.command_path} --help")
    return 2
