"""Platt's map: a logistic curve over the logit of one share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from demur.calibration.base import BoolArray, FloatArray, expit, logit, one_column
from demur.calibration.logistic import fit_logistic
from demur.types import SignalName


@dataclass(frozen=True, slots=True)
class PlattCalibrator:
    """1 / (1 + exp(-(slope * logit(s) + intercept))); slope 1 and intercept 0 leave a share as it is."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    slope: float
    intercept: float
    signals: tuple[SignalName, ...] = ("agreement",)
    method: Literal["platt"] = "platt"

    def __post_init__(self) -> None:
        if not self.slope >= 0:
            raise ValueError(f"the score runs against correctness (slope {self.slope:.3g}); nothing to calibrate")
        if len(self.signals) != 1:
            raise ValueError(f"Platt's map reads one signal, got {self.signals}")

    def p_correct(self, values: FloatArray) -> FloatArray:
        return expit(self.slope * logit(one_column(values)) + self.intercept)


def fit_platt(
    values: FloatArray, is_correct: BoolArray, signals: tuple[SignalName, ...] = ("agreement",)
) -> PlattCalibrator:
    """Fit on shares in [0, 1] and labels. Raises ValueError where a higher share goes with fewer correct answers.

    Targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) in place of 1 and 0, so that separable labels give no infinite
    slope (Platt 1999). On the logit, unlike on the share itself, the identity is one of the maps.
    """
    column = logit(one_column(values))
    weights, intercept = fit_logistic(column[:, None], platt_targets(is_correct))
    return PlattCalibrator(float(weights[0]), intercept, signals)


def platt_targets(is_correct: BoolArray) -> FloatArray:
    n_correct = int(np.sum(is_correct))
    n_wrong = len(is_correct) - n_correct
    return np.where(is_correct, (n_correct + 1) / (n_correct + 2), 1 / (n_wrong + 2))
