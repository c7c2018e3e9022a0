"""uqlm's and lm-polygraph's scores, by their own code, over verdicts that were judged beforehand.

Run by `benchmarks.quality` in an environment of their own (`make bench-quality`), which has no Demur in it: reads the
questions and the table of pairs, writes one JSON object for each question. In place of an NLI model both libraries are
given the table, in the order of labels and the names that they expect; nothing else of them is replaced.

All scores are made to grow with confidence; `*_confidence` and the like are theirs as they are.
"""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from lm_polygraph.estimators import (
    DegMat,
    Eccentricity,
    EigValLaplacian,
    KernelLanguageEntropy,
    LexicalSimilarity,
    NumSemSets,
    SemanticEntropy,
)
from lm_polygraph.stat_calculators import SemanticClassesCalculator, SemanticMatrixCalculator
from uqlm import SemanticEntropy as UqlmSemanticEntropy
from uqlm.black_box.consistency import ConsistencyScorer
from uqlm.black_box.match import MatchScorer
from uqlm.nli.nli import NLI

LABELS = ("contradiction", "neutral", "entailment")
TINY = 1e-12
ESTIMATORS = {
    "semantic_entropy": lambda: SemanticEntropy(class_probability_estimation="frequency"),
    "deg_mat": DegMat,
    "eig_val": EigValLaplacian,
    "eccentricity": Eccentricity,
    "kernel_entropy": KernelLanguageEntropy,
    "n_semantic_sets": NumSemSets,
}

Pairs = dict[tuple[str, str], list[float]]


class TableNLI(NLI):
    """uqlm's NLI without its model."""

    def __init__(self, pairs: Pairs) -> None:
        self.label_mapping = list(LABELS)
        self.probabilities = {}
        self.max_length, self.batch_size, self.verbose, self.device = 2000, 32, False, None
        self._pairs = pairs

    def predict_batch(self, pairs: list[tuple[str, str]]) -> Any:
        return np.array([self._pairs[pair] for pair in pairs]).reshape(len(pairs), 3)


class _Encoded(dict[str, Any]):
    def to(self, device: Any) -> _Encoded:
        return self


class TableDeberta:
    """What lm-polygraph asks of its NLI model: a tokenizer that keeps the texts, a model that looks them up."""

    device, batch_size = "cpu", 512

    def __init__(self, pairs: Pairs) -> None:
        self._pairs = pairs
        self.deberta = self
        self.config = SimpleNamespace(label2id={name.upper(): place for place, name in enumerate(LABELS)})

    def deberta_tokenizer(self, batch: list[tuple[str, str]], **options: Any) -> _Encoded:
        return _Encoded(pairs=batch)

    def __call__(self, pairs: list[tuple[str, str]]) -> Any:
        probabilities = np.array([self._pairs[(str(a), str(b))] for a, b in pairs])
        return SimpleNamespace(logits=torch.tensor(np.log(np.maximum(probabilities, TINY))))


def pairs_of(rows: list[dict[str, Any]], table: dict[str, dict[str, Any]]) -> tuple[Pairs, Pairs]:
    """With the question before each answer, as uqlm puts it there, and bare: contradiction, neutral, entailment."""
    with_question: Pairs = {}
    bare: Pairs = {}
    for row in rows:
        kept = table[row["id"]]
        texts, n = kept["texts"], len(kept["texts"])
        for form, found, before in (("with_question", with_question, f"{row['question']}\n"), ("bare", bare, "")):
            verdicts = np.array(kept[form]).reshape(n, n, 3)[:, :, ::-1]
            for i, premise in enumerate(texts):
                for j, hypothesis in enumerate(texts):
                    found[before + premise, before + hypothesis] = verdicts[i, j].tolist()
    return with_question, bare


def uqlm_scores(rows: list[dict[str, Any]], with_question: Pairs, bare: Pairs) -> dict[str, list[float]]:
    questions = [row["question"] for row in rows]

    def texts() -> dict[str, Any]:  # its scorers change the lists that they are given
        return {
            "responses": [row["answer"] for row in rows],
            "sampled_responses": [list(row["others"]) for row in rows],
        }

    def entropy(pairs: Pairs, prompts: list[str] | None) -> Any:
        scorer = UqlmSemanticEntropy(llm=None, nli=TableNLI(pairs), use_best=False)
        return scorer.score(prompts=prompts, show_progress_bars=False, **texts()).data

    found = {"semantic_entropy": entropy(with_question, questions)["discrete_confidence_scores"]}
    found["semantic_negentropy"] = entropy(bare, None)["discrete_confidence_scores"]
    consistent = ConsistencyScorer(nli=TableNLI(bare)).evaluate(**texts())
    found |= {name: consistent[name] for name in ("noncontradiction", "entailment")}
    found["exact_match"] = MatchScorer().evaluate(**texts())
    return {f"uqlm {name}": [float(value) for value in values] for name, values in found.items()}


def polygraph_scores(rows: list[dict[str, Any]], with_question: Pairs, bare: Pairs) -> dict[str, list[float]]:
    equal = {pair: [0.0, 0.0, 1.0] if pair[0] == pair[1] else found for pair, found in with_question.items()}
    texts = {"sample_texts": [row["samples"] for row in rows]}
    lexical = [-float(value) for value in LexicalSimilarity()(texts)]
    return {
        **{f"lm-polygraph {name}": values for name, values in _estimated(rows, bare, asks=False).items()},
        **{f"lm-polygraph {n} with question": values for n, values in _estimated(rows, with_question).items()},
        **{f"equal texts entail: lm-polygraph {n} with question": v for n, v in _estimated(rows, equal).items()},
        "lm-polygraph lexical_similarity": lexical,
    }


def _estimated(rows: list[dict[str, Any]], pairs: Pairs, *, asks: bool = True) -> dict[str, list[float]]:
    before = [f"{row['question']}\n" if asks else "" for row in rows]
    stats: dict[str, Any] = {
        "sample_texts": [[b + text for text in row["samples"]] for b, row in zip(before, rows, strict=True)]
    }
    stats |= SemanticMatrixCalculator(TableDeberta(pairs))(stats, texts=None, model=None)
    stats |= SemanticClassesCalculator()(stats, texts=None, model=None)
    return {name: [-float(value) for value in estimator()(stats)] for name, estimator in ESTIMATORS.items()}


def scored(rows: list[dict[str, Any]], table: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    pairs = pairs_of(rows, table)
    columns = {**uqlm_scores(rows, *pairs), **polygraph_scores(rows, *pairs)}
    for place, row in enumerate(rows):
        yield {"id": row["id"], "scores": {name: values[place] for name, values in columns.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("questions", "pairs", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.questions.open(encoding="utf-8")]
    table = {row["id"]: row for row in map(json.loads, options.pairs.open(encoding="utf-8"))}
    with options.out.open("w", encoding="utf-8") as lines:
        for cell in dict.fromkeys(row["cell"] for row in rows):
            mine = [row for row in rows if row["cell"] == cell]
            for n in sorted({len(row["samples"]) for row in mine}):  # lm-polygraph stacks them
                for one in scored([row for row in mine if len(row["samples"]) == n], table):
                    print(json.dumps(one), file=lines)
            print(f"{cell}: {len(mine)} questions scored", flush=True)


if __name__ == "__main__":
    main()
