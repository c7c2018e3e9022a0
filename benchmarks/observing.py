"""What metrics and traces cost on `/answer`: `python -m benchmarks.observing`.

Three applications stand behind one server, over the same models: one that counts nothing, one with metrics, one with
metrics and spans that go to a collector in another process. Each question is asked of all three in a row, in turning
order, with the same seed; what is compared is the three times of one question. Spans are sent by a thread, every few
seconds; so that no other question pays for that, they are sent between two of them, as many at a time as a few seconds
bring, and the time it takes is shared out among the traced ones.

Done twice: on the bundled models, where the share counts, and on answers that cost nothing, where the time does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any
from unittest.mock import patch

import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from pydantic import SecretStr
from rich.console import Console
from rich.progress import track
from rich.table import Table
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.overhead import QUESTIONS
from benchmarks.results import save
from demur.app import create_app
from demur.backends import build_entailment, build_sampler
from demur.entailment.base import EntailmentModel
from demur.observability import logging
from demur.observability.metrics import Metrics
from demur.observability.otel import OtelTracer
from demur.samplers.base import Sampler
from demur.samplers.scripted import ScriptedAnswer, ScriptedSampler
from demur.settings import Settings, StoreSettings
from demur.types import Pair, Verdict

VARIANTS = ("bare", "metrics", "traced")
BOUND = 0.02
BATCH = 36  # questions: what the bundled models answer in the five seconds after which spans are sent

_SINK = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): ...
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Nothing:
    """A metric that counts nothing."""

    def labels(self, *_: object, **__: object) -> Nothing:
        return self

    def inc(self, *_: object, **__: object) -> None: ...

    dec = set = observe = set_function = inc


class Uncounted(Metrics):
    """All metrics, and none of them at work."""

    def introduce(self, model: str) -> None: ...

    def _nothing(self, *_: object, **__: object) -> Any:
        return Nothing()

    _counter = _gauge = _histogram = _nothing


class Different:
    """An entailment model that costs nothing: nothing entails anything."""

    model = "different"

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        return [Verdict(0.01, 0.01, 0.98)] * len(pairs)

    async def aclose(self) -> None: ...


@dataclass(frozen=True)
class Side:
    """The three applications by name, as one ASGI application: the first part of a path says whose it is."""

    apps: dict[str, FastAPI]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with self._running():
                await _live(receive, send)
            return
        _, name, rest = scope["path"].split("/", 2)
        app: ASGIApp = self.apps[name]
        await app({**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}, receive, send)

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in self.apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


def side(folder: Path, sampler: Sampler, entailment: Callable[[Metrics], EntailmentModel], tracer: OtelTracer) -> Side:
    """Each with a store and an NLI batcher of its own; the weights are the same."""
    apps = {}
    for name in VARIANTS:
        kind = Uncounted if name == "bare" else Metrics
        store = StoreSettings(url=SecretStr(f"sqlite:///{folder}/{name}.sqlite3"))
        with patch("demur.app.Metrics", kind):
            spans = tracer if name == "traced" else None
            apps[name] = create_app(Settings(store=store), sampler=sampler, entailment=entailment(kind()), tracer=spans)
    return Side(apps)


@contextmanager
def serving(app: Side) -> Iterator[httpx2.Client]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        sleep(0.01)
    try:
        url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        with httpx2.Client(base_url=url, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def sink() -> Iterator[str]:
    """A collector in another process that takes everything and keeps nothing."""
    popen = subprocess.Popen([sys.executable, "-c", _SINK], stdout=subprocess.PIPE, text=True)
    assert popen.stdout
    try:
        yield f"http://127.0.0.1:{popen.stdout.readline().strip()}/v1/traces"
    finally:
        popen.terminate()
        popen.wait()
        popen.stdout.close()


def ask(client: httpx2.Client, name: str, question: str, seed: int) -> float:
    started = perf_counter()
    body = {"prompt": question, "sampling": {"seed": seed}}
    client.post(f"/{name}/answer", json=body).raise_for_status()
    return perf_counter() - started


def times(client: httpx2.Client, tracer: OtelTracer, questions: Sequence[str], n_rounds: int, what: str) -> np.ndarray:
    """Seconds by question and variant; sending the spans is part of the traced ones' time."""
    plan = [(question, seed) for seed in range(n_rounds) for question in questions]
    seconds = np.zeros((len(plan), len(VARIANTS)))
    unsent = 0
    for number, (question, seed) in enumerate(track(plan, what)):
        for place in range(len(VARIANTS)):
            column = (number + place) % len(VARIANTS)
            seconds[number, column] = ask(client, VARIANTS[column], question, seed)
        if number + 1 - unsent == BATCH or number + 1 == len(plan):
            started = perf_counter()
            tracer._provider.force_flush()
            seconds[unsent : number + 1, VARIANTS.index("traced")] += (perf_counter() - started) / (number + 1 - unsent)
            unsent = number + 1
    return seconds


def figures(seconds: np.ndarray) -> dict[str, Any]:
    """Medians over questions, with 95 % bootstrap intervals: of the time, and of what is added to it."""
    bare = seconds[:, 0]
    found: dict[str, Any] = {"questions": len(seconds), "bare_ms_p50": round(1000 * float(np.median(bare)), 3)}
    for column, name in enumerate(VARIANTS[1:], 1):
        added = seconds[:, column] - bare
        found[name] = {
            "added_ms_p50": _interval(1000 * added),
            "added_share_p50": _interval(added / bare),
        }
    return found


def _interval(values: np.ndarray) -> list[float]:
    """Median, and the interval for it."""
    random = np.random.default_rng(0)
    medians = np.median(random.choice(values, (2000, len(values))), axis=1)
    return [round(float(x), 5) for x in (np.median(values), *np.quantile(medians, [0.025, 0.975]))]


def measure(
    sampler: Sampler,
    entailment: Callable[[Metrics], EntailmentModel],
    questions: Sequence[str],
    n_rounds: int,
    what: str,
) -> dict[str, Any]:
    with TemporaryDirectory() as folder, sink() as url:
        tracer = OtelTracer(OTLPSpanExporter(endpoint=url))
        with serving(side(Path(folder), sampler, entailment, tracer)) as client:
            times(client, tracer, [f"{question} " for question in questions[:5]], 2, "warming up")
            seconds = times(client, tracer, questions, n_rounds, what)
        tracer.close()
    return figures(seconds)


def show(found: dict[str, Any]) -> bool:
    """Print the table; whether the bound holds for the bundled models, metrics and traces together."""
    table = Table(title="What metrics and traces add to /answer (median, 95 % interval)", title_justify="left")
    for column in ("models", "/answer, ms", "added by", "ms", "share"):
        table.add_column(column)
    for models in ("bundled", "free"):
        for name in VARIANTS[1:]:
            ms, share = (found[models][name][key] for key in ("added_ms_p50", "added_share_p50"))
            table.add_row(
                models,
                f"{found[models]['bare_ms_p50']:.1f}",
                "metrics" if name == "metrics" else "metrics and traces",
                f"{ms[0]:.3f} [{ms[1]:.3f}, {ms[2]:.3f}]",
                f"{share[0]:.2%} [{share[1]:.2%}, {share[2]:.2%}]",
            )
    Console().print(table)
    return bool(found["bundled"]["traced"]["added_share_p50"][0] <= BOUND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="times every question is asked of each, with a new seed")
    n_rounds = parser.parse_args().rounds
    settings = Settings()
    logging.configure("warning", "console")
    os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"  # they are sent by `times`
    free = ScriptedSampler(lambda *_: [ScriptedAnswer(text, (-3.0,)) for text in ("Paris", "Paris", "Lyon", "Nice")])
    found = {"free": measure(free, lambda _: Different(), QUESTIONS, 4 * n_rounds, "answers that cost nothing")}
    bundled = build_sampler(settings.sampler)
    found["bundled"] = measure(
        bundled, lambda metrics: build_entailment(settings.nli, metrics), QUESTIONS, n_rounds, "the bundled models"
    )
    save("observing", found)
    sys.exit(0 if show(found) else 1)


if __name__ == "__main__":
    main()
