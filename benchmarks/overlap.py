"""What entailment while samples are drawn is worth: `python -m benchmarks.overlap --backend scripted|local`.

Every question is asked three times in a row with the same seed, in turning order: its samples alone, `POST /answer`
with DEMUR_NLI__OVERLAP=off, and with on, over real servers on loopback that share one NLI model. No verdict is
remembered between requests. `scripted` replays a 7B model (benchmarks/scripted_latency.py), whose samples cost this
machine nothing; `local` is the embedded default, whose language model shares the processor with the NLI model. With
`--concurrency` many questions are asked at once in each way, until the NLI model is what they wait for.

Two figures say how much of the NLI time is hidden: the share of it that the response reports to lie before the last
sample, useless pairs included; and, harder, how much less time `/answer` spends after the last sample than without.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import httpx2
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.overhead import QUESTIONS, Service, bare_seconds, serving
from benchmarks.results import save
from benchmarks.scripted_latency import ANSWERS, MEDIAN_SECONDS, SIGMA, seven_b_sampler
from demur.backends import build_entailment, build_sampler
from demur.observability.metrics import Metrics
from demur.samplers.base import Sampler
from demur.settings import Settings

Backend = Literal["scripted", "local"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer: seconds, and directed pairs."""

    seconds: float
    generate: float
    nli: float
    hidden: float
    n_pairs: int
    n_speculative: int
    partition: tuple[int | None, ...]

    @property
    def visible(self) -> float:
        return self.nli - self.hidden

    @property
    def service(self) -> float:
        return self.seconds - self.generate - self.visible


@dataclass(frozen=True, slots=True)
class Row:
    bare: float
    off: Asked
    on: Asked


@dataclass(frozen=True, slots=True)
class Measured:
    new_sampler: Callable[[], Sampler]
    service: Service  # in whose loop the bare samples are drawn
    clients: dict[str, httpx2.Client]


def ask(client: httpx2.Client, prompt: str, seed: int) -> Asked:
    body = {"prompt": prompt, "sampling": {"seed": seed}, "include": ["samples", "nli", "timings"]}
    response = client.post("/answer", json=body).raise_for_status()
    reply, timings, nli = response.json(), response.json()["timings"], response.json()["nli"]
    return Asked(
        seconds=response.elapsed.total_seconds(),
        generate=timings["generate_s"],
        nli=timings["nli_s"],
        hidden=timings["nli_hidden_s"],
        n_pairs=nli["pairs"],
        n_speculative=nli["pairs_speculative"],
        partition=tuple(sample["cluster"] for sample in reply["samples"]),
    )


def rows(measured: Measured, chunk: Sequence[tuple[str, int]], pool: ThreadPoolExecutor) -> list[Row]:
    """The chunk's questions at once, one way after another. The order turns, so that no way is always the first."""

    def once(way: str, prompt: str, seed: int) -> Any:
        if way == "bare":
            return bare_seconds(measured.service, measured.new_sampler(), prompt, seed)
        return ask(measured.clients[way], prompt, seed)

    ways = ["bare", *measured.clients]
    turn = chunk[0][1] % len(ways)
    found = {way: list(pool.map(partial(once, way), *zip(*chunk, strict=True))) for way in ways[turn:] + ways[:turn]}
    return [Row(*both) for both in zip(found["bare"], found["off"], found["on"], strict=True)]


def measure(new_sampler: Callable[[], Sampler], questions: Sequence[str], n_rounds: int, concurrency: int) -> list[Row]:
    nli = Settings().nli
    entailment = build_entailment(nli, Metrics())
    off, on = (Settings(nli=nli.model_copy(update={"overlap": way, "pair_memo": 1})) for way in ("off", "on"))
    plan = [(question, 1 + n_rounds * i + k) for k in range(n_rounds) for i, question in enumerate(questions)]
    with (
        serving(new_sampler(), entailment, off) as service_off,
        serving(new_sampler(), entailment, on) as service_on,
        httpx2.Client(base_url=service_off.url, timeout=60) as client_off,
        httpx2.Client(base_url=service_on.url, timeout=60) as client_on,
        ThreadPoolExecutor(concurrency) as pool,
    ):
        measured = Measured(new_sampler, service_off, {"off": client_off, "on": client_on})
        for question in questions[:3]:  # warm up
            rows(measured, [(question, 0)], pool)
        chunks = [plan[i : i + concurrency] for i in range(0, len(plan), concurrency)]
        found = [row for chunk in track(chunks, "asking") for row in rows(measured, chunk, pool)]
    asyncio.run(entailment.aclose())
    return found


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    visible_on, visible_off = sum(r.on.visible for r in rows), sum(r.off.visible for r in rows)
    return {
        "questions": len(rows),
        "bare_s_p50": statistics.median(r.bare for r in rows),
        **_spread("ratio_on", [r.on.seconds / r.bare for r in rows]),
        **_spread("ratio_off", [r.off.seconds / r.bare for r in rows]),
        **_spread("on_over_off", [r.on.seconds / r.off.seconds for r in rows]),
        "hidden_share": sum(r.on.hidden for r in rows) / sum(r.on.nli for r in rows),
        "visible_saved_share": 1 - visible_on / visible_off,
        "service_s_p50": statistics.median(r.on.service for r in rows),
        "nli_off_s_mean": statistics.mean(r.off.nli for r in rows),
        "nli_on_s_mean": statistics.mean(r.on.nli for r in rows),
        "visible_on_s_mean": statistics.mean(r.on.visible for r in rows),
        "pairs_off_mean": statistics.mean(r.off.n_pairs for r in rows),
        "pairs_on_mean": statistics.mean(r.on.n_pairs for r in rows),
        "pairs_speculative_mean": statistics.mean(r.on.n_speculative for r in rows),
        "partitions_that_differ": sum(r.on.partition != r.off.partition for r in rows),
    }


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median of pairs, with its 95 % bootstrap interval, and the 95th percentile."""
    random_ = random.Random(0)
    medians = sorted(statistics.median(random_.choices(values, k=len(values))) for _ in range(2000))
    return {
        f"{name}_p50": statistics.median(values),
        f"{name}_p50_low": medians[50],
        f"{name}_p50_high": medians[-51],
        f"{name}_p95": sorted(values)[int(0.95 * (len(values) - 1))],
    }


# figure, bounds (None: for information), meaning
FIGURES: list[tuple[str, tuple[float, float] | None, str]] = [
    ("bare_s_p50", None, "s   sampling alone, n = 10"),
    ("ratio_on_p50", (0.0, 1.15), "x   /answer over sampling alone"),
    ("ratio_on_p95", None, "x   the same, 95th percentile"),
    ("ratio_off_p50", None, "x   without overlap"),
    ("on_over_off_p50", None, "x   /answer with overlap over without"),
    ("hidden_share", (0.7, 1.0), "    of the NLI time lies before the last sample"),
    ("visible_saved_share", (0.7, 1.0), "    less NLI time after the last sample than without overlap"),
    ("service_s_p50", None, "s   neither sampling nor NLI, in a process that has idled for a second"),
    ("nli_off_s_mean", None, "s   NLI time without overlap"),
    ("visible_on_s_mean", None, "s   NLI time after the last sample with overlap"),
    ("pairs_off_mean", None, "    directed pairs a question without overlap"),
    ("pairs_on_mean", None, "    with overlap"),
    ("pairs_speculative_mean", None, "    asked ahead and not needed"),
    ("partitions_that_differ", (0.0, 0.0), "    questions whose partition is another with overlap"),
]


def show(figures: dict[str, Any], title: str, *, bounded: bool) -> bool:
    """Print the table; whether every bound holds."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "measured", "bound", ""):
        table.add_column(column)
    held = True
    for name, bounds, meaning in FIGURES:
        low, high = bounds if bounds and bounded else (-float("inf"), float("inf"))
        ok = low <= figures[name] <= high
        held &= ok
        stated = f"{low:g} ... {high:g}" if bounds and bounded else ""
        table.add_row(
            name, f"{figures[name]:.3f} {meaning}", stated, ("[green]✔[/]" if ok else "[red]✘[/]") * bool(stated)
        )
    Console().print(table)
    return held


def run(backend: Backend, n_rounds: int, concurrency: int = 1) -> bool:
    """Measure, save, print; whether every bound holds. Bounds are those of one caller and a 7B model."""
    at_once = f"_{concurrency}" if concurrency > 1 else ""
    title = f"entailment while samples are drawn, {backend} language model, {concurrency} at once"
    if backend == "scripted":
        found = measure(seven_b_sampler, list(ANSWERS), n_rounds, concurrency)
        figures = {"latency": {"median_s": MEDIAN_SECONDS, "log_sigma": SIGMA}, **summarise(found)}
        save(f"overhead_scripted{at_once}", figures)
        return show(figures, title, bounded=concurrency == 1)
    sampler = build_sampler(Settings().sampler)
    figures = summarise(measure(lambda: sampler, QUESTIONS, n_rounds, concurrency))
    asyncio.run(sampler.aclose())
    save(f"overlap_local{at_once}", figures)
    return show(figures, title, bounded=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["scripted", "local"], default="scripted")
    parser.add_argument("--rounds", type=int, default=3, help="times every question is asked, each with a new seed")
    parser.add_argument("--concurrency", type=int, default=1, help="questions asked at once, one way after another")
    arguments = parser.parse_args()
    sys.exit(0 if run(arguments.backend, arguments.rounds, arguments.concurrency) else 1)


if __name__ == "__main__":
    main()
