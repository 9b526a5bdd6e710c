"""What earlier versions have written stays readable: ``tests/data/snapshot/golden.jsonl`` is only added to.

A line holds a name, what is stored (a ``"value"``, a ``"row"``, a ``"header"`` or a ``"message"``), the bytes
in hexadecimal, and the ``repr`` of what they mean. A line that was released is never edited; where the layout
of what is *written* changes, its name goes into ``NO_LONGER_WRITTEN`` and a new line is added.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import stored_types

from durable_trio._snapshot import records, wire

GOLDEN = Path(__file__).parents[1] / "data" / "snapshot" / "golden.jsonl"
ENTRIES = [json.loads(line) for line in GOLDEN.read_text("ascii").splitlines()]
NO_LONGER_WRITTEN: frozenset[str] = frozenset()


def decode(codec, entry):
    decoders = {
        "value": codec.decode_value,
        "row": codec.decode_row,
        "header": codec.decode_header,
        "message": codec.decode_message,
    }
    return decoders[entry["what"]](bytes.fromhex(entry["hex"]))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_it_still_means_the_same(codec, entry):
    assert repr(decode(codec, entry)) == entry["repr"]


@pytest.mark.parametrize(
    "entry",
    [entry for entry in ENTRIES if entry["what"] == "value" and entry["name"] not in NO_LONGER_WRITTEN],
    ids=lambda entry: entry["name"],
)
def test_it_is_still_written_so(codec, entry):
    assert codec.encode_value(decode(codec, entry)).hex() == entry["hex"]


def test_every_extension_and_every_record_is_there():
    written = {}
    for entry in ENTRIES:
        msgspec.msgpack.decode(bytes.fromhex(entry["hex"]), ext_hook=written.setdefault)
    codes = {value for name, value in vars(wire).items() if name.isupper() and isinstance(value, int)}
    assert set(written) == codes - {wire.MAX_DEPTH}
    rows = " ".join(entry["repr"] for entry in ENTRIES if entry["what"] == "row")
    kinds = records.Record.__args__
    assert [kind.__name__ for kind in kinds if f"{kind.__name__}(" not in rows] == []
    assert any(entry["what"] == "header" for entry in ENTRIES)
    used = " ".join(entry["repr"] for entry in ENTRIES)
    assert all(kind.__name__ in used for kind in stored_types.TYPES)
