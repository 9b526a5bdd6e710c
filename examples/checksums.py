"""Checksums: SHA-256, lines, words and compressed size of every file in a folder, resumable at any point.

What it shows: real work on real input. Each file is a run of its own, whose id is made from the file's path,
time of change and size: a file that is known and unchanged is not read again. The steps are plain functions,
so that they read and compute in worker threads, three at the same time for each of a few files. Kill the
program whenever you like and start it again: it goes on where it was, branch by branch.

Run it::

    python examples/checksums.py FOLDER [--db checksums.lmdb]
    durable-trio run examples/checksums.py:checksums --input '{"path": "README.md"}' --db checksums.lmdb

It prints a line for each file as soon as that is done, in no order, and a summary. What cannot be read, or
changes while it is read, is reported, and tried again the next time. Links to folders are not followed.
"""

import argparse
import hashlib
import os
import stat
import sys
import zlib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, open_engine

IN_FLIGHT = 8  # files
PIECE = 1 << 18  # bytes that a branch has in memory at once
ROW = "{:<64} {:>10} {:>10} {:>13} {:>13}  {}"

# These steps are cheap to repeat, so that none of them waits until the one before is on the disk.
checksums = Workflow("checksums", durability="async")


@checksums.step
def look(ctx):
    status = Path(os.fsdecode(ctx["path"])).stat()
    if not stat.S_ISREG(status.st_mode):
        return Err("not a regular file")
    # What the input says goes first: a run is about one version of its file, also after a restart.
    return Ok({"size": status.st_size, "mtime_ns": status.st_mtime_ns} | dict(ctx))


def pieces(ctx):
    """The file's bytes. At the end it is still the version that the run is about, or this raises."""
    with Path(os.fsdecode(ctx["path"])).open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece
        status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (ctx["size"], ctx["mtime_ns"]):
        raise OSError("the file has changed since it was looked at")


with checksums.parallel(name="read"):

    @checksums.step
    def sha256(ctx):
        digest = hashlib.sha256()
        for piece in pieces(ctx):
            digest.update(piece)
        return Ok(digest.hexdigest())

    @checksums.step(returns="counts")
    def count(ctx):
        lines = words = 0
        in_word = False  # whether the piece before ended in the middle of one
        for piece in pieces(ctx):
            lines += piece.count(b"\n")
            words += len(piece.split()) - (in_word and not piece[:1].isspace())
            in_word = not piece[-1:].isspace()
        return Ok({"lines": lines, "words": words})

    @checksums.step(returns="compressed")
    def compress(ctx):
        compressor = zlib.compressobj()
        return Ok(sum(len(compressor.compress(piece)) for piece in pieces(ctx)) + len(compressor.flush()))


@checksums.step(inline=True)
def collect(ctx):
    digest, counts, compressed = (ctx.results[key].value for key in ("sha256", "counts", "compressed"))
    return Ok({"sha256": digest, **counts, "size": ctx["size"], "compressed": compressed})


def files_below(folder, db, unreadable):
    """The path of each file below the folder, except those of the database itself."""
    for directory, subfolders, names in os.walk(folder, onerror=unreadable.append):
        subfolders[:] = sorted(name for name in subfolders if Path(directory, name).resolve() != db)
        yield from (Path(directory, name) for name in sorted(names))


async def find_files(paths, found):
    async with found:
        while (path := await trio.to_thread.run_sync(next, paths, None)) is not None:
            await found.send(path)


async def handle_files(engine, begun, found, report):
    async for path in found:
        try:
            status = await trio.Path(path).stat()
        except OSError as error:  # it has vanished, or is a link to nowhere: there is nothing to run on
            report("not read", path, error=error.strerror)
            continue
        data = {"path": os.fsencode(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        version = b"%s\0%d\0%d" % (data["path"], data["mtime_ns"], data["size"])
        run = await engine.start(checksums, data, id=hashlib.sha256(version).hexdigest())
        if not run.created and run.status == "failed":
            run = await engine.retry(run.id)
        info = await run.wait()
        when = "known before" if info.finished_at < begun else "done now"
        report(when if info.result else "not read", path, info.result, info.error or info.status)


async def main(folder, db):
    begun = datetime.now(UTC)
    totals, unreadable = Counter(), []

    def report(kind, path, result=None, error=None):
        totals.update({"files": 1, kind: 1, "bytes": result["size"] if result else 0})
        columns = result or dict.fromkeys(("sha256", "lines", "words", "size", "compressed"), "-")
        name = str(path) if str(path).isprintable() else repr(str(path))
        # Flushed: a line that was seen is a file that is done, even if this is killed now.
        print(ROW.format(*columns.values(), name if result else f"{name}: {error}"), flush=True)

    print(ROW.format("SHA-256", "lines", "words", "bytes", "compressed", "file"), flush=True)
    opening = open_engine(db, workflows=[checksums], max_running=IN_FLIGHT)
    async with opening as engine, trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel(0)
        nursery.start_soon(find_files, files_below(folder, db, unreadable), send)
        for _ in range(IN_FLIGHT):
            nursery.start_soon(handle_files, engine, begun, receive, report)
    for error in unreadable:
        report("not read", error.filename, error=error.strerror)
    kinds = ", ".join(f"{totals[kind]} {kind}" for kind in ("done now", "known before", "not read"))
    print(f"\n{totals['files']} files, {totals['bytes']} bytes: {kinds}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Checksums and counts of every file in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--db", type=Path, default="checksums.lmdb", help="default: %(default)s")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} is not a folder")
    sys.stdout.reconfigure(errors="backslashreplace")
    trio.run(main, arguments.folder.absolute(), arguments.db.resolve())
