"""What a rule does on labelled answers: how many it answers, and how many of those wrongly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.calibration.base import FloatArray
from demur.calibration.binomial import binomial_cdf
from demur.calibration.outcomes import Outcomes, TwoStageOutcomes

NEVER = 1.0  # no confidence reaches it: maps stay below 1


@dataclass(frozen=True, slots=True)
class Rule:
    """Answer from `answer_min` on; else look it up, and answer from `answer_min_after_retrieval` on if it is given.

    In a cascade the first bound is on the greedy answer's tokens, and drawing samples takes the place of looking it up.
    """

    answer_min: float
    answer_min_after_retrieval: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """A rule on n questions. `retrieval_rate`: the share it looked up, or drew samples for; `expected_errors`: as
    confidence foretells."""

    n: int
    n_accepted: int
    errors: int
    expected_errors: float = 0.0
    retrieval_rate: float = 0.0

    @property
    def coverage(self) -> float:
        """Share of the questions that were answered."""
        return self.n_accepted / self.n

    @property
    def selective_risk(self) -> float | None:
        """Error rate among what was answered; None where nothing was."""
        return self.errors / self.n_accepted if self.n_accepted else None

    def p_value(self, alpha: float) -> float:
        """How likely so few errors would be, were the error rate above alpha; 1 where nothing was answered."""
        return binomial_cdf(self.errors, self.n_accepted, alpha)

    @property
    def likely_risk(self) -> float:
        """Error rate halfway between the errors seen and those expected; 1 where nothing was answered.

        Few labels make the first erratic, a crude map the second.
        """
        return (self.errors + self.expected_errors) / (2 * self.n_accepted) if self.n_accepted else 1.0

    def promise(self, alpha: float) -> float:
        """How far below alpha the error rate seems to lie, in units of its noise."""
        return (alpha - self.likely_risk) * math.sqrt(self.n_accepted)

    def __add__(self, other: Trial) -> Trial:
        n = self.n + other.n
        rate = (self.n * self.retrieval_rate + other.n * other.retrieval_rate) / n
        return Trial(
            n,
            self.n_accepted + other.n_accepted,
            self.errors + other.errors,
            self.expected_errors + other.expected_errors,
            rate,
        )


@dataclass(frozen=True, slots=True)
class Ranked:
    """Answers from the most confident on: the distinct levels, falling, and what has been counted down to each."""

    levels: FloatArray
    n_accepted: FloatArray
    errors: FloatArray
    expected_errors: FloatArray


def ranked(outcomes: Outcomes) -> Ranked:
    can = np.isfinite(outcomes.confidence)
    negated, places = np.unique(-outcomes.confidence[can], return_inverse=True)

    def down_to(weights: FloatArray) -> FloatArray:
        return np.cumsum(np.bincount(places, weights=weights, minlength=len(negated)))

    wrong = (~outcomes.is_correct[can]).astype(np.float64)
    return Ranked(-negated, down_to(np.ones(can.sum())), down_to(wrong), down_to(1.0 - outcomes.confidence[can]))


def closed_book_trials(outcomes: Outcomes, rules: Sequence[Rule]) -> list[Trial]:
    """All rules after one sort."""
    order = ranked(outcomes)
    reached = np.searchsorted(-order.levels, [-rule.answer_min for rule in rules], side="right")
    counts = [np.append(0.0, column) for column in (order.n_accepted, order.errors, order.expected_errors)]
    return [Trial(outcomes.n, int(counts[0][i]), int(counts[1][i]), float(counts[2][i])) for i in reached]


def two_stage_trial(outcomes: TwoStageOutcomes, rule: Rule) -> Trial:
    """Both stages together; a rule without a second threshold looks nothing up."""
    first, second = outcomes.closed_book, outcomes.after_retrieval
    if rule.answer_min_after_retrieval is None:
        return closed_book_trials(first, [rule])[0]
    at_once = first.confidence >= rule.answer_min
    later = ~at_once & (second.confidence >= rule.answer_min_after_retrieval)
    return Trial(
        n=outcomes.n,
        n_accepted=int(at_once.sum() + later.sum()),
        errors=int(np.sum(at_once & ~first.is_correct) + np.sum(later & ~second.is_correct)),
        expected_errors=float(np.sum(1.0 - first.confidence[at_once]) + np.sum(1.0 - second.confidence[later])),
        retrieval_rate=float(np.mean(~at_once)),
    )


def candidate_thresholds(confidence: FloatArray, n: int) -> list[float]:
    """At most n cuts, strict first and spread over coverage: halfway between confidences that occur, so that a number
    that comes out a hair different elsewhere stays on its side."""
    levels, counts = np.unique(confidence[np.isfinite(confidence)], return_counts=True)
    if not len(levels):
        return []
    levels, reached = levels[::-1], np.cumsum(counts[::-1])
    cuts = np.append((levels[:-1] + levels[1:]) / 2, levels[-1] / 2)
    if len(cuts) > n:
        cuts = cuts[np.unique(np.searchsorted(reached, np.linspace(reached[0], reached[-1], n)))]
    return [float(cut) for cut in cuts]
