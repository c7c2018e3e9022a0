"""Which map to keep: the simplest one that no other beats on answers it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from demur.calibration.base import BoolArray, FloatArray, Method
from demur.calibration.fused import FusedCalibrator, fit_fused
from demur.calibration.isotonic import IsotonicCalibrator, fit_isotonic
from demur.calibration.outcomes import Labelled
from demur.calibration.platt import PlattCalibrator, fit_platt
from demur.errors import NotCalibratable
from demur.types import SignalName

AnyCalibrator = PlattCalibrator | IsotonicCalibrator | FusedCalibrator

# Labels below which a map follows chance more than the answers; from the simplest map to the one with most freedom.
MIN_LABELS: dict[Method, int] = {"platt": 100, "fused": 200, "isotonic": 1000}
_FOLDS = 5
_ONE_SIDED_95 = 1.645
_SCORE: tuple[SignalName, ...] = ("agreement",)


@dataclass(frozen=True, slots=True)
class Selection:
    """The map kept, fitted on all answers, and the held-out Brier score of each map that was tried."""

    calibrator: AnyCalibrator
    brier: dict[Method, float]


def select(
    labelled: Labelled, method: Method | Literal["auto"] = "auto", score: Sequence[SignalName] = _SCORE
) -> Selection:
    """Fit `method`, or the simplest map that is not beaten: none has a Brier score lower by 1.645 standard errors.

    Scores are cross-validated over five folds that keep a question's answers together. `score` is the one signal of
    the maps that read one. Raises NotCalibratable: too few labels, labels all alike, or a score that runs backwards.
    """
    _refuse_hopeless(labelled, method)
    tried: list[Method] = [m for m, least in MIN_LABELS.items() if labelled.n >= least and method in (m, "auto")]
    if len(labelled.signals) == 1 and method == "auto" and "fused" in tried:
        tried.remove("fused")  # one signal alone is what Platt's map reads
    try:
        losses = {m: _held_out_losses(labelled, m, tuple(score)) for m in tried}
        kept = _simplest_unbeaten(losses)
        return Selection(_fit(kept, labelled, tuple(score)), {m: float(loss.mean()) for m, loss in losses.items()})
    except ValueError as error:
        raise NotCalibratable(str(error)) from error


def _refuse_hopeless(labelled: Labelled, method: Method | Literal["auto"]) -> None:
    needed = MIN_LABELS["platt" if method == "auto" else method]
    if labelled.n < needed:
        raise NotCalibratable(
            f"{labelled.n} labels are too few to fit a map on: {needed} are needed, {needed - labelled.n} more"
        )
    n_correct = int(labelled.is_correct.sum())
    if n_correct in (0, labelled.n):
        which = "wrong" if n_correct == 0 else "correct"
        raise NotCalibratable(f"all {labelled.n} answers are {which}: there is nothing to tell apart")


def _simplest_unbeaten(losses: dict[Method, FloatArray]) -> Method:
    best = min(losses, key=lambda m: float(losses[m].mean()))
    return next(m for m in losses if not _is_beaten(losses[m], losses[best]))


def _is_beaten(losses: FloatArray, others: FloatArray) -> bool:
    differences = losses - others
    standard_error = float(differences.std()) / math.sqrt(len(differences))
    return float(differences.mean()) > _ONE_SIDED_95 * standard_error


def _held_out_losses(labelled: Labelled, method: Method, score: tuple[SignalName, ...]) -> FloatArray:
    """Squared error of each answer, by a map that has not seen its question."""
    _, places = np.unique(labelled.groups, return_inverse=True)
    folds = places % _FOLDS
    losses = np.empty(labelled.n)
    for fold in range(_FOLDS):
        is_held_out: BoolArray = folds == fold
        calibrator = _fit(method, labelled.rows(~is_held_out), score)
        unseen = labelled.rows(is_held_out)
        losses[is_held_out] = (calibrator.p_correct(unseen.columns(calibrator.signals)) - unseen.is_correct) ** 2
    return losses


def _fit(method: Method, labelled: Labelled, score: tuple[SignalName, ...]) -> AnyCalibrator:
    fits: dict[Method, Callable[[FloatArray, BoolArray, tuple[SignalName, ...]], AnyCalibrator]] = {
        "platt": fit_platt,
        "isotonic": fit_isotonic,
        "fused": fit_fused,
    }
    signals = labelled.signals if method == "fused" else score
    return fits[method](labelled.columns(signals), labelled.is_correct, signals)
