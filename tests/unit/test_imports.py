"""What importing costs."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["demur.app", "demur.cli", "demur.server", "demur.doctor"])
def test_the_service_imports_without_a_model_library(module: str) -> None:
    """torch, transformers and vllm come in only where a model is built, so that the base install needs none; the client
    of Redis, a tenth of the whole, only where Redis is the store."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "vllm", "sentence_transformers", "redis"} & set(done.stdout.split())
