"""What ``durable-trio demo`` found out, and whether it shows what it claims to show.

Two sources are held against each other: the database, read by another process than the worker, and the log
that the steps' own code writes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from durable_trio import RunInfo
from durable_trio.cli.demo_workflow import CUSTOMERS, STEPS, Entry, run_id

Snapshot = dict[str, RunInfo]  # by customer


class Cell(NamedTuple):
    """One step of one customer's run."""

    customer: str
    step: str
    recorded: bool  # its result was on disk when the worker was killed
    before: int  # how often its code was entered before the kill
    after: int
    keys: frozenset[str]  # the idempotency keys that it gave to its service


class Claim(NamedTuple):
    """Something the demo says, and whether it is so."""

    text: str
    holds: bool


class Facts:
    """What was on disk at the kill and at the end, and what the steps' code has logged."""

    def __init__(self, killed: Snapshot, ended: Snapshot, log: list[Entry]) -> None:
        self.killed = killed
        self.ended = ended
        self.cells = [_cell(killed[name], name, step, log) for name in CUSTOMERS for step in STEPS]

    def cell(self, customer: str, step: str) -> Cell:
        """One of the cells."""
        return self.cells[CUSTOMERS.index(customer) * len(STEPS) + STEPS.index(step)]

    @property
    def recorded(self) -> list[Cell]:
        """Steps whose result was on disk."""
        return [cell for cell in self.cells if cell.recorded]

    @property
    def cut_off(self) -> list[Cell]:
        """Steps that the kill met in the middle."""
        return [cell for cell in self.cells if cell.before and not cell.recorded]

    @property
    def not_begun(self) -> list[Cell]:
        """Steps that came only after the kill."""
        return [cell for cell in self.cells if not cell.before]

    @property
    def claims(self) -> list[Claim]:
        """Everything the demo says about this, checked."""
        recorded, cut_off, later = self.recorded, self.cut_off, self.not_begun
        return [
            Claim(
                f"the {len(recorded)} steps whose results were in the database did not run again",
                bool(recorded) and all((cell.before, cell.after) == (1, 0) for cell in recorded),
            ),
            Claim(
                f"the {len(cut_off)} steps that were cut off ran once more",
                bool(cut_off) and all((cell.before, cell.after) == (1, 1) for cell in cut_off),
            ),
            Claim(
                f"the {len(later)} steps that had not begun ran once",
                bool(later) and all((cell.before, cell.after) == (0, 1) for cell in later),
            ),
            Claim(
                "the results in the database are still the same ones",
                all(self._kept(cell) for cell in recorded),
            ),
            Claim(
                f"all {len(self.ended)} customers are onboarded",
                all(info.status == "completed" for info in self.ended.values()),
            ),
        ]

    @property
    def keys_kept(self) -> bool:
        """Whether each call that was made twice carried the same idempotency key both times."""
        keys = {key for cell in self.cut_off for key in cell.keys}
        return len(keys) == len(self.cut_off) and all(len(cell.keys) == 1 for cell in self.cut_off)

    @property
    def hold(self) -> bool:
        """Whether the demo has shown what it says."""
        return self.keys_kept and all(claim.holds for claim in self.claims)

    def _kept(self, cell: Cell) -> bool:
        before, after = (
            results(info)[cell.step] for info in (self.killed[cell.customer], self.ended[cell.customer])
        )
        return bool(before == after)

    def as_json(self, killed_process: int) -> dict[str, Any]:
        """The facts for machines."""
        return {
            "killed_process": killed_process,
            "signal": "SIGKILL",
            "steps": [
                {
                    "run": run_id(cell.customer),
                    "step": cell.step,
                    "recorded_before_kill": cell.recorded,
                    "entered_before_kill": cell.before,
                    "entered_after_kill": cell.after,
                }
                for cell in self.cells
            ],
            "results": {run_id(name): info.result for name, info in self.ended.items()},
            "claims": [claim._asdict() for claim in self.claims],
            "idempotency_keys_kept": self.keys_kept,
            "holds": self.hold,
        }


def results(info: RunInfo) -> dict[str, Any]:
    """Step name to result, of the steps that are recorded with one."""
    return {step.path.rpartition("/")[2]: step.result for step in info.steps if step.status == "ok"}


def _cell(info: RunInfo, customer: str, step: str, log: list[Entry]) -> Cell:
    entries = [entry for entry in log if (entry.customer, entry.step) == (customer, step)]
    before = sum(entry.life == 1 for entry in entries)
    keys = frozenset(entry.idempotency_key for entry in entries)
    return Cell(customer, step, step in results(info), before, len(entries) - before, keys)
