"""The workflows that wait, choose, start others and undo what they did; and the runs of their scenarios."""

from __future__ import annotations

from typing import Any

from durable_trio import Retry, Workflow

from .bodies import (
    RunSpec,
    Send,
    choose,
    decide,
    decide_plainly,
    find_items,
    play,
    play_item,
    play_plainly,
    soon,
    undo,
    undo_plainly,
)


def _quickly(attempts: int = 3, base: float = 0.002, **options: Any) -> Retry:
    return Retry(max_attempts=attempts, base=base, **options)


def story(paid: str = "paid") -> Workflow:
    """One thing after the other: every kind of wait as a step, a branch, maps, and a loop around it all."""
    wf = Workflow("story")
    wf.step(play, name="begin")
    wf.sleep(0.008, name="nap")
    wf.step(play, name="think", retry=_quickly())
    wf.wait_for_event(paid, step="paid", returns="paid")
    with wf.branch(on=choose, name="fork") as fork:
        with fork.case("a", "b"):
            wf.step(play, name="left")
            wf.wait_for_event("note", timeout=0.012, default={"default": "note"}, step="note", returns="note")
            wf.step(play_plainly, name="left_too", inline=True)
        with fork.case("c"):
            wf.map(play_item, over="items", name="each", limit=2, into=decide, retry=_quickly())
            wf.sleep(0.004, name="rest")
        with fork.default():
            wf.step(play, name="other")
    wf.map(play_item, over=find_items, name="spread", limit=3, on_error="complete_all", retry=_quickly())
    wf.wait_for_approval("signed", timeout=0.015, default=None, step="signed", returns="signed")
    wf.sleep_until(soon, name="dawn")
    wf.step(play, name="again")
    wf.step(play, name="close")
    return wf


def crowd() -> Workflow:
    """The same inside blocks, sequences and maps, next to siblings that work or wait."""
    wf = Workflow("crowd")
    wf.step(play, name="set_up")
    with wf.parallel(name="hall", into=decide):
        wf.wait_for_event("ping", timeout=0.012, default={"default": "ping"}, step="ping", returns="ping")
        wf.sleep(0.01, name="snooze")
        with wf.sequence("seq_talk"):
            wf.step(play, name="hello")
            wf.wait_for_event("talk", step="talk_one", returns="talk_one")
            wf.step(play, name="reply")
            wf.wait_for_event("talk", step="talk_two", returns="talk_two")
            wf.sleep(0.003, name="breath")
        wf.step(play, name="asker", retry=_quickly())
        wf.map(play_item, over="items", name="guests", limit=2, returns="guests", on_error="complete_all")
        with wf.sequence("seq_door"):
            with wf.branch(on=choose, name="fork_door") as door:
                with door.case("a"):
                    wf.wait_for_text("word", timeout=0.012, default=None, step="word", returns="word")
                    wf.step(play, name="let_in")
                with door.case("b"):
                    wf.step(play, name="turn_away")
            wf.step(play, name="shut")
        with wf.parallel(name="yard", timeout=0.02, into=decide_plainly):
            wf.wait_for_event("never", step="never", returns="never")
            wf.step(play, name="guard")
    wf.sleep(0.004, name="pause")
    with wf.parallel(name="lobby", need=1, on_error="complete_all"):
        wf.wait_for_event("first", step="first", returns="first")
        wf.sleep(0.012, name="bell")
        with wf.sequence("seq_late"):
            wf.sleep(0.02, name="yawn")
            wf.step(play, name="late")
    with wf.parallel(name="queue"):
        wf.wait_for_event("turn", step="turn_one", returns="turn_one", timeout=0.02, default={"default": "1"})
        wf.wait_for_event("turn", step="turn_two", returns="turn_two", timeout=0.02, default={"default": "2"})
        wf.step(play, name="teller")
    wf.step(play, name="leave")
    return wf


def trip() -> Workflow:
    """A saga: what succeeded is undone when the run fails."""
    wf = Workflow("trip")
    wf.compensation("cancel_flight", undo, retry=_quickly())
    wf.compensation("cancel_hotel", undo, retry=_quickly(2))
    wf.compensation("cancel_car", undo_plainly)
    wf.compensation("cancel_meal", undo)
    wf.compensation("refund", undo, retry=_quickly(2))
    wf.step(play, name="quote")
    wf.step(play, name="flight", compensate="cancel_flight")
    with wf.parallel(name="extras"):
        wf.step(play, name="car", compensate="cancel_car", returns="the_car")
        wf.step(play, name="hotel", compensate="cancel_hotel", retry=_quickly())
        with wf.sequence("seq_meals"):
            wf.step(play, name="lunch", compensate="cancel_meal")
            wf.step(play, name="dinner", compensate="cancel_meal")
    with wf.branch(on=choose, name="fork_payment") as payment:
        with payment.case("a"):
            wf.step(play, name="card", compensate="refund")
        with payment.default():
            wf.step(play, name="cash", compensate="refund")
    wf.wait_for_event("go", timeout=0.01, default={"default": "go"}, step="go", returns="go")
    wf.step(play, name="again")
    wf.step(play, name="depart")
    return wf


def family() -> list[Workflow]:
    """Runs that start runs: in steps, in branches, in children, with waits in them."""
    parent = Workflow("parent")
    parent.step(play, name="first", retry=_quickly())
    with parent.parallel(name="nursery"):
        parent.step(play, name="one", returns="eldest")
        parent.step(play, name="two", timeout=5)
        with parent.sequence("seq_three"):
            parent.step(play, name="three")
            parent.sleep(0.004, name="nap_three")
            parent.step(play, name="three_too")
    parent.sleep(0.004, name="evening")
    parent.step(play, name="last")
    kid = Workflow("kid")
    kid.step(play, name="wake")
    kid.wait_for_event("toy", timeout=0.008, default={"default": "toy"}, step="toy", returns="toy")
    kid.step(play, name="play")
    kid.sleep(0.003, name="tire")
    kid.step(play, name="sleepy")
    return [parent, kid]


def changed_story() -> Workflow:
    """``story`` with a wait for another event, and its first step under another name."""
    wf = Workflow("story")
    wf.step(play, name="begin_otherwise")
    wf.wait_for_event("payed", step="paid", returns="paid")
    return wf


def changed_trip() -> Workflow:
    """``trip`` without the steps that would have to be undone."""
    wf = Workflow("trip")
    wf.compensation("cancel_flight", undo)
    wf.step(play, name="flight", compensate="cancel_flight")
    return wf


_FAILED = ("compensated",)
_MAYBE = ("cancelled", "completed")
_START = ("ack-start", "")

STORY_RUNS = (
    RunSpec(
        "told",
        "story",
        1,
        {"think": "sleep:4+event:hint:15+ok", "fork": "a|b|c|z", "again": "goto:nap:2"},
        sends=(
            Send("paid", _START),
            Send("hint", ("wait", "think")),
            Send("paid", ("return", "think"), after=3),
            Send("note", ("enter", "left"), after=4),
            Send("signed", ("return", "think"), "approval"),
            Send("hint", ("enter", "close")),
        ),
    ),
    RunSpec(
        "asked",
        "story",
        2,
        {"think": "any:red|green+all:north|south+text:who+ok", "fork": "a|c"},
        sends=(
            Send("green", _START),
            Send("red", _START),
            Send("south", ("got", "think")),
            Send("north", ("got", "think"), after=2),
            Send("who", ("wait", "think"), "text"),
            Send("paid", ("return", "think")),
            Send("signed", ("enter", "3"), "approval"),
        ),
    ),
    RunSpec(
        "filled",
        "story",
        3,
        {"think": "form:sheet+choice:size+approval:fine:8+raise:1", "fork": "c", "each[]": "sleep:2+raise:1"},
        sends=(
            Send("sheet", ("wait", "think"), "form"),
            Send("size", ("wait", "think"), "choice"),
            Send("fine", ("wait", "think"), "approval", 7),
            Send("paid", ("raise", "think"), after=5),
        ),
    ),
    RunSpec(
        "late",
        "story",
        4,
        {"think": "event:slow:5+event:slow:3!+until:3+all:x|y:4+any:u|v:4+ok", "fork": "z"},
        at=60.0,
        sends=(
            Send("slow", ("wait", "think"), after=5),
            Send("x", ("wait", "think")),
            Send("paid", ("return", "think"), after=5),
            Send("v", ("enter", "other"), after=1),
            Send("signed", ("return", "other"), "approval", 12),
        ),
    ),
    RunSpec(
        "many",
        "story",
        5,
        {
            "think": "event:drop+event:drop+any:drop|drip+sleep:2+event:drop+raise:1",
            "fork": "a",
            "spread[]": "event:paid:2+ok",
            "spread[1]": "sleep:3+err:1",
        },
        sends=(
            *(Send("drop", _START) for _ in range(3)),
            Send("drop", ("got", "think")),
            Send("drop", ("got", "think")),
            *(Send("paid", ("return", "think")) for _ in range(3)),
            Send("note", ("enter", "left")),
        ),
    ),
)
CROWD_RUNS = (
    RunSpec(
        "loud",
        "crowd",
        11,
        {
            "asker": "event:ping:4+sleep:3+raise:1",
            "guests[]": "event:guest:6+ok",
            "guests[2]": "sleep:2+raise",
            "fork_door": "a|b",
        },
        sends=(
            Send("ping", _START),
            Send("talk", ("enter", "hello")),
            Send("guest", ("wait", "0")),
            Send("word", ("enter", "set_up"), "text", 6),
            Send("talk", ("enter", "reply"), after=1),
            Send("turn", ("enter", "hello")),
            Send("turn", ("return", "let_in"), after=1),
            Send("first", ("return", "let_in"), after=8),
        ),
    ),
    RunSpec(
        "quiet",
        "crowd",
        12,
        {"fork_door": "a", "guard": "sleep:2+ok", "teller": "event:turn:5+ok"},
        sends=(
            Send("talk", _START, after=12),
            Send("talk", ("enter", "hello"), after=6),
            Send("ping", ("enter", "shut")),
            Send("turn", ("enter", "teller")),
            Send("turn", ("enter", "teller")),
            Send("turn", ("enter", "teller"), after=2),
        ),
    ),
    RunSpec(
        "tied",
        "crowd",
        13,
        {"asker": "any:ping|talk:9+ok", "fork_door": "b", "guests[]": "sleep:1+ok"},
        sends=(
            Send("talk", _START),
            Send("talk", _START),
            Send("talk", ("wait", "asker")),
            Send("ping", ("wait", "asker"), after=9),
            Send("first", ("return", "shut"), after=10),
        ),
    ),
)
TRIP_RUNS = (
    RunSpec("lost", "trip", 21, {"depart": "raise", "fork_payment": "a|z"}, _FAILED),
    RunSpec("clash", "trip", 22, {"hotel": "sleep:2+raise", "car": "deep", "dinner": "slow"}, _FAILED),
    RunSpec(
        "torn",
        "trip",
        23,
        {"depart": "err", "!cancel_hotel": "raise", "!refund": "raise:1", "!cancel_meal": "err"},
        ("compensation_failed",),
    ),
    RunSpec(
        "round",
        "trip",
        24,
        {"again": "goto:extras:2", "depart": "fatal", "!cancel_flight": "raise:1"},
        _FAILED,
        sends=(Send("go", ("enter", "flight")), Send("go", ("return", "again"), after=2)),
    ),
    RunSpec("kept", "trip", 25, {"hotel": "raise:1"}, sends=(Send("go", ("return", "lunch"), after=3),)),
    RunSpec("recalled", "trip", 26, {"again": "slow"}, _FAILED, ("enter", "again"), undo=True),
    RunSpec(
        "halfway",
        "trip",
        27,
        {"dinner": "sleep:9+ok"},
        ("compensated", "completed"),
        ("wait", "dinner"),
        undo=True,
    ),
    RunSpec("dropped", "trip", 28, {"again": "event:nothing+ok"}, ("cancelled",), ("wait", "again")),
    RunSpec("late_cancel", "trip", 29, {"depart": "raise"}, _FAILED, ("undo-enter", "!refund"), undo=True),
)
FAMILY_RUNS = (
    RunSpec(
        "home",
        "parent",
        31,
        {"first": "start:ann+call:ben+raise:1", "one": "call:cid:own", "two": "call:dan+ok"},
    ),
    RunSpec(
        "storm",
        "parent",
        32,
        {"one": "call:eve+ok", "three_too": "raise", "two": "start:ann+slow"},
        ("failed",),
    ),
    RunSpec(
        "left",
        "parent",
        33,
        {"one": "call:eve+ok", "two": "start:fay+call:cid+slow"},
        ("cancelled",),
        ("got", "two"),
    ),
    RunSpec("grand", "parent", 34, {"first": "call:gil+ok", "two": "start:dan+ok"}),
    RunSpec("brief", "parent", 35, {"first": "call:eve:x:6+ok", "one": "call:hal+ok"}),
    RunSpec("gone", "parent", 36, {"first": "start:ann+call:gus+ok"}, _MAYBE, ("wait", "first")),
)
KIDS = (
    RunSpec("ann", "kid", 41, sends=(Send("toy", ("enter", "wake")),)),
    RunSpec(
        "ben",
        "kid",
        42,
        {"play": "event:toy:6+ok"},
        sends=(Send("toy", ("return", "wake"), after=4), Send("toy", ("wait", "play"))),
    ),
    RunSpec("cid", "kid", 43, {"play": "sleep:3+raise"}, ("failed",)),
    RunSpec("dan", "kid", 44, {"wake": "finish"}),
    RunSpec("eve", "kid", 45, {"play": "slow", "wake": "sleep:1+ok"}),
    RunSpec("fay", "kid", 46, {"wake": "slow"}),
    RunSpec("gil", "kid", 47, {"wake": "call:dan+start:ann+ok", "sleepy": "call:hal+ok"}),
    RunSpec("hal", "kid", 48, {"sleepy": "fatal"}),
    RunSpec("gus", "kid", 49, {"wake": "start:eve+ok", "play": "call:eve:mine+ok"}),
)
