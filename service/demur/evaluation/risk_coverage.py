"""What is answered wrongly when only the surest answers are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Labels = Sequence[bool] | NDArray[np.bool_]

_REFERENCE_GRID = np.linspace(0.1, 1.0, 20)


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """`risk[k - 1]` is the error rate among the k surest of n answers; `coverage` is k / n."""

    coverage: FloatArray
    risk: FloatArray


def risk_coverage_curve(scores: ArrayLike, is_correct: Labels) -> RiskCoverage:
    """One point for each k from 1 to n. Equal scores come in no order: their errors are spread over their places.

    Higher scores are surer. Raises ValueError without any answer.
    """
    values, wrong = np.asarray(scores, dtype=np.float64), ~np.asarray(is_correct, dtype=bool)
    if not len(wrong) or values.shape != wrong.shape or np.any(np.isnan(values)):
        raise ValueError(f"need a score for each of {len(wrong)} labels, and one label at least")
    _, places = np.unique(-values, return_inverse=True)
    rates = np.bincount(places, weights=wrong) / np.bincount(places)
    k = np.arange(1, len(wrong) + 1)
    return RiskCoverage(k / len(wrong), np.cumsum(rates[np.sort(places)]) / k)


def aurc(scores: ArrayLike, is_correct: Labels) -> float:
    """Mean risk over k = 1 ... n: the area under the risk-coverage curve, in [0, 1]; lower is better."""
    return float(np.mean(risk_coverage_curve(scores, is_correct).risk))


def e_aurc(scores: ArrayLike, is_correct: Labels) -> float:
    """AURC less that of a perfect order of the same answers, >= 0 (Geifman et al. 2019); lower is better."""
    labels = np.asarray(is_correct, dtype=bool)
    return max(0.0, aurc(scores, labels) - aurc(labels.astype(np.float64), labels))


def aurac(scores: ArrayLike, is_correct: Labels) -> float:
    """Mean accuracy over k = 1 ... n: 1 - AURC, in [0, 1], 1 where every answer is correct; higher is better."""
    return 1.0 - aurc(scores, is_correct)


def aurac_reference(uncertainties: ArrayLike, is_correct: Labels) -> float:
    """AURAC as the code of Farquhar et al. (2024) sums it, for comparison with published numbers.

    Accuracy below 20 quantiles of the uncertainty from .1 to 1, times .9 / 19 each: perfect answers come to .947.
    """
    values, labels = np.asarray(uncertainties, dtype=np.float64), np.asarray(is_correct, dtype=np.float64)
    cuts = np.quantile(values, _REFERENCE_GRID)
    accuracies = [labels[values <= cut].mean() for cut in cuts]
    return float(np.sum(accuracies) * (_REFERENCE_GRID[1] - _REFERENCE_GRID[0]))


def oracle_coverage(scores: ArrayLike, is_correct: Labels, alpha: float) -> float:
    """The largest share that can be answered at an error rate of at most alpha, by someone who knows all labels.

    A threshold cannot part equal scores.
    """
    values = np.asarray(scores, dtype=np.float64)
    curve = risk_coverage_curve(values, is_correct)
    falling = np.sort(values)[::-1]
    ends = np.append(falling[:-1] != falling[1:], True)
    feasible = curve.coverage[ends & (curve.risk <= alpha + 1e-12) & np.isfinite(falling)]
    return float(feasible[-1]) if len(feasible) else 0.0
