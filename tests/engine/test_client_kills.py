"""SIGKILL at every line of a client's way through the store: what was answered is there, nothing is twice.

One warm process forks a client per line. Each sends one event to a run that takes none, so that what has
arrived is what is in its mailbox in the end.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from client_helpers import ROOT

from durable_trio import open_client, open_engine
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.lmdb import open_lmdb

CLIENTS = """
import os, signal, sys
from durable_trio._engine.calls import pack_call
from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry
from durable_trio._store.lmdb import open_lmdb_client

path, stride = sys.argv[1], int(sys.argv[2])
codec = Codec(TypeRegistry())

def work(number, acknowledge):
    _, box = open_lmdb_client(path)
    arguments = {"run_id": "r", "name": "news", "payload": number}
    key = box.leave(pack_call(codec, "send_event", arguments))
    # Looking is not traced: how often it happens depends on the engine.
    tracer = sys.gettrace()
    sys.settrace(None)
    while box.look(key)[0] is None:
        pass
    sys.settrace(tracer)
    box.take_reply(key)
    os.write(acknowledge, b"%d\\n" % number)
    box.close()

def killed_at(line, acknowledge):
    pid = os.fork()
    if pid:
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    left = line

    def trace(frame, event, _argument):
        nonlocal left
        if f"{os.sep}_store{os.sep}" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    work(line, acknowledge)
    os._exit(0)

line = 1
while killed_at(line, 1):
    line += stride
print("lines", line, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stride", [37, pytest.param(1, marks=pytest.mark.slow)])
async def test_a_client_that_is_killed_anywhere_has_asked_once_or_not_at_all(disk, service, stride):
    running = await service(disk)
    async with open_client(disk) as client:
        await client.start("asking", {}, id="r")
    done = await trio.run_process(
        [sys.executable, "-c", CLIENTS, str(disk), str(stride)],
        capture_stdout=True,
        stderr=subprocess.STDOUT,
        env={"PYTHONPATH": str(ROOT)},
    )
    *acknowledged, last = done.stdout.decode().splitlines()
    assert int(last.removeprefix("lines ")) > 200
    assert acknowledged != []
    await running.close()
    from client_flows import WORKFLOWS

    async with open_engine(disk, workflows=WORKFLOWS) as engine:  # does what was left, if anything was
        assert engine.store.requests(limit=9) == []
    store = open_lmdb(disk)
    codec = Codec(TypeRegistry())
    arrived = [codec.decode_message(data).payload for _, data in store.messages(store.find(b"r"))]
    store.close()
    assert arrived == sorted(set(arrived))
    assert set(map(int, acknowledged)) <= set(arrived)
