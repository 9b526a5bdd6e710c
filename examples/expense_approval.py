"""Expense approval: a run asks a person, and waits for days without a task or an object in memory.

What it shows: ``wait_for_approval`` as a step. The run is parked until somebody answers, also while no
program has the database open; the answer is in the context of the next step. When nobody answers in three
days, the ``default`` does. ``engine.pending_inputs`` lists what is asked, ``engine.provide_input`` answers
it; what does not fit the question is refused, and nothing is recorded. Small amounts jump over the question.

Run it::

    python examples/expense_approval.py [--db app.lmdb]
    durable-trio run examples/expense_approval.py:expense_approval \
        --input '{"who": "Ada", "what": "tea", "amount": 4}' --db app.lmdb

It prints three expenses that are handed in, the questions that are open when the program starts anew, and the
answers to them. Answers go through the engine: another process can only read a database that is in use.
"""

import argparse
import tempfile
from datetime import timedelta
from pathlib import Path

import trio

from durable_trio import Err, Goto, InputError, Ok, Workflow, open_engine

NO_QUESTIONS_BELOW = 50  # EUR

expense_approval = Workflow("expense_approval")


@expense_approval.step(inline=True)
def hand_in(ctx):
    if ctx["amount"] <= 0:
        return Err("an expense is more than nothing")
    if ctx["amount"] < NO_QUESTIONS_BELOW:
        return Goto("pay_out", ctx | {"manager": "approved"})
    return Ok(ctx)


expense_approval.wait_for_approval(
    "manager", prompt="May this be paid?", timeout=timedelta(days=3), default="rejected"
)


@expense_approval.step(inline=True)
def pay_out(ctx):
    paid = ctx["amount"] if ctx["manager"] == "approved" else 0
    return Ok(ctx | {"paid": paid})


EXPENSES = [
    {"who": "Ada", "what": "a lamp", "amount": 80},
    {"who": "Grace", "what": "a yacht", "amount": 90_000},
    {"who": "Alan", "what": "tea", "amount": 4},
]


async def main(db):
    async with open_engine(db, workflows=[expense_approval]) as engine:
        for expense in EXPENSES:
            run = await engine.start(expense_approval, expense, id=f"expense-{expense['who'].lower()}")
            while run.status not in {"waiting", "completed"}:  # noqa: ASYNC110 - a status is no event
                await trio.sleep(0.01)
            print(f"{expense['who']} hands in {expense['what']} for {expense['amount']} EUR: {run.status}")

    print("\nThe program has ended, and starts anew. It finds:\n")
    async with open_engine(db, workflows=[expense_approval]) as engine:
        questions = await engine.pending_inputs(workflow=expense_approval)
        for question in sorted(questions, key=lambda question: question.run_id):
            print(f"  {question.run_id}: {question.prompt} ({question.kind} {question.name!r})")
        for run_id, answer in [
            ("expense-ada", "perhaps"),
            ("expense-ada", True),
            ("expense-grace", "rejected"),
        ]:
            try:
                await engine.provide_input(run_id, "manager", answer)
            except InputError as error:
                print(f"\nNot taken: {error}")
        print()
        for expense in EXPENSES:
            run = await engine.start(expense_approval, expense, id=f"expense-{expense['who'].lower()}")
            result = await run.result()
            print(f"{result['who']}: {result['manager']}, {result['paid']} EUR are paid")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Three expenses, two of which somebody is asked about.")
    parser.add_argument("--db", help="the database folder, made if it is missing (default: a temporary one)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(main, arguments.db or Path(scratch, "app.lmdb"))
