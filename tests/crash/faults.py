"""How the boots of an episode end, and how a process is armed to end so."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

from durable_trio._engine import _failpoints

from .effects import Effects, kill_self, terminate_self

_FLAGS = ("-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
_SHIM = Path(__file__).with_name("shim.c")


class Fault(NamedTuple):
    """What happens to one boot.

    ``kind`` and ``at``:

    ``none``       nothing; it lives until all runs have ended.
    ``failpoint``  SIGKILL at ``name:n`` of ``durable_trio._engine._failpoints``.
    ``line``       SIGKILL as soon as it has written that line of the effects journal (see ``Effects``).
    ``time``       SIGKILL after that many milliseconds.
    ``shim``       at the n-th write or sync of data.mdb: ``operation:n:action:argument`` (see ``shim.c``).
    ``sigterm``    SIGTERM at a line; it drains, and exits.
    ``count``      nothing; it counts the failpoints and the writes that it passes.

    ``before`` is done to the database first: ``changed`` opens it with another definition of a workflow,
    ``damage:table`` flips a bit in what one run has in that table.
    """

    kind: str = "none"
    at: str = ""
    before: str = ""

    @property
    def kills(self) -> bool:
        """Whether the boot is to end with SIGKILL."""
        return self.kind in {"failpoint", "line", "time"} or (self.kind == "shim" and self.action in "batl")

    @property
    def action(self) -> str:
        """What a ``shim`` fault does."""
        return self.at.split(":")[2]

    @property
    def label(self) -> str:
        """By what it is counted."""
        if self.kind == "none":
            return self.before
        if self.kind == "failpoint":
            return f"failpoint {self.at.partition(':')[0]}"
        if self.kind == "line":
            return f"after {self.at.partition(':')[0]}" if ":" in self.at else "after any line"
        if self.kind == "shim":
            operation, _, action, _ = self.at.split(":")
            return f"{_ACTIONS[action]} {_OPERATIONS[operation]}"
        return self.kind


_OPERATIONS = {"P": "a write of pages", "S": "fdatasync", "M": "the write of the meta page"}
_ACTIONS = {
    "b": "before",
    "a": "after",
    "t": "in the middle of",
    "l": "power lost before",
    "e": "error of",
    "d": "error after",
}


def build_shim(folder: Path) -> Path:
    """Compile the shim; gives the path of the library."""
    library = folder / "shim.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()
    subprocess.run(
        [*compiler, *_FLAGS, "-o", library, _SHIM, "-ldl"],
        check=True,
    )
    return library


def arm(fault: Fault, boot: int, journal: Path) -> Effects:
    """In the child, before anything is opened: see to it that the fault happens; gives its journal."""
    act = {"line": kill_self, "sigterm": terminate_self}.get(fault.kind)
    effects = Effects(str(journal), boot, fault.at if act is not None else "", act)
    if fault.kind == "failpoint":
        set_failpoint(DURABLE_TRIO_FAILPOINT=fault.at)
    elif fault.kind == "count":
        set_failpoint(DURABLE_TRIO_FAILPOINT_LOG=str(journal.with_name("failpoints")))
        counts = os.open(journal.with_name("operations"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        _arm_shim("*", 0, "c", counts, effects, boot, journal)
    elif fault.kind == "shim":
        operation, number, action, argument = fault.at.split(":")
        _arm_shim(operation, int(number), action, int(argument), effects, boot, journal)
    return effects


def image_of_fault(journal: Path, boot: int) -> Path:
    """Where the shim leaves a copy of data.mdb when a call fails."""
    return journal.with_name(f"fault-{boot}.mdb")


def _arm_shim(
    operation: str, number: int, action: str, argument: int, effects: Effects, boot: int, journal: Path
) -> None:
    kind = "fault" if action in "ed" else "dying"
    fields = json.dumps(
        [boot, 0, "@", 0.0, kind, "", "", 0, 0, f"{operation}:{number}:{action}:{argument}", None]
    )
    line = fields.replace("%", "%%").replace('"@"', "%lld") + "\n"
    ctypes.CDLL(None).crash_arm(
        ctypes.c_char(operation.encode()),
        number,
        ctypes.c_char(action.encode()),
        ctypes.c_long(argument),
        effects.fd,
        line.encode(),
        os.fsencode(image_of_fault(journal, boot)),
    )


def set_failpoint(**environment: str) -> None:
    """What these variables do to a fresh process, done to one that has imported everything already."""
    os.environ.update(environment)
    importlib.reload(_failpoints)
    for name, module in list(sys.modules.items()):
        if name.startswith("durable_trio._engine.") and hasattr(module, "failpoint"):
            module.failpoint = _failpoints.failpoint
            if hasattr(module, "ARMED"):
                module.ARMED = _failpoints.ARMED
