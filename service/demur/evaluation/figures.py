"""How good a map is on answers it has not seen."""

from __future__ import annotations

import numpy as np

from demur.calibration.base import FloatArray
from demur.calibration.outcomes import Outcomes
from demur.calibration.profile import CurvePoint, Figures
from demur.calibration.trials import ranked
from demur.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    perfect_model_error,
    smooth_calibration_error,
)
from demur.evaluation.discrimination import auroc

_MIN_FOR_FIGURES = 30
_N_CURVE = 50


def figures(held_out: Outcomes, uncalibrated: FloatArray) -> Figures:
    """Of held-out answers that are no refusals; `uncalibrated` are the shares that the map turns into probabilities."""
    can = np.isfinite(held_out.confidence)
    p, y, raw = held_out.confidence[can], held_out.is_correct[can], uncalibrated[can]
    if len(p) < _MIN_FOR_FIGURES:
        return Figures(len(p), None, None, None, None, None, None)
    return Figures(
        n=len(p),
        accuracy=float(y.mean()),
        auroc=auroc(p, y),
        brier=brier_score(p, y),
        brier_uncalibrated=brier_score(raw, y),
        smooth_ece=smooth_calibration_error(p, y),
        smooth_ece_perfect=perfect_model_error(p),
        smooth_ece_uncalibrated=smooth_calibration_error(raw, y),
        ece=expected_calibration_error(p, y),
        ece_uncalibrated=expected_calibration_error(raw, y),
        curve=_curve(held_out),
    )


def _curve(outcomes: Outcomes) -> tuple[CurvePoint, ...]:
    """At the levels of confidence that occur, thinned evenly over them where they are many."""
    order = ranked(outcomes)
    kept = np.unique(np.linspace(0, len(order.levels) - 1, min(_N_CURVE, len(order.levels))).round().astype(int))
    return tuple(
        CurvePoint(
            confidence=float(order.levels[i]),
            coverage=float(order.n_accepted[i] / outcomes.n),
            risk=float(order.errors[i] / order.n_accepted[i]),
        )
        for i in kept
    )
