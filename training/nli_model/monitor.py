"""A quick look at held-out pairs while training runs; the report has the figures that count."""

from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from training.nli_model.encoder import LABELS
from training.nli_model.judged import plain_references, shortened
from training.nli_model.pairs import Label, Pair, claim, general_pairs, split_judged

N_PAIRS = 1000
BATCH_PAIRS = 100


class Monitor:
    """Accuracy on samples of MultiNLI and SNLI dev; balanced, of "entails", on EVOUNA's calibration questions."""

    def __init__(self, data: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer, rng = tokenizer, Random(0)
        general = general_pairs(data, "dev")
        rows = [r for r in split_judged(data).calibration if r.answer]
        judged = [
            Pair(claim(r.question, shortened(r.answer)), claim(r.question, plain_references(r.references)[0]),
                 Label.ENTAILMENT if r.is_right else Label.NOT_ENTAILMENT, "evouna")
            for r in rows
        ]  # fmt: skip
        self.sets = {
            "mnli": rng.sample([p for p in general if p.source == "mnli_dev"], N_PAIRS),
            "snli": rng.sample([p for p in general if p.source == "snli_dev"], N_PAIRS),
            "evouna": rng.sample(judged, N_PAIRS),
        }

    @torch.inference_mode()
    def figures(self, model: BertForSequenceClassification) -> str:
        model.eval()
        parts = []
        for name, pairs in self.sets.items():
            predicted = predict(model, self.tokenizer, pairs)
            figure = _balanced(predicted, pairs) if name == "evouna" else _accuracy(predicted, pairs)
            parts.append(f"{name} {figure:.3f}")
        return " ".join(parts)


def predict(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> list[int]:
    """The most probable class of each pair."""
    return [int(label) for label in logits_of(model, tokenizer, pairs).argmax(axis=1)]


@torch.inference_mode()
def logits_of(
    model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]
) -> NDArray[np.float64]:
    """Logits of each pair, a row each."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].premise) + len(pairs[i].hypothesis))
    found = np.zeros((len(pairs), len(LABELS)))
    for start in range(0, len(order), BATCH_PAIRS):
        rows = order[start : start + BATCH_PAIRS]
        texts = [[pairs[i].premise for i in rows], [pairs[i].hypothesis for i in rows]]
        inputs = tokenizer(*texts, truncation=True, max_length=256, padding=True, return_tensors="pt")
        found[rows] = model(**inputs).logits.float().numpy()
    return found


def _accuracy(predicted: list[int], pairs: list[Pair]) -> float:
    return sum(p == pair.label for p, pair in zip(predicted, pairs, strict=True)) / len(pairs)


def _balanced(predicted: list[int], pairs: list[Pair]) -> float:
    hits = {True: [0, 0], False: [0, 0]}
    for p, pair in zip(predicted, pairs, strict=True):
        entails = pair.label == Label.ENTAILMENT
        hits[entails][0] += (p == Label.ENTAILMENT) == entails
        hits[entails][1] += 1
    return sum(right / max(n, 1) for right, n in hits.values()) / 2
