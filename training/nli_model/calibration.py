"""The one number that is chosen after training, on questions and premises of its own: the offset of entailment.

Trained on judged answers, most of them right, the model says "the same" too easily, or after many rule-made pairs too
seldom. Lowering the logit helps one task and costs the other, so the two count alike, and what is not surely gained is
left alone.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from transformers import BertForSequenceClassification, PreTrainedTokenizerBase

from training.nli_model.judged import answer_pairs
from training.nli_model.monitor import logits_of
from training.nli_model.pairs import Label, Pair, split_general, split_judged

OFFSETS = tuple(i / 20 for i in range(-30, 11))
GENERAL_SOURCES = ("mnli_train10k", "mnli_train20k", "cf_snli")
PAIRS_PER_CLASS = 4


@dataclass(frozen=True, slots=True)
class Answers:
    """Two models' answers to calibration questions, with the logits of both directions."""

    forward: NDArray[np.float64]
    backward: NDArray[np.float64]
    is_same: NDArray[np.bool_]

    def balanced_accuracy(self, offset: float) -> float:
        """Of "each entails the other", in [0, 1]."""
        said = (_classes(self.forward, offset) == Label.ENTAILMENT) & (
            _classes(self.backward, offset) == Label.ENTAILMENT
        )
        return float((said[self.is_same].mean() + (~said[~self.is_same]).mean()) / 2)

    def variance(self, offset: float) -> float:
        """Of the balanced accuracy: a quarter of the two shares' variances."""
        share, n_same, n_other = self.balanced_accuracy(offset), self.is_same.sum(), (~self.is_same).sum()
        return float(share * (1 - share) * (1 / n_same + 1 / n_other) / 4)


@dataclass(frozen=True, slots=True)
class General:
    """General pairs with their logits."""

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]

    def accuracy(self, offset: float) -> float:
        return float((_classes(self.logits, offset) == self.labels).mean())

    def variance(self, offset: float) -> float:
        share = self.accuracy(offset)
        return share * (1 - share) / len(self.labels)


def choose_offset(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, data: Path) -> float:
    """What to add to the logit of entailment: the offset nearest to 0 whose accuracies sum to no less than the
    highest sum minus its standard error."""
    model.eval()
    return nearest_good(_answers(model, tokenizer, data), _general(model, tokenizer, data))


def nearest_good(answers: Answers, general: General) -> float:
    sums = {x: answers.balanced_accuracy(x) + general.accuracy(x) for x in OFFSETS}
    best = max(OFFSETS, key=sums.__getitem__)
    error = sqrt(answers.variance(best) + general.variance(best))
    return min((x for x in OFFSETS if sums[x] >= sums[best] - error), key=abs)


def _answers(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, data: Path) -> Answers:
    pairs = list(answer_pairs(split_judged(data).calibration, Random(0), PAIRS_PER_CLASS))
    turned = [Pair(p.hypothesis, p.premise, p.label, p.source) for p in pairs]
    same = np.array([p.label is Label.ENTAILMENT for p in pairs])
    return Answers(logits_of(model, tokenizer, pairs), logits_of(model, tokenizer, turned), same)


def _general(model: BertForSequenceClassification, tokenizer: PreTrainedTokenizerBase, data: Path) -> General:
    pairs = [p for p in split_general(data)[1] if p.source in GENERAL_SOURCES]
    return General(logits_of(model, tokenizer, pairs), np.array([p.label for p in pairs]))


def _classes(logits: NDArray[np.float64], offset: float) -> NDArray[np.int64]:
    shifted = logits.copy()
    shifted[:, Label.ENTAILMENT] += offset
    return shifted.argmax(axis=1)
