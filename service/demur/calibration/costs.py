"""Thresholds from what errors cost. They need no labels beyond a calibrated confidence, and they promise nothing."""

from __future__ import annotations

import numpy as np

from demur.calibration.outcomes import Outcomes


def cost_threshold(*, wrong: float, instead: float) -> float:
    """The confidence from which answering is expected to cost less than `instead`: 1 - instead / wrong, at least 0.

    `wrong` is what a wrong answer costs; `instead` what not answering does: abstaining, or retrieval and what follows.
    """
    if not (wrong > 0 and instead >= 0):
        raise ValueError(
            f"a wrong answer must cost something, and the rest not less than nothing; got {wrong}, {instead}"
        )
    return max(0.0, 1.0 - instead / wrong)


def cost_after_retrieval(after: Outcomes, *, wrong: float, abstain: float, retrieve: float) -> float:
    """Mean cost of looking it up, and then answering or abstaining, whichever is expected to cost less."""
    answering = (1.0 - np.clip(after.confidence, 0.0, 1.0)) * wrong
    return retrieve + float(np.mean(np.minimum(answering, abstain)))
