"""Thumbnails: a smaller copy of each file of a folder, a few at the same time, resumable at any point.

What it shows: ``map`` runs a function for each item of a list that is known only at run time. Each item is
recorded by itself: kill the program, start it again, and only the files without a record are read. With
``into``, all items run to their end, and it sees their ``Ok`` and ``Err`` in the order of the files; a run
that has failed is taken up with ``engine.retry``. The copies are gzip files, in place of smaller pictures: as
with those, the work is done in threads (the function is a plain ``def``).

Run it::

    python examples/thumbnails.py [FOLDER COPIES] [--db app.lmdb]
    durable-trio run examples/thumbnails.py:thumbnails \
        --input '{"folder": "examples", "copies": "copies"}' --db app.lmdb

It prints what became of each file. Without a folder it makes one with four files, one of which turns out to
be a link to nowhere; that is put right, and the run is taken up: the three others are not read again.
"""

import argparse
import gzip
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Retry, Workflow, open_engine

thumbnails = Workflow("thumbnails")


@thumbnails.step
def find(ctx):
    Path(ctx["copies"]).mkdir(exist_ok=True)
    names = sorted(path.name for path in Path(ctx["folder"]).iterdir() if not path.is_dir())
    return Ok(ctx | {"names": names})


def collect(ctx, results):
    done, failed = {}, {}
    for name, result in zip(ctx["names"], results["shrink"], strict=True):
        match result:
            case Ok(sizes):
                done[name] = sizes
            case Err(reason):
                failed[name] = reason.type
    return Err(failed) if failed else Ok({"files": done})


@thumbnails.map(over="names", limit=4, into=collect, retry=Retry(max_attempts=2, base=0.01))
def shrink(ctx, name):
    data = Path(ctx["folder"], name).read_bytes()
    small = gzip.compress(data, mtime=0)
    # Under its own name only when it is whole: nobody may find half a copy after a crash.
    part = Path(ctx["copies"], f"{name}.part")
    part.write_bytes(small)
    part.rename(Path(ctx["copies"], f"{name}.gz"))
    return Ok({"bytes": len(data), "copy": len(small)})


def tell(info):
    for step in sorted(info.steps, key=lambda step: step.path):
        print(f"  {step.path:<10} {step.status}")
    print(f"  => {info.status}: {info.result or info.error}\n")


def make_pictures(folder):
    folder.mkdir()
    for number, name in enumerate(["a", "b", "d"], start=1):
        (folder / name).write_bytes(b"picture" * 1000 * number)
    (folder / "c").symlink_to(folder / "nowhere")


def put_right(folder):
    (folder / "c").unlink()
    (folder / "c").write_bytes(b"picture" * 4000)


async def story(engine, scratch):
    folder = Path(scratch, "pictures")
    make_pictures(folder)
    run = await engine.start(thumbnails, {"folder": str(folder), "copies": str(Path(scratch, "copies"))})
    print("Four files, one of which cannot be read:\n")
    tell(await run.wait())
    put_right(folder)
    print("It is put right, and the run goes on:\n")
    tell(await (await engine.retry(run.id)).wait())


async def main(arguments, scratch):
    async with open_engine(arguments.db or Path(scratch, "app.lmdb"), workflows=[thumbnails]) as engine:
        if arguments.folder is None:
            await story(engine, scratch)
            return
        data = {"folder": str(arguments.folder), "copies": str(arguments.copies)}
        run = await engine.start(thumbnails, data, id=f"thumbnails of {arguments.folder}")
        if run.status == "failed":
            run = await engine.retry(run.id)
        tell(await run.wait())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A smaller copy of every file in a folder.")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("copies", nargs="?", type=Path, default="copies", help="default: %(default)s")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    with tempfile.TemporaryDirectory() as temporary:
        trio.run(main, parser.parse_args(), temporary)
