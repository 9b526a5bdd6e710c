"""onboard as a LangGraph graph on SQLite, ``durability="sync"``. ``run_langgraph.py FOLDER``."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from asking import BRANCHES, COMPLETED, CREATED, INPUT, answer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    user_id: int
    name: str
    email: str
    created: bool
    email_sent: bool
    crm_updated: bool
    billing_ready: bool
    status: str


def node(result: dict[str, Any]) -> Callable[[State], Awaitable[dict[str, Any]]]:
    async def body(_state: State) -> dict[str, Any]:
        return result

    return body


async def main() -> None:
    async with AsyncSqliteSaver.from_conn_string(f"{sys.argv[1]}/checkpoints.sqlite") as saver:
        await saver.setup()
        graph = StateGraph(State)
        graph.add_node("create", node(CREATED))
        graph.add_node("complete", node(COMPLETED))
        graph.add_edge(START, "create")
        for name, result in BRANCHES.items():
            graph.add_node(name, node(result))
            graph.add_edge("create", name)
        graph.add_edge(list(BRANCHES), "complete")
        graph.add_edge("complete", END)
        onboard = graph.compile(checkpointer=saver)

        async def once() -> None:
            thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
            state = await onboard.ainvoke(dict(INPUT), thread, durability="sync")
            assert state["status"] == "complete"

        await answer(once)


asyncio.run(main())
