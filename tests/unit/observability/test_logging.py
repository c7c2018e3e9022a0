"""What stands in the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from demur.observability import logging
logging.configure("debug", {log_format!r})

def answer(prompt):
    raise RuntimeError("it broke")

try:
    answer("the secret prompt")
except RuntimeError as error:
    logging.logger.error("bug", exc_info=error)
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values_of_variables(log_format: str) -> None:
    """The error and its place are logged; the prompt that was being answered is not."""
    program = PROGRAM.format(log_format=log_format)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "it broke" in done.stderr
    assert "line 6" in done.stderr
    assert "the secret prompt" not in done.stderr
