"""Thresholds from what errors cost. They need no labels beyond a calibrated confidence, and they promise nothing."""

from __future__ import annotations

import numpy as np

from demur.calibration.base import FloatArray
from demur.calibration.outcomes import TwoStageOutcomes
from demur.calibration.trials import NEVER, candidate_thresholds


def cost_threshold(*, wrong: float, instead: float) -> float:
    """The confidence from which answering is expected to cost less than `instead`: 1 - instead / wrong, at least 0.

    `wrong` is what a wrong answer costs; `instead` what not answering does.
    """
    if not (wrong > 0 and instead >= 0):
        raise ValueError(
            f"a wrong answer must cost something, and the rest not less than nothing; got {wrong}, {instead}"
        )
    return max(0.0, 1.0 - instead / wrong)


def cost_threshold_before_retrieval(both: TwoStageOutcomes, *, wrong: float, abstain: float, retrieve: float) -> float:
    """The confidence from which to answer from memory, where everything less certain is looked up.

    Of all cuts the one of least expected cost over these questions; a question that was looked up is answered, or not,
    whichever is expected to cost less.
    """
    first = both.closed_book.confidence
    at_once = _expected_cost(first, wrong)
    later = retrieve + np.minimum(_expected_cost(both.after_retrieval.confidence, wrong), abstain)
    cuts = [NEVER, *candidate_thresholds(first, len(first))]
    return min(cuts, key=lambda cut: float(np.where(first >= cut, at_once, later).mean()))


def _expected_cost(confidence: FloatArray, wrong: float) -> FloatArray:
    return (1.0 - np.clip(confidence, 0.0, 1.0)) * wrong
