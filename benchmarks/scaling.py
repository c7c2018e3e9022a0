"""How the cost of semantic entropy grows: `python -m benchmarks.scaling`, a few minutes, no data needed.

The bundled NLI model as it is shipped, on answers made here: cities in four wordings, commonest first, as a model's
answers are. Against the number of samples (2 ... 40), the length of an answer (5 ... 400 tokens) and how many questions
are asked at once (1 ... 128): directed pairs, forward passes, latency, throughput, resident memory.

A figure grows as x to the power of its exponent: the slope of a straight line through the logarithms of the means, with
a 95 % interval from drawing questions again. Plots are in benchmarks/.cache/scaling.html.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.pair_table import CACHE
from benchmarks.passes import Passes
from benchmarks.results import save
from demur.clustering import Clusterer
from demur.entailment.batcher import Batcher
from demur.entailment.cross_encoder import CrossEncoderModel
from demur.entailment.pair_memo import PairMemo, PairTally
from demur.observability.metrics import Metrics
from demur.settings import bundled_path

SIZES = (2, 3, 5, 7, 10, 15, 20, 30, 40)
LENGTHS = (5, 10, 25, 50, 100, 200, 400)
AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128)
CITIES = ["Paris", "Lyon", "Rome", "Berlin", "Madrid", "Vienna", "Lisbon", "Athens", "Dublin", "Oslo", "Prague", "Bern"]
WORDINGS = ["{}", "It is {}.", "The city of {}", "{}, I believe"]
FILLER = ["which", "is", "what", "the", "book", "said", "about", "where", "old", "councils", "met", "in", "spring"]
QUESTION = "Where was the treaty signed?"
N_DRAWS = 1000

Row = dict[str, float]


def answers(n: int, random: np.random.Generator, n_words: int = 0) -> list[str]:
    """`n_words` of filler make an answer longer, and leave its meaning to its first words."""
    weights = 1 / np.arange(1, len(CITIES) + 1)
    cities = random.choice(CITIES, n, p=weights / weights.sum())
    tail = " ".join(FILLER[i % len(FILLER)] for i in range(n_words))
    return [f"{WORDINGS[int(random.integers(len(WORDINGS)))].format(city)} {tail}".strip() for city in cities]


class Model:
    def __init__(self, threads: int | None) -> None:
        if threads:
            torch.set_num_threads(threads)
        Passes.count()
        self._batcher = Batcher(CrossEncoderModel.load(bundled_path("nli"), n_threads=threads), Metrics())
        self._runner = asyncio.Runner()

    def ask(self, asked: Sequence[Sequence[str]]) -> list[Row]:
        """All at once; passes and seconds of the whole are shared out."""
        return self._runner.run(self._ask(asked))

    async def _ask(self, asked: Sequence[Sequence[str]]) -> list[Row]:
        memo, passes, started = PairMemo(self._batcher, Metrics()), Passes.n, perf_counter()
        rows = await asyncio.gather(*(self._one(memo, texts) for texts in asked))
        whole = perf_counter() - started
        share = {"passes": (Passes.n - passes) / len(asked), "seconds": whole / len(asked)}
        return [{**row, **share} for row in rows]

    async def _one(self, memo: PairMemo, texts: Sequence[str]) -> Row:
        started = perf_counter()
        # Its number keeps pairs of one question from being known to the next.
        clustered = await Clusterer(PairTally(memo, str(id(texts)))).cluster(texts, QUESTION)
        return {
            "pairs": clustered.n_pairs,
            "latency_s": perf_counter() - started,
            "meanings": clustered.clustering.n_clusters,
        }

    def close(self) -> None:
        self._runner.run(self._batcher.aclose())
        self._runner.close()


def by_samples(model: Model, n_questions: int) -> dict[float, list[Row]]:
    return {
        n: [model.ask([answers(n, np.random.default_rng([n, i]))])[0] for i in range(n_questions)]
        for n in track(SIZES, "samples")
    }


def by_length(model: Model, n_questions: int) -> dict[float, list[Row]]:
    """The same answers at every length."""
    return {
        n_tokens: [model.ask([answers(10, np.random.default_rng(i), n_tokens - 3)])[0] for i in range(n_questions)]
        for n_tokens in track(LENGTHS, "tokens")
    }


def by_concurrency(model: Model, n_questions: int) -> dict[float, list[Row]]:
    asked = [answers(10, np.random.default_rng(i)) for i in range(max(n_questions, AT_ONCE[-1]))]
    found: dict[float, list[Row]] = {}
    for at_once in track(AT_ONCE, "at once"):
        mine = asked[: max(n_questions, at_once)]
        found[at_once] = [row for i in range(0, len(mine), at_once) for row in model.ask(mine[i : i + at_once])]
    return found


def exponent(rows: dict[float, list[Row]], figure: str) -> list[float]:
    """Of the means: value, low, high."""
    random = np.random.default_rng(0)
    values = [np.array([row[figure] for row in mine]) for mine in rows.values()]
    draws = [_slope(rows, [random.choice(mine, len(mine)) for mine in values]) for _ in range(N_DRAWS)]
    return [round(float(x), 3) for x in (_slope(rows, values), *np.quantile(draws, [0.025, 0.975]))]


def _slope(rows: dict[float, list[Row]], values: Sequence[Any]) -> float:
    means = np.array([max(mine.mean(), 1e-9) for mine in values])
    return float(np.polyfit(np.log(list(rows)), np.log(means), 1)[0])


def figures(rows: dict[float, list[Row]], names: Sequence[str]) -> dict[str, Any]:
    means = {
        f"{x:g}": {name: float(np.mean([row[name] for row in mine])) for name in names} for x, mine in rows.items()
    }
    return {"means": means, "exponents": {name: exponent(rows, name) for name in names}, "rss_mb": rss_mb()}


def rss_mb() -> float:
    """Resident now, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return round(int(found[1]) / 1024)


def plot(title: str, x_label: str, found: dict[str, Any], figure: str) -> str:
    """Logarithmic in both directions, as SVG."""
    points = [(float(x), means[figure]) for x, means in found["means"].items() if means[figure] > 0]
    across, up = (_scale([p[axis] for p in points], *room) for axis, room in enumerate(((50, 290), (190, 20))))
    dots = "".join(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4"/>' for x, y in points)
    line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    ticks = "".join(f'<text x="{across(x):.1f}" y="210" text-anchor="middle">{x:g}</text>' for x, _ in points)
    ends = "".join(
        f'<text x="44" y="{up(y) + 4:.1f}" text-anchor="end">{y:.3g}</text>' for y in {min(points)[1], max(points)[1]}
    )
    slope = "{:.2f} [{:.2f}, {:.2f}]".format(*found["exponents"][figure])
    return (
        f'<figure><figcaption><b>{figure}</b> of {title}: exponent {slope}</figcaption><svg viewBox="0 0 310 240">'
        f'<polyline points="{line}"/>{dots}{ticks}{ends}<text x="170" y="232" text-anchor="middle">{x_label}</text>'
        "</svg></figure>"
    )


def _scale(values: Sequence[float], start: float, stop: float) -> Callable[[float], float]:
    low, high = np.log(min(values)), np.log(max(values))
    width = (high - low) or 1.0
    return lambda value: float(start + (np.log(value) - low) / width * (stop - start))


STYLE = (
    "body{font:15px system-ui;margin:2rem;color:#1c2330;background:#fff}figure{display:inline-block;width:26rem}"
    "svg text{font-size:10px;fill:#5a6475}polyline{fill:none;stroke:#3b6fd4;stroke-width:2}circle{fill:#3b6fd4}"
    "@media(prefers-color-scheme:dark){body{background:#12161f;color:#e8ecf4}svg text{fill:#98a2b5}}"
)


def page(found: dict[str, dict[str, Any]]) -> str:
    plots = "".join(plot(title, LABELS[title], of, name) for title, of in found.items() for name in of["exponents"])
    head = f"<meta charset=utf-8><title>How the cost grows</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}<h1>How the cost of semantic entropy grows</h1>{plots}</html>"


LABELS = {"samples": "samples", "tokens": "tokens an answer", "at_once": "questions at once"}


def show(title: str, found: dict[str, Any]) -> None:
    names = list(found["exponents"])
    table = Table(title, *names, title=f"{LABELS[title]}; {found['rss_mb']:.0f} MB resident", title_justify="left")
    for x, means in found["means"].items():
        table.add_row(x, *(f"{means[name]:.4g}" for name in names))
    table.add_row("exponent", *("{:.2f} [{:.2f}, {:.2f}]".format(*found["exponents"][name]) for name in names))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=24, help="for each point; of the longest answers, a quarter")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the NLI model")
    options = parser.parse_args()
    model = Model(options.threads)
    for i in range(8):
        model.ask([answers(10, np.random.default_rng([99, i]))])  # warm up
    n = options.questions
    found = {
        "samples": figures(by_samples(model, n), ("pairs", "passes", "latency_s")),
        "tokens": figures(by_length(model, max(1, n // 4)), ("pairs", "passes", "latency_s")),
        "at_once": figures(by_concurrency(model, 4 * n), ("passes", "latency_s", "seconds")),
    }
    model.close()
    for of in found["at_once"]["means"].values():
        of["questions_per_s"] = 1 / of["seconds"]
    for title, of in found.items():
        show(title, of)
    CACHE.mkdir(exist_ok=True)
    (CACHE / "scaling.html").write_text(page(found), encoding="utf-8")
    Console().print(save("scaling", {"threads": options.threads, "questions": n, **found}), CACHE / "scaling.html")


if __name__ == "__main__":
    main()
