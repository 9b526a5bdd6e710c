"""Document processing: what happens to a document depends on its kind.

What it shows: ``branch(on=...)`` calls a function of the context and runs the case that has its value, here
of one step or two; the others are not run. One case may have several values, ``default`` takes all the rest.
What follows the branch is run for every case. The choice is recorded, and not taken again after a crash. Each
case hands on the same keys, so that the step behind the branch need not know which it was.

Run it::

    python examples/document_processing.py [--db app.lmdb]
    durable-trio run examples/document_processing.py:document_processing \
        --input '{"name": "a.txt", "text": "INVOICE 17"}' --db app.lmdb

It prints which way four documents take: an invoice and a receipt the same one, a letter and a scan others. A
fifth is empty, and never gets to the branch.
"""

import argparse
import tempfile
from pathlib import Path

import trio

from durable_trio import Err, Ok, Workflow, open_engine

document_processing = Workflow("document_processing")


@document_processing.step(inline=True)
def read(ctx):
    lines = ctx["text"].strip().splitlines()
    if not lines:
        return Err(f"{ctx['name']} is empty")
    return Ok({"name": ctx["name"], "title": lines[0], "lines": lines[1:]})


def kind_of(ctx):
    """The first word says it: that is enough here, and where it is a model's guess, it is made only once."""
    return ctx["title"].split()[0].lower()


with document_processing.branch(on=kind_of) as kind:
    with kind.case("invoice", "receipt"):

        @document_processing.step(inline=True)
        def extract_amounts(ctx):
            amounts = {
                item: int(amount) for item, _, amount in (line.rpartition(" ") for line in ctx["lines"])
            }
            return Ok(ctx | {"amounts": amounts})

        @document_processing.step(inline=True)
        def book(ctx):
            return Ok({"name": ctx["name"], "note": f"booked {sum(ctx['amounts'].values())} EUR"})

    with kind.case("letter"):

        @document_processing.step(inline=True)
        def forward(ctx):
            return Ok({"name": ctx["name"], "note": f"forwarded to {ctx['title'].split()[-1]}"})

    with kind.default():

        @document_processing.step(inline=True)
        def ask_a_person(ctx):
            return Ok({"name": ctx["name"], "note": "put on somebody's desk"})


@document_processing.step(inline=True)
def archive(ctx):
    return Ok(ctx | {"archived": True})


DOCUMENTS = {
    "a.txt": "INVOICE 17\nlamp 20\ndesk 80",
    "b.txt": "Receipt\ncoffee 3",
    "c.txt": "Letter to Ada\nHow are you?",
    "d.txt": "~~~ ???",
    "e.txt": "",
}


async def main(db):
    async with open_engine(db, workflows=[document_processing]) as engine:
        for name, text in DOCUMENTS.items():
            run = await engine.start(document_processing, {"name": name, "text": text})
            info = await run.wait()
            print(f"{name}: {' -> '.join(step.path for step in info.steps if step.kind == 'step')}")
            print(f"  => {info.status}: {info.result['note'] if info.result else info.error}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Process five documents, each after its kind.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
