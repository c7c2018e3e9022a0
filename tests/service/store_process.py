"""A service with a scripted sampler in a process of its own, to be killed: `python -m tests.service.store_process`.

Settings come from the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys

import uvicorn
from rich.console import Console

from demur.app import create_app
from demur.observability.logging import configure
from demur.samplers.scripted import ScriptedSampler
from demur.server import GreetingServer
from demur.settings import Settings
from tests.service.running import START_SECONDS, SameText, announced_url


class StoreProcess:
    """Started and killed any number of times, with the same store."""

    def __init__(self, store_url: str, **env: str) -> None:
        keeping = {"DEMUR_STORE__URL": store_url, "DEMUR_STORE__TIMEOUT_S": "2"}
        self._env = keeping | {"DEMUR_STORE__CACHE_TTL_S": "0"} | env  # each answer is to be one of its own
        self._popen: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def pid(self) -> int:
        assert self._popen
        return self._popen.pid

    @property
    def is_running(self) -> bool:
        return self._popen is not None

    def start(self) -> None:
        """Returns when it listens."""
        command = [sys.executable, "-m", "tests.service.store_process"]
        self._popen = subprocess.Popen(
            command, env={**os.environ, "COLUMNS": "200", **self._env}, stdout=subprocess.PIPE, text=True
        )
        self.url = announced_url(self._popen)

    def kill(self) -> None:
        """As by `kill -9`."""
        if self._popen:
            self._popen.kill()
            self._popen.wait(START_SECONDS)
            assert self._popen.stdout
            self._popen.stdout.close()
            self._popen = None


def main() -> None:
    configure("warning", "json")  # to standard error: a pipe that nobody reads would fill up and stop the service
    app = create_app(Settings(), sampler=ScriptedSampler({"q": ["Paris"]}), entailment=SameText())
    GreetingServer(uvicorn.Config(app, port=0, log_config=None), app, None, Console(width=200)).run()


if __name__ == "__main__":
    main()
