"""Conformal risk control: P(answered and wrong) at most alpha, on average over the draw of the labels."""

from __future__ import annotations

import math

from demur.calibration.outcomes import Outcomes
from demur.calibration.trials import ranked


def conformal_threshold(outcomes: Outcomes, *, alpha: float, n_errors_before: int = 0) -> float | None:
    """The lowest confidence to answer at; None where every answer must be withheld.

    errors + 1 <= alpha (n + 1) (Angelopoulos et al. 2022). This bounds the joint risk, not the error rate among what is
    answered, and asks for fewer labels. Its loss must rise as the threshold falls: so it serves one stage, or the
    second one with the first threshold fixed, whose errors are `n_errors_before`. The labels must not have been used
    to fit the confidence.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie strictly between 0 and 1, got {alpha}")
    allowed = math.floor(alpha * (outcomes.n + 1) + 1e-9) - 1 - n_errors_before
    order = ranked(outcomes)
    feasible = order.levels[order.errors <= allowed]
    return float(feasible[-1]) if allowed >= 0 and len(feasible) else None
