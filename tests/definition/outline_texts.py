"""Definitions written as text, one node per line, indented by nesting.

``name`` is a step, ``name:`` a parallel block, ``name>`` a sequence, ``name[]`` a map, ``name zzz`` a sleep,
``name <- event`` and ``name <- input?`` waits; ``name?`` is a branch, in which ``label ->`` is a case and
``* ->`` the default. ``name=key`` and ``name>=key`` give a result key.
"""

from __future__ import annotations

from durable_trio._definition.plan import compile_plan
from durable_trio._definition.workflow import Workflow


async def body(ctx): ...


def on(ctx): ...


def item_body(ctx, item): ...


def outline(text):
    wf = Workflow("orders")
    lines = [line for line in text.splitlines() if line.strip()]
    margin = min(len(line) - len(line.lstrip()) for line in lines)

    def declare(depth, branch=None):
        while lines and (len(lines[0]) - len(lines[0].lstrip()) - margin) // 2 == depth:
            name, _, key = lines.pop(0).strip().partition("=")
            name, _, awaited = name.partition(" <- ")
            if awaited.endswith("?"):
                wf.wait_for_input(awaited[:-1], step=name)
            elif awaited:
                wf.wait_for_event(awaited, step=name)
            elif name.endswith(" zzz"):
                wf.sleep(1, name=name[:-4])
            elif name.endswith("[]"):
                wf.map(item_body, over="docs", name=name[:-2], returns=key or None)
            elif name == "* ->":
                with branch.default():
                    declare(depth + 1)
            elif name.endswith(" ->"):
                with branch.case(*name[:-3].split("|")):
                    declare(depth + 1)
            elif name.endswith("?"):
                with wf.branch(on, name=name[:-1]) as inner:
                    declare(depth + 1, inner)
            elif name.endswith(":"):
                with wf.parallel(name=name[:-1]):
                    declare(depth + 1)
            elif name.endswith(">"):
                with wf.sequence(name[:-1], returns=key or None):
                    declare(depth + 1)
            else:
                wf.step(body, name=name, returns=key or None)

    declare(0)
    assert not lines
    return compile_plan(wf).outline
