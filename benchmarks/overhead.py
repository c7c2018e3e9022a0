"""What `/answer` costs on top of sampling alone: `python -m benchmarks.overhead` (`make bench`).

Every question is asked twice in a row, with the same seed, on the bundled models: its samples alone, and `POST /answer`
over a real server on loopback. The rest of `/answer` is split into

- NLI: what the response says, against pairs x the time of one pair, which is measured in the same run by labelling the
  pairs of all questions in batches of the size that questions have;
- service: all else between the call and its answer (HTTP, JSON, validation, queues, estimators, policy).

A second process is started to see how soon `demur serve` is ready, and how much memory it holds after the questions.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2
import uvicorn
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.results import save
from demur.app import build_entailment, build_sampler, create_app
from demur.engine.drawing import draw
from demur.entailment.base import EntailmentModel
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.settings import Settings
from demur.types import Message, Pair, Sampling, Verdict

QUESTIONS = [
    *(f"What is the capital of {c}?" for c in ("France", "Japan", "Bhutan", "Chad", "Peru", "Kenya", "Laos", "Malta")),
    *(f"What is the currency of {c}?" for c in ("Peru", "India", "Ghana", "Chile", "Japan", "Nepal", "Samoa", "Iraq")),
    *(f"Who wrote {b}?" for b in ("Hamlet", "Don Quixote", "Emma", "Ulysses", "Walden", "Dracula", "Candide", "Faust")),
    *(
        f"What is the chemical symbol for {e}?"
        for e in ("gold", "tin", "iron", "lead", "zinc", "argon", "boron", "neon")
    ),
    *("How do I boil an egg?", "Who will win the next election?", "Why is the sky blue?", "What should I cook today?"),
]


class Recorder:
    """Remembers the batches of pairs that were asked of the model behind it."""

    def __init__(self, inner: EntailmentModel) -> None:
        self._inner = inner
        self.model = inner.model
        self.batches: list[Sequence[Pair]] = []

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.batches.append(pairs)
        return await self._inner.label(pairs)

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds, and directed pairs, of one question."""

    bare: float
    answer: float
    generate: float
    nli: float
    n_pairs: int

    @property
    def service(self) -> float:
        return self.answer - self.generate - self.nli


@contextmanager
def serving(sampler: Sampler, entailment: EntailmentModel, settings: Settings | None = None) -> Iterator[str]:
    """The application over a real uvicorn in a thread."""
    app = create_app(settings or Settings(), sampler=sampler, entailment=entailment)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def bare_seconds(sampler: Sampler, prompt: str, seed: int) -> float:
    """Sampling alone, in process."""
    started = perf_counter()
    asyncio.run(draw(sampler, [Message("user", prompt)], Sampling(seed=seed), seconds=60))
    return perf_counter() - started


def answer_row(client: httpx2.Client, sampler: Sampler, prompt: str, seed: int) -> Row:
    bare = bare_seconds(sampler, prompt, seed)
    body = {"prompt": prompt, "sampling": {"seed": seed}, "include": ["clusters", "nli", "timings"]}
    started = perf_counter()
    reply = client.post("/answer", json=body).raise_for_status().json()
    seconds = perf_counter() - started
    return Row(bare, seconds, reply["timings"]["generate_s"], reply["timings"]["nli_s"], reply["nli"]["pairs"])


def seconds_per_pair(model: EntailmentModel, batches: Sequence[Sequence[Pair]]) -> float:
    """The batches of the run once more, one after another, with nothing around them."""

    async def label_all() -> float:
        started = perf_counter()
        for batch in batches:
            await model.label(batch)
        return perf_counter() - started

    return asyncio.run(label_all()) / sum(map(len, batches))


def process_figures(questions: Sequence[str]) -> dict[str, float]:
    """Seconds until `demur serve` listens, and its resident memory after the questions, in MB."""
    started = perf_counter()
    command = [sys.executable, "-m", "demur", "serve", "--port", "0"]
    popen = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "COLUMNS": "200"}
    )
    assert popen.stdout
    url = next(found[1] for line in popen.stdout if (found := re.search(r"listens on (http://\S+)", line)))
    ready = perf_counter() - started
    with httpx2.Client(base_url=url, timeout=60) as client:
        for question in questions:
            client.post("/answer", json={"prompt": question}).raise_for_status()
    status = Path(f"/proc/{popen.pid}/status").read_text(encoding="utf-8")
    popen.terminate()
    popen.wait()
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert resident
    return {"ready_s": ready, "rss_mb": int(resident[1]) / 1024}


def summarise(rows: Sequence[Row], pair_seconds: float) -> dict[str, Any]:
    def median_ms(values: Iterator[float]) -> float:
        return 1000 * statistics.median(values)

    return {
        "questions": len(rows),
        "bare_ms_p50": median_ms(r.bare for r in rows),
        "answer_ms_p50": median_ms(r.answer for r in rows),
        "service_ms_p50": median_ms(r.service for r in rows),
        "nli_ms_p50": median_ms(r.nli for r in rows),
        "ratio_p50": statistics.median(r.answer / r.bare for r in rows),
        "pairs_mean": statistics.mean(r.n_pairs for r in rows),
        "pair_ms": 1000 * pair_seconds,
        "nli_over_pair_time": sum(r.nli for r in rows) / (sum(r.n_pairs for r in rows) * pair_seconds),
    }


# figure, bound (None: for information), unit
BOUNDS = [
    ("bare_ms_p50", None, "ms   sampling alone, n = 10"),
    ("answer_ms_p50", None, "ms   /answer"),
    ("ratio_p50", None, "x    /answer over sampling alone, question by question"),
    ("service_ms_p50", 5.0, "ms   of it service"),
    ("nli_ms_p50", None, "ms   of it NLI"),
    ("pairs_mean", None, "     directed pairs a question"),
    ("pair_ms", None, "ms   a pair"),
    ("nli_over_pair_time", 1.2, "x    NLI time over pairs x time per pair"),
    ("ready_s", 10.0, "s    until `demur serve` listens"),
    ("rss_mb", 1200.0, "MB   resident after the questions"),
]


def show(figures: dict[str, Any]) -> bool:
    """Print the table; whether every bound holds."""
    table = Table(title="What /answer costs", title_justify="left")
    for column in ("figure", "measured", "bound", ""):
        table.add_column(column)
    held = True
    for name, bound, meaning in BOUNDS:
        ok = bound is None or figures[name] <= bound
        held &= ok
        mark = "" if bound is None else ("[green]✔[/]" if ok else "[red]✘[/]")
        table.add_row(name, f"{figures[name]:.2f} {meaning}", "" if bound is None else f"<= {bound:g}", mark)
    Console().print(table)
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times every question is asked, each with a new seed")
    rounds = parser.parse_args().rounds
    settings = Settings()
    sampler, entailment = build_sampler(settings.sampler), build_entailment(settings.nli, Metrics())
    recorder = Recorder(entailment)
    with serving(sampler, recorder) as url, httpx2.Client(base_url=url, timeout=60) as client:
        for question in QUESTIONS[:5]:  # warm up
            answer_row(client, sampler, f"{question} ", 0)
        recorder.batches.clear()
        plan = [(question, seed) for seed in range(rounds) for question in QUESTIONS]
        rows = [answer_row(client, sampler, question, seed) for question, seed in track(plan, "asking")]
    pair_seconds = seconds_per_pair(entailment, recorder.batches)
    figures = {**summarise(rows, pair_seconds), **process_figures(QUESTIONS)}
    save("overhead", figures)
    asyncio.run(sampler.aclose())
    asyncio.run(entailment.aclose())
    sys.exit(0 if show(figures) else 1)


if __name__ == "__main__":
    main()
