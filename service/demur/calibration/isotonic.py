"""The isotonic map: the best step function that never falls, found by pooling adjacent violators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np

from demur.calibration.base import BoolArray, FloatArray, one_column
from demur.types import SignalName


@dataclass(frozen=True, slots=True)
class IsotonicCalibrator:
    """`levels[i]` from `starts[i]` up to the next start; `levels[0]` below the first."""

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    starts: tuple[float, ...]
    levels: tuple[float, ...]
    signals: tuple[SignalName, ...] = ("agreement",)
    method: Literal["isotonic"] = "isotonic"

    def __post_init__(self) -> None:
        if not self.starts or len(self.starts) != len(self.levels) or len(self.signals) != 1:
            raise ValueError("an isotonic map needs one signal, and a level for every start")
        if any(a >= b for a, b in pairwise(self.starts)) or any(a > b for a, b in pairwise(self.levels)):
            raise ValueError("starts must rise, and levels must not fall")
        if not all(0 < level < 1 for level in self.levels):
            raise ValueError("levels must lie strictly between 0 and 1")

    def p_correct(self, values: FloatArray) -> FloatArray:
        places = np.searchsorted(self.starts, one_column(values), side="right") - 1
        return np.asarray(np.asarray(self.levels)[np.maximum(places, 0)])


def fit_isotonic(
    values: FloatArray, is_correct: BoolArray, signals: tuple[SignalName, ...] = ("agreement",)
) -> IsotonicCalibrator:
    """Fit on scores and labels. Levels are kept within [1 / (n + 2), (n + 1) / (n + 2)]: n labels show no certainty."""
    scores, places = np.unique(one_column(values), return_inverse=True)
    counts = np.bincount(places).astype(np.float64)
    means = np.bincount(places, weights=is_correct.astype(np.float64)) / counts
    pooled = np.clip(pool_adjacent_violators(means, counts), 1 / (len(places) + 2), 1 - 1 / (len(places) + 2))
    steps = np.flatnonzero(np.diff(pooled, prepend=-1.0) > 0)
    return IsotonicCalibrator(tuple(scores[steps].tolist()), tuple(pooled[steps].tolist()), signals)


def pool_adjacent_violators(means: Sequence[float] | FloatArray, weights: Sequence[float] | FloatArray) -> FloatArray:
    """The non-decreasing sequence closest to `means` in weighted squares (Ayer et al. 1955)."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, length
    for mean, weight in zip(means, weights, strict=True):
        pool = (float(mean), float(weight), 1)
        while pools and pools[-1][0] >= pool[0]:
            pool = _merged(pools.pop(), pool)
        pools.append(pool)
    return np.repeat([mean for mean, _, _ in pools], [length for _, _, length in pools])


def _merged(a: tuple[float, float, int], b: tuple[float, float, int]) -> tuple[float, float, int]:
    weight = a[1] + b[1]
    return (a[0] * a[1] + b[0] * b[1]) / weight, weight, a[2] + b[2]
