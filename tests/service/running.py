"""Real uvicorn servers on loopback: in this process with scripted answers, or `demur serve` with the bundled models."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

import httpx2
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from demur.app import create_app
from demur.engine.engine import Engine
from demur.entailment.base import EntailmentModel
from demur.observability.tracing import Tracer
from demur.samplers.base import Sampler
from demur.samplers.scripted import Script, ScriptedSampler
from demur.server import configured
from demur.settings import Settings
from demur.types import Pair, Verdict

START_SECONDS = 60


@dataclass
class Service:
    """A running service, the sampler behind it, and a client of it."""

    url: str
    sampler: ScriptedSampler
    client: httpx2.Client
    app: FastAPI

    def engine(self) -> Engine:
        found: Engine = self.app.state.engine
        return found

    def ask(self, prompt: str = "q", **fields: object) -> httpx2.Response:
        return self.client.post("/v1/answer", json={"prompt": prompt, **fields})


class SameText:
    """An entailment model for which a statement entails itself and the given pairs of answers, and nothing else."""

    model = "same-text"

    def __init__(self, entailed: Sequence[tuple[str, str]] = ()) -> None:
        self._entailed = set(entailed)

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [self._verdict(p.premise.answer, p.hypothesis.answer) for p in pairs]

    def _verdict(self, premise: str, hypothesis: str) -> Verdict:
        entails = premise == hypothesis or (premise, hypothesis) in self._entailed
        return Verdict(0.98, 0.01, 0.01) if entails else Verdict(0.01, 0.01, 0.98)

    async def aclose(self) -> None: ...


@contextmanager
def serving(
    script: Script,
    *,
    sampler: Sampler | None = None,
    entailment: EntailmentModel | None = None,
    settings: Settings | None = None,
    tracer: Tracer | None = None,
) -> Iterator[Service]:
    """A service in a thread of this process, over a scripted sampler, or over `sampler`."""
    scripted = ScriptedSampler(script)
    settings = settings or Settings()
    listening = settings.model_copy(update={"server": settings.server.model_copy(update={"port": 0})})
    app = create_app(settings, sampler=sampler or scripted, entailment=entailment or SameText(), tracer=tracer)
    server = uvicorn.Server(configured(app, listening))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "the server to listen")
        assert server.started, "the application did not start; its log says why"
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        with httpx2.Client(base_url=url, timeout=30) as client:
            yield Service(url, scripted, client, app)
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)


@dataclass
class Process:
    """`demur serve` in a process of its own."""

    url: str
    popen: subprocess.Popen[str]


@contextmanager
def serve_process(**env: str) -> Iterator[Process]:
    """Start `demur serve` on a free port, with the bundled models, and wait until it is ready."""
    command = [sys.executable, "-m", "demur", "serve", "--port", "0"]
    environment = {**os.environ, "DEMUR_OBSERVABILITY__LOG_FORMAT": "json", "COLUMNS": "200", **env}
    popen = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield Process(announced_url(popen), popen)
    finally:
        popen.terminate()
        popen.wait(START_SECONDS)
        if popen.stdout:
            popen.stdout.close()


def announced_url(popen: subprocess.Popen[str]) -> str:
    assert popen.stdout
    for line in popen.stdout:
        if found := re.search(r"listens on (http://\S+)", line):
            return found[1]
    raise RuntimeError(f"demur serve ended with status {popen.wait()} before it listened")


def metric(service: Service, name: str, **labels: str) -> float:
    """The sum of the series of that name that carry these labels."""
    families = text_string_to_metric_families(service.client.get("/metrics").text)
    samples = [s for f in families for s in f.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


@contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connected:
        yield connected


@contextmanager
def half_asked(service: Service, prompt: str) -> Iterator[None]:
    """A question whose asker waits until the block ends, and then hangs up."""
    body = json.dumps({"prompt": prompt}).encode()
    head = (
        f"POST /v1/answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connection(service) as connected:
        connected.sendall(head.encode() + body)
        yield


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + START_SECONDS
    while not condition():
        if monotonic() > deadline:
            raise TimeoutError(f"waited {START_SECONDS} s for {what}")
        sleep(0.01)
