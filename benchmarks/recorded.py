"""Recorded generations with verdicts, as labelled answers: signals from their samples, correctness from their authors.

Reads gzipped JSON lines (`{"id", "model", "question", "references", "greedy": {"text", "correct"} | null, "samples":
[{"text", "correct" | "match"}]}`). The answer is the greedy one where there is one, else the representative of the
heaviest cluster. Clusterings by the NLI model are kept in benchmarks/.cache, because they take minutes.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.progress import track

from demur.backends import build_entailment
from demur.calibration.outcomes import Labelled
from demur.calibration.signals import read_signals
from demur.clustering import Clusterer, exact_match, place_exactly
from demur.engine.choosing import choose
from demur.engine.measuring import gives_no_answer, measure
from demur.entailment.base import EntailmentModel
from demur.observability.metrics import Metrics
from demur.settings import NLISettings, bundled_path
from demur.types import Clustering, Sample, Sampling, SignalName

CACHE = Path(__file__).parent / ".cache"

# Sets at the rates at which their models answered. Others are balanced by hand, which makes consistency look worse.
NATURAL = ("math_3models", "uqnlg_triviaqa", "defan_n20")
SIGNALS: tuple[SignalName, ...] = ("agreement", "semantic_entropy", "sample_coverage")

Clusters = Literal["exact", "nli"]


@dataclass(frozen=True, slots=True)
class Pool:
    """Answers of one model to one set; `can_answer` is False for refusals."""

    name: str
    labelled: Labelled
    can_answer: np.ndarray


def pools(data: Path, clusters: Clusters) -> Iterator[Pool]:
    """One for each model of each natural-rate set."""
    for name in NATURAL:
        rows = _rows(data / "generations" / f"{name}.jsonl.gz")
        partitions = _partitions(name, rows, clusters)
        for model in dict.fromkeys(row["model"] for row in rows):
            mine = [(row, ids) for row, ids in zip(rows, partitions, strict=True) if row["model"] == model]
            yield _pool(f"{name.split('_')[0]} {model.split(' ')[0].split('?')[0]}", mine)


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _pool(name: str, rows: Sequence[tuple[dict[str, Any], tuple[list[int], int | None]]]) -> Pool:
    values, labels, can = [], [], []
    for row, (ids, greedy_id) in rows:
        samples = [Sample(sample["text"], index) for index, sample in enumerate(row["samples"])]
        clustering = Clustering(tuple(ids))
        greedy = Sample(row["greedy"]["text"], is_greedy=True) if row["greedy"] else None
        choice = choose(samples, clustering, greedy, greedy_id, "greedy")
        uncertainty = measure(samples, clustering, choice, Sampling(n=len(samples)))
        signals = read_signals(uncertainty, None, n_samples=len(samples), greedy_agrees=None)
        values.append([signals[signal] for signal in SIGNALS])
        verdict = row["greedy"] or row["samples"][choice.sample.index]
        labels.append(bool(verdict.get("correct", verdict.get("match"))))
        can.append(not gives_no_answer(choice.sample))
    return Pool(name, Labelled(SIGNALS, np.array(values), np.array(labels), np.arange(len(labels))), np.array(can))


def _partitions(name: str, rows: Sequence[dict[str, Any]], clusters: Clusters) -> list[tuple[list[int], int | None]]:
    """Semantic ids of the samples, and that of the greedy answer."""
    if clusters == "exact":
        return [_exactly(row) for row in rows]
    weights = hashlib.sha256((bundled_path("nli") / "model.safetensors").read_bytes()).hexdigest()[:12]
    cached = CACHE / f"clusters-{name}-{weights}.jsonl"
    cached.parent.mkdir(exist_ok=True)
    cached.touch()
    n_done = len(cached.read_text().splitlines())
    if n_done < len(rows):
        asyncio.run(_by_model(name, rows[n_done:], cached))
    return [(ids, greedy_id) for ids, greedy_id in map(json.loads, cached.read_text().splitlines())]


def _exactly(row: dict[str, Any]) -> tuple[list[int], int | None]:
    texts = [sample["text"] for sample in row["samples"]]
    clustering = exact_match(texts)
    greedy_id = place_exactly(row["greedy"]["text"], texts, clustering) if row["greedy"] else None
    return list(clustering.semantic_ids), greedy_id


async def _by_model(name: str, rows: Sequence[dict[str, Any]], kept: Path) -> None:
    """One line for each row, written as soon as it is known, so that a run that was stopped goes on from there."""
    model = build_entailment(NLISettings(max_batch_tokens=4096), Metrics())
    try:
        with kept.open("a", encoding="utf-8") as lines:
            for row in track(rows, f"clustering {name}"):
                print(json.dumps(await _cluster(model, row)), file=lines, flush=True)
    finally:
        await model.aclose()


async def _cluster(model: EntailmentModel, row: dict[str, Any]) -> tuple[list[int], int | None]:
    clusterer = Clusterer(model)
    clustered = await clusterer.cluster([sample["text"] for sample in row["samples"]], row["question"])
    greedy_id = await clusterer.place(row["greedy"]["text"], clustered) if row["greedy"] else None
    return list(clustered.clustering.semantic_ids), greedy_id
