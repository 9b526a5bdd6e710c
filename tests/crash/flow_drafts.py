"""Another episode made by hand in which all is well, with waits, a choice, a child and compensations.

Run ``saga`` sleeps, chooses, waits for events inside a step and as a step, calls a child, fails, and is
undone. It is killed in boot 0, before its second event has come.
"""

from __future__ import annotations

from .drafts import Draft, tree_of_nodes
from .model import (
    Answered,
    Child,
    Chosen,
    Compensated,
    Done,
    Dump,
    Ended,
    Episode,
    Expected,
    Failing,
    Letter,
    Node,
    Record,
    RunDump,
    Waiting,
)

TREES = {
    "g": tree_of_nodes(
        Node("nap", "sleep", "", 0),
        Node(
            "fork",
            "branch",
            "",
            1,
            children=("fork/left", "fork/right"),
            clauses={"x": ("x",), "default": ()},
            asks=True,
        ),
        Node("fork/left", "step", "fork", 0, clause="x", undo="un_left"),
        Node("fork/right", "step", "fork", 0, clause="default"),
        Node("mail", "event", "", 2, default="DEFAULT"),
        Node("pay", "step", "", 3, undo="un_pay"),
        Node("end", "step", "", 4),
    ),
    "k": tree_of_nodes(Node("only", "step", "", 0)),
}
LABEL = "__event:news#1"
CALL = "__child:ref"


class FlowDraft(Draft):
    """The episode, still to be changed."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = []
        self.at: float | None = None
        self.timers: tuple[int, ...] = (120_000,)
        self.letters: list[list[Letter]] = []
        _tell(self)

    def dump(self, boot: int) -> Dump:
        """The store after a boot, without its indexes."""
        runs = {}
        for run, records in self.records[boot].items():
            is_kid = run == "kid"
            result = records[-1].whole if records and isinstance(records[-1], Ended) else None
            runs[run] = RunDump(
                run,
                "k" if is_kid else "g",
                self.status[boot][run],
                tuple(repr(record).encode() for record in records),
                tuple(records),
                "KID" if is_kid else "IN",
                result,
                None,
                "saga" if is_kid else None,
                None if is_kid else self.at,
                () if is_kid else tuple(self.letters[boot]),
                () if is_kid or boot else self.timers,
                run,
            )
        return Dump(runs, self.index[boot] if boot in self.index else Dump().index)

    def episode(self) -> Episode:
        """As the checker wants it."""
        lines = [line._replace(number=number, seq=number) for number, line in enumerate(self.lines, 1)]
        runs = {"saga": Expected("g", ("compensated",), "IN"), "kid": Expected("k", is_child=True)}
        return Episode(TREES, runs, self.boots, lines, [self.dump(boot.number) for boot in self.boots])

    def add(self, record: Record, before: type = Ended, run: str = "saga") -> None:
        """Put a record into the last dump, in front of the first of a kind."""
        records = self.records[1][run]
        place = next(index for index, known in enumerate(records) if isinstance(known, before))
        records.insert(place, record)

    def swap(self, kind: type) -> None:
        """Exchange the first two records of a kind in the last dump."""
        records = self.records[1]["saga"]
        one, two = [index for index, record in enumerate(records) if isinstance(record, kind)][:2]
        records[one], records[two] = records[two], records[one]


def _tell(draft: FlowDraft) -> None:
    line = draft.line
    line(0, "boot", wall=50.0)
    line(0, "ack-start", "saga", value=True)
    line(0, "asked", "saga", "fork", "x")
    line(0, "send", "saga", value="N1", more=["event", "news", 0])
    line(0, "ack-send", "saga", value="N1", more=["event", "news", 0])
    line(0, "enter", "saga", "fork/left", "IN")
    line(0, "key", "saga", "fork/left", "KEY")
    line(0, "wait", "saga", "fork/left", more=[LABEL, None])
    line(0, "got", "saga", "fork/left", "N1", more=[LABEL, None])
    line(0, "wait", "saga", "fork/left", more=[CALL, None])
    line(0, "enter", "kid", "only", "KID")
    line(0, "return", "kid", "only", "own kid")
    line(0, "got", "saga", "fork/left", "K", more=[CALL, None])
    line(0, "child", "saga", "fork/left", "kid", more="ref")
    line(0, "return", "saga", "fork/left", "own left")
    for whole, number in (("M1", 1), ("M2", 2)):
        line(0, "send", "saga", value=whole, more=["event", "mail", number])
        line(0, "ack-send", "saga", value=whole, more=["event", "mail", number])
    line(1, "boot")
    line(1, "ack-start", "saga", value=False)
    line(1, "send", "saga", value="M3", more=["event", "mail", 3])
    line(1, "ack-send", "saga", value="M3", more=["event", "mail", 3])
    line(1, "enter", "saga", "pay", "MAILED")
    line(1, "return", "saga", "pay", "own pay")
    line(1, "enter", "saga", "end", "PAID")
    line(1, "err", "saga", "end", "own end")
    line(1, "undo-enter", "saga", "pay/!un_pay", "MAILED", more="PAID")
    line(1, "undo-return", "saga", "pay/!un_pay")
    line(1, "undo-enter", "saga", "fork/left/!un_left", "IN", more="LEFT")
    line(1, "undo-return", "saga", "fork/left/!un_left")
    line(1, "ack-result", "saga", value="failed", more="why")
    line(1, "exit")
    begun: list[Record] = [
        Waiting("nap", 1, "sleep", None, 60.0),
        Done("nap", 1, "sleep", "ok", 1, "IN", "IN", at=60.5),
        Chosen("fork", 1, "x"),
        Waiting(f"fork/left/{LABEL}", 1, "event", "news", None),
        Answered(f"fork/left/{LABEL}", 1, 104.0, False, "N1"),
        Child("fork/left", 1, "ref", "kid"),
        Answered(f"fork/left/{CALL}", 1, 105.0, False, "K", "ok"),
        Done("fork/left", 1, "step", "ok", 1, "own left", "LEFT", at=106.0),
        Done("fork", 1, "branch", "ok", 1, "LEFT", "LEFT", at=106.0),
        Waiting("mail", 1, "event", "mail", 120.0),
    ]
    rest: list[Record] = [
        Done("mail", 1, "event", "ok", 1, "M1", "MAILED", at=108.0),
        Done("pay", 1, "step", "ok", 1, "own pay", "PAID", at=110.0),
        Done("end", 1, "step", "error", 1, "own end", "why", at=111.0),
        Failing(),
        Compensated("pay", 1, "un_pay", "ok", 1),
        Compensated("fork/left", 1, "un_left", "ok", 1),
        Ended("compensated", "why"),
    ]
    kid: list[Record] = [Done("only", 1, "step", "ok", 1, "own kid", "K", at=104.5), Ended("completed", "K")]
    draft.records = [{"saga": list(begun), "kid": list(kid)}, {"saga": begun + rest, "kid": list(kid)}]
    draft.status = [
        {"saga": "waiting", "kid": "completed"},
        {"saga": "compensated", "kid": "completed"},
    ]
    draft.letters = [
        [Letter(2, "event", "mail", "M1"), Letter(3, "event", "mail", "M2")],
        [Letter(3, "event", "mail", "M2"), Letter(4, "event", "mail", "M3")],
    ]
