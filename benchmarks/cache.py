"""What remembering saves: `python -m benchmarks.cache` (needs redis-server for half of it).

On the bundled models, over a real server on loopback. Every question is asked twice: drawn, then remembered. Then a
second service, which has judged nothing yet, draws the same samples (`bypass`, same seed) on the same Redis: the pairs
that its NLI model is not asked are those that it shares.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import httpx2
from pydantic import SecretStr
from rich.console import Console

from benchmarks.overhead import QUESTIONS, serving
from benchmarks.results import save
from demur.backends import build_entailment, build_sampler
from demur.observability.metrics import Metrics
from demur.settings import Settings, StoreSettings
from tests.conformance.redis_server import redis_server


def ask(client: httpx2.Client, prompt: str, **fields: object) -> tuple[float, dict[str, Any]]:
    """Milliseconds, and the answer."""
    body = {"prompt": prompt, "sampling": {"seed": 1}, "include": ["nli", "clusters"], **fields}
    started = perf_counter()
    reply = client.post("/answer", json=body).raise_for_status().json()
    return 1000 * (perf_counter() - started), reply


def measure(settings: Settings, questions: Sequence[str]) -> tuple[dict[str, float], dict[str, int]]:
    """Median milliseconds by status of the cache, and the pairs of a second service: asked, and shared."""
    times: dict[str, list[float]] = {}
    sampler = build_sampler(settings.sampler)
    for_first, for_second = (build_entailment(settings.nli, Metrics()) for _ in range(2))
    with serving(sampler, for_first, settings) as service, httpx2.Client(base_url=service.url, timeout=60) as client:
        ask(client, "What is the capital of Spain?")  # the first request warms up the models
        for question in questions:
            for _ in range(2):
                ms, reply = ask(client, question)
                times.setdefault(reply["cache"]["status"], []).append(ms)
    with serving(sampler, for_second, settings) as service, httpx2.Client(base_url=service.url, timeout=60) as client:
        judged = [ask(client, question, cache={"mode": "bypass"})[1]["nli"] for question in questions]
    pairs = {"asked": sum(j["pairs"] for j in judged), "shared": sum(j["pairs_cached"] for j in judged)}
    return {status: round(statistics.median(ms), 2) for status, ms in times.items()}, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    with redis_server() as redis:
        shared = Settings(store=StoreSettings(url=SecretStr(redis.url), timeout_s=1))
        places = {"process": Settings(), "redis": shared}
        figures = {place: measure(settings, QUESTIONS) for place, settings in places.items()}
    shown = {f"{place}_ms_p50": times for place, (times, _) in figures.items()}
    figure = {
        "n_questions": len(QUESTIONS),
        **shown,
        "pairs_of_a_second_service": {p: n for p, (_, n) in figures.items()},
    }
    Console().print(figure)
    Console().print(save("cache", figure))


if __name__ == "__main__":
    main()
