"""Labelled answers: what a map is fitted on, and what a promise is tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demur.calibration.base import BoolArray, FloatArray
from demur.types import SignalName

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Labelled:
    """`values[i, j]` is signal j of answer i. Answers to one question share a group, and are never parted."""

    signals: tuple[SignalName, ...]
    values: FloatArray
    is_correct: BoolArray
    groups: IntArray

    def __post_init__(self) -> None:
        n = len(self.is_correct)
        if self.values.shape != (n, len(self.signals)) or len(self.groups) != n:
            raise ValueError(f"{n} labels, but values of shape {self.values.shape} and {len(self.groups)} groups")
        if not np.all(np.isfinite(self.values)):
            raise ValueError("signals must be finite numbers; leave out answers that lack one")

    @property
    def n(self) -> int:
        return len(self.is_correct)

    def columns(self, signals: Sequence[SignalName]) -> FloatArray:
        """The values of these signals alone."""
        return self.values[:, [self.signals.index(name) for name in signals]]

    def rows(self, chosen: IntArray | BoolArray) -> Labelled:
        return Labelled(self.signals, self.values[chosen], self.is_correct[chosen], self.groups[chosen])


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a threshold decides upon, and what came of it, for each of n questions.

    `confidence` is -inf for what is never answered, whatever the threshold: a refusal.
    """

    confidence: FloatArray
    is_correct: BoolArray

    def __post_init__(self) -> None:
        if self.confidence.shape != self.is_correct.shape or np.any(np.isnan(self.confidence)):
            raise ValueError("every answer needs a confidence and a label")

    @property
    def n(self) -> int:
        return len(self.is_correct)

    def rows(self, chosen: IntArray | BoolArray) -> Outcomes:
        return Outcomes(self.confidence[chosen], self.is_correct[chosen])


@dataclass(frozen=True, slots=True)
class TwoStageOutcomes:
    """The same questions answered from memory, and answered again from what was looked up.

    Of a cascade: the greedy answer with the confidence that its tokens give it, and the answer that samples make.
    """

    closed_book: Outcomes
    after_retrieval: Outcomes

    def __post_init__(self) -> None:
        if self.closed_book.n != self.after_retrieval.n:
            raise ValueError("both stages need an outcome for every question")

    @property
    def n(self) -> int:
        return self.closed_book.n

    def rows(self, chosen: IntArray | BoolArray) -> TwoStageOutcomes:
        return TwoStageOutcomes(self.closed_book.rows(chosen), self.after_retrieval.rows(chosen))


def split_by_group(groups: IntArray, share: float, seed: int) -> tuple[IntArray, IntArray]:
    """Indices of about `share` of the answers, and of the rest; a group falls on one side. Both come shuffled."""
    random = np.random.default_rng(seed)
    distinct = random.permutation(np.unique(groups))
    chosen = distinct[: round(share * len(distinct))]
    shuffled = random.permutation(len(groups))
    is_chosen = np.isin(groups[shuffled], chosen)
    return shuffled[is_chosen], shuffled[~is_chosen]
