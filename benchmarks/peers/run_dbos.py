"""onboard on DBOS with SQLite, as it is by default. ``run_dbos.py FOLDER``."""

from __future__ import annotations

import asyncio
import sys

from asking import BRANCHES, COMPLETED, CREATED, INPUT, answer
from dbos import DBOS


@DBOS.step()
async def create(user: dict) -> dict:
    return CREATED


@DBOS.step()
async def branch(name: str) -> dict:
    return BRANCHES[name]


@DBOS.step()
async def complete(user: dict) -> dict:
    return COMPLETED


@DBOS.workflow()
async def onboard(user: dict) -> dict:
    await create(user)
    await asyncio.gather(*(branch(name) for name in BRANCHES))
    return await complete(user)


async def once() -> None:
    handle = await DBOS.start_workflow_async(onboard, INPUT)
    result = await handle.get_result()
    assert result == COMPLETED


async def main() -> None:
    url = f"sqlite:///{sys.argv[1]}/dbos.sqlite"
    DBOS(config={"name": "onboard", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    await answer(once)
    DBOS.destroy()


asyncio.run(main())
