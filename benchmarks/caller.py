"""A client in a process of its own, as clients are: within the service's process the two would wait for one another."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any


class Caller:
    """Sends one request at a time over one connection, and times it from the first byte sent to the last one read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def post(self, path: str, document: Any) -> tuple[float, Any]:
        """Seconds, and what came back. Raises ValueError where that is not 200."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([path, document]) + "\n")
        self._process.stdin.flush()
        status, seconds, body = json.loads(self._process.stdout.readline())
        if status != 200:
            raise ValueError(f"{path} was answered with {status}: {body}")
        return seconds, json.loads(body)


@contextmanager
def calling(netloc: str) -> Iterator[Caller]:
    """A process that calls the service at `netloc` (host:port)."""
    command = [sys.executable, "-m", "benchmarks.caller", netloc]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Caller(process)


def _exchange(connection: socket.socket, host: str, path: str, body: bytes) -> tuple[int, float, str]:
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}\r\n".encode() + body
    started = perf_counter()
    connection.sendall(request)
    told = b""
    while not _is_whole(told):
        received = connection.recv(1 << 20)
        assert received, f"the service hung up after {told!r}"
        told += received
    seconds = perf_counter() - started
    return int(told.split(maxsplit=2)[1]), seconds, told.partition(b"\r\n\r\n")[2].decode()


def _is_whole(told: bytes) -> bool:
    """Every answer of the service announces its length."""
    head, end, body = told.partition(b"\r\n\r\n")
    if not end:
        return False
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0].split(b":")[1])


def main() -> None:
    host, port = sys.argv[1].split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in sys.stdin:
            path, document = json.loads(line)
            print(json.dumps(_exchange(connection, sys.argv[1], path, json.dumps(document).encode())), flush=True)


if __name__ == "__main__":
    main()
