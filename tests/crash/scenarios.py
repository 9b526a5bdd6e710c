"""The workflows that are run while the process is killed, and which runs of them make up a scenario."""

from __future__ import annotations

from typing import Any, NamedTuple

from durable_trio import Retry, Workflow

from . import flows
from .bodies import RunSpec, Send, Steers, decide, decide_plainly, play, play_plainly


def _quickly(attempts: int = 4, base: float = 0.002, **options: Any) -> Retry:
    return Retry(max_attempts=attempts, base=base, **options)


def _order(name: str, **options: Any) -> Workflow:
    """Blocks in sequences in blocks, ``into``, loops backward and forward."""
    wf = Workflow(name, **options)
    wf.step(play, name="open")
    with wf.parallel(name="checks", into=decide):
        wf.step(play, name="stock", returns="in_stock")
        wf.step(play, name="pay", retry=_quickly(3))
        wf.step(play_plainly, name="plain", retry=_quickly(2))
        with wf.sequence("seq_ship", returns="ship"):
            wf.step(play, name="pick")
            with wf.parallel(name="pack", into=decide_plainly, limit=2):
                wf.step(play, name="box", retry=_quickly())
                wf.step(play, name="label")
                with wf.sequence("seq_papers"):
                    wf.step(play, name="print")
                    wf.step(play_plainly, name="sign", inline=True)
            wf.step(play, name="send", retry=_quickly())
        with wf.parallel(name="gifts", on_error="complete_all"):
            wf.step(play, name="ribbon")
            wf.step(play, name="card")
    wf.step(play, name="charge", retry=_quickly(backoff="linear"))
    wf.step(play_plainly, name="again")
    with wf.parallel(name="notify", on_error="complete_all"):
        wf.step(play, name="mail", retry=_quickly(2))
        wf.step(play, name="sms")
        wf.step(play, name="push")
    wf.step(play, name="close")
    wf.step(play, name="apology")
    return wf


def _race() -> Workflow:
    """Blocks that fail fast, with branches in every state that a cancellation can meet."""
    wf = Workflow("race")
    wf.step(play, name="set_out")
    with wf.parallel(name="road"):
        wf.step(play, name="ahead")
        wf.step(play, name="tied")
        wf.step(play, name="idle")
        wf.step(play, name="stubborn")
        wf.step(play, name="retrying", retry=_quickly(3, base=0.01))
        with wf.sequence("seq_legs"):
            wf.step(play, name="leg_one")
            wf.step(play, name="leg_two")
            wf.step(play, name="leg_three")
        with wf.parallel(name="convoy"):
            wf.step(play, name="truck")
            wf.step(play, name="van", retry=_quickly(2))
        wf.step(play, name="failing", retry=_quickly(2, base=0.004))
    wf.step(play, name="arrive")
    return wf


def _quorum() -> Workflow:
    """``need``, ``limit`` and a block's own timeout."""
    wf = Workflow("quorum")
    with wf.parallel(name="vote", need=2, limit=3, into=decide_plainly):
        for name in ("ann", "bob", "cem", "dot", "eve"):
            wf.step(play, name=name, retry=_quickly(2))
    with wf.parallel(name="dash", need=1, on_error="complete_all"):
        wf.step(play, name="hare")
        with wf.sequence("seq_tortoise"):
            wf.step(play, name="steady")
            wf.step(play, name="steadier")
    with wf.parallel(name="few", limit=2, on_error="complete_all"):
        for number in range(5):
            wf.step(play, name=f"few_{number}", retry=_quickly(2))
    with wf.parallel(name="bounded", timeout=0.02, into=decide):
        wf.step(play, name="in_time")
        wf.step(play, name="too_late")
    wf.step(play, name="count")
    return wf


def _tries() -> Workflow:
    """Steps that are tried again, one after the other."""
    wf = Workflow("tries")
    wf.step(play, name="flaky", retry=_quickly(4, backoff="constant", base=0.003))
    wf.step(play, name="patient", retry=_quickly(3, backoff="constant", base=0.09, jitter=False))
    wf.step(play_plainly, name="plainly", retry=_quickly(3))
    wf.step(play, name="hanging", retry=_quickly(3), timeout=0.006)
    with wf.parallel(name="both", into=decide):
        wf.step(play, name="this", retry=_quickly(4, base=0.01, jitter=False))
        wf.step(play, name="that", retry=_quickly(4), timeout=0.5)
    wf.step(play, name="last", retry=_quickly(2))
    return wf


def _changed_order() -> Workflow:
    """``order`` with its first step under another name: what was recorded of that one no longer fits."""
    wf = Workflow("order")
    wf.step(play, name="open_otherwise")
    wf.step(play, name="close")
    return wf


ORDER, LAX = _order("order"), _order("lax", durability="async")
WORKFLOWS = {
    wf.name: wf
    for wf in (
        *(ORDER, LAX, _race(), _quorum(), _tries()),
        *(flows.story(), flows.crowd(), flows.trip(), *flows.family()),
    )
}
CHANGED = WORKFLOWS | {
    "order": _changed_order(),
    "story": flows.changed_story(),
    "trip": flows.changed_trip(),
}


class Scenario(NamedTuple):
    """Runs that are started together.

    Attributes:
        runs: what is run.
        max_running: as of ``open_engine``.
        children: what these start.
    """

    runs: tuple[RunSpec, ...]
    max_running: int = 1000
    children: tuple[RunSpec, ...] = ()


_LOOP = {
    "pay": "raise:1",
    "checks": "goto:open:2",
    "again": "goto:checks:4",
    "close": "finish",
    "box": "err:2",
}
_LOSSES = {"stock": "err", "pay": "raise", "ribbon": "raise", "card": "deep", "notify": "ok", "mail": "fatal"}
_FAILED, _EITHER = ("failed",), ("completed", "failed")

_order_runs = (
    RunSpec("loop", "order", 1, _LOOP),
    RunSpec("losses", "order", 2, _LOSSES),
    RunSpec("forward", "order", 3, {"checks": "goto:apology", "open": "none", "label": "raise"}),
    RunSpec("broken", "order", 4, {"checks": "err", "sign": "raise"}, _FAILED),
    RunSpec("early", "order", 5, {"checks": "finish", "plain": "raise:1"}),
)
_race_runs = (
    RunSpec("tie", "race", 1, {"failing": "fuse", "tied": "tie", "leg_one": "tie"}, _FAILED),
    RunSpec("fuse", "race", 2, {"failing": "fuse", "tied": "tie", "leg_two": "tie", "truck": "tie"}, _FAILED),
    RunSpec("swallow", "race", 3, {"failing": "raise", "idle": "slow", "stubborn": "stubborn"}, _FAILED),
    RunSpec("untidy", "race", 4, {"failing": "fatal", "idle": "cleanup", "retrying": "raise"}, _FAILED),
    RunSpec("inside", "race", 5, {"van": "raise", "idle": "slow", "leg_three": "slow"}, _FAILED),
    RunSpec("legs", "race", 6, {"leg_two": "err", "truck": "slow", "stubborn": "stubborn"}, _FAILED),
    RunSpec("smooth", "race", 7, {"retrying": "raise:2", "stubborn": "deep", "set_out": "none"}),
)
_quorum_runs = (
    RunSpec("vote", "quorum", 1, {"ann": "slow", "bob": "raise:1", "hare": "slow", "too_late": "slow"}),
    RunSpec("sole", "quorum", 2, {"ann": "raise", "eve": "stubborn", "steady": "slow", "few_3": "err:1"}),
    RunSpec("lost", "quorum", 3, dict.fromkeys(("ann", "bob", "cem", "dot"), "fatal"), _EITHER),
)
_tries_runs = (
    RunSpec(
        "flaky", "tries", 1, {"flaky": "raise:3", "hanging": "hang:1", "this": "err:3", "plainly": "err:1"}
    ),
    RunSpec("patient", "tries", 2, {"patient": "raise:1", "that": "raise:3"}),
    RunSpec("spent", "tries", 3, {"flaky": "err:1", "last": "raise"}, _FAILED),
    RunSpec("stuck", "tries", 4, {"hanging": "hang"}, _FAILED),
)
_CANCELLED, _MAYBE = ("cancelled",), ("cancelled", "completed")
_cancelled_runs = (
    RunSpec("in_branch", "race", 1, {"idle": "slow", "stubborn": "stubborn"}, _CANCELLED, ("enter", "idle")),
    RunSpec("in_step", "order", 2, {"charge": "slow"}, _CANCELLED, ("enter", "charge")),
    RunSpec("in_inner", "order", 3, {"label": "cleanup", "box": "raise"}, _CANCELLED, ("enter", "label")),
    RunSpec("at_into", "order", 4, {}, _MAYBE, ("into-return", "checks")),
    RunSpec("at_end", "tries", 5, {}, _MAYBE, ("return", "last")),
    RunSpec("backing_off", "tries", 6, {"patient": "raise:1"}, _MAYBE, ("raise", "patient")),
    RunSpec("at_start", "quorum", 7, {"ann": "slow"}, _MAYBE, ("ack-start", "")),
)

_steered_runs = (
    RunSpec("again", "tries", 51, {"last": "until:2"}, steers=Steers((None, None))),
    RunSpec("back", "order", 52, {"charge": "until:2", "box": "err:1"}, steers=Steers(("charge", "checks"))),
    RunSpec("block", "race", 53, {"van": "until:1", "idle": "ok", "stubborn": "ok"}, steers=Steers((None,))),
    RunSpec("forked", "order", 54, {}, steers=Steers(forks=("charge", "notify", "open"))),
    RunSpec("held", "tries", 55, {"patient": "raise:1"}, steers=Steers(pause=("enter", "flaky"))),
    RunSpec(
        "parked",
        "crowd",
        56,
        {"fork_door": "b"},
        _MAYBE,
        ("enter", "shut"),
        steers=Steers(asks=True),
        sends=(Send("talk", ("ack-start", "")), Send("talk", ("enter", "reply"), after=3)),
    ),
    RunSpec("asked", "tries", 57, {"plainly": "until:1"}, steers=Steers((None,), asks=True)),
    RunSpec("gone", "tries", 58, {}, steers=Steers(goes=True)),
    RunSpec("asked_away", "tries", 59, {"this": "err:1"}, steers=Steers(goes=True, asks=True)),
    RunSpec(
        "told_so",
        "story",
        60,
        {"think": "sleep:2+ok", "fork": "a"},
        steers=Steers(asks=True),
        sends=(Send("paid", ("ack-start", "")), Send("note", ("enter", "left"), after=1)),
    ),
)

SCENARIOS: dict[str, Scenario] = {
    "steered": Scenario(_steered_runs),
    "order": Scenario(_order_runs),
    "race": Scenario(_race_runs),
    "quorum": Scenario(_quorum_runs),
    "tries": Scenario(_tries_runs),
    "cancel": Scenario(_cancelled_runs),
    "queued": Scenario((*_order_runs[:2], *_race_runs[1:3], *_cancelled_runs[-3:]), max_running=2),
    "lax": Scenario(tuple(run._replace(workflow="lax") for run in _order_runs[:3])),
    "single": Scenario(_order_runs[:1]),
    "story": Scenario(flows.STORY_RUNS),
    "crowd": Scenario(flows.CROWD_RUNS),
    "trip": Scenario(flows.TRIP_RUNS),
    "family": Scenario(flows.FAMILY_RUNS, children=flows.KIDS),
    "narrow": Scenario((*flows.STORY_RUNS[::2], *flows.TRIP_RUNS[:3], *flows.CROWD_RUNS[2:]), max_running=2),
}
