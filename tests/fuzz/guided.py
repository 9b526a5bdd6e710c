"""``python -m tests.fuzz.guided --seconds 600``: hostile records for the decoder, guided by coverage.

It needs atheris (``pip install atheris``), which nothing else here does, and says so if it is not there. It
begins with the records of real runs, and keeps what has reached something new: give ``--corpus`` a folder to
go on from there the next time. A finding ends it with a traceback, a file with the input, and exit status 77.

What it sees is the decoder's Python: the codec, the registry of types, the journal and the view of a run.
What msgspec does in C, and the compiled context, are run but not measured: there it is blind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .corpus import Content

_HEADER = (
    0  # the first byte of an input; other ones say how many sound rows there are in front of a hostile one
)
_MOST = 9  # of these


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--corpus", type=Path, help="where inputs are kept (default: nowhere)")
    options = parser.parse_args()
    try:
        import atheris
    except ModuleNotFoundError:
        parser.error("atheris is not installed: pip install atheris")
    with atheris.instrument_imports(include=["durable_trio"]):
        from . import corpus, records
    with tempfile.TemporaryDirectory() as name:
        folder = options.corpus or Path(name) / "inputs"
        folder.mkdir(parents=True, exist_ok=True)
        content = corpus.build(Path(name) / "corpus").content
        for number, data in enumerate(_seeds(content)):
            (folder / f"recorded-{number:04}").write_bytes(data)
        header, rows = _longest(content)

        def one(data: bytes) -> None:
            if data[:1] == bytes([_HEADER]):
                records.decode(data[1:], rows)
            elif data:
                records.decode(header, [*rows[: (data[0] - 1) % _MOST], data[1:]])

        limits = [f"-max_total_time={options.seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=20000"]
        atheris.Setup([sys.argv[0], str(folder), *limits], one)
        atheris.Fuzz()
    return 0


def _longest(content: Content) -> tuple[bytes, list[bytes]]:
    """The run with the most rows."""
    key = max(content.rows, key=lambda key: len(content.rows[key]))
    return content.headers[key], content.rows[key]


def _seeds(content: Content) -> set[bytes]:
    """Inputs that are sound: all that was recorded."""
    found = {bytes([_HEADER]) + header for header in content.headers.values()}
    for rows in content.rows.values():
        found.update(bytes([1 + number % _MOST]) + row for number, row in enumerate(rows))
    return found


if __name__ == "__main__":
    sys.exit(main())
