"""Tells what happens in ``durable-trio demo`` to somebody who has never heard of durable workflows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from durable_trio.cli.demo_facts import Cell, Facts, Snapshot, results
from durable_trio.cli.demo_workflow import BRANCHES, CUSTOMERS, STEPS
from durable_trio.cli.text import command, is_utf8, safe

_INTRODUCTION = """\
Three customers sign up: Ada, Grace and Linus. For each of them a workflow
runs, a fixed series of steps:

    create_user              first
    send_welcome_mail    \\
    create_workspace      >  then these three at the same time
    open_billing_account /
    complete                 at the end

A worker process runs the three workflows. Whenever a step is done, it writes
the step's result to a database on disk before it goes on. Then we kill the
worker, in the middle, and look at what that has cost. (The services that the
steps call are simulated. The database, the processes and the kill are real.)"""

_STARTED = """\
The mail, workspace and billing services are slow today: some of the calls get
no answer for now. (So the kill is sure to meet those in the middle.)"""

_KILLED = """\
No goodbye, no cleaning up, as in a crash: everything that the process had in
memory is gone. Whose mail has been sent? Whose workspace exists? Without a
record, the choice is to begin all over again, so that some customers get
everything twice, or to give up on them. But the database knows:"""

_RESTARTED = """\
It is the same program, and nobody tells it what happened. It opens the
database, keeps what has a result there, and goes on with the rest."""

_COUNTED = """\
How often did each step's code run, before + after the kill? (The code itself
counts that, in a log apart from the database.)"""

_MEANING = """\
That is what "durable" means: a crash costs the steps that it met in the
middle, and nothing else. Branches of a parallel block count one by one.

Why did those in the middle run again? Because nobody can know how far they
had come, so a service may be asked twice for the same thing. Each step
therefore has an idempotency key that never changes: a service that is given
the key sees that it is the same request, and does not send a second mail or
open a second account. The calls that ran twice here gave the same key both
times."""


class Story:
    """Prints the story, part by part, or nothing if only the facts are wanted."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(highlight=False, quiet=quiet, width=None if sys.stdout.isatty() else 100)
        self._utf8 = is_utf8(sys.stdout)
        self._part = 0

    def begin(self) -> None:
        """What this is about."""
        self._say(_INTRODUCTION)

    def started(self, process: int, db: Path) -> None:
        """The first worker."""
        self._title(f"The worker starts (process {process})")
        self._say(f"Its database is in {db}")
        self._say(_STARTED)

    def killed(self, process: int, found: Snapshot, entered: set[tuple[str, str]]) -> None:
        """The kill, and what is on disk."""
        self._title(f"The worker is killed: kill -9 {process}")
        self._say(_KILLED)

        def state(customer: str, step: str) -> Text:
            if step in results(found[customer]):
                return Text("result recorded", style="green")
            cut_off = (customer, step) in entered
            return Text("cut off", style="yellow") if cut_off else Text("not begun", style="dim")

        self._table(state)

    def restarted(self, process: int) -> None:
        """The second worker."""
        self._title(f"The worker is started again (process {process})")
        self._say(_RESTARTED)

    def ended(self, facts: Facts) -> None:
        """What it has cost."""
        self._title("The worker is done")
        self._say(_COUNTED)

        def counts(customer: str, step: str) -> Text:
            cell = facts.cell(customer, step)
            return Text(f"{cell.before} + {cell.after}", style=_style(cell))

        self._table(counts)
        self._console.print()
        for claim in facts.claims:
            yes, no = ("✓", "✗") if self._utf8 else ("yes:", "NO:")
            mark, style = (yes, "green") if claim.holds else (no, "bold red")
            self._console.print(Text.assemble(f"  {mark} {claim.text}", style=style))
        if facts.hold:
            self._console.print()
            self._say(_MEANING)
        else:
            self._console.print()
            self._say("That is not what durable-trio promises: please report it, with this output.")

    def kept(self, db: Path) -> None:
        """Where to look on."""
        self._console.print()
        self._say("The database is kept. Look at it:")
        for words in (("list",), ("show", "onboard-ada")):
            self._say(f"    {command(*words, '--db', str(db))}")

    def _title(self, text: str) -> None:
        self._part += 1
        self._console.print()
        self._console.print(Text(f"{self._part}. {text}", style="bold"))
        self._console.print()

    def _say(self, text: str) -> None:
        for line in text.split("\n"):
            self._console.print(Text(safe(line)), soft_wrap=True)

    def _table(self, cell: Callable[[str, str], Text]) -> None:
        self._console.print()
        table = Table(box=box.SIMPLE_HEAD if self._utf8 else box.ASCII2, show_edge=False, pad_edge=True)
        table.add_column("")
        for customer in CUSTOMERS:
            table.add_column(customer.title(), min_width=16)
        for step in STEPS:
            name = f"  {step}" if step in BRANCHES else step
            table.add_row(Text(name), *(cell(customer, step) for customer in CUSTOMERS))
        self._console.print(table)


def _style(cell: Cell) -> str:
    if cell.recorded:
        return "green"
    return "yellow" if cell.before else ""
