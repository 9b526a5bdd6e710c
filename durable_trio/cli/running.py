"""``durable-trio run``: one run, from its start (or from where it was left) to its end or to a signal."""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

import trio

from durable_trio import (
    Engine,
    InputError,
    Run,
    RunBlocked,
    RunCancelled,
    RunFailed,
    StoreError,
    open_engine,
)
from durable_trio.cli.interrupts import Interrupts
from durable_trio.cli.live import Display, display
from durable_trio.cli.loading import Loaded
from durable_trio.cli.report import Outcome, print_outcome
from durable_trio.cli.text import CommandError, command, reason_text, safe, say

_REFRESH = 0.1  # seconds between two looks at the run
_PATIENCE = 0.5  # seconds before it is said why the program does not end
_UNFINISHED = {"pending", "running", "waiting", "compensating"}


class Request(NamedTuple):
    """What to run, and where. ``out`` is where the result goes."""

    target: str
    loaded: Loaded
    input: dict[str, Any] | None
    db: str
    run_id: str | None
    durability: Any
    as_json: bool
    out: TextIO


async def execute(request: Request) -> int:
    """Run it, and give the exit status.

    Raises:
        DurableError: it cannot be started, or the database cannot be used any more.
        CommandError: a step has ended the program.
    """
    logging.getLogger("durable_trio").addFilter(_is_news)
    interrupts = Interrupts()
    session = _Session(request, interrupts)
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(interrupts.watch)
        with interrupts.all:
            try:
                await session.drive()
            except trio.Cancelled:
                raise
            except BaseException as caught:  # noqa: BLE001 - raised below, outside of the nursery's group
                error = caught
        nursery.cancel_scope.cancel()
    return await session.conclude(error)


def _is_news(record: logging.LogRecord) -> bool:
    """Not that a run is blocked, which is said of this file's runs alone: others may share the database."""
    return "is blocked" not in record.msg


class _Session:
    def __init__(self, request: Request, interrupts: Interrupts) -> None:
        self._request = request
        self._interrupts = interrupts
        self._run: Run | None = None
        self._outcome: Outcome | None = None

    async def drive(self) -> None:
        """Start the run and stay with it until it ends or a signal arrives."""
        request = self._request
        loaded = request.loaded
        opened = datetime.now(UTC)
        async with open_engine(
            request.db, workflows=loaded.workflows, durability=request.durability, types=loaded.types
        ) as engine:
            self._run = run = await engine.start(loaded.workflow, request.input, id=request.run_id)
            self._introduce(run)
            await self._note_blocked(engine, run)
            since = None if run.created else opened
            with display(since, quiet=request.as_json) as shown:
                self._outcome = await self._until_end(engine, run, shown)
            if self._outcome is not None:
                print_outcome(self._outcome, request.out, as_json=request.as_json)
                await self._let_others_finish(engine)

    def _introduce(self, run: Run) -> None:
        say(f"run {safe(run.id)}")
        request = self._request
        if request.as_json:
            return
        note = ""
        if not run.created:
            note = (
                ", goes on from what is recorded"
                if run.status in _UNFINISHED
                else f", is {run.status} already"
            )
            if request.input is not None:
                note += " (--input is not used again)"
        say(f"workflow {safe(request.loaded.workflow.name)}, database {safe(request.db)}{note}")

    async def _note_blocked(self, engine: Engine, run: Run) -> None:
        """Say which other runs of these workflows cannot go on; those of other files are none of ours."""
        names = {workflow.name for workflow in self._request.loaded.workflows}
        for info in await engine.list("blocked"):
            if info.workflow in names and info.id != run.id:
                reason: Any = "its values cannot be read here"
                with contextlib.suppress(StoreError):
                    reason = (await engine.get(info.id)).error
                say(f"note: run {safe(info.id)} is blocked: {reason_text(reason, 1000)}")

    async def _until_end(self, engine: Engine, run: Run, shown: Display) -> Outcome | None:
        outcome: Outcome | None = None
        self._interrupts.is_heeded = True
        while outcome is None and self._interrupts.first is None:
            with self._interrupts.waiting(_REFRESH):
                outcome = await _outcome(run, self._request.loaded.workflow.name)
            await _look(engine, run, shown)
        self._interrupts.is_heeded = False
        if outcome is None:
            self._interrupts.announce()  # nothing can start a step between this and the drain
            drained = False
            while not drained:
                with trio.move_on_after(_REFRESH):
                    await engine.drain()
                    drained = True
                await _look(engine, run, shown)
        return outcome

    async def _let_others_finish(self, engine: Engine) -> None:
        """Cut no step in two: other unfinished runs of this database have gone on beside this one."""
        with trio.move_on_after(_PATIENCE):
            await engine.drain()
            return
        say("other unfinished runs of this database went on meanwhile; waiting for their steps under way")
        await engine.drain()

    async def conclude(self, error: BaseException | None) -> int:
        """Say how it stands now that the engine is closed."""
        run = self._run
        if run is not None and self._outcome is None:
            if error is None and run.status not in _UNFINISHED:  # it came to its end while this was leaving
                self._outcome = await _outcome(run, self._request.loaded.workflow.name)
                print_outcome(self._outcome, self._request.out, as_json=self._request.as_json)
            else:
                self._say_how_to_go_on(run)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise CommandError(
                f"a step raised {type(error).__name__}({error}), which ends the program and not the run; let "
                "the step return Err(...) or raise an Exception instead"
            ) from None
        if error is not None:
            raise error
        return self._interrupts.exit_status if self._outcome is None else self._outcome.exit_status

    def _say_how_to_go_on(self, run: Run) -> None:
        request = self._request
        words = ["run", request.target, "--db", request.db, "--id", run.id]
        if request.durability != "sync":
            words += ["--durability", request.durability]
        say(f"run {safe(run.id)} is not finished; what is recorded of it is kept. To go on:")
        say(f"  {command(*words)}")
        if request.as_json:
            outcome = Outcome(run.id, request.loaded.workflow.name, run.status, run.created, None, None, {})
            print_outcome(outcome, request.out, as_json=True)


async def _outcome(run: Run, workflow: str) -> Outcome:
    """How the run ended, once it has ended."""
    result = error = None
    errors: dict[str, Any] = {}
    try:
        result = await run.result()
    except RunFailed as failed:
        error, errors = failed.error, failed.errors
    except RunCancelled as cancelled:
        error = cancelled.reason
    except RunBlocked as blocked:
        error = str(blocked)
    return Outcome(run.id, workflow, run.status, run.created, result, error, errors)


async def _look(engine: Engine, run: Run, shown: Display) -> None:
    try:
        info = await engine.get(run.id)
    except (StoreError, InputError):
        return  # whether the run can be shown does not decide how it ends; ``result`` says what is wrong
    shown.update(info)
