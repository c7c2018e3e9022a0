"""How far probabilities lie from what happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Labels = Sequence[bool] | NDArray[np.bool_]

_EDGE = 1e-12  # a number that should lie on an edge may come out a hair above it
_LOG_MIN = 1e-15
_N_WAVES = 2048  # at the narrowest kernel, what is left out is below 1e-8
_BISECTIONS = 10


def brier_score(probabilities: ArrayLike, is_correct: Labels) -> float:
    """Mean (p - y)^2, in [0, 1]; lower is better, .25 for always saying one half. A proper score."""
    p, y = _checked(probabilities, is_correct)
    return float(np.mean((p - y) ** 2))


def negative_log_likelihood(probabilities: ArrayLike, is_correct: Labels) -> float:
    """Mean -ln of the probability given to what happened, in nats, >= 0; lower is better.

    Probabilities are kept 1e-15 off 0 and 1, so that being certain and wrong costs 34.5 nats and not infinity.
    """
    p, y = _checked(probabilities, is_correct)
    inside = np.clip(p, _LOG_MIN, 1 - _LOG_MIN)
    return float(-np.mean(y * np.log(inside) + (1 - y) * np.log1p(-inside)))


def calibration_gap(probabilities: ArrayLike, is_correct: Labels) -> float:
    """Mean probability - accuracy, in [-1, 1]: above 0 is overconfident."""
    p, y = _checked(probabilities, is_correct)
    return float(np.mean(p) - np.mean(y))


def expected_calibration_error(probabilities: ArrayLike, is_correct: Labels, *, n_bins: int = 10) -> float:
    """sum n_b / n |mean p - accuracy| over bins of equal width, in [0, 1]; state the number of bins with it.

    A bin is open below and closed above, (lo, hi], and 0 belongs to the first: the other rule can double the result.
    Biased upwards: a perfect model shows about .1 with ten bins at n = 100 (Guo et al. 2017).
    """
    p, y = _checked(probabilities, is_correct)
    return _binned_error(p, y, bin_places(p, n_bins), n_bins)


def bin_places(probabilities: FloatArray, n_bins: int) -> NDArray[np.int64]:
    """The bin of each probability, from 0, by the rule of `expected_calibration_error`."""
    return np.clip(np.ceil(probabilities * n_bins - _EDGE).astype(np.int64) - 1, 0, n_bins - 1)


def equal_mass_calibration_error(probabilities: ArrayLike, is_correct: Labels, *, n_bins: int = 10) -> float:
    """The same over bins of (nearly) equal counts, in the order of the probabilities; ties may be parted."""
    p, y = _checked(probabilities, is_correct)
    order = np.argsort(p, kind="stable")
    bins = np.empty(len(p), dtype=int)
    for index, members in enumerate(np.array_split(order, n_bins)):
        bins[members] = index
    return _binned_error(p, y, bins, n_bins)


def smooth_calibration_error(probabilities: ArrayLike, is_correct: Labels) -> float:
    """smECE, in [0, 1]: bins replaced by a Gaussian whose width finds itself (Blasiok & Nakkiran 2023).

    smECE_s is the integral over [0, 1] of |mean (p_i - y_i) K_s(t, p_i)|, K_s a Gaussian of width s reflected at 0 and
    1; the width taken is the least of ten bisections at which smECE_s <= s.
    """
    p, y = _checked(probabilities, is_correct)
    distinct, places = np.unique(p, return_inverse=True)
    return _self_widthed(_cosine_series(distinct, np.bincount(places, weights=p - y) / len(p)))


def perfect_model_error(
    probabilities: ArrayLike, *, quantile: float = 0.95, n_worlds: int = 200, seed: int = 0
) -> float:
    """The quantile of smECE in worlds where these probabilities are exactly right: what chance alone makes of them."""
    p = np.asarray(probabilities, dtype=np.float64)
    random = np.random.default_rng(seed)
    distinct, places = np.unique(
        np.round(p, 3), return_inverse=True
    )  # a coarser place bounds the work, and changes little
    waves = _waves(distinct)
    errors = []
    for _ in range(n_worlds):
        residuals = np.bincount(places, weights=p - (random.random(len(p)) < p)) / len(p)
        errors.append(_self_widthed(residuals @ waves))
    return float(np.quantile(errors, quantile))


def _checked(probabilities: ArrayLike, is_correct: Labels) -> tuple[FloatArray, FloatArray]:
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(is_correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(f"need a probability for each of {y.shape} labels, and one at least")
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError("probabilities must lie in [0, 1]")
    return p, y


def _binned_error(p: FloatArray, y: FloatArray, bins: NDArray[np.int64], n_bins: int) -> float:
    return float(np.sum(np.abs(np.bincount(bins, weights=p - y, minlength=n_bins))) / len(p))


def _waves(places: FloatArray) -> FloatArray:
    return np.asarray(np.cos(np.pi * np.outer(places, np.arange(_N_WAVES))))


def _cosine_series(places: FloatArray, residuals: FloatArray) -> FloatArray:
    """sum r cos(pi k x) for each k: a Gaussian reflected at both ends only damps these, by exp(-(pi k s)^2 / 2)."""
    series = np.zeros(_N_WAVES)
    for some in np.array_split(np.arange(len(places)), len(places) // 500 + 1):  # bounds the memory
        series += residuals[some] @ _waves(places[some])
    return series


def _self_widthed(series: FloatArray) -> float:
    low, high = 0.0, 1.0
    if _smoothed_error(series, high) > high:
        return _smoothed_error(series, high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < _smoothed_error(series, middle) else (low, middle)
    return _smoothed_error(series, high)


def _smoothed_error(series: FloatArray, width: float) -> float:
    """The integral of |sum of the damped waves|, by trapezoids over as many points as there are waves."""
    damped = series * np.exp(-((np.pi * np.arange(_N_WAVES) * width) ** 2) / 2)
    smoothed = np.abs(np.fft.irfft(np.append(damped, 0.0) * 2 * _N_WAVES, n=2 * _N_WAVES)[: _N_WAVES + 1])
    return float(np.sum((smoothed[1:] + smoothed[:-1]) / 2) / _N_WAVES)
