"""Real Redis servers on loopback, each with its own folder: alone, over TLS, as a cluster, watched by a sentinel."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import redis

START_SECONDS = 60
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")
SERVICE_NAME = "demur-master"


class RedisServer:
    """A redis-server that can be stopped, killed and started again on the same port and the same files."""

    def __init__(self, folder: Path, options: Sequence[str] = DURABLE) -> None:
        assert shutil.which("redis-server"), "these tests need redis-server: make system-packages"
        self.port = free_port()
        self._folder = folder
        self._options = list(options)
        self._popen: subprocess.Popen[bytes] | None = None
        self.certificate: Path | None = None  # with one it speaks TLS

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._popen
        return self._popen.pid

    def start(self, options: Sequence[str] | None = None, *, is_answering: bool = True) -> None:
        """With `is_answering` wait until it takes commands; `options` replace those it had."""
        self._options = self._options if options is None else list(options)
        port = "--tls-port" if self.certificate else "--port"
        command = [
            "redis-server",
            "--port",
            "0",
            port,
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
        ]
        with (self._folder / "log").open("ab") as log:
            self._popen = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        if is_answering:
            self.wait()

    def wait(self) -> None:
        with self.client() as client:
            until(lambda: _answers(client), "redis-server to answer")

    def client(self) -> redis.Redis:
        authority = str(self.certificate) if self.certificate else None
        return redis.Redis(
            port=self.port,
            socket_timeout=START_SECONDS,
            protocol=3,
            ssl=self.certificate is not None,
            ssl_ca_certs=authority,
            ssl_check_hostname=False,
        )

    def kill(self) -> None:
        """As by `kill -9`."""
        if self._popen:
            self._popen.kill()
            self._popen.wait(START_SECONDS)
            self._popen = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)


@contextmanager
def redis_server(folder: Path, options: Sequence[str] = DURABLE) -> Iterator[RedisServer]:
    folder.mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, options)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass(frozen=True)
class Reachable:
    """How a service reaches the server that has the records."""

    url: str
    server: RedisServer


@contextmanager
def redis_alone(folder: Path) -> Iterator[Reachable]:
    with redis_server(folder) as server:
        yield Reachable(server.url, server)


@contextmanager
def redis_over_tls(folder: Path) -> Iterator[Reachable]:
    """With a certificate of its own, which the URL names as the authority."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    server = RedisServer(folder, [*DURABLE, *files, "--tls-auth-clients", "no"])
    server.certificate = certificate
    server.start()
    try:
        yield Reachable(f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={certificate}", server)
    finally:
        server.kill()


@contextmanager
def redis_cluster(folder: Path) -> Iterator[Reachable]:
    """A cluster of one node, which has all slots."""
    with redis_server(folder, [*DURABLE, "--cluster-enabled", "yes"]) as server:
        with server.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: b"cluster_state:ok" in _raw(client, "CLUSTER", "INFO"), "the cluster to be whole")
        yield Reachable(f"redis+cluster://127.0.0.1:{server.port}", server)


@contextmanager
def redis_sentinel(folder: Path) -> Iterator[Reachable]:
    """A server that is found through a sentinel."""
    with redis_server(folder / "master") as master:
        sentinel = RedisServer(folder, [])
        config = folder / "sentinel.conf"
        config.write_text(f"port {sentinel.port}\nsentinel monitor {SERVICE_NAME} 127.0.0.1 {master.port} 1\n")
        log = (folder / "log").open("ab")
        popen = subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=log, stderr=log)
        try:
            sentinel.wait()
            yield Reachable(f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE_NAME}/0", master)
        finally:
            popen.kill()
            popen.wait(START_SECONDS)
            log.close()


FORMS = {"redis": redis_alone, "tls": redis_over_tls, "cluster": redis_cluster, "sentinel": redis_sentinel}


def free_port() -> int:
    """Low enough that a cluster's second port, 10000 above, exists."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


def until(condition: Any, what: str) -> None:
    deadline = monotonic() + START_SECONDS
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError(f"waited {START_SECONDS} s for {what}")
        sleep(0.01)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _raw(client: redis.Redis, *command: str) -> bytes:
    """The reply before redis-py has read it."""
    client.response_callbacks.pop("CLUSTER INFO", None)
    reply = client.execute_command(*command)
    return reply if isinstance(reply, bytes) else str(reply).encode()
