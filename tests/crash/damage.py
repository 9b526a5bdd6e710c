"""Flips a bit in what one run has on the disk; LMDB hands it back as if nothing had been."""

from __future__ import annotations

from pathlib import Path

import lmdb

from .model import Dump

_TABLES = {"journal": lambda key: key[:16], "runs": lambda key: key, "statuses": lambda key: key[3:]}


def damage(database: Path, before: Dump, table: str) -> str | None:
    """Damage the first run that has not ended and has something in the table; gives its id."""
    for key, (run_id, _) in sorted(before.index.runs.items(), key=lambda item: item[1]):
        run = before.runs[run_id]
        if run.error is None and run.ended is None and _flip(database, table, bytes.fromhex(key)):
            return run_id
    return None


def _flip(database: Path, table: str, run: bytes) -> bool:
    env = lmdb.open(str(database), max_dbs=16, create=False, lib_version=0, map_size=1 << 28)
    try:
        handle = env.open_db(table.encode(), create=False)
        with env.begin(write=True, db=handle) as txn:
            for key, value in txn.cursor():
                if _TABLES[table](key) == run and value:
                    broken = bytearray(value)
                    broken[-1] ^= 4
                    txn.put(key, bytes(broken))
                    return True
        return False
    finally:
        env.close()
