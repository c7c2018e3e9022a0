"""Recorded generations at natural rates, as labelled answers: signals from their samples, verdicts from their authors.

The answer is the greedy one where there is one, else the representative of the heaviest cluster.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.pair_table import NATURAL, Judged, Question, TableModel, judged, questions
from demur.calibration.outcomes import Labelled
from demur.calibration.signals import read_signals
from demur.clustering import Clusterer, exact_match, place_exactly
from demur.engine.choosing import choose
from demur.engine.measuring import gives_no_answer, measure
from demur.normalisation.non_answers import is_non_answer
from demur.types import Clustering, Sample, Sampling, SignalName, Uncertainty

SIGNALS: tuple[SignalName, ...] = ("agreement", "semantic_entropy", "sample_coverage")
TOKEN_SIGNALS: tuple[SignalName, ...] = ("mean_logprob", "min_logprob")

Clusters = Literal["exact", "nli"]
Meanings = tuple[Clustering, int | None]  # of the samples, and of the answer beside them


@dataclass(frozen=True, slots=True)
class Answered:
    """One question, the answer that is given to it, and what the samples say about that."""

    question: Question
    answer: str
    is_correct: bool
    is_refusal: bool
    uncertainty: Uncertainty
    signals: dict[SignalName, float]

    @property
    def others(self) -> list[str]:
        """The samples, less the answer itself where it is one of them."""
        samples = list(self.question.samples)
        if self.question.answer is None:
            samples.remove(self.answer)
        return samples


@dataclass(frozen=True, slots=True)
class Pool:
    """Answers of one model to one set; `can_answer` is False for refusals."""

    name: str
    labelled: Labelled
    can_answer: np.ndarray


def pools(data: Path, clusters: Clusters) -> Iterator[Pool]:
    """One for each model of each natural-rate set: by exact match all that was recorded, by the NLI model what
    `pair_table` holds."""
    if clusters == "exact":
        found = [answered(one, _exactly(one)) for one in questions(data, NATURAL, n_questions=None, n_samples=None)]
    else:
        asked = questions(data, NATURAL)
        found = [answered(one, by_table(one, known)) for one, known in zip(asked, judged(asked), strict=True)]
    for name in dict.fromkeys(one.question.cell for one in found):
        yield _pool(name, [one for one in found if one.question.cell == name])


def token_pools(data: Path) -> Iterator[Pool]:
    """Sets of one answer to each question with its tokens' log-probabilities, and no samples."""
    for name in ("selgen_nq_gpt35", "knowpop_songs_logprobs"):
        with gzip.open(data / "generations" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [row for row in map(json.loads, lines) if row["greedy"]["correct"] is not None]
        for model in dict.fromkeys(row["model"] for row in rows):
            mine = [row["greedy"] for row in rows if row["model"] == model]
            logprobs = [greedy["token_logprobs"] for greedy in mine]
            values = np.array([[np.mean(each), max(-20.0, min(each))] for each in logprobs])  # as `read_signals` does
            labels = np.array([greedy["correct"] for greedy in mine])
            can_answer = np.array([not is_non_answer(greedy["text"]) for greedy in mine])
            labelled = Labelled(TOKEN_SIGNALS, values, labels, np.arange(len(mine)))
            yield Pool(f"{name.split('_')[0]} {model}", labelled, can_answer)


def _pool(name: str, found: Sequence[Answered]) -> Pool:
    values = np.array([[one.signals[signal] for signal in SIGNALS] for one in found])
    labels = np.array([one.is_correct for one in found])
    can_answer = np.array([not one.is_refusal for one in found])
    return Pool(name, Labelled(SIGNALS, values, labels, np.arange(len(labels))), can_answer)


def answered(one: Question, meanings: Meanings) -> Answered:
    """As the service would answer it."""
    clustering, greedy_id = meanings
    samples = [Sample(text, index) for index, text in enumerate(one.samples)]
    greedy = None if one.answer is None else Sample(one.answer, is_greedy=True)
    choice = choose(samples, clustering, greedy, greedy_id, "greedy")
    uncertainty = measure(samples, clustering, choice, Sampling(n=len(samples)))
    return Answered(
        question=one,
        answer=choice.sample.text,
        is_correct=bool(one.is_correct if greedy else one.sample_labels[choice.sample.index]),
        is_refusal=gives_no_answer(choice.sample),
        uncertainty=uncertainty,
        signals=read_signals(uncertainty, None, n_samples=len(samples), greedy_agrees=None),
    )


def by_table(one: Question, known: Judged) -> Meanings:
    """By the verdicts of the table."""
    return asyncio.run(_clustered(Clusterer(TableModel(known)), one))


async def _clustered(clusterer: Clusterer, one: Question) -> Meanings:
    clustered = await clusterer.cluster(one.samples, one.question)
    return clustered.clustering, None if one.answer is None else await clusterer.place(one.answer, clustered)


def _exactly(one: Question) -> Meanings:
    clustering = exact_match(one.samples)
    return clustering, None if one.answer is None else place_exactly(one.answer, one.samples, clustering)
