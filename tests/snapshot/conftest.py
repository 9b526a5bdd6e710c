from __future__ import annotations

import pytest
import stored_types

from durable_trio._snapshot.codec import Codec
from durable_trio._snapshot.types import TypeRegistry


@pytest.fixture(scope="session")
def codec():
    return Codec(TypeRegistry(stored_types.TYPES))
