"""A server that sends back what it gets, one millisecond later. A process of its own: ``serving``.

On epoll and with no framework, so that it is not what limits: all delays are equal, so a queue keeps them in
order.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DELAY = 0.001  # seconds
BACKLOG = 10_000


def serve(path: str) -> None:
    """Listen on a Unix socket until killed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener.fileno(), select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    late: deque[tuple[float, int, bytes]] = deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, late[0][0] - time.perf_counter()) if late else -1
        for fd, _ in poll.poll(wait):
            if fd == listener.fileno():
                client, _ = listener.accept()
                clients[client.fileno()] = client
                poll.register(client.fileno(), select.EPOLLIN)
            elif data := clients[fd].recv(64):
                late.append((time.perf_counter() + DELAY, fd, data))
            else:
                poll.unregister(fd)
                clients.pop(fd).close()
        now = time.perf_counter()
        while late and late[0][0] <= now:
            _, fd, data = late.popleft()
            clients[fd].send(data)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the server; gives the path of its socket."""
    path = str(folder / "echo.socket")
    command = [sys.executable, "-m", "benchmarks.echo_server", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            yield path
        finally:
            server.kill()


if __name__ == "__main__":
    serve(sys.argv[1])
