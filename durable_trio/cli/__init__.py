"""The command line: ``durable-trio``, also ``python -m durable_trio``.

It uses public names only. ``click`` and ``rich`` come with an extra and are imported when a command is
given, so that a program that only runs workflows neither needs nor loads them.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command that ``sys.argv`` asks for; gives the exit status."""
    try:
        from durable_trio.cli.app import run_command  # noqa: PLC0415 - the extra may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich"}:
            raise
        sys.stderr.write("durable-trio needs its command line extra: pip install 'durable-trio[cli]'\n")
        return 2
    return run_command()
