"""For every test: one event loop library, and how long hypothesis searches."""

from __future__ import annotations

import pytest
from hypothesis import settings

# No deadline: a shared machine pauses now and then, which is no fault of the code.
settings.register_profile("default", deadline=None)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("default")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
