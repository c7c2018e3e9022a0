"""A real redis-server on a free loopback port, in a folder of its own; it can be killed, stopped and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep

import redis

START_SECONDS = 30


class RedisServer:
    """`client` is for tests to look behind the scenes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._popen: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        self.client = redis.Redis(port=self.port, socket_timeout=10)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._popen = subprocess.Popen([*command, "--save", "", *self._options], stdout=subprocess.DEVNULL)
        deadline = monotonic() + START_SECONDS
        while not self._answers():
            if monotonic() > deadline or self._popen.poll() is not None:
                raise TimeoutError("redis-server does not answer")
            sleep(0.02)

    def kill(self) -> None:
        """kill -9: what it had not written is lost."""
        self._signal(signal.SIGKILL)
        if self._popen:
            self._popen.wait(START_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        self.client.close()
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._popen and self._popen.poll() is None:
            self._popen.send_signal(number)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """`options` as on the command line, such as `--maxmemory 1mb`."""
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), *options)
        try:
            server.start()
            yield server
        finally:
            server.close()


@contextmanager
def redis_cluster() -> Iterator[RedisServer]:
    """A cluster of one node: it refuses commands over names of several slots, as larger ones do."""
    bus = str(_free_port())  # by default the port and 10,000: too many, now and then
    with redis_server("--cluster-enabled", "yes", "--cluster-port", bus) as server:
        server.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = monotonic() + START_SECONDS
        while b"cluster_state:ok" not in server.client.execute_command("CLUSTER", "INFO"):
            if monotonic() > deadline:
                raise TimeoutError("the cluster does not come up")
            sleep(0.02)
        yield server


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
