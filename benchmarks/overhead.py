"""What `/answer` costs on top of sampling alone: `python -m benchmarks.overhead` (`make bench`).

Every question is asked twice in a row, with the same seed, on the bundled models: its samples alone, and `POST /answer`
over a real server on loopback. The rest of `/answer` is split into

- NLI: what the response says, against pairs x the time of one pair, which is measured by labelling the question's
  batches once more after another draw, as cold as an answer finds the model; a part of it may be hidden behind the
  generation;
- service: all else between the call and its answer (HTTP, JSON, validation, queues, estimators, policy).

With `--backend scripted` a 7B model's latencies are replayed instead (benchmarks/overlap.py).

A second process is started to see how soon `demur serve` is ready, and how much memory it holds after the questions.

`--backend vllm` draws with vLLM in this process, in an environment that has it (`make test-vllm` makes one); without a
GPU in float32 and without compiling. The second process is left out there: starting vLLM says nothing about Demur.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any, Literal, TypeVar

import httpx2
import uvicorn
from pydantic import JsonValue, SecretStr
from rich.progress import track

from benchmarks.caller import Caller, calling
from benchmarks.results import Bound, save, show_bounds
from demur.app import create_app
from demur.backends import build_entailment, open_sampler
from demur.engine.drawing import draw
from demur.entailment.base import EntailmentModel
from demur.observability.logging import configure
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.settings import SamplerSettings, Settings, VLLMSettings
from demur.types import Message, Pair, Sampling, Verdict

T = TypeVar("T")

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


# Short answers first, until the store's write-ahead log is written over rather than extended (after 1,000 pages, 4 or 5
# an answer): so it is for all but the first minutes of a service.
WARM_UP = 300

# vLLM without a GPU: a small cache, threads that the system places and that leave their core to others while they wait,
# and nothing to compile.
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_WAIT_POLICY": "passive",
}
CPU_ARGUMENTS: dict[str, JsonValue] = {"dtype": "float32", "enforce_eager": True}


class Recorder:
    """Remembers the batches of pairs that were asked of the model behind it."""

    def __init__(self, inner: EntailmentModel) -> None:
        self._inner = inner
        self.model = inner.model
        self.batches: list[Sequence[Pair]] = []

    async def label(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.batches.append(pairs)
        return await self._inner.label(pairs)

    async def seconds_again(self) -> float:
        """The same batches, one after another."""
        started = perf_counter()
        for batch in self.batches:
            await self._inner.label(batch)
        return perf_counter() - started

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass(frozen=True, slots=True)
class Row:
    """Seconds, and directed pairs, of one question."""

    bare: float
    answer: float
    generate: float
    nli: float
    nli_hidden: float
    n_pairs: int
    pairs_alone: float  # its batches once more, with nothing around them

    @property
    def service(self) -> float:
        return self.answer - self.generate - (self.nli - self.nli_hidden)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service; its event loop is where its sampler draws."""

    netloc: str  # host:port
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return f"http://{self.netloc}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@contextmanager
def serving(sampler: Sampler, entailment: EntailmentModel, settings: Settings | None = None) -> Iterator[Service]:
    """The application over a real uvicorn in a thread; its records go with it. It logs as when it serves, to nobody."""
    _log_to_nobody()
    with TemporaryDirectory() as folder:
        settings = settings or Settings()
        store = {"url": settings.store.url or SecretStr(f"sqlite:///{folder}/store.sqlite")}
        kept_here = settings.model_copy(update={"store": settings.store.model_copy(update=store)})
        app = create_app(kept_here, sampler=sampler, entailment=entailment)
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False)
        server = uvicorn.Server(config)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            loop = runner.get_loop()
            thread = threading.Thread(target=runner.run, args=(server.serve(),))
            thread.start()
            while not server.started:
                sleep(0.01)
            try:
                yield Service(f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", loop)
            finally:
                server.should_exit = True
                thread.join()


@cache
def _log_to_nobody() -> None:
    configure("info", "json")
    nobody = logging.FileHandler(os.devnull)
    nobody.setFormatter(logging.getLogger().handlers[0].formatter)
    logging.getLogger().handlers = [nobody]


def bare_seconds(service: Service, sampler: Sampler, prompt: str, seed: int) -> float:
    """Sampling alone, in process."""
    started = perf_counter()
    service.run(draw(sampler, [Message("user", prompt)], Sampling(seed=seed), seconds=60))
    return perf_counter() - started


def answer_row(caller: Caller, service: Service, sampler: Sampler, recorder: Recorder, prompt: str, seed: int) -> Row:
    """A question's samples alone, the same question whole, and the pairs of it alone."""
    bare = bare_seconds(service, sampler, prompt, seed)
    asked = {"prompt": prompt, "sampling": {"seed": seed}, "include": ["clusters", "nli", "timings"]}
    recorder.batches.clear()
    seconds, reply = caller.post("/answer", asked)
    bare_seconds(service, sampler, prompt, seed)
    alone = service.run(recorder.seconds_again())
    times = reply["timings"]
    return Row(bare, seconds, times["generate_s"], times["nli_s"], times["nli_hidden_s"], reply["nli"]["pairs"], alone)


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


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    def median_ms(values: Iterator[float]) -> float:
        return 1000 * statistics.median(values)

    return {
        "questions": len(rows),
        "bare_ms_p50": median_ms(r.bare for r in rows),
        "answer_ms_p50": median_ms(r.answer for r in rows),
        "service_ms_p50": median_ms(r.service for r in rows),
        "nli_ms_p50": median_ms(r.nli for r in rows),
        "nli_hidden_ms_p50": median_ms(r.nli_hidden for r in rows),
        "ratio_p50": statistics.median(r.answer / r.bare for r in rows),
        "pairs_mean": statistics.mean(r.n_pairs for r in rows),
        "pair_ms": 1000 * sum(r.pairs_alone for r in rows) / sum(r.n_pairs for r in rows),
        "nli_over_pair_time": sum(r.nli for r in rows) / sum(r.pairs_alone for r in rows),
    }


BOUNDS: list[Bound] = [
    ("bare_ms_p50", None, "ms   sampling alone, n = 10"),
    ("answer_ms_p50", None, "ms   /answer"),
    ("ratio_p50", None, "x    /answer over sampling alone, question by question"),
    ("service_ms_p50", 5.0, "ms   of it service"),
    ("nli_ms_p50", None, "ms   NLI"),
    ("nli_hidden_ms_p50", None, "ms   of it while samples were drawn"),
    ("pairs_mean", None, "     directed pairs a question"),
    ("pair_ms", None, "ms   a pair"),
    ("nli_over_pair_time", 1.2, "x    NLI time over pairs x time per pair"),
    ("ready_s", 10.0, "s    until `demur serve` listens"),
    ("rss_mb", 1200.0, "MB   resident after the questions"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="times every question is asked, each with a new seed")
    parser.add_argument(
        "--backend",
        choices=("local", "vllm", "scripted"),
        default="local",
        help="what draws the samples; scripted: a 7B model's latencies, replayed",
    )
    arguments = parser.parse_args()
    if arguments.backend == "scripted":
        from benchmarks.overlap import run  # which asks as this module does

        sys.exit(0 if run("scripted", arguments.rounds) else 1)
    settings = _settings(arguments.backend)
    sampler, entailment = asyncio.run(open_sampler(settings, Metrics())), build_entailment(settings.nli, Metrics())
    recorder = Recorder(entailment)
    with serving(sampler, recorder) as service, calling(service.netloc) as caller:
        for i in track(range(WARM_UP), "warming up"):
            caller.post("/answer", {"prompt": QUESTIONS[i % len(QUESTIONS)], "sampling": {"n": 2, "seed": 1000 + i}})
        plan = [(question, seed) for seed in range(arguments.rounds) for question in QUESTIONS]
        rows = [answer_row(caller, service, sampler, recorder, *asked) for asked in track(plan, "asking")]
        service.run(sampler.aclose())
    figures = summarise(rows)
    if arguments.backend == "local":
        figures |= process_figures(QUESTIONS)
    save("overhead" if arguments.backend == "local" else f"overhead_{arguments.backend}", figures)
    asyncio.run(entailment.aclose())
    sys.exit(0 if show_bounds("What /answer costs", figures, BOUNDS) else 1)


def _settings(backend: Literal["local", "vllm"]) -> Settings:
    """From the environment, but for the backend; vLLM as it runs on a CPU, where there is no GPU."""
    settings = Settings()
    sampler = SamplerSettings(**{**settings.sampler.model_dump(), "backend": backend})
    if backend == "local" or find_library("cuda"):
        return settings.model_copy(update={"sampler": sampler})
    os.environ |= {name: value for name, value in CPU_ENVIRONMENT.items() if name not in os.environ}
    vllm = VLLMSettings(args={**CPU_ARGUMENTS, **settings.vllm.args}, max_model_len=settings.vllm.max_model_len)
    return settings.model_copy(update={"sampler": sampler, "vllm": vllm})


if __name__ == "__main__":
    main()
