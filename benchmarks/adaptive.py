"""What giving samples up costs: `python -m benchmarks.adaptive --data DATA`, by replaying recorded samples.

For every recorded set with ten samples a question: the area under the ROC curve of semantic entropy, and the Brier
score of agreement, against the share of samples drawn, when the first 2 ... 10 are used, and when drawing stops early
(engine/stopping.py). Samples land in the recorded order, and verdicts come from the shared table (pair_table.py), which
is filled first where it lacks any. Where the authors judged no greedy answer, the first sample is the answer that is
right or wrong. Live, a sample that is begun costs something too, and short ones land first: a replay shows neither.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.pair_table import N_SAMPLES, Judged, Question, TableModel, judged, questions
from benchmarks.results import save
from demur.clustering import Clusterer
from demur.engine.stopping import EarlyStop
from demur.estimators.semantic_entropy import semantic_entropy
from demur.evaluation.bootstrap import Statistic, paired_bootstrap
from demur.evaluation.calibration_error import brier_score
from demur.evaluation.discrimination import auroc
from demur.types import Clustering, Sampling

SIZES = (2, 3, 5, 7, 10)
ADAPTIVE = Sampling(n=N_SAMPLES, mode="adaptive")


@dataclass(frozen=True, slots=True)
class Replay:
    """One question at one number of samples."""

    n: int
    entropy: float
    agreement: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """`by_size[n]`: with the first n samples."""

    is_correct: bool
    by_size: dict[int, Replay]
    adaptive: Replay


async def replay(asked: Question, pairs: Judged) -> Replayed | None:
    """None where nobody judged the answer."""
    is_correct = asked.is_correct if asked.is_correct is not None else asked.sample_labels[0]
    if is_correct is None:
        return None
    clusterer = Clusterer(TableModel(pairs))
    answer = asked.answer if asked.answer is not None else asked.samples[0]
    every = {}
    for n in range(2, N_SAMPLES + 1):
        clustered = await clusterer.cluster(asked.samples[:n], asked.question)
        place = await clusterer.place(answer, clustered)
        every[n] = (clustered.clustering, _replay(clustered.clustering, place))
    stopped = stop_at([clustering for clustering, _ in every.values()])
    return Replayed(is_correct, {n: every[n][1] for n in SIZES}, every[stopped][1])


def _replay(clustering: Clustering, place: int | None) -> Replay:
    agreement = 0.0 if place is None else clustering.frequencies[place]
    return Replay(clustering.n_samples, semantic_entropy(clustering), agreement)


def stop_at(partitions: Sequence[Clustering]) -> int:
    """The number of samples at which the engine would have stopped, had it known each partition at once."""
    stops: list[int] = []
    stop = EarlyStop(ADAPTIVE, lambda: stops.append(now))
    for clustering in partitions:
        now = clustering.n_samples
        stop.look(clustering, is_settled=True)
    return stops[0] if stops else N_SAMPLES


def figures(rows: Sequence[Replayed]) -> dict[str, Any]:
    ways = {f"first {n}": [row.by_size[n] for row in rows] for n in SIZES} | {"adaptive": [r.adaptive for r in rows]}
    is_correct = np.array([row.is_correct for row in rows])
    whole = _ranking(ways[f"first {N_SAMPLES}"], is_correct)
    found: dict[str, Any] = {}
    for name, way in ways.items():
        difference = paired_bootstrap(_ranking(way, is_correct), whole, range(len(rows)), n_draws=1000)
        found[name] = {
            "samples_share": float(np.mean([each.n for each in way]) / N_SAMPLES),
            "auroc": auroc([-each.entropy for each in way], is_correct),
            "auroc_minus_all": [round(x, 4) for x in _told(difference)],
            "brier": brier_score([each.agreement for each in way], is_correct),
        }
    return {"questions": len(rows), "accuracy": float(is_correct.mean()), **found}


def _told(difference: Any) -> tuple[float, ...]:
    return () if difference is None else (difference.interval.value, difference.interval.low, difference.interval.high)


def _ranking(way: Sequence[Replay], is_correct: np.ndarray) -> Statistic:
    certainty = np.array([-each.entropy for each in way])
    return lambda rows: auroc(certainty[rows], is_correct[rows])


async def _replayed(asked: Sequence[Question]) -> dict[str, list[Replayed]]:
    cells: dict[str, list[Replayed]] = {}
    for one, pairs in track(list(zip(asked, judged(asked), strict=True)), "replaying"):
        row = await replay(one, pairs)
        if row is not None:
            cells.setdefault(one.cell, []).append(row)
    return cells


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for cell, ways in found.items():
        for way, of in ((name, of) for name, of in ways.items() if isinstance(of, dict)):
            difference = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*of["auroc_minus_all"]) if of["auroc_minus_all"] else ""
            auc = "" if of["auroc"] is None else f"{of['auroc']:.3f}"
            yield cell, way, f"{of['samples_share']:.2f}", auc, difference, f"{of['brier']:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with generations/")
    cells = asyncio.run(_replayed(questions(parser.parse_args().data)))
    found = {cell: figures(rows) for cell, rows in cells.items()}
    table = Table(title="samples given up, and what ranking loses")
    for column in ("set", "samples", "share drawn", "AUROC", "less than with all", "Brier of agreement"):
        table.add_column(column)
    for row in _rows(found):
        table.add_row(*row)
    Console(width=120).print(table)
    Console().print(save("adaptive", {"cells": found}))


if __name__ == "__main__":
    main()
