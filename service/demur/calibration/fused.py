"""The fused map: logistic regression over several signals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from demur.calibration.base import BoolArray, FloatArray, expit, logit
from demur.calibration.logistic import fit_logistic
from demur.types import SignalName

MAX_SIGNALS = 6
RIDGES = (0.1, 1.0, 10.0, 100.0)
_FOLDS = 5
_SHARES = frozenset({"agreement"})  # read as logits: a straight line over them can leave a share as it is


@dataclass(frozen=True, slots=True)
class FusedCalibrator:
    """1 / (1 + exp(-(sum weights * (signals - means) / scales + intercept))); `agreement` enters as its logit."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    signals: tuple[SignalName, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    ridge: float
    method: Literal["fused"] = "fused"

    def __post_init__(self) -> None:
        if not 1 <= len(self.signals) <= MAX_SIGNALS or len(set(self.signals)) != len(self.signals):
            raise ValueError(f"a fused map reads 1 to {MAX_SIGNALS} different signals, got {self.signals}")
        if {len(self.means), len(self.scales), len(self.weights)} != {len(self.signals)}:
            raise ValueError("a fused map needs a mean, a scale and a weight for every signal")
        if not all(scale > 0 for scale in self.scales):
            raise ValueError(f"scales must be positive, got {self.scales}")

    def p_correct(self, values: FloatArray) -> FloatArray:
        standardised = (_linearised(values, self.signals) - np.asarray(self.means)) / np.asarray(self.scales)
        return expit(standardised @ np.asarray(self.weights) + self.intercept)


def fit_fused(
    values: FloatArray, is_correct: BoolArray, signals: tuple[SignalName, ...], *, ridge: float | None = None
) -> FusedCalibrator:
    """Fit on signals and labels. Without `ridge`, the penalty of least log-loss over five folds is taken.

    Signals are standardised, so that one penalty is fair to all; one that never varies gets weight 0.
    """
    columns = _linearised(values, signals)
    means, scales = columns.mean(axis=0), columns.std(axis=0)
    scales = np.where(scales > 1e-12, scales, 1.0)
    standardised, targets = (columns - means) / scales, is_correct.astype(np.float64)
    if ridge is None:
        ridge = min(RIDGES, key=lambda tried: _held_out_loss(standardised, targets, tried))
    weights, intercept = fit_logistic(standardised, targets, ridge=ridge)
    return FusedCalibrator(
        signals, tuple(means.tolist()), tuple(scales.tolist()), tuple(weights.tolist()), intercept, ridge
    )


def _linearised(values: FloatArray, signals: tuple[SignalName, ...]) -> FloatArray:
    if values.ndim != 2 or values.shape[1] != len(signals):
        raise ValueError(f"expected a column for each of {signals}, got an array of shape {values.shape}")
    columns = [logit(values[:, j]) if name in _SHARES else values[:, j] for j, name in enumerate(signals)]
    return np.column_stack(columns)


def _held_out_loss(columns: FloatArray, targets: FloatArray, ridge: float) -> float:
    """Rows are dealt to the folds in turn: whoever calls has shuffled them."""
    folds = np.arange(len(targets)) % _FOLDS
    return math.fsum(_fold_loss(columns, targets, folds == fold, ridge) for fold in range(_FOLDS))


def _fold_loss(columns: FloatArray, targets: FloatArray, is_held_out: BoolArray, ridge: float) -> float:
    weights, intercept = fit_logistic(columns[~is_held_out], targets[~is_held_out], ridge=ridge)
    z = columns[is_held_out] @ weights + intercept
    return float(np.sum(np.logaddexp(0.0, z) - targets[is_held_out] * z))
