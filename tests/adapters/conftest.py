"""These tests run in an environment of each framework's own, against services that `tests.adapters.run` starts."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

# Each file needs its framework; elsewhere (`make test`) there is none, and nothing of it is collected.
collect_ignore = [f"test_{name}.py" for name in ("langchain", "llama_index", "haystack") if find_spec(name) is None]


@pytest.fixture(scope="session")
def url() -> str:
    """`demur serve` with its bundled models."""
    return os.environ["DEMUR_BASE_URL"]


@pytest.fixture(scope="session")
def upstream_url() -> str:
    """`demur serve` before a server of chat completions, which takes tools."""
    return os.environ["DEMUR_UPSTREAM_URL"]
