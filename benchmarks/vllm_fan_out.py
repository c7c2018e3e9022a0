"""How to ask vLLM for n samples: `python -m benchmarks.vllm_fan_out`.

The same prompt, with the greedy answer beside the samples, asked in three ways that take turns:

- `singly`: n requests, each of which returns when it is finished (what the vllm sampler does);
- `together`: one request with `n` that streams all of them token by token (`DELTA`);
- `sparsely`: the same, but streaming only each sample's first token and the rest at its end.

Told are the medians of the milliseconds until the first and the last sample is there, and of the processor time that
each way takes from the service's own process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import perf_counter, process_time
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.overhead import CPU_ARGUMENTS, CPU_ENVIRONMENT, QUESTIONS
from benchmarks.results import save
from demur.samplers.vllm import VLLMSampler
from demur.settings import bundled_path
from demur.types import Message, Sampling


@dataclass
class Arrivals:
    """Seconds from the start until each sample was finished."""

    started: float = field(default_factory=perf_counter)
    seconds: list[float] = field(default_factory=list)

    async def follow(self, outputs: Any) -> None:
        async for output in outputs:
            finished = sum(completion.finish_reason is not None for completion in output.outputs)
            self.seconds += [perf_counter() - self.started] * finished


Ways = dict[str, Callable[[Arrivals, int, int], list[Coroutine[Any, Any, None]]]]


def ways(engine: Any, prompt: Any) -> Ways:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    def ask(arrivals: Arrivals, kind: RequestOutputKind, **options: Any) -> Coroutine[Any, Any, None]:
        parameters = SamplingParams(max_tokens=64, logprobs=0, output_kind=kind, **options)
        return arrivals.follow(engine.generate(prompt, parameters, uuid4().hex))

    def greedy(arrivals: Arrivals) -> Coroutine[Any, Any, None]:
        return ask(arrivals, RequestOutputKind.FINAL_ONLY, temperature=0.0)

    def singly(arrivals: Arrivals, n: int, seed: int) -> list[Coroutine[Any, Any, None]]:
        draws = [ask(arrivals, RequestOutputKind.FINAL_ONLY, seed=1000 * seed + i) for i in range(n)]
        return [greedy(arrivals), *draws]

    def together(arrivals: Arrivals, n: int, seed: int) -> list[Coroutine[Any, Any, None]]:
        return [greedy(arrivals), ask(arrivals, RequestOutputKind.DELTA, n=n, seed=1000 * seed)]

    def sparsely(arrivals: Arrivals, n: int, seed: int) -> list[Coroutine[Any, Any, None]]:
        draws = ask(arrivals, RequestOutputKind.DELTA, n=n, seed=1000 * seed, stream_interval=1_000_000)
        return [greedy(arrivals), draws]

    return {"singly": singly, "together": together, "sparsely": sparsely}


async def measure(known: Ways, n: int, rounds: int) -> dict[str, dict[str, float]]:
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in known}
    for seed in track(range(rounds), f"n = {n}"):
        for name, way in known.items():
            arrivals, before = Arrivals(), process_time()
            await asyncio.gather(*way(arrivals, n, seed))
            assert len(arrivals.seconds) == n + 1
            rows[name].append((min(arrivals.seconds), max(arrivals.seconds), process_time() - before))
    return {name: _medians(taken[rounds // 10 :]) for name, taken in rows.items()}


def _medians(rows: list[tuple[float, float, float]]) -> dict[str, float]:
    first, last, own = (1000 * statistics.median(column) for column in zip(*rows, strict=True))
    return {"first_ms_p50": first, "last_ms_p50": last, "own_processor_ms_p50": own}


def show(figures: dict[str, dict[str, dict[str, float]]]) -> None:
    table = Table("n", "way", "first, ms", "last, ms", "own processor, ms")
    for n, found in figures.items():
        for name, row in found.items():
            table.add_row(n, name, *(f"{value:.1f}" for value in row.values()))
    Console().print(table)


async def run(sampler: VLLMSampler, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    from vllm.inputs import tokens_input

    prompt = sampler.engine.encode([Message("user", QUESTIONS[0])], Sampling())
    known = ways(sampler.engine._engine, tokens_input(list(prompt.ids)))
    figures = {str(n): await measure(known, n, rounds) for n in (10, 32)}
    await sampler.aclose()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50, help="times each way is taken; the first tenth warms up")
    rounds = parser.parse_args().rounds
    os.environ |= {name: value for name, value in CPU_ENVIRONMENT.items() if name not in os.environ}
    figures = asyncio.run(run(VLLMSampler.load(str(bundled_path("facts")), arguments=CPU_ARGUMENTS), rounds))
    save("vllm_fan_out", {"rounds": rounds, **figures})
    show(figures)


if __name__ == "__main__":
    main()
