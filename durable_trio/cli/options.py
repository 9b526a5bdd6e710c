"""The options that several commands have."""

from __future__ import annotations

from functools import partial

import click

DEFAULT_DB = "durable-trio.lmdb"

database = click.option(
    "--db",
    metavar="PATH",
    default=DEFAULT_DB,
    envvar="DURABLE_TRIO_DB",
    show_envvar=True,
    show_default=True,
    help="The database directory.",
)
json_option = partial(click.option, "--json", "as_json", is_flag=True)
