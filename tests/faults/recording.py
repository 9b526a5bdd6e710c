"""A workload under the recording library: what it wrote, and what its callers were told, in one log.

A caller's acknowledgement is an entry of the log too, so that its place among the writes is known: all that
is in front of it must be enough to have it on the disk.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import trio

from durable_trio import DurableError, Err, Ok, StoreError, Workflow, open_engine

_SOURCE = Path(__file__).with_name("record.c")
_HEAD = struct.Struct("<qqq")
_ROOT = Path(__file__).parents[2]
STORE_ERROR = 3  # the exit status when the store ended it


class Entry(NamedTuple):
    """Of the log: ``W``, ``M``, ``m``, ``S`` and ``F`` as in ``record.c``; ``K`` is an acknowledgement."""

    operation: str
    offset: int
    data: bytes


def build_library(folder: Path) -> Path:
    """Compile it; gives its path."""
    library = folder / "record.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    flags = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
    subprocess.run([*compiler, *flags, "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def record(library: Path, folder: Path, runs: int, fault: str = "") -> tuple[int, str]:
    """Run the workload in a process of its own; gives its exit status, and what it said.

    Args:
        library: as ``build_library`` gives it.
        folder: where ``db`` and ``log`` are.
        runs: how many runs it starts.
        fault: ``kind:first:times:errno`` of a call that fails.
    """
    environment = os.environ | {"LD_PRELOAD": str(library)}
    command = [sys.executable, "-m", "tests.faults.recording", str(folder), str(runs), fault]
    try:
        done = subprocess.run(
            command, env=environment, cwd=_ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return -1, "it hung"
    return done.returncode, (done.stdout + done.stderr).strip()


def read_log(path: Path) -> Iterator[Entry]:
    """The log, in order."""
    data = path.read_bytes()
    place = 0
    while place < len(data):
        operation, offset, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        yield Entry(chr(operation), offset, data[place : place + length])
        place += length


class _Log:
    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        library = ctypes.CDLL(None)
        library.record_to(self._fd)

    def told(self, *what: Any) -> None:
        """An acknowledgement."""
        data = json.dumps(what).encode()
        os.write(self._fd, _HEAD.pack(ord("K"), 0, len(data)) + data)


def workflow() -> Workflow:
    """Steps, a block and a wait; some contexts need pages of their own."""
    wf = Workflow("recorded")

    async def first(ctx: Any) -> Any:
        return ctx | {"big": "x" * (40, 700, 6000)[ctx["number"] % 3]}

    async def one(ctx: Any) -> Any:
        return Ok(ctx["number"])

    async def two(ctx: Any) -> Any:
        return Err("no")

    async def last(ctx: Any) -> Any:
        return ctx | {"last": ctx["number"]}

    wf.step(first)
    with wf.parallel(name="both", on_error="complete_all"):
        wf.step(one)
        wf.step(two)
    wf.wait_for_event("go")
    wf.step(last)
    return wf


async def _work(folder: Path, runs: int, log: _Log) -> None:
    wf = workflow()
    async with open_engine(folder / "db", workflows=[wf]) as engine, trio.open_nursery() as nursery:

        async def own(number: int) -> None:
            name = f"run-{number}"
            try:
                run = await engine.start(wf, {"number": number}, id=name)
                log.told("start", name)
                if number % 7 == 3:
                    log.told("cancel", name, await engine.cancel(name, "enough"))
                    return
                await engine.send_event(name, "go", {"event": name})
                log.told("event", name)
                await run.result()
                log.told("result", name, "completed")
            except StoreError:
                if engine.failure is not None:
                    return  # open_engine raises it
                raise
            except DurableError as error:
                log.told("refused", name, repr(error))

        for number in range(runs):
            nursery.start_soon(own, number)
            await trio.sleep(0.001 * (number % 3))


def main() -> int:
    """In the recorded process."""
    folder, runs, fault = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if not (folder / "db").exists():
        trio.run(_create, folder)  # the making of a database is not what is looked at
        (folder / "before.mdb").write_bytes((folder / "db" / "data.mdb").read_bytes())
    log = _Log(folder / "log")
    if fault:
        kind, first, times, error = fault.split(":")
        ctypes.CDLL(None).fail_at(
            ctypes.c_char(kind.encode()), ctypes.c_long(int(first)), ctypes.c_long(int(times)), int(error)
        )
    try:
        trio.run(_work, folder, runs, log)
    except (StoreError, ExceptionGroup) as error:
        if isinstance(error, ExceptionGroup) and error.split(StoreError)[1] is not None:
            raise
        print(f"{type(error).__name__}: {error}")  # noqa: T201
        return STORE_ERROR
    return 0


async def _create(folder: Path) -> None:
    async with open_engine(folder / "db", workflows=[workflow()]):
        pass


if __name__ == "__main__":
    sys.exit(main())
