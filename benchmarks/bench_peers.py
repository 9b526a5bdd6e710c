"""onboard beside other systems for durable workflows; workflows/s, each step durable before the next.

    python -m benchmarks.bench_peers --install [--peers dbos langgraph restate] [--envs FOLDER]
    python -m benchmarks.bench_peers

``--install`` makes an environment for each peer and has pip install it there; after that, it is not needed.
Each peer runs in a process of its own (``peers/``) with its own load generator, by turns with this library.
Restate also needs its server (npm: ``@restatedev/restate-server``); a peer that cannot be started is left
out, with a word.

The peers' settings are their defaults, but for Restate, whose defaults are for more cores than two. They do
also what this library does not: run on several machines, for one.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from benchmarks import command
from benchmarks.measuring import Bench, Session, calls_for, closed_loop, in_turns
from benchmarks.workloads import INPUT, onboard_workflow
from durable_trio import open_engine

HERE = Path(__file__).parent
ENVS = Path(tempfile.gettempdir()) / "durable-trio-peers"
WORKFLOW = onboard_workflow()


class Peer(NamedTuple):
    """Another system: what the tables call it, and what pip installs."""

    title: str
    packages: tuple[str, ...]


PEERS = {
    "dbos": Peer("DBOS, SQLite", ("dbos==3.4.0",)),
    "langgraph": Peer("LangGraph, SQLite, sync", ("langgraph==1.2.22", "langgraph-checkpoint-sqlite==3.1.2")),
    "restate": Peer("Restate, tuned", ("restate_sdk==1.3.0", "hypercorn==0.18.0", "aiohttp==3.14.5")),
}


class Runner:
    """A peer's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self) -> str:
        """The next line that it says; empty if it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def ask(self, in_flight: int, seconds: float) -> float:
        """Workflows per second. Blocks."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{in_flight} {seconds}\n")
        self._process.stdin.flush()
        return float(self.answer())


@contextmanager
def running(python: Path, script: Path, folder: Path) -> Iterator[Runner | None]:
    """Start a runner; gives None if it does not get ready."""
    folder.mkdir()
    pipe = subprocess.PIPE
    process = subprocess.Popen([python, script, folder], stdin=pipe, stdout=pipe, text=True)
    with process:
        runner = Runner(process)
        yield runner if runner.answer() == "ready" else None
        # Its input ends here, by which it knows that it is to end.


def install(envs: Path, names: Sequence[str]) -> None:
    for name in names:
        print(f"installing {', '.join(PEERS[name].packages)}", flush=True)
        venv.create(envs / name, with_pip=True, clear=True)
        pip = [str(envs / name / "bin/python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PEERS[name].packages], check=True)


def measure(session: Session, envs: Path = ENVS, names: Sequence[str] = tuple(PEERS)) -> None:
    for name in names:
        python = envs / name / "bin/python"
        if not python.exists():
            print(f"{PEERS[name].title} is not installed; --install does that")
            continue
        with running(python, HERE / "peers" / f"run_{name}.py", session.folder / name) as runner:
            if runner is None:
                print(f"{PEERS[name].title} did not start; what it said is above")
                continue
            trio.run(beside, session, PEERS[name].title, runner)


async def beside(session: Session, title: str, runner: Runner) -> None:
    """Both, by turns, at each level."""
    for level in session.sizes:
        with tempfile.TemporaryDirectory(dir=session.folder) as folder:
            async with open_engine(folder + "/db", workflows=[WORKFLOW], max_running=level + 1) as engine:

                async def durable() -> None:
                    await engine.run(WORKFLOW, INPUT)

                calls = await calls_for(durable, session.seconds, level)

                async def ours() -> float:
                    return calls / await closed_loop(durable, calls, level)  # noqa: B023 - in this turn

                async def theirs() -> float:
                    return await trio.to_thread.run_sync(runner.ask, level, session.seconds)  # noqa: B023 - in this turn

                await theirs()
                pairs = await in_turns(ours, theirs, session.repeat)
        session.add("onboard, sync", level, "workflows/s", title, pairs)


def main() -> None:
    """Install if asked to, and measure."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--envs", type=Path, default=ENVS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=tuple(PEERS))
    options, rest = parser.parse_known_args()
    if {"-h", "--help"} & set(rest):
        print(__doc__)
    elif options.install:
        install(options.envs, options.peers)
    command.main(BENCH._replace(measure=partial(measure, envs=options.envs, names=options.peers)), rest)


BENCH = Bench(
    "peers",
    "beside other systems: onboard",
    measure,
    {"full": (1, 100, 1000), "quick": (1, 100), "tiny": (1,)},
    "in flight",
    {"full": 4.0, "quick": 1.0, "tiny": 0.01},
)

if __name__ == "__main__":
    main()
