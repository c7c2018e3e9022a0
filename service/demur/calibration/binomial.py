"""Exact binomial tails and bounds."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from demur.calibration.base import FloatArray

_BISECTIONS = 60


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(at most k of n), each with probability p."""
    return math.exp(log_binomial_cdf(k, n, p))


def log_binomial_cdf(k: int, n: int, p: float) -> float:
    """Its natural logarithm, which does not run out of digits; -inf where it cannot be."""
    if k < 0:
        return -math.inf
    if k >= n or p <= 0:
        return 0.0
    if p >= 1:
        return -math.inf
    logs, i = _log_factorials(1 << n.bit_length()), np.arange(k + 1)
    terms = logs[n] - logs[i] - logs[n - i] + i * math.log(p) + (n - i) * math.log1p(-p)
    largest = float(terms.max())
    return min(0.0, largest + math.log(float(np.exp(terms - largest).sum())))


def upper_bound(k: int, n: int, delta: float) -> float:
    """The largest rate under which k or fewer of n are seen with probability over delta (Clopper & Pearson 1934).

    The true rate exceeds it with probability at most delta; 1 without any trial.
    """
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(k, n, middle) > delta else (low, middle)
    return high


def n_without_error(alpha: float, delta: float) -> int:
    """How many trials without an error show, with confidence 1 - delta, that the error rate is at most alpha."""
    return math.ceil(math.log(delta) / math.log1p(-alpha) - 1e-9)


@lru_cache(maxsize=24)  # powers of two
def _log_factorials(size: int) -> FloatArray:
    return np.array([math.lgamma(n + 1) for n in range(size + 1)])
