"""A service with a scripted sampler in a process of its own; settings come from the environment, as for `demur serve`.

python -m tests.service.scripted_process
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console

from demur.app import create_app
from demur.observability import logging
from demur.samplers.scripted import ScriptedSampler
from demur.server import GreetingServer, configured
from demur.settings import Settings
from tests.service.running import START_SECONDS, Process, SameText, announced_url

SCRIPT = {"q": ["Paris"], "other": ["Lyon"], "q canary-prompt": ["canary-answer"]}


def main() -> None:
    settings = Settings()
    logging.configure(settings.observability.log_level, settings.observability.log_format)
    app = create_app(settings, sampler=ScriptedSampler(SCRIPT), entailment=SameText())
    GreetingServer(configured(app, settings), app, None, Console(width=200)).run()


@contextmanager
def scripted_process(stderr: IO[bytes] | int = subprocess.DEVNULL, **env: str) -> Iterator[Process]:
    """Start it on a free port, and wait until it listens; its log goes to `stderr`."""
    command = [sys.executable, "-m", "tests.service.scripted_process"]
    environment = {**os.environ, "DEMUR_SERVER__PORT": "0", "COLUMNS": "200", **env}
    popen = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield Process(announced_url(popen), popen)
    finally:
        popen.terminate()
        popen.wait(START_SECONDS)
        if popen.stdout:
            popen.stdout.close()


if __name__ == "__main__":
    main()
