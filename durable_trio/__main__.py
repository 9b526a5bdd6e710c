"""``python -m durable_trio``: the command line."""

import sys

from durable_trio.cli import main

if __name__ == "__main__":
    sys.exit(main())
