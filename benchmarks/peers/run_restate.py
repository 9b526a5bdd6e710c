"""onboard on a Restate server of two partitions and a service of two workers. ``run_restate.py FOLDER``.

Two of each, for two cores, is faster than the defaults are there. The server is ``restate-server`` on the
PATH, or what ``$RESTATE_SERVER`` names.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
import restate
from asking import BRANCHES, COMPLETED, CREATED, INPUT, answer

service = restate.Service("bench")


async def create() -> dict:
    return CREATED


async def branch(name: str) -> dict:
    return BRANCHES[name]


async def complete() -> dict:
    return COMPLETED


@service.handler()
async def onboard(ctx: restate.Context, user: dict) -> dict:
    await ctx.run_typed("create", create)
    await restate.gather(*[ctx.run_typed(name, branch, name=name) for name in BRANCHES])
    return await ctx.run_typed("complete", complete)


app = restate.app([service])

CONFIG = """
base-dir = "{folder}/data"
listen-mode = "tcp"
bind-address = "127.0.0.1:{node}"
advertised-address = "http://127.0.0.1:{node}"
default-num-partitions = 2
disable-telemetry = true
log-filter = "warn"
[ingress]
bind-address = "127.0.0.1:{ingress}"
[admin]
bind-address = "127.0.0.1:{admin}"
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Ports(NamedTuple):
    """Where who listens."""

    node: int
    ingress: int
    admin: int
    service: int

    def url(self, port: int, path: str = "") -> str:
        return f"http://127.0.0.1:{port}{path}"


def started(folder: Path, ports: Ports) -> list[subprocess.Popen[bytes]]:
    """The server, and the service that it calls."""
    server = os.environ.get("RESTATE_SERVER") or shutil.which("restate-server")
    if server is None:
        sys.exit(
            "there is no restate-server on the PATH, and RESTATE_SERVER names none: "
            "npm install @restatedev/restate-server"
        )
    config = folder / "restate.toml"
    config.write_text(CONFIG.format(folder=folder, **ports._asdict()))
    listening = ["--workers", "2", "--bind", f"127.0.0.1:{ports.service}"]
    with (folder / "log").open("wb") as log:
        start = partial(subprocess.Popen, stdout=log, stderr=log)
        return [
            start([server, "--config-file", config, "--no-logo"], cwd=folder),
            start(
                [sys.executable, "-m", "hypercorn", *listening, "run_restate:app"], cwd=Path(__file__).parent
            ),
        ]


async def main(folder: Path, ports: Ports) -> None:
    timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
        await register(http, ports.url(ports.admin, "/deployments"), ports.url(ports.service))

        async def once() -> None:
            async with http.post(ports.url(ports.ingress, "/bench/onboard"), json=INPUT) as reply:
                assert await reply.json() == COMPLETED

        await answer(once)


async def register(http: aiohttp.ClientSession, deployments: str, uri: str) -> None:
    """Tell the server where the service is, as soon as both are up."""
    for _ in range(600):
        try:
            async with http.post(deployments, json={"uri": uri}) as reply:
                if reply.status in {200, 201}:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError("the server or the service did not start within a minute")


if __name__ == "__main__":
    place, found = Path(sys.argv[1]), Ports(*free_ports(4))
    processes = started(place, found)
    try:
        asyncio.run(main(place, found))
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()
