"""How long an event loop of the tests lives."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import pytest


def loop_scope(fixture_name: str, config: pytest.Config) -> Literal["session", "function"]:
    """A loop that runs all the time would forbid `anyio.run` to other tests; only vLLM's engine has to live on one."""
    runs_vllm = find_spec("vllm") and "not vllm" not in config.getoption("markexpr")
    return "session" if runs_vllm else "function"
