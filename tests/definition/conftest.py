"""What the tests of definitions share: a workflow, and asking which line is blamed for a mistake."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import durable_trio._errors
from durable_trio._definition.workflow import Workflow
from durable_trio._errors import DefinitionError

LIBRARY = str(Path(durable_trio._errors.__file__).parent)


@pytest.fixture
def wf():
    return Workflow("orders")


class Mistake:
    """``with mistake("part of the message"):`` around code in which the line marked ``# <-`` is wrong.

    The error must be a DefinitionError whose message has all the parts, and the last frame of its traceback
    that is outside the library must stand on the marked line.
    """

    def __init__(self, *parts):
        self.parts = parts

    def __enter__(self):
        return None

    def __exit__(self, kind, error, tb):
        assert kind is DefinitionError, f"expected a DefinitionError, got {error!r}"
        for part in self.parts:
            assert part in str(error), f"{part!r} is not in {str(error)!r}"
        outside = [frame for frame in traceback.extract_tb(tb) if not frame.filename.startswith(LIBRARY)]
        assert "# <-" in outside[-1].line, f"blamed line {outside[-1].lineno}: {outside[-1].line}"
        return True


@pytest.fixture
def mistake():
    return Mistake
